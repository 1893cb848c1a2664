#!/usr/bin/python3
"""Write small random networks as ONNX files: make_models.py FOLDER [NAME...].

resnet, densenet and mobile have the structure of their namesakes, so that every rewriting rule and
every layout change of the engine is met; `bench-*` are the same at 224x224 with about 3 million
weights, for tests/bench. Seeds are fixed: the files are the same on every machine.
"""
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13


class Net:
    def __init__(self, seed):
        self.random = np.random.RandomState(seed)
        self.nodes, self.weights, self.count = [], [], 0

    def name(self, hint):
        self.count += 1
        return f"{hint}{self.count}"

    def weight(self, array, hint="w"):
        name = self.name(hint)
        self.weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def ints(self, values):
        name = self.name("i")
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def op(self, kind, *inputs, out=None, **attributes):
        out = out or self.name(kind.lower())
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=self.name("n"), **attributes))
        return out

    def conv(self, x, c_in, c_out, k=3, stride=1, group=1, bias=False, dilation=1):
        w = self.random.randn(c_out, c_in // group, k, k) * np.sqrt(2.0 / (c_in // group * k * k))
        inputs = [x, self.weight(w)]
        if bias:
            inputs.append(self.weight(self.random.randn(c_out) * 0.1))
        pad = (k - 1) // 2 * dilation
        return self.op("Conv", *inputs, kernel_shape=[k, k], strides=[stride, stride], group=group,
                       pads=[pad] * 4, dilations=[dilation] * 2)

    def norm(self, x, c):
        r = self.random
        return self.op("BatchNormalization", x, self.weight(1 + 0.1 * r.randn(c)), self.weight(0.1 * r.randn(c)),
                       self.weight(0.1 * r.randn(c)), self.weight(0.5 + r.rand(c)))

    def relu(self, x):
        return self.op("Relu", x)

    def head(self, x, c, n_classes, flatten="Flatten"):
        x = self.op("Identity", x, out="features")
        if flatten == "ReduceMean":
            x = self.op("ReduceMean", x, axes=[2, 3], keepdims=0)
        else:
            x = self.op("GlobalAveragePool", x)
            if flatten == "Flatten":
                x = self.op("Flatten", x, axis=1)
            elif flatten == "Squeeze":
                x = self.op("Squeeze", x, self.ints([2, 3]))
            else:  # as PyTorch writes view(x.size(0), -1)
                n = self.op("Gather", self.op("Shape", x), self.weight_scalar(0), axis=0)
                n = self.op("Unsqueeze", n, self.ints([0]))
                shape = self.op("Concat", n, self.ints([-1]), axis=0)
                x = self.op("Reshape", x, shape)
        if flatten == "Squeeze":
            w = self.weight(self.random.randn(c, n_classes) / np.sqrt(c))
            x = self.op("MatMul", x, w)
            return self.op("Add", x, self.weight(self.random.randn(n_classes)), out="logits")
        w = self.weight(self.random.randn(n_classes, c) / np.sqrt(c))
        b = self.weight(self.random.randn(n_classes))
        return self.op("Gemm", x, w, b, transB=1, out="logits")

    def save(self, path, shape, output, n_classes):
        graph = helper.make_graph(
            self.nodes, "test", [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N"] + shape[1:])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", n_classes])], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = 7
        onnx.checker.check_model(model)
        onnx.save(model, path)
        n = sum(np.prod(w.dims) for w in self.weights)
        print(f"{path}: {len(self.nodes)} nodes, {n / 1e6:.2f} million weights")

    def weight_scalar(self, value):
        name = self.name("i")
        self.weights.append(numpy_helper.from_array(np.array(value, np.int64), name))
        return name


def resnet(path, size, widths, blocks, c_in=1):
    net = Net(1)
    x = net.relu(net.norm(net.conv("image", c_in, widths[0], 7, 2), widths[0]))
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    c = widths[0]
    for i, width in enumerate(widths):
        for j in range(blocks):
            stride = 2 if i > 0 and j == 0 else 1
            y = net.relu(net.norm(net.conv(x, c, width, 3, stride), width))
            y = net.norm(net.conv(y, width, width), width)
            if stride != 1 or c != width:
                x = net.norm(net.conv(x, c, width, 1, stride), width)
            x = net.relu(net.op("Add", y, x))
            c = width
    net.head(x, c, 3)
    net.save(path, [1, c_in, size, size], "logits", 3)


def densenet(path, size, growth, layers, c_in=1):
    net = Net(2)
    c = 2 * growth
    x = net.conv("image", c_in, c, 3, 2)
    for block, n in enumerate(layers):
        for _ in range(n):
            y = net.relu(net.norm(x, c))
            y = net.relu(net.norm(net.conv(y, c, 4 * growth, 1), 4 * growth))
            y = net.op("Dropout", net.conv(y, 4 * growth, growth, 3))
            x = net.op("Concat", x, y, axis=1)
            c += growth
        x = net.relu(net.norm(x, c))
        if block + 1 < len(layers):
            x = net.conv(x, c, c // 2, 1)
            c //= 2
            x = net.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    net.head(x, c, 3, "Reshape")
    net.save(path, [1, c_in, size, size], "logits", 3)


def mobile(path, size, widths, expand=4, c_in=3):
    net = Net(3)
    c = widths[0]
    x = net.op("HardSwish", net.norm(net.conv("image", c_in, c, 3, 2), c)) if OPSET >= 14 else None
    if x is None:  # as it is written before opset 14
        x = net.norm(net.conv("image", c_in, c, 3, 2), c)
        x = net.op("Mul", x, net.op("HardSigmoid", x, alpha=1.0 / 6.0, beta=0.5))
    for i, width in enumerate(widths):
        wide = c * expand
        y = net.norm(net.conv(x, c, wide, 1), wide)
        y = net.op("Mul", y, net.op("Sigmoid", y))
        y = net.norm(net.conv(y, wide, wide, 3, 2 if i > 0 else 1, group=wide), wide)
        y = net.op("Clip", y, net.weight(np.array(0.0)), net.weight(np.array(6.0)))
        gate = net.op("GlobalAveragePool", y)
        gate = net.relu(net.conv(gate, wide, wide // 4, 1, bias=True))
        gate = net.op("HardSigmoid", net.conv(gate, wide // 4, wide, 1, bias=True))
        y = net.op("Mul", y, gate)
        y = net.norm(net.conv(y, wide, width, 1), width)
        x = net.op("Add", x, y) if i == 0 and width == c else y
        c = width
    net.head(x, c, 4, "Squeeze")
    net.save(path, [1, c_in, size, size], "logits", 4)


def odd(path):
    """What the others do not have: odd channel counts, groups, dilation, a step, resizing, padding."""
    net = Net(4)
    x = net.op("LeakyRelu", net.conv("image", 1, 10, 5, 1, bias=True), alpha=0.2)
    y = net.op("Cast", net.op("Greater", x, net.weight(np.array(0.0))), to=TensorProto.FLOAT)
    x = net.op("Add", net.op("Mul", x, y), x)
    x = net.op("Tanh", net.conv(x, 10, 20, 3, 2, group=5, dilation=2))
    x = net.op("Softplus", net.op("Add", net.conv(x, 20, 7, 3), net.weight(net.random.randn(1, 7, 1, 1))))
    x = net.op("Pad", x, net.ints([0, 0, 1, 2, 0, 0, 2, 1]), mode="reflect")
    scales = net.weight(np.array([1.0, 1.0, 2.0, 1.5]))
    x = net.op("Resize", x, "", scales, mode="linear")
    left = net.op("Slice", x, net.ints([0]), net.ints([4]), net.ints([1]))
    right = net.op("Slice", x, net.ints([4]), net.ints([7]), net.ints([1]))
    x = net.op("Concat", right, left, net.op("Abs", x), axis=1)
    x = net.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 1], count_include_pad=1)
    x = net.op("MaxPool", x, kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1)
    x = net.op("Transpose", net.op("Transpose", x, perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])
    net.head(x, 14, 5, "ReduceMean")
    net.op("Softmax", "logits", axis=1, out="scores")
    net.save(path, [1, 1, 37, 41], "scores", 5)


def chains(path):
    """Concatenations that share operands, in both forms and with forks, and all kinds of readers."""
    net = Net(5)
    a = net.relu(net.norm(net.conv("image", 1, 32, 3, 2), 32))
    b, c = net.conv(a, 32, 16), net.conv(a, 32, 32)
    ab = net.op("Concat", a, b, axis=1)
    abc = net.op("Concat", a, b, c, axis=1)
    fork = net.op("Concat", a, c, axis=1)  # begins as the others, goes on otherwise
    nested = net.op("Concat", abc, net.conv(net.relu(net.norm(ab, 48)), 48, 16), axis=1)
    odd = net.op("Concat", net.conv(a, 32, 10), net.conv(a, 32, 7), axis=1)
    more = net.op("Concat", odd, b, axis=1)
    pooled = net.op("MaxPool", ab, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    summed = net.op("Add", net.conv(pooled, 48, 80), abc)  # abc may not be overwritten
    summed = net.op("Mul", net.relu(net.op("Add", summed, abc)), net.op("Sigmoid", abc))
    parts = [net.conv(summed, 80, 24), net.conv(fork, 64, 24), net.conv(nested, 96, 24), net.conv(more, 33, 24),
             net.conv(net.op("Softplus", net.norm(abc, 80)), 80, 24)]
    x = net.op("Sum", *parts)
    net.head(net.relu(net.norm(x, 24)), 24, 3)
    net.save(path, [1, 1, 22, 26], "logits", 3)


def tiles(path):
    """3 x 3 convolutions of many channels: odd sizes, all paddings, residuals, parts of concatenations."""
    net = Net(6)
    zero, six = net.weight(np.array(0.0)), net.weight(np.array(6.0))
    x = net.op("Clip", net.conv("image", 1, 32, 3, 2), zero, six)  # 27 x 30
    a = net.relu(net.norm(net.conv(x, 32, 64), 64))
    b = net.conv(a, 64, 32, bias=True)
    ab = net.op("Concat", a, b, axis=1)
    c = net.conv(net.relu(net.norm(ab, 96)), 96, 32)
    abc = net.op("Concat", ab, c, axis=1)
    y = net.op("Clip", net.op("Add", net.norm(net.conv(ab, 96, 128), 128), abc), zero, six)  # of views
    y = net.relu(net.op("Add", net.conv(y, 128, 32), b))  # a view that does not begin at the first channel
    w = net.weight(net.random.randn(64, 32, 3, 3) * 0.08)
    y = net.op("Conv", y, w, kernel_shape=[3, 3], pads=[0, 2, 1, 0])
    w = net.weight(net.random.randn(32, 64, 3, 3) * 0.06)
    y = net.op("LeakyRelu", net.op("Conv", y, w, kernel_shape=[3, 3], pads=[0, 0, 0, 0]), alpha=0.1)
    y = net.conv(net.relu(net.norm(y, 32)), 32, 64, 1, bias=True)  # a normalisation that waits
    y = net.op("Clip", net.conv(net.norm(y, 64), 64, 32, 1), zero, six)
    both = net.norm(y, 32)  # read twice: it may not wait
    y = net.op("Add", net.conv(both, 32, 32, 1), both)
    net.head(net.relu(net.norm(y, 32)), 32, 3)
    net.save(path, [1, 1, 54, 59], "logits", 3)


def inverted(path):
    """Inverted residuals: without expansion, stride 2, with shortcut, parts of concatenations, x read again."""
    net = Net(7)
    zero, six = net.weight(np.array(0.0)), net.weight(np.array(6.0))

    def clip(y):
        return net.op("Clip", y, zero, six)

    def wide(x, c, c_mid, stride=1):
        """All but the projection; c_mid is c: no expansion."""
        if c_mid != c:
            x = clip(net.norm(net.conv(x, c, c_mid, 1), c_mid))
        return clip(net.norm(net.conv(x, c_mid, c_mid, 3, stride, group=c_mid), c_mid))

    def block(x, c, c_mid, c_out, stride=1):
        return net.norm(net.conv(wide(x, c, c_mid, stride), c_mid, c_out, 1), c_out)

    x = clip(net.norm(net.conv("image", 3, 16, 3, 2), 16))  # 29 x 23
    x = block(x, 16, 16, 24)
    x = block(x, 24, 48, 32, 2)  # 15 x 12
    x = net.op("Add", block(x, 32, 96, 32), x)
    y = block(x, 32, 64, 40)
    part = block(y, 40, 80, 24)
    both = net.op("Concat", y, part, axis=1)
    z = net.op("Add", block(part, 24, 48, 24), part)  # a view that does not begin at the first channel
    x = net.op("Add", block(both, 64, 128, 64), both)
    x = net.op("Add", block(x, 64, 64, 24), z)
    # between the first and the last of the block's convolutions another is the last to read x, as its residual
    again = net.relu(net.conv(x, 24, 16))
    y = wide(x, 24, 96)
    again = net.relu(net.op("Add", net.norm(net.conv(again, 16, 24), 24), x))
    x = net.op("Add", net.norm(net.conv(y, 96, 24, 1), 24), again)
    net.head(net.relu(x), 24, 3)
    net.save(path, [1, 3, 57, 46], "logits", 3)


MODELS = {
    "chains": chains,
    "inverted": inverted,
    "tiles": tiles,
    "resnet": lambda p: resnet(p, 64, [16, 24, 40], 2),
    "densenet": lambda p: densenet(p, 48, 12, [3, 4]),
    "mobile": lambda p: mobile(p, 48, [16, 24, 40]),
    "odd": odd,
    "bench-resnet": lambda p: resnet(p, 224, [32, 64, 128, 256], 2),
    "bench-densenet": lambda p: densenet(p, 224, 24, [6, 12, 16]),
    "bench-mobile": lambda p: mobile(p, 224, [32, 64, 128, 192, 256]),
}

if __name__ == "__main__":
    for wanted in sys.argv[2:] or [m for m in MODELS if not m.startswith("bench-")]:
        MODELS[wanted](f"{sys.argv[1]}/{wanted}.onnx")
