#!/usr/bin/python3
"""The same as bench-train run, in PyTorch: torch_step.py MODEL.onnx BATCH THREADS SECONDS LAYOUT [bf16].
LAYOUT is channels_last or contiguous (with oneDNN in both). The ONNX file is made into nn.Modules."""
import sys
import time

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import nn


class Network(nn.Module):
    """Modules for what has weights, functions for the rest, in the order of the file."""

    def __init__(self, path):
        super().__init__()
        graph = onnx.load(path).graph
        weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
        self.steps, self.input, self.output = [], graph.input[0].name, graph.output[0].name
        self.parts = nn.ModuleList()
        for node in graph.node:
            a = {p.name: onnx.helper.get_attribute_value(p) for p in node.attribute}
            module = self.module(node, a, weights)
            if isinstance(module, nn.Module):
                self.parts.append(module)
            inputs = [n for n in node.input if n not in weights]
            self.steps.append((module, inputs, node.output[0]))
        for node in graph.node:
            assert not any(n in weights for n in node.input) or node.op_type in (
                "Conv", "BatchNormalization", "Gemm"), node.op_type

    def module(self, node, a, weights):
        w = [weights.get(n) for n in node.input]
        kind = node.op_type
        if kind == "Conv":
            pads = a.get("pads", [0] * 4)
            assert pads[:2] == pads[2:]
            out, inner, *kernel = w[1].shape
            group = a.get("group", 1)
            conv = nn.Conv2d(inner * group, out, kernel, a.get("strides", [1, 1]), pads[:2],
                             a.get("dilations", [1, 1]), group, len(w) > 2)
            conv.weight.data = w[1]
            if len(w) > 2:
                conv.bias.data = w[2]
            return conv
        if kind == "BatchNormalization":
            norm = nn.BatchNorm2d(len(w[1]), a.get("epsilon", 1e-5))
            norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var = w[1:]
            return norm
        if kind == "Gemm":
            linear = nn.Linear(w[1].shape[1], w[1].shape[0])
            linear.weight.data, linear.bias.data = w[1], w[2]
            return linear
        pads = a.get("pads", [0] * 4)
        return {
            "Relu": lambda: nn.ReLU(inplace=True),
            "MaxPool": lambda: nn.MaxPool2d(a["kernel_shape"], a.get("strides", [1, 1]), pads[:2]),
            "AveragePool": lambda: nn.AvgPool2d(a["kernel_shape"], a.get("strides", [1, 1]), pads[:2]),
            "GlobalAveragePool": lambda: nn.AdaptiveAvgPool2d(1),
            "Flatten": lambda: nn.Flatten(),
            "Add": lambda: torch.add,
            "Concat": lambda: lambda *x: torch.cat(x, 1),
        }[kind]()

    def forward(self, image):
        values = {self.input: image}
        for step, inputs, output in self.steps:
            values[output] = step(*[values[n] for n in inputs])
        return values[self.output]


def main(path, batch, threads, seconds, layout, bf16=False):
    torch.set_num_threads(threads)
    network = Network(path)
    image = torch.from_numpy(np.random.RandomState(1).rand(batch, 1, 224, 224).astype(np.float32) * 2 - 1)
    target = torch.arange(batch) % 3
    if layout == "channels_last":
        network = network.to(memory_format=torch.channels_last)
        image = image.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.001, 0.9)
    times, begin, step = [], time.perf_counter(), 0
    while not times or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(network(image).float(), target)
        loss.backward()
        optimizer.step()
        if step >= 2:
            times.append(time.perf_counter() - start)
        step += 1
    median = sorted(times)[len(times) // 2]
    print(f"{batch / median:.2f} images/s, {median * 1e3:.1f} ms a step")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5], "bf16" in sys.argv[6:])
