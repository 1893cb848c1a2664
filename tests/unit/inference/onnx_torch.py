"""An ONNX classifier in PyTorch, for training: every float initializer that a layer uses is a leaf
with a gradient, BatchNormalization uses the batch. Only the operators that the tests need."""
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper


class Network:
    def __init__(self, path, momentum=0.1, training=True):
        self.graph = onnx.load(path).graph
        self.momentum, self.training = momentum, training
        self.values = {}
        self.buffers = set()
        for tensor in self.graph.initializer:
            array = torch.from_numpy(numpy_helper.to_array(tensor).copy())
            self.values[tensor.name] = array
        used = set()
        for node in self.graph.node:
            if node.op_type == "BatchNormalization":
                self.buffers |= set(node.input[3:5])
                used |= set(node.input[1:3])
            elif node.op_type in ("Conv", "Gemm", "MatMul"):
                used |= set(node.input[1:])
            elif node.op_type in ("Add", "Mul"):
                used |= {n for n in node.input if n in self.values and self.values[n].numel() > 1}
        self.parameters = {n: v.requires_grad_() for n, v in self.values.items() if n in used}

    def __call__(self, image):
        values = dict(self.values)
        values[self.graph.input[0].name] = image
        for node in self.graph.node:
            values[node.output[0]] = self.compute(node, [values[n] if n else None for n in node.input])
        return values[self.graph.output[0].name]

    def compute(self, node, x):
        a = {p.name: onnx.helper.get_attribute_value(p) for p in node.attribute}
        kind = node.op_type
        if kind == "Conv":
            return conv(x, a)
        if kind == "BatchNormalization":
            return F.batch_norm(x[0], x[3], x[4], x[1], x[2], self.training, self.momentum, a.get("epsilon", 1e-5))
        if kind in ("MaxPool", "AveragePool"):
            return pool(kind, x[0], a)
        if kind == "Concat" and x[0].dtype != torch.float32:
            return torch.cat(x)
        simple = {
            "Relu": lambda: F.relu(x[0]),
            "LeakyRelu": lambda: F.leaky_relu(x[0], a.get("alpha", 0.01)),
            "Sigmoid": lambda: torch.sigmoid(x[0]),
            "Tanh": lambda: torch.tanh(x[0]),
            "HardSigmoid": lambda: torch.clamp(a.get("alpha", 0.2) * x[0] + a.get("beta", 0.5), 0, 1),
            "HardSwish": lambda: F.hardswish(x[0]),
            "Clip": lambda: F.hardtanh(x[0], float(x[1]), float(x[2])),
            "GlobalAveragePool": lambda: x[0].mean((2, 3), keepdim=True),
            "ReduceMean": lambda: x[0].mean(tuple(a["axes"]), keepdim=bool(a.get("keepdims", 1))),
            "Flatten": lambda: x[0].flatten(1),
            "Reshape": lambda: x[0].reshape(x[0].shape[0], -1),
            "Squeeze": lambda: x[0].flatten(1),
            "Identity": lambda: x[0],
            "Dropout": lambda: x[0],
            "Add": lambda: x[0] + x[1],
            "Mul": lambda: x[0] * x[1],
            "Concat": lambda: torch.cat(x, a["axis"]),
            "MatMul": lambda: x[0] @ x[1],
            "Shape": lambda: torch.tensor(x[0].shape),
            "Gather": lambda: x[0][int(x[1])],
            "Unsqueeze": lambda: x[0].reshape(1),
            "Gemm": lambda: F.linear(x[0], x[1] if a.get("transB") else x[1].T, x[2] if len(x) > 2 else None),
        }
        return simple[kind]()


def conv(x, a):
    pads = a.get("pads", [0] * 4)
    image = F.pad(x[0], (pads[1], pads[3], pads[0], pads[2]))
    return F.conv2d(image, x[1], x[2] if len(x) > 2 else None, a.get("strides", [1, 1]), 0,
                    a.get("dilations", [1, 1]), a.get("group", 1))


def pool(kind, x, a):
    pads = a.get("pads", [0] * 4)
    kernel, strides, ceil = a["kernel_shape"], a.get("strides", [1, 1]), bool(a.get("ceil_mode", 0))
    assert pads[:2] == pads[2:], "PyTorch pads both sides alike"
    if kind == "MaxPool":
        return F.max_pool2d(x, kernel, strides, pads[:2], ceil_mode=ceil)
    return F.avg_pool2d(x, kernel, strides, pads[:2], ceil, bool(a.get("count_include_pad", 0)))


def relative(ours, theirs):
    """The largest difference over the largest value."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30))
