#!/usr/bin/python3
"""Text networks of medaid against PyTorch's modules and ONNX Runtime: losses and weights after steps on
the same weights and batch, and what the exported file gives where it is served.
usage: check_text.py TEXT-TOOL SOURCE-ROOT [TEST...]

The modules are nn.Embedding, nn.RNN/GRU/LSTM over packed sequences, nn.MultiheadAttention with a key
padding mask, nn.LayerNorm and nn.Linear: written by others, with their own order of gates."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

TOOL, ROOT = sys.argv[1], pathlib.Path(sys.argv[2])
sys.argv = sys.argv[:1] + ["-"] + sys.argv[3:]
sys.path.insert(0, str(ROOT / "tests/support"))
from tap import Skip, run  # noqa: E402

ORT = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / \
    "medaid/onnxruntime-1.30.0/node_modules/onnxruntime-node"
torch.manual_seed(1)
torch.set_num_threads(1)
LENGTH, VOCABULARY, CLASSES = 24, 60, 4
# of ONNX's gates (i o f g; z r h) in PyTorch's order (i f g o; r z n)
ORDER = {"LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2], "RNN": [0]}
MODULES = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


def gates(values, order):
    """Blocks of the first axis in another order."""
    return np.concatenate([np.split(values, len(order))[i] for i in order])


class Text(nn.Module):
    """The network that a file of md_text_architecture_write describes, with its weights."""

    def __init__(self, path, heads):
        super().__init__()
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        w = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.op = next((n.op_type for n in model.graph.node if n.op_type in ORDER), None)
        self.gelu = any(n.op_type == "Erf" for n in model.graph.node)
        self.pairs = []  # (name in the file, parameter, how to bring the parameter into the file's form)
        self.embedding = nn.Embedding(*w["embedding.weight"].shape, padding_idx=0)
        self.give(self.embedding.weight, "embedding.weight", w)
        if self.op:
            self.recurrent(w)
        else:
            self.transformer(w, heads)
        self.key = self.linear("attention.key", w)
        self.score = nn.Linear(*w["attention.score.weight"].shape, bias=False)
        self.give(self.score.weight, "attention.score.weight", w, lambda a: a.T)
        self.logits = nn.Linear(*w["logits.weight"].shape[::-1])
        self.give(self.logits.weight, "logits.weight", w)
        self.give(self.logits.bias, "logits.bias", w)

    def give(self, parameter, name, w, turn=lambda a: a):
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(turn(w[name]).copy()))
        self.pairs.append((name, lambda: turn(parameter.detach().numpy())))

    def linear(self, name, w):
        layer = nn.Linear(*w[f"{name}.weight"].shape)
        self.give(layer.weight, f"{name}.weight", w, lambda a: a.T)
        self.give(layer.bias, f"{name}.bias", w)
        return layer

    def norm(self, name, w):
        layer = nn.LayerNorm(len(w[f"{name}.weight"]))
        self.give(layer.weight, f"{name}.weight", w)
        self.give(layer.bias, f"{name}.bias", w)
        return layer

    def recurrent(self, w):
        order = ORDER[self.op]
        back = np.argsort(order)
        layers = sum(name.endswith(".W") for name in w)
        directions, _, hidden = w["rnn1.R"].shape
        self.rnn = MODULES[self.op](w["embedding.weight"].shape[1], hidden, layers, batch_first=True,
                                    bidirectional=directions == 2)
        for i in range(layers):
            name = f"rnn{i + 1}"
            ends = [f"_l{i}" + "_reverse" * d for d in range(directions)]
            rows = len(order) * hidden
            parts = {"W": ("weight_ih",), "R": ("weight_hh",), "B": ("bias_ih", "bias_hh")}
            for part, kinds in parts.items():
                for d, end in enumerate(ends):
                    for k, kind in enumerate(kinds):
                        value = w[f"{name}.{part}"][d]
                        value = value[k * rows:(k + 1) * rows] if part == "B" else value
                        with torch.no_grad():
                            getattr(self.rnn, kind + end).copy_(torch.from_numpy(gates(value, order)))
                self.pairs.append((f"{name}.{part}", lambda ends=ends, kinds=kinds: np.stack(
                    [np.concatenate([gates(getattr(self.rnn, k + e).detach().numpy(), back) for k in kinds])
                     for e in ends])))

    def transformer(self, w, heads):
        width = w["embedding.weight"].shape[1]
        self.position = nn.Parameter(torch.zeros(LENGTH, width))
        self.give(self.position, "position.weight", w)
        self.blocks = nn.ModuleList()
        for i in range(sum(name.endswith(".first.weight") for name in w)):
            name = f"block{i + 1}"
            block = nn.Module()
            block.norm1, block.norm2 = self.norm(f"{name}.attended.norm", w), self.norm(f"{name}.norm", w)
            block.heads = nn.MultiheadAttention(width, heads, batch_first=True)
            with torch.no_grad():
                for j, part in enumerate(("query", "key", "value")):
                    rows = slice(j * width, (j + 1) * width)
                    block.heads.in_proj_weight[rows] = torch.from_numpy(w[f"{name}.attended.{part}.weight"].T.copy())
                    block.heads.in_proj_bias[rows] = torch.from_numpy(w[f"{name}.attended.{part}.bias"].copy())
                    self.pairs.append((f"{name}.attended.{part}.weight", lambda b=block, r=rows:
                                       b.heads.in_proj_weight.detach().numpy()[r].T))
                    self.pairs.append((f"{name}.attended.{part}.bias", lambda b=block, r=rows:
                                       b.heads.in_proj_bias.detach().numpy()[r]))
            self.give(block.heads.out_proj.weight, f"{name}.attended.output.weight", w, lambda a: a.T)
            self.give(block.heads.out_proj.bias, f"{name}.attended.output.bias", w)
            block.first, block.second = self.linear(f"{name}.first", w), self.linear(f"{name}.second", w)
            self.blocks.append(block)
        self.last = self.norm("hidden", w)

    def forward(self, tokens):
        lengths = (tokens != 0).sum(1)
        there = tokens != 0
        x = self.embedding(tokens)
        if self.op:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            h = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=tokens.shape[1])[0]
        else:
            h = x + self.position[:tokens.shape[1]]
            for b in self.blocks:
                n = b.norm1(h)
                h = h + b.heads(n, n, n, key_padding_mask=~there, need_weights=False)[0]
                n = b.first(b.norm2(h))
                h = h + b.second(F.gelu(n) if self.gelu else F.relu(n))
            h = self.last(h)
        score = self.score(torch.tanh(self.key(h)))[..., 0].masked_fill(~there, -1e30)
        shares = torch.softmax(score, 1)
        return self.logits((shares[..., None] * h).sum(1)), shares


def relative(ours, theirs):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30))


def some_tokens(n, seed=2):
    random = np.random.RandomState(seed)
    tokens = np.zeros((n, LENGTH), np.int64)
    for i, length in enumerate([LENGTH, 1, *random.randint(2, LENGTH + 1, n - 2)]):
        tokens[i, :length] = random.randint(1, VOCABULARY, length)
    return tokens


class Check:
    def tool(self, *arguments):
        done = subprocess.run([TOOL, *[str(a) for a in arguments]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [[float(x) for x in line.split()] for line in done.stdout.splitlines()]

    def write(self, name, *options):
        path = f"{self.folder}/{name}.onnx"
        self.tool("write", name, path, f"vocabulary={VOCABULARY}", f"length={LENGTH}", f"classes={CLASSES}",
                  "seed=4", *options)
        return path

    def theirs(self, path, tokens, targets, steps, lr, heads):
        network = Text(path, heads)
        losses = []
        for _ in range(steps):
            network.zero_grad()
            loss = F.cross_entropy(network(torch.from_numpy(tokens))[0], torch.from_numpy(targets))
            loss.backward()
            losses.append(float(loss.detach()))
            with torch.no_grad():
                for p in network.parameters():
                    p -= lr * p.grad
        return losses, network

    def compare(self, name, *options, steps=3, lr=0.1, heads=1):
        path, n = self.write(name, *options), 40  # blocks of 12 rows fill up
        tokens = some_tokens(n)
        random = np.random.RandomState(3)
        targets = random.rand(n, CLASSES).astype(np.float32)
        targets /= targets.sum(1, keepdims=True)
        before = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
        their_losses, network = self.theirs(path, tokens, targets, steps, lr, heads)
        with torch.no_grad():
            their_logits = network(torch.from_numpy(tokens))[0].numpy()
        (pathlib.Path(self.folder) / "batch").write_bytes(tokens.tobytes() + targets.tobytes())
        for backend, threads in (("onednn", 2), ("openblas", 1)):
            lines = self.tool("train", path, f"{self.folder}/batch", f"{self.folder}/after.onnx", f"n={n}",
                              f"steps={steps}", f"lr={lr}", f"backend={backend}", f"threads={threads}")
            losses, logits = [line[0] for line in lines[:steps]], np.array(lines[steps:])
            after = {t.name: numpy_helper.to_array(t) for t in onnx.load(f"{self.folder}/after.onnx").graph.initializer}
            worst, worst_update = 0.0, 0.0
            moves = {key: value().astype(np.float64) - before[key] for key, value in network.pairs}
            # the bias of keys has a gradient of 0, which both round: it is measured by what others have
            least = 1e-3 * max(np.abs(m).max() for m in moves.values())
            for key, moved in moves.items():
                theirs = before[key] + moved
                scale = max(np.abs(theirs).max(), least)
                worst = max(worst, np.abs(after[key] - theirs).max() / scale)
                scale = max(np.abs(moved).max(), least, 1e-5 * np.abs(theirs).max())
                worst_update = max(worst_update, np.abs(after[key] - before[key] - moved).max() / scale)
            changed = {k for k in after if not np.array_equal(after[k], before[k])}
            assert changed == {k for k, _ in network.pairs}, changed ^ {k for k, _ in network.pairs}
            print(f"# {name} {' '.join(options)}, {backend}: losses {relative(losses, their_losses):.1e}, weights "
                  f"{worst:.1e}, updates {worst_update:.1e}, logits {relative(logits, their_logits):.1e}")
            assert relative(losses, their_losses) < 1e-5
            assert worst < 1e-4 and worst_update < 1e-3
            assert relative(logits, their_logits) < 1e-4
        return f"{self.folder}/after.onnx", network

    def test_rnn(self):
        self.compare("text-rnn", "embedding=20", "hidden=24", "attention=12", "layers=2")

    def test_gru(self):
        self.compare("text-gru", "embedding=20", "hidden=24", "attention=12", "bidirectional=1")

    def test_lstm(self):
        self.compare("text-lstm", "embedding=32", "hidden=40", "attention=16", "layers=2", "bidirectional=1")

    def test_transformer(self):
        self.compare("text-transformer", "embedding=32", "heads=4", "attention=16", "hidden=50", heads=4)
        self.compare("text-transformer", "embedding=24", "heads=2", "attention=16", "relu=1", heads=2)

    def test_runtime_agrees(self):
        """A trained file in ONNX Runtime and in the engine: logits and attention, an empty text too."""
        if not ORT.is_dir() or not shutil.which("node"):
            raise Skip("no onnxruntime-node, see .ci/onnxruntime")
        script = """
const ort = require(process.argv[1]), fs = require('fs'), T = Number(process.argv[4]);
(async () => {
  const s = await ort.InferenceSession.create(process.argv[2], {executionProviders: ['cpu']});
  const b = fs.readFileSync(process.argv[3]);
  const x = new BigInt64Array(b.buffer.slice(b.byteOffset, b.byteOffset + b.length));
  const r = await s.run({tokens: new ort.Tensor('int64', x, [x.length / T, T])});
  console.log(JSON.stringify([Array.from(r.logits.data), Array.from(r.attention.data)]));
})();"""
        tokens = some_tokens(8, seed=9)
        tokens[3] = 0
        (pathlib.Path(self.folder) / "tokens").write_bytes(tokens.tobytes())
        for name, options in (("text-rnn", ("bidirectional=1",)), ("text-gru", ("layers=2", "dropout=0.3")),
                              ("text-lstm", ("bidirectional=1", "layers=2")),
                              ("text-transformer", ("heads=4", "dropout=0.1"))):
            path = self.write(name, "embedding=32", "hidden=24", "attention=16", *options)
            targets = np.eye(CLASSES, dtype=np.float32)[np.arange(8) % CLASSES]
            (pathlib.Path(self.folder) / "batch").write_bytes(tokens.tobytes() + targets.tobytes())
            trained = f"{self.folder}/trained.onnx"
            self.tool("train", path, f"{self.folder}/batch", trained, "n=8", "steps=5", "lr=0.1", "threads=1")
            done = subprocess.run(["node", "-e", script, ORT, trained, f"{self.folder}/tokens", str(LENGTH)],
                                  capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            logits, shares = [np.array(v).reshape(8, -1) for v in json.loads(done.stdout)]
            for backend in ("openblas", "onednn"):
                lines = self.tool("run", trained, f"{self.folder}/tokens", f"backend={backend}")
                difference = np.abs(np.array(lines[:8]) - logits).max()
                attention = np.abs(np.array(lines[8:]) - shares).max()
                print(f"# {name}, {backend}: logits differ by {difference:.1e}, attention by {attention:.1e}")
                assert difference < 1e-5 and attention < 1e-5
            sums = shares.sum(1)
            assert np.abs(np.delete(sums, 3) - 1).max() < 1e-5 and sums[3] == 0, sums
            assert (shares[tokens == 0] == 0).all()


if __name__ == "__main__":
    run(Check)
