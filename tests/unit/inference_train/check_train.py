#!/usr/bin/python3
"""check_train.py TOOL [test...], in TAP: networks against onnx's checker and the sizes in their papers;
optimizers and schedules against torch's, step by step."""
import hashlib
import math
import os
import subprocess
import sys
import struct

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.shape_inference
import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "support"))
import tap  # noqa: E402

TOOL = sys.argv[1]
# numbers of weights, with 3 channels and 1000 classes
PUBLISHED = {"resnet18": 11689512, "resnet34": 21797672, "densenet121": 7978856,
             "mobilenet-v2": 3504872, "efficientnet-lite0": 4652008}


def run(*arguments, stdin=b""):
    return subprocess.run([TOOL, *map(str, arguments)], input=stdin, stdout=subprocess.PIPE, check=True).stdout


def weights_of(path):
    """How many numbers are trained, and the model."""
    model = onnx.load(path)
    count = 0
    for t in model.graph.initializer:
        if t.name.endswith((".weight", ".bias")):
            count += math.prod(t.dims)
    return count, model


class Case:
    def network(self, name, width=1, channels=1, side=64, classes=3, seed=1):
        path = os.path.join(self.folder, "n.onnx")
        run("network", name, path, width, channels, side, classes, seed)
        return path

    def test_onnx_checker_takes_every_network(self):
        names = run("networks").decode().split()
        assert len(names) == 10 and set(PUBLISHED) < set(names), names
        for name in names:
            path = self.network(name, width=0.25, channels=2)
            _, model = weights_of(path)
            onnx.checker.check_model(model, full_check=True)
            inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
            assert [d.dim_value for d in inferred.graph.output[0].type.tensor_type.shape.dim] == [0, 3]
            assert model.graph.input[0].name == "image" and model.graph.output[0].name == "logits"
            outputs = {o for n in model.graph.node for o in n.output}
            assert ("features" in outputs) == (name != "lenet"), name

    def test_sizes_are_the_published_ones(self):
        for name, count in PUBLISHED.items():
            got, _ = weights_of(self.network(name, channels=3, side=224, classes=1000))
            assert got == count, f"{name}: {got}, published {count}"
        # LeNet-5 on 32x32 with all maps connected: 156 + 2416 + 48120 + 10164 + 850
        got, _ = weights_of(self.network("lenet", side=32, classes=10))
        assert got == 61706, got

    def test_bytes_depend_on_the_seed_alone(self):
        digest = {}
        for seed in (1, 1, 2):
            with open(self.network("resnet-small", width=0.25, seed=seed), "rb") as f:
                digest.setdefault(seed, set()).add(hashlib.sha256(f.read()).hexdigest())
        assert len(digest[1]) == 1 and digest[1] != digest[2]
        # as on the machine where this was written: no libm in it
        assert digest[1] == {"4172fd6cf2a7af9921c8cb5e2aefcb975ebd1177074fff5ab584b23d936904f4"}, digest

    def test_first_weights_are_as_the_papers_say(self):
        _, model = weights_of(self.network("resnet18", channels=3, side=64))
        by_name = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        w = by_name["layer4.2.2.conv.weight"].ravel()
        deviation = math.sqrt(2 / (512 * 9))
        assert abs(w.mean()) < 4 * deviation / math.sqrt(w.size) and abs(w.std() / deviation - 1) < 0.005
        kurtosis = ((w / w.std()) ** 4).mean()
        assert abs(kurtosis - 3) < 0.02, kurtosis  # that of a normal distribution
        w = by_name["logits.weight"].ravel()
        bound = math.sqrt(6 / (512 + 3))
        assert np.abs(w).max() <= bound and abs(w.std() - bound / math.sqrt(3)) < 0.03 * bound
        assert not by_name["layer4.2.2.norm.weight"].any() and by_name["layer4.2.1.norm.weight"].all()

    def optimizer(self, kind, momentum=0.0, nesterov=0, decay=0.0, decoupled=0, clip=0.0, average=0.0, threads=2,
                  rate=0.05, steps=12):
        """Worst difference to torch's optimizer over all steps, relative to the largest weight."""
        random = np.random.RandomState(5)
        shapes = [(300000, 1), (7, 0), (65537, 1)]
        values = [random.randn(n).astype("<f4") for n, _ in shapes]
        gradients = [[(random.randn(n) * 0.3).astype("<f4") for n, _ in shapes] for _ in range(steps)]
        head = struct.pack("<I", len(shapes)) + b"".join(struct.pack("<II", *s) for s in shapes)
        out = run("optimizer", kind, momentum, nesterov, decay, decoupled, clip, average, threads, rate, steps,
                  stdin=head + b"".join(v.tobytes() for v in values) +
                  b"".join(g.tobytes() for step in gradients for g in step))
        theirs = [torch.tensor(v, requires_grad=True) for v in values]
        groups = [{"params": [p], "weight_decay": decay * d} for p, (_, d) in zip(theirs, shapes)]
        if kind == "sgd":
            o = torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=bool(nesterov))
        else:
            o = (torch.optim.AdamW if decoupled else torch.optim.Adam)(groups, lr=rate)
        mean = [p.detach().clone() for p in theirs]
        total = sum(n for n, _ in shapes)
        worst = 0.0
        record = np.dtype([("norm", "<f8"), ("value", "<f4", total), ("average", "<f4", total)])
        ours = np.frombuffer(out, record)
        assert len(ours) == steps
        for step, got in zip(gradients, ours):
            for p, g in zip(theirs, step):
                p.grad = torch.tensor(g)
            norm = torch.nn.utils.clip_grad_norm_(theirs, clip if clip else float("inf"))
            assert abs(got["norm"] - float(norm)) < 1e-5 * float(norm)
            o.step()
            for m, p in zip(mean, theirs):
                m.lerp_(p.detach(), 1 - average)
            for name, want in (("value", theirs), ("average", mean)):
                want = torch.cat([w.detach() for w in want]).numpy()
                worst = max(worst, float(np.abs(got[name] - want).max() / np.abs(want).max()))
        return worst, out

    def test_optimizers_agree_with_torch(self):
        cases = [
            dict(kind="sgd"),
            dict(kind="sgd", decay=0.01),
            dict(kind="sgd", momentum=0.9, decay=5e-4),
            dict(kind="sgd", momentum=0.9, nesterov=1, decay=5e-4),
            dict(kind="sgd", momentum=0.9, nesterov=1, decay=5e-4, clip=2.0, average=0.9),
            dict(kind="sgd", momentum=0.9, clip=1e6),
            dict(kind="adam", rate=1e-3),
            dict(kind="adam", rate=1e-3, decay=0.02),
            dict(kind="adam", rate=1e-3, decay=0.02, decoupled=1),
            dict(kind="adam", rate=1e-3, decay=0.02, decoupled=1, clip=0.5, average=0.99),
        ]
        for case in cases:
            worst, _ = self.optimizer(**case)
            print(f"# {case}: {worst:.1e}")
            assert worst < 1e-6, case

    def test_threads_change_nothing(self):
        for kind in ("sgd", "adam"):
            outs = {self.optimizer(kind, momentum=0.9, decay=0.01, clip=1.0, average=0.9, threads=n)[1]
                    for n in (1, 2, 5)}
            assert len(outs) == 1, kind

    def rates(self, *arguments):
        return [float(x) for x in run("schedule", *arguments).split()]

    def torch_rates(self, n, rate, make):
        p = torch.nn.Parameter(torch.zeros(1))
        o = torch.optim.SGD([p], lr=rate)
        s = make(o)
        out = []
        for _ in range(n):
            out.append(o.param_groups[0]["lr"])
            o.step()
            s.step()
        return out

    def test_schedules_agree_with_torch(self):
        sched = torch.optim.lr_scheduler
        cases = [
            (("constant", 0.1, 20, 0, 1, 1, 0), lambda o: sched.ConstantLR(o, 1.0)),
            (("step", 0.1, 50, 0, 8, 0.3, 0), lambda o: sched.StepLR(o, 8, 0.3)),
            (("cosine", 0.1, 50, 0, 1, 1, 0), lambda o: sched.CosineAnnealingLR(o, 50)),
            (("cosine", 0.1, 50, 0, 1, 1, 0.25), lambda o: sched.CosineAnnealingLR(o, 50, 0.025)),
            (("one-cycle", 0.1, 60, 0, 1, 1, 0), lambda o: sched.OneCycleLR(o, 0.1, total_steps=60)),
            (("one-cycle", 0.1, 60, 30, 1, 1, 0), lambda o: sched.OneCycleLR(o, 0.1, total_steps=60, pct_start=0.5)),
            (("cosine", 0.1, 50, 10, 1, 1, 0), lambda o: sched.SequentialLR(
                o, [sched.LambdaLR(o, lambda s: (s + 1) / 11), sched.CosineAnnealingLR(o, 40)], [10])),
        ]
        for arguments, make in cases:
            ours = self.rates(*arguments)
            theirs = self.torch_rates(arguments[2], 0.1, make)
            assert len(ours) == len(theirs)
            assert max(abs(a - b) for a, b in zip(ours, theirs)) < 1e-9, (arguments, ours, theirs)


if __name__ == "__main__":
    tap.run(Case)
