#!/usr/bin/python3
"""Write the networks of the engine's benchmark as ONNX files: make_networks.py FOLDER [NAME...].

ResNet-18 and -50 (He et al. 2016), DenseNet-121 (Huang et al. 2017) and MobileNetV2 (Sandler et al. 2018)
as torchvision exports them: convolution and batch normalisation apart, one Concat of all earlier maps in
each DenseNet layer, opset 13. Weights are random with a fixed seed; the statistics of each batch
normalisation are those of the values that reach it, so that no layer dies or overflows.
"""
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 1000


class Net:
    def __init__(self, seed):
        self.random = np.random.RandomState(seed)
        self.nodes, self.weights = [], []

    def op(self, kind, *inputs, out=None, **attributes):
        out = out or f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=f"n_{out}", **attributes))
        return out

    def weight(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def conv(self, x, c_in, c_out, k, stride=1, group=1):
        fan_in = c_in // group * k * k
        w = self.random.randn(c_out, c_in // group, k, k) * np.sqrt(2.0 / fan_in)
        return self.op("Conv", x, self.weight(w), kernel_shape=[k, k], strides=[stride] * 2, group=group,
                       pads=[k // 2] * 4, dilations=[1, 1])

    def norm(self, x, c, variance=1.0):
        """variance: of x, for an input of variance 1. After He's weights it stays that of the input."""
        r = self.random
        return self.op("BatchNormalization", x, self.weight(1 + 0.1 * r.randn(c)), self.weight(0.1 * r.randn(c)),
                       self.weight(0.1 * r.randn(c)), self.weight(variance * (0.8 + 0.4 * r.rand(c))),
                       epsilon=1e-5)

    def relu(self, x):
        return self.op("Relu", x)

    def head(self, x, c):
        x = self.op("Flatten", self.op("GlobalAveragePool", x), axis=1)
        w = self.weight(self.random.randn(CLASSES, c) / np.sqrt(c))
        self.op("Gemm", x, w, self.weight(0.1 * self.random.randn(CLASSES)), transB=1, out="logits")

    def save(self, path, side):
        graph = helper.make_graph(
            self.nodes, "bench", [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 7
        onnx.checker.check_model(model)
        onnx.save(model, path)


def stem(net, variance=1.0):
    x = net.relu(net.norm(net.conv("image", 3, 64, 7, 2), 64, variance))
    return net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])


def resnet(path, side, blocks, bottleneck):
    net = Net(1)
    x, c = stem(net), 64
    for i, n in enumerate(blocks):
        width = 64 << i
        out = width * 4 if bottleneck else width
        for j in range(n):
            stride = 2 if i > 0 and j == 0 else 1
            if bottleneck:
                y = net.relu(net.norm(net.conv(x, c, width, 1), width))
                y = net.relu(net.norm(net.conv(y, width, width, 3, stride), width))
                y = net.norm(net.conv(y, width, out, 1), out, 2.0)
            else:
                y = net.relu(net.norm(net.conv(x, c, width, 3, stride), width))
                y = net.norm(net.conv(y, width, out, 3), out, 2.0)
            if stride != 1 or c != out:
                x = net.norm(net.conv(x, c, out, 1, stride), out, 2.0)
            x, c = net.relu(net.op("Add", y, x)), out
    net.head(x, c)
    net.save(path, side)


def densenet(path, side):
    net = Net(2)
    x, c, growth = stem(net), 64, 32
    blocks = [6, 12, 24, 16]
    for i, n in enumerate(blocks):
        maps = [x]
        for _ in range(n):
            y = net.op("Concat", *maps, axis=1) if len(maps) > 1 else x
            y = net.relu(net.norm(y, c))
            y = net.relu(net.norm(net.conv(y, c, 4 * growth, 1), 4 * growth))
            maps.append(net.conv(y, 4 * growth, growth, 3))
            c += growth
        x = net.relu(net.norm(net.op("Concat", *maps, axis=1), c))
        if i + 1 < len(blocks):
            x = net.op("AveragePool", net.conv(x, c, c // 2, 1), kernel_shape=[2, 2], strides=[2, 2])
            c //= 2
    net.head(x, c)
    net.save(path, side)


def mobilenet(path, side):
    net = Net(3)
    relu6 = lambda x: net.op("Clip", x, zero, six)
    zero, six = net.weight(0.0), net.weight(6.0)
    x, c = relu6(net.norm(net.conv("image", 3, 32, 3, 2), 32)), 32
    for expand, out, n, stride in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                   (6, 160, 3, 2), (6, 320, 1, 1)]:
        for j in range(n):
            wide, step = c * expand, stride if j == 0 else 1
            y = relu6(net.norm(net.conv(x, c, wide, 1), wide)) if expand > 1 else x
            y = relu6(net.norm(net.conv(y, wide, wide, 3, step, wide), wide))
            y = net.norm(net.conv(y, wide, out, 1), out)
            x, c = (net.op("Add", x, y) if step == 1 and c == out else y), out
    net.head(relu6(net.norm(net.conv(x, c, 1280, 1), 1280)), 1280)
    net.save(path, side)


NETWORKS = {
    "resnet18-224": lambda p: resnet(p, 224, [2, 2, 2, 2], False),
    "resnet50-224": lambda p: resnet(p, 224, [3, 4, 6, 3], True),
    "densenet121-224": lambda p: densenet(p, 224),
    "densenet121-512": lambda p: densenet(p, 512),
    "mobilenetv2-224": lambda p: mobilenet(p, 224),
}

if __name__ == "__main__":
    for wanted in sys.argv[2:] or NETWORKS:
        NETWORKS[wanted](f"{sys.argv[1]}/{wanted}.onnx")
