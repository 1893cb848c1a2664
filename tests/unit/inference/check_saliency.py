#!/usr/bin/python3
"""check_saliency.py TOOL [test...], in TAP: gradients and maps of the explaining methods against torch's
autograd, on both back ends; completeness of integrated gradients; what is refused."""
import os
import struct
import subprocess
import sys

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "support"))
import tap  # noqa: E402

TOOL = sys.argv[1]
C, H, W, K = 3, 12, 16, 4
BACKENDS = ["openblas", "onednn"]


class Net:
    """An ONNX graph and the same in torch, from one list of layers."""

    def __init__(self, seed, kind, channels=C):
        self.random = np.random.default_rng(seed)
        self.kind, self.channels, self.weights, self.nodes = kind, channels, {}, []

    def weight(self, name, *shape, scale=None, shift=0.0):
        fan = np.prod(shape[1:]) if len(shape) > 1 else 1
        value = self.random.standard_normal(shape) * (scale or (1.5 / np.sqrt(fan))) + shift
        self.weights[name] = value.astype(np.float32)
        return torch.from_numpy(self.weights[name]).double()

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(onnx.helper.make_node(op, inputs, [output], name="node_" + output, **attributes))

    def activation(self, x, name):
        op, run = {"relu": ("Relu", F.relu), "tanh": ("Tanh", torch.tanh)}[self.kind]
        self.node(op, [name], name + ".a")
        return run(x), name + ".a"

    def body(self, image):
        """Convolution, batch norm, pool, residual: up to the features."""
        w, b = self.weight("c1.w", 8, self.channels, 3, 3), self.weight("c1.b", 8)
        self.node("Conv", ["image", "c1.w", "c1.b"], "c1", kernel_shape=[3, 3], pads=[1] * 4)
        x = F.conv2d(image, w, b, padding=1)
        bn = [self.weight("bn.s", 8, scale=0.2, shift=1), self.weight("bn.b", 8, scale=0.2),
              self.weight("bn.m", 8, scale=0.2), self.weight("bn.v", 8, scale=0.0001, shift=0.7)]
        self.node("BatchNormalization", ["c1", "bn.s", "bn.b", "bn.m", "bn.v"], "bn", epsilon=1e-5)
        x = F.batch_norm(x, bn[2], bn[3], bn[0], bn[1], False, 0, 1e-5)
        x, name = self.activation(x, "bn")
        self.node("AveragePool", [name], "pool", kernel_shape=[2, 2], strides=[2, 2])
        x = F.avg_pool2d(x, 2)
        w = self.weight("c2.w", 8, 8, 3, 3, scale=0.1)
        self.node("Conv", ["pool", "c2.w"], "c2", kernel_shape=[3, 3], pads=[1] * 4)
        self.node("Add", ["c2", "pool"], "sum")
        x = F.conv2d(x, w, padding=1) + x
        x, name = self.activation(x, "sum")
        self.nodes[-1].output[0] = "features"
        return x

    def linear_head(self, x):
        w, b = self.weight("fc.w", K, 8, scale=1), self.weight("fc.b", K)
        self.node("GlobalAveragePool", ["features"], "gap")
        self.node("Flatten", ["gap"], "flat")
        self.node("Gemm", ["flat", "fc.w", "fc.b"], "logits", transB=1)
        return x.mean((2, 3)) @ w.T + b

    def deep_head(self, x):
        """Another convolution, max pool and two fully connected layers."""
        w, b = self.weight("c3.w", 6, 8, 3, 3), self.weight("c3.b", 6)
        self.node("Conv", ["features", "c3.w", "c3.b"], "c3", kernel_shape=[3, 3], pads=[1] * 4)
        x, name = self.activation(F.conv2d(x, w, b, padding=1), "c3")
        self.node("MaxPool", [name], "max", kernel_shape=[2, 2], strides=[2, 2])
        self.node("Flatten", ["max"], "flat")
        x = F.max_pool2d(x, 2).flatten(1)
        w, b = self.weight("f1.w", 10, x.shape[1]), self.weight("f1.b", 10)
        self.node("Gemm", ["flat", "f1.w", "f1.b"], "f1", transB=1)
        x, name = self.activation(x @ w.T + b, "f1")
        w, b = self.weight("f2.w", K, 10), self.weight("f2.b", K)
        self.node("Gemm", [name, "f2.w", "f2.b"], "logits", transB=1)
        return x @ w.T + b

    def run(self, image, head):
        """Forward in torch; the ONNX nodes are written on the way."""
        self.random, self.nodes = np.random.default_rng(11), []
        features = self.body(image)
        return features, getattr(self, head)(features)

    def save(self, path, softmax=False):
        nodes, output = list(self.nodes), "logits"
        if softmax:
            nodes.append(onnx.helper.make_node("Softmax", ["logits"], ["scores"], axis=1))
            output = "scores"
        f = onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            nodes, "net", [onnx.helper.make_tensor_value_info("image", f, ["N", self.channels, H, W])],
            [onnx.helper.make_tensor_value_info(output, f, ["N", K])],
            [onnx.numpy_helper.from_array(v, k) for k, v in self.weights.items()])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)])
        model.ir_version = 7
        onnx.checker.check_model(model)
        onnx.save(model, path)


def target_of(z, target, classes):
    """The log-odds, for each image of a batch."""
    if target == "sigmoid":
        return z[:, classes[0]]
    rest = [k for k in range(z.shape[1]) if k not in classes]
    return torch.logsumexp(z[:, classes], 1) - torch.logsumexp(z[:, rest], 1)


def normalise(cells):
    """0..1, cut at the 99th percentile, the least value that 99 of 100 are not above."""
    flat = np.sort(cells.ravel())
    top = flat[(99 * flat.size + 99) // 100 - 1]
    top = top if top > 0 else flat[-1]
    return np.minimum(cells / top, 1) if top > 0 else np.zeros_like(cells)


class Case:
    folder = ""

    def explain(self, net, x, method, backend="openblas", target="softmax", classes=(1,), steps=8,
                samples=4, noise=0.1, seed=1, cell=1, baseline=(0, 0, 0), softmax=False, good=True):
        model, data = os.path.join(self.folder, "m.onnx"), os.path.join(self.folder, "x.f32")
        net.save(model, softmax)
        x.astype("<f4").tofile(data)
        done = subprocess.run(
            [TOOL, "explain", model, data, method, "features", backend, target,
             ",".join(map(str, classes)), *map(str, (steps, samples, noise, seed, cell, *baseline))],
            capture_output=True, check=False)
        if not good:
            assert done.returncode == 1, done
            return done.stderr.decode()
        assert done.returncode == 0, done.stderr.decode()
        out = done.stdout
        n, = struct.unpack_from("<I", out)
        gradient = np.frombuffer(out, "<f4", n, 4)
        rows, columns = struct.unpack_from("<II", out, 4 + 4 * n)
        at = 12 + 4 * n
        values = np.frombuffer(out, "<f4", rows * columns, at).reshape(rows, columns)
        k, = struct.unpack_from("<I", out, at + values.nbytes)
        logits = np.frombuffer(out, "<f4", k, at + values.nbytes + 4)
        return gradient, values, logits

    def image(self, channels=C, seed=5):
        return np.random.default_rng(seed).standard_normal((1, channels, H, W)).astype(np.float32)

    def near(self, got, expected, what, limit=2e-5):
        expected = np.asarray(expected, dtype=float).ravel()
        error = abs(np.asarray(got, dtype=float).ravel() - expected).max() / max(1e-3, abs(expected).max())
        assert error < limit, (what, error)

    def each(self, kinds=("relu", "tanh"), heads=("linear_head", "deep_head")):
        for kind in kinds:
            for head in heads:
                for backend in BACKENDS:
                    net = Net(3, kind)
                    yield net, head, backend

    def test_cam(self):
        x = self.image()
        for net, head, backend in self.each():
            for method, target, classes in (("grad-cam", "softmax", (1,)), ("grad-cam", "sigmoid", (2,)),
                                            ("grad-cam++", "softmax", (0, 3)), ("grad-cam++", "sigmoid", (1,))):
                features, _ = net.run(torch.from_numpy(x).double(), head)
                features = features.detach().requires_grad_()
                z = self.head_of(net, head, features)
                target_of(z, target, list(classes)).sum().backward()
                g, a = features.grad[0].numpy(), features.detach()[0].numpy()
                if method == "grad-cam":
                    w = g.mean((1, 2))
                else:
                    d = 2 * g ** 2 + a.sum((1, 2), keepdims=True) * g ** 3
                    alpha = np.where(d != 0, g ** 2 / np.where(d != 0, d, 1), 0)
                    w = (alpha * np.maximum(g, 0)).sum((1, 2))
                m = np.maximum(np.tensordot(w, a, 1), 0)
                m = m / m.max() if m.max() > 0 else m
                gradient, values, logits = self.explain(net, x, method, backend, target, classes)
                self.near(gradient, g, (net.kind, head, backend, method, "gradient"))
                self.near(values, m, (net.kind, head, backend, method, "map"), 1e-4)
                self.near(logits, z.detach().numpy(), "logits")

    def head_of(self, net, head, features):
        """The head's weights are drawn after the body's, so run the body first."""
        twin = Net(3, net.kind)
        twin.random = np.random.default_rng(11)
        twin.body(torch.zeros(1, C, H, W).double())
        return getattr(twin, head)(features)

    def test_integrated_gradients(self):
        x = self.image()
        base = np.array([0.3, -0.2, 0.1], np.float32)
        for net, head, backend in self.each():
            for target, classes, cell, steps in (("softmax", (1, 2), 4, 20), ("sigmoid", (0,), 1, 8)):
                b = torch.from_numpy(base).double().reshape(1, C, 1, 1).expand(1, C, H, W)
                end = torch.from_numpy(x).double()
                total = torch.zeros_like(end)
                for k in range(steps):
                    point = (b + (k + 0.5) / steps * (end - b)).requires_grad_()
                    target_of(net.run(point, head)[1], target, list(classes)).sum().backward()
                    total += point.grad
                expected = ((end - b) * total / steps)[0].numpy()
                got, values, _ = self.explain(net, x, "integrated-gradients", backend, target, classes,
                                              steps=steps, cell=cell, baseline=base)
                self.near(got, expected, (net.kind, head, backend, "attributions"), 1e-4)
                cells = expected.sum(0).reshape(H // cell, cell, W // cell, cell).sum((1, 3))
                self.near(values, normalise(np.maximum(cells, 0)), (net.kind, head, "cells"), 1e-3)
                assert values.max() == 1

    def test_completeness(self):
        """The sum is the difference of the log-odds; the more steps, the nearer."""
        x = self.image()
        errors = {}
        for kind, head in (("tanh", "linear_head"), ("relu", "deep_head")):
            net = Net(3, kind)
            for steps in (16, 256):
                base = (0.3, -0.2, 0.1)
                b = torch.tensor(base).double().reshape(1, C, 1, 1).expand(1, C, H, W)
                with torch.no_grad():
                    t1 = target_of(net.run(torch.from_numpy(x).double(), head)[1], "softmax", [1])
                    t0 = target_of(net.run(b, head)[1], "softmax", [1])
                difference = float(t1 - t0)
                got, _, _ = self.explain(net, x, "integrated-gradients", steps=steps, baseline=base)
                gap = float(got.astype(float).sum()) - difference
                errors[kind, steps] = abs(gap) / float(abs(got.astype(float)).sum())
        print(f"# sum minus difference, over the sum of absolute values: {errors}")
        assert errors["tanh", 256] < 1e-4 and errors["relu", 256] < 1e-3, errors
        assert errors["tanh", 256] < errors["tanh", 16] / 100, errors  # the midpoint rule: 1/n^2

    def noise(self, seed, k, n):
        return np.frombuffer(subprocess.run([TOOL, "noise", str(seed), str(k), str(n)], check=True,
                                            stdout=subprocess.PIPE).stdout, "<f4")

    def test_smooth_grad(self):
        x = self.image()
        n = x.size
        drawn = self.noise(9, 0, 100000)
        assert abs(drawn.mean()) < 0.02 and abs(drawn.std() - 1) < 0.02
        for net, head, backend in self.each():
            sigma = 0.2 * float(x.max() - x.min())
            total = np.zeros(x.shape)
            for k in range(10):
                noisy = x + (sigma * self.noise(9, k, n).astype(float)).reshape(x.shape)
                point = torch.from_numpy(noisy.astype(np.float32)).double().requires_grad_()
                target_of(net.run(point, head)[1], "softmax", [3]).sum().backward()
                total += point.grad.numpy()
            expected = total[0] / 10
            arguments = dict(classes=(3,), samples=10, noise=0.2, seed=9, cell=2)
            got, values, _ = self.explain(net, x, "smooth-grad", backend, **arguments)
            self.near(got, expected, (net.kind, head, backend), 1e-4)
            cells = abs(expected).sum(0).reshape(H // 2, 2, W // 2, 2).sum((1, 3))
            self.near(values, normalise(cells), (net.kind, head, "cells"), 1e-3)
            again, _, _ = self.explain(net, x, "smooth-grad", backend, **arguments)
            assert (again == got).all()
            other, _, _ = self.explain(net, x, "smooth-grad", backend, **{**arguments, "seed": 10})
            assert (other != got).any()

    def test_inner_logits(self):
        """A network that goes on to a softmax of its own: the same as without."""
        x = self.image()
        net = Net(3, "relu")
        net.run(torch.zeros(1, C, H, W).double(), "deep_head")
        for method in ("grad-cam++", "integrated-gradients"):
            plain = self.explain(net, x, method)
            other = self.explain(net, x, method, softmax=True)
            assert (plain[0] == other[0]).all() and (plain[1] == other[1]).all()

    def test_refused(self):
        x = self.image()
        net = Net(3, "relu")
        net.run(torch.zeros(1, C, H, W).double(), "linear_head")
        for arguments, words in (
                (dict(method="integrated-gradients", steps=7), ["invalid_arg", "7 steps"]),
                (dict(method="smooth-grad", samples=3), ["invalid_arg", "3 samples"]),
                (dict(method="smooth-grad", noise=0.6), ["invalid_arg", "noise 0.6"]),
                (dict(method="smooth-grad", cell=5), ["invalid_arg", "5 pixels"]),
                (dict(method="grad-cam", classes=(9,)), ["invalid_arg", "class 9"]),
                (dict(method="grad-cam", classes=(0, 1, 2, 3)), ["invalid_arg", "4 classes"])):
            said = self.explain(net, x, good=False, **arguments)
            assert all(word in said for word in words), (arguments, said)
        bad = x.copy()
        bad[0, 0, 3, 3] = np.nan
        said = self.explain(net, bad, "integrated-gradients", good=False)
        assert "format" in said, said
        # an operator without a backward pass, before and behind the features
        for at in ("c1", "gap"):
            odd = Net(3, "relu")
            odd.run(torch.zeros(1, C, H, W).double(), "linear_head")
            for i, node in enumerate(odd.nodes):
                if node.output[0] == at:
                    node.output[0] = at + ".plain"
                    odd.nodes.insert(i + 1, onnx.helper.make_node("Erf", [at + ".plain"], [at], name="odd_one"))
                    break
            for method in ("grad-cam", "grad-cam++", "integrated-gradients", "smooth-grad"):
                if at == "c1" and method.startswith("grad-cam"):
                    self.explain(odd, x, method)  # it is not on the way back
                    continue
                said = self.explain(odd, x, method, good=False)
                assert "unsupported" in said and "Erf" in said and "odd_one" in said, said
        # what reaches the logits past the features has no gradient by the features alone
        past = Net(3, "relu")
        past.run(torch.zeros(1, C, H, W).double(), "linear_head")
        past.node("GlobalAveragePool", ["pool"], "side")
        past.node("Add", ["gap", "side"], "both")
        past.nodes = [n for n in past.nodes if n.output[0] not in ("flat", "logits")]
        past.node("Flatten", ["both"], "flat")
        past.node("Gemm", ["flat", "fc.w", "fc.b"], "logits", transB=1)
        said = self.explain(past, x, "grad-cam", good=False)
        assert "unsupported" in said and "features" in said and "image" in said, said
        self.explain(past, x, "integrated-gradients")


tap.run(Case)
