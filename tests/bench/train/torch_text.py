#!/usr/bin/python3
"""The same as bench-text run, in PyTorch: torch_text.py OP TOKENS BATCH THREADS SECONDS packed|padded.
OP is rnn, gru or lstm. `packed` goes over the tokens alone (pack_padded_sequence), `padded` over all."""
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

LENGTH, VOCABULARY, CLASSES, WIDTH, HIDDEN, POOLING = 128, 8000, 15, 128, 128, 64


class Text(nn.Module):
    def __init__(self, op, packed):
        super().__init__()
        self.packed = packed
        self.embedding = nn.Embedding(VOCABULARY, WIDTH, padding_idx=0)
        self.rnn = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[op](WIDTH, HIDDEN, batch_first=True,
                                                                      bidirectional=True)
        self.key, self.score = nn.Linear(2 * HIDDEN, POOLING), nn.Linear(POOLING, 1, bias=False)
        self.logits = nn.Linear(2 * HIDDEN, CLASSES)

    def forward(self, tokens, lengths):
        x = self.embedding(tokens)
        if self.packed:
            h = self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[0]
            h = pad_packed_sequence(h, batch_first=True, total_length=tokens.shape[1])[0]
        else:
            h = self.rnn(x)[0]
        score = self.score(torch.tanh(self.key(h)))[..., 0].masked_fill(tokens == 0, -1e30)
        return self.logits((torch.softmax(score, 1)[..., None] * h).sum(1))


def main(op, path, batch, threads, seconds, how):
    torch.set_num_threads(threads)
    network = Text(op, how == "packed")
    batches = []
    for tokens in torch.from_numpy(np.fromfile(path, np.int64).reshape(-1, batch, LENGTH)):
        lengths = (tokens != 0).sum(1)
        batches.append((tokens[:, :int(lengths.max())].contiguous(), lengths))
    target = (torch.arange(batch * CLASSES) % 7 == 0).float().reshape(batch, CLASSES)
    optimizer = torch.optim.SGD(network.parameters(), 0.001, 0.9)
    begin = now = n_tokens = n_steps = 0
    while not begin or now - begin < seconds:
        if n_steps == 2 and not begin:
            begin, n_tokens, first = time.perf_counter(), 0, n_steps
        tokens, lengths = batches[n_steps % len(batches)]
        optimizer.zero_grad(set_to_none=True)
        F.binary_cross_entropy_with_logits(network(tokens, lengths), target).backward()
        optimizer.step()
        now = time.perf_counter()
        n_tokens += int(lengths.sum())
        n_steps += 1
    print(f"{n_tokens / (now - begin):.0f} tokens/s, {(now - begin) / (n_steps - first) * 1e3:.2f} ms a step")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), sys.argv[6])
