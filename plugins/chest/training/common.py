"""Data, patient split, network and ONNX for the chest model.

Used by train.py and evaluate.py. Needs Python 3.11 with torch 1.13, onnx 1.12, numpy and PIL
(Debian 12: python3-torch, python3-onnx, python3-numpy, python3-pil).
"""
import csv
import os
import re

import numpy as np
import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIZE = 224
MEAN, STD = 0.48, 0.24
CLASSES = ("normal", "bacterial", "viral")

# ---------------------------------------------------------------- data


def patient_of(name):
    """Patient key of a file name; None if the name is not one of the data set's.

    Normals: the IM number, whether or not NORMAL2 stands before it (some numbers have both; one
    key for the two can only make the split stricter). Pneumonias: kind and number together.
    """
    m = re.match(r"person(\d+)_(bacteria|virus)_\d+(_\d+)?\.jpeg$", name)
    if m:
        return f"{m[2]}-{int(m[1]):04d}"
    m = re.match(r"(?:NORMAL2-)?IM-(\d+)-\d+(-\d+)?\.jpeg$", name)
    return f"normal-{int(m[1]):04d}" if m else None


def class_of(patient):
    return ("normal", "bacteria", "virus").index(patient.split("-")[0])


def list_files(data):
    """[(path below data, patient)] of the training folder, sorted."""
    rows = []
    for folder in ("NORMAL", "PNEUMONIA"):
        for name in sorted(os.listdir(os.path.join(data, folder))):
            patient = patient_of(name)
            if patient:
                rows.append((f"{folder}/{name}", patient))
    return rows


def make_split(rows, seed, share):
    """{patient: part}: of each class, patients in random order until `share` of its images."""
    rng = np.random.default_rng(seed)
    part = {}
    for c in range(3):
        count = {}
        for _, p in rows:
            if class_of(p) == c:
                count[p] = count.get(p, 0) + 1
        patients = sorted(count)
        rng.shuffle(patients)
        left = share * sum(count.values())
        for p in patients:
            part[p] = "validation" if left > 0 else "train"
            left -= count[p]
    return part


def read_split(path, data, seed, share=0.15):
    """Rows (file, patient, part) of split.csv, which is written first if it does not exist."""
    if not os.path.exists(path):
        rows = list_files(data)
        part = make_split(rows, seed, share)
        with open(path, "w", newline="") as f:
            w = csv.writer(f, lineterminator="\n")
            w.writerow(("file", "patient", "part"))
            w.writerows((f_, p, part[p]) for f_, p in rows)
    with open(path, newline="") as f:
        return [(r["file"], r["patient"], r["part"]) for r in csv.DictReader(f)]


def load_images(data, files):
    """uint8 [N,224,224]."""
    out = np.empty((len(files), SIZE, SIZE), np.uint8)
    for i, f in enumerate(files):
        out[i] = np.asarray(Image.open(os.path.join(data, f)).convert("L"))
    return out


# ---------------------------------------------------------------- network


class Block(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.stride = stride
        self.short = None
        if stride != 1 or c_in != c_out:
            self.short = nn.Conv2d(c_in, c_out, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(c_out)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.short is not None:
            if self.stride != 1:
                x = F.avg_pool2d(x, 2)
            x = self.bn3(self.short(x))
        return F.relu(x + y, inplace=True)


class ChestNet(nn.Module):
    """Small residual network, stride 16 at the end: 224x224 gives features of 14x14."""

    STEM = 32
    STAGES = ((32, 1, 1), (48, 2, 2), (96, 2, 2), (160, 2, 1))  # width, blocks, first stride

    def __init__(self, dropout=0.2):
        super().__init__()
        self.stem = nn.Conv2d(1, self.STEM, 5, 2, 2, bias=False)
        self.bn = nn.BatchNorm2d(self.STEM)
        blocks, width = [], self.STEM
        for w, n, stride in self.STAGES:
            for i in range(n):
                blocks.append(Block(width, w, stride if i == 0 else 1))
                width = w
        self.blocks = nn.Sequential(*blocks)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(width, 3)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
        for b in blocks:  # each block starts as the identity
            nn.init.zeros_(b.bn2.weight)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn(self.stem(x)), inplace=True), 3, 2, 1)
        x = self.blocks(x)
        return self.head(self.drop(x.mean((2, 3))))


# ---------------------------------------------------------------- ONNX


def _folded(conv, bn):
    k = (bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt())
    w = conv.weight.double() * k[:, None, None, None]
    b = bn.bias.double() - bn.running_mean.double() * k
    return w.float().numpy(), b.float().numpy()


def export_onnx(net, path):
    """Write the network, batch normalisation folded into the convolutions."""
    nodes, inits = [], []

    def init(name, a):
        inits.append(numpy_helper.from_array(np.ascontiguousarray(a, np.float32), name))
        return name

    def conv(x, name, c, bn):
        w, b = _folded(c, bn)
        k, p, s = c.kernel_size[0], c.padding[0], c.stride[0]
        nodes.append(helper.make_node(
            "Conv", [x, init(name + ".weight", w), init(name + ".bias", b)], [name], name=name,
            dilations=[1, 1], group=1, kernel_shape=[k, k], pads=[p] * 4, strides=[s, s]))
        return name

    def op(kind, ins, out, **attr):
        nodes.append(helper.make_node(kind, ins, [out], name=out, **attr))
        return out

    net = net.eval().cpu()
    with torch.no_grad():
        x = op("Relu", [conv("image", "stem", net.stem, net.bn)], "stem.relu")
        x = op("MaxPool", [x], "stem.pool", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
        for i, b in enumerate(net.blocks):
            n = f"block{i + 1}"
            y = op("Relu", [conv(x, n + ".conv1", b.conv1, b.bn1)], n + ".relu1")
            y = conv(y, n + ".conv2", b.conv2, b.bn2)
            if b.short is not None:
                if b.stride != 1:
                    x = op("AveragePool", [x], n + ".pool", kernel_shape=[2, 2], strides=[2, 2])
                x = conv(x, n + ".short", b.short, b.bn3)
            x = op("Add", [y, x], n + ".add")
            x = op("Relu", [x], "features" if i == len(net.blocks) - 1 else n + ".relu2")
        x = op("GlobalAveragePool", [x], "pooled")
        x = op("Flatten", [x], "flat", axis=1)
        op("Gemm", [x, init("head.weight", net.head.weight.numpy()),
                    init("head.bias", net.head.bias.numpy())], "logits", transB=1)
    graph = helper.make_graph(
        nodes, "medaid-chest",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])], inits)
    model = helper.make_model(graph, producer_name="medaid",
                              opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


class OnnxNet:
    """Runs the few operators above straight from the file, so that what is measured is what ships."""

    def __init__(self, path):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        self.nodes = [(n.op_type, list(n.input), n.output[0],
                       {a.name: helper.get_attribute_value(a) for a in n.attribute})
                      for n in model.graph.node]
        self.weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy())
                        for t in model.graph.initializer}
        for name, w in self.weights.items():  # the faster layout for torch; same values
            if w.ndim == 4:
                self.weights[name] = w.contiguous(memory_format=torch.channels_last)

    def run(self, x, want=("logits",)):
        v = dict(self.weights, image=x.contiguous(memory_format=torch.channels_last))
        for kind, ins, out, a in self.nodes:
            i = [v[n] for n in ins]
            if kind == "Conv":
                r = F.conv2d(i[0], i[1], i[2], stride=a["strides"], padding=a["pads"][:2])
            elif kind == "Relu":
                r = F.relu(i[0])
            elif kind == "Add":
                r = i[0] + i[1]
            elif kind == "MaxPool":
                r = F.max_pool2d(i[0], a["kernel_shape"], a["strides"], a["pads"][:2])
            elif kind == "AveragePool":
                r = F.avg_pool2d(i[0], a["kernel_shape"], a["strides"])
            elif kind == "GlobalAveragePool":
                r = i[0].mean((2, 3), keepdim=True)
            elif kind == "Flatten":
                r = i[0].flatten(1)
            elif kind == "Gemm":
                r = F.linear(i[0], i[1], i[2])
            else:
                raise ValueError(f"operator {kind} not expected")
            v[out] = r
        return [v[n] for n in want]

    def logits(self, u8, batch=64):
        """Logits [N,3] of images [N,224,224], uint8 or float 0..1."""
        out = []
        with torch.no_grad():
            for s in range(0, len(u8), batch):
                out.append(self.run(normalise(u8[s:s + batch]))[0])
        return torch.cat(out).double().numpy()


def normalise(a):
    """Images uint8 or float 0..1 [N,224,224] -> network input [N,1,224,224]."""
    t = torch.as_tensor(np.ascontiguousarray(a))
    t = t.float() / 255 if t.dtype == torch.uint8 else t.float()
    return ((t - MEAN) / STD)[:, None]
