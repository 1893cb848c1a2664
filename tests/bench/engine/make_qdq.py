#!/usr/bin/python3
"""Write a network in 8-bit integers as ONNX Runtime wants it: make_qdq.py MODEL.onnx RANGES OUT.onnx.

RANGES has a line "name low high" for each tensor (bench-network's `ranges`). As onnxruntime.quantization's
quantize_static in QDQ format does: batch normalisation is folded into the convolution before it; weights are
symmetric int8 with one scale for each output channel, biases int32, activations uint8 with one scale and zero
point; a QuantizeLinear, DequantizeLinear pair stands before each operand of the operators below and after
each of their results, but not between a convolution and its ReLU or Clip, which are fused.
"""
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper

QUANTIZED = {"Conv", "Gemm", "Add", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool", "Flatten"}
ACTIVATIONS = {"Relu", "Clip"}

source, ranges_file, target = sys.argv[1:4]
model = onnx.load(source)
graph = model.graph
weights = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
ranges = {name: (float(low), float(high)) for name, low, high in
          (line.split() for line in open(ranges_file))}


def readers(name):
    return [n for n in graph.node if name in n.input]


def fold_norms():
    for norm in [n for n in graph.node if n.op_type == "BatchNormalization"]:
        conv = next((n for n in graph.node if norm.input[0] in n.output and n.op_type == "Conv"), None)
        if conv is None or len(readers(conv.output[0])) != 1:
            continue
        scale, shift, mean, variance = (weights[i] for i in norm.input[1:5])
        epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        w = weights[conv.input[1]]
        bias = weights[conv.input[2]] if len(conv.input) > 2 else 0.0
        names = f"{conv.output[0]}_w", f"{conv.output[0]}_b"
        weights[names[0]] = (w * factor.reshape(-1, *[1] * (w.ndim - 1))).astype(np.float32)
        weights[names[1]] = ((bias - mean) * factor + shift).astype(np.float32)
        inputs = [conv.input[0], *names]
        del conv.input[:]
        conv.input.extend(inputs)
        conv.output[0] = norm.output[0]
        graph.node.remove(norm)


def leave_out_dropouts():
    """They do nothing when a network serves."""
    for node in [n for n in graph.node if n.op_type == "Dropout"]:
        for reader in readers(node.output[0]):
            for i, name in enumerate(reader.input):
                if name == node.output[0]:
                    reader.input[i] = node.input[0]
        graph.node.remove(node)


made, scales = [], {}


def constant(name, array):
    weights[name] = np.asarray(array)
    return name


def quantize(name):
    """The dequantized tensor beside an activation."""
    if name in scales:
        return f"{name}_dq"
    low, high = ranges[name]
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255.0 or 1.0
    zero = int(round(-low / scale))
    scales[name] = scale
    s = constant(f"{name}_scale", np.float32(scale))
    z = constant(f"{name}_zero", np.uint8(min(max(zero, 0), 255)))
    made.append(helper.make_node("QuantizeLinear", [name, s, z], [f"{name}_q"]))
    made.append(helper.make_node("DequantizeLinear", [f"{name}_q", s, z], [f"{name}_dq"]))
    return f"{name}_dq"


def quantize_weights(node, x_scale):
    w = weights[node.input[1]]
    attributes = {a.name: a.i for a in node.attribute}
    axis = 0 if node.op_type == "Conv" or attributes.get("transB", 0) else 1
    rest = tuple(i for i in range(w.ndim) if i != axis)
    scale = np.maximum(np.abs(w).max(axis=rest) / 127.0, 1e-30).astype(np.float32)
    shape = [1] * w.ndim
    shape[axis] = -1
    base = f"{node.output[0]}_{node.input[1]}"
    q = constant(f"{base}_q", np.clip(np.rint(w / scale.reshape(shape)), -127, 127).astype(np.int8))
    s, z = constant(f"{base}_scale", scale), constant(f"{base}_zero", np.zeros(len(scale), np.int8))
    made.append(helper.make_node("DequantizeLinear", [q, s, z], [f"{base}_dq"], axis=axis))
    node.input[1] = f"{base}_dq"
    if len(node.input) > 2:
        both = (scale * x_scale).astype(np.float32)
        bias = constant(f"{base}_b", np.rint(weights[node.input[2]] / both).astype(np.int32))
        s, z = constant(f"{base}_b_scale", both), constant(f"{base}_b_zero", np.zeros(len(both), np.int32))
        made.append(helper.make_node("DequantizeLinear", [bias, s, z], [f"{base}_b_dq"], axis=0))
        node.input[2] = f"{base}_b_dq"


def quantize_node(node):
    for i, name in enumerate(node.input):
        if name and name not in weights and name in ranges:
            node.input[i] = quantize(name)
    if node.op_type in ("Conv", "Gemm"):
        quantize_weights(node, scales[node.input[0].removesuffix("_dq")])


fold_norms()
leave_out_dropouts()
outputs = {o.name for o in graph.output}
for node in list(graph.node):
    if node.op_type in QUANTIZED:
        quantize_node(node)
    made.append(node)
    for name in node.output:
        fused = [r for r in readers(name) if r.op_type not in ACTIVATIONS]
        if name in ranges and (node.op_type in QUANTIZED | ACTIVATIONS) and fused and name not in outputs:
            quantize(name)
# whoever reads a quantized tensor reads it so, a batch normalisation too
for node in made:
    if node.op_type == "BatchNormalization" and node.input[0] in scales:
        node.input[0] = f"{node.input[0]}_dq"
used = {i for n in made for i in n.input}
result = helper.make_graph(made, "qdq", graph.input, graph.output,
                           [numpy_helper.from_array(a, n) for n, a in weights.items() if n in used])
result = helper.make_model(result, opset_imports=[helper.make_opsetid("", 13)])
result.ir_version = 7
onnx.checker.check_model(result)
onnx.save(result, target)
