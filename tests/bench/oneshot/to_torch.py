#!/usr/bin/python3
"""Make a TorchScript file of an ONNX classifier, so that the peer loads what torch loads fastest.

usage: to_torch.py MODEL.onnx OUT.pt
"""
import sys

import onnx
import torch
import torch.nn.functional as functional
from onnx import numpy_helper

graph = onnx.load(sys.argv[1]).graph
weights = {w.name: torch.from_numpy(numpy_helper.to_array(w).copy()) for w in graph.initializer}


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def convolve(node, x, weight, bias=None):
    a = attributes(node)
    pads = a.get("pads", [0, 0, 0, 0])
    if pads[0] != pads[2] or pads[1] != pads[3]:
        x = functional.pad(x, (pads[1], pads[3], pads[0], pads[2]))
        pads = [0, 0]
    return functional.conv2d(x, weight, bias, a.get("strides", [1, 1]), pads[:2],
                             a.get("dilations", [1, 1]), a.get("group", 1))


def pool(node, x):
    a = attributes(node)
    pads = a.get("pads", [0, 0, 0, 0])
    return functional.max_pool2d(x, a["kernel_shape"], a.get("strides"), pads[:2])


def average(node, x):
    a = attributes(node)
    return functional.avg_pool2d(x, a["kernel_shape"], a.get("strides"), a.get("pads", [0, 0])[:2],
                                 count_include_pad=bool(a.get("count_include_pad", 0)))


def normalise(node, x, scale, bias, mean, var):
    return functional.batch_norm(x, mean, var, scale, bias, False, 0.0,
                                 attributes(node).get("epsilon", 1e-5))


OPERATORS = {
    "Conv": convolve,
    "BatchNormalization": normalise,
    "Relu": lambda n, x: functional.relu(x),
    "Add": lambda n, a, b: a + b,
    "MaxPool": pool,
    "AveragePool": average,
    "GlobalAveragePool": lambda n, x: x.mean((2, 3), keepdim=True),
    "Flatten": lambda n, x: torch.flatten(x, 1),
    "Gemm": lambda n, x, w, b: functional.linear(x, w if attributes(n).get("transB") else w.T, b),
    "Concat": lambda n, *xs: torch.cat(xs, attributes(n)["axis"]),
    "Identity": lambda n, x: x,
    "Dropout": lambda n, x: x,
}


def run(image):
    values = dict(weights)
    values[graph.input[0].name] = image
    for node in graph.node:
        values[node.output[0]] = OPERATORS[node.op_type](node, *[values[i] for i in node.input])
    return values[graph.output[0].name]


class Network(torch.nn.Module):
    def forward(self, image):
        return run(image)


with torch.no_grad():
    torch.jit.freeze(torch.jit.trace(Network().eval(), torch.zeros(1, 1, 224, 224))).save(sys.argv[2])
