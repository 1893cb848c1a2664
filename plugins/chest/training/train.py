#!/usr/bin/python3
"""Train the chest model from scratch.

    train.py --data ../shared/data/chest-xray-224/train --out /tmp/chest [--minutes 40]

Reads the patient split from split.csv beside this file (written first if missing) and trains on its
part `train` only. Writes last.pt (running average of the weights, every fourth epoch), model.onnx and log.txt
into --out. Validation figures in the log only watch; no epoch is picked by them.
"""
import argparse
import copy
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

import common
from augment import Styles, augment, filtered


def soft_loss(logits, target, kind_weight):
    """Normal against pneumonia, plus bacterial against viral within the pneumonias.

    Cross-entropy of three classes is the sum of the two; kind_weight < 1 keeps the second, whose
    labels are far noisier, from ruling the features.
    """
    pneu = torch.logsumexp(logits[:, 1:], 1) - logits[:, 0]
    t = target[:, 1] + target[:, 2]
    which = F.log_softmax(logits[:, 1:], 1)
    loss = F.binary_cross_entropy_with_logits(pneu, t)
    return loss - kind_weight * (target[:, 1:] * which).sum(1).mean()


def sample_weights(patients, label):
    """Per image: classes at 0.42 / 0.33 / 0.25; a patient counts as the root of its images."""
    count = {}
    for p in patients:
        count[p] = count.get(p, 0) + 1
    w = np.array([count[p] ** -0.5 for p in patients])
    for c, share in enumerate((0.42, 0.33, 0.25)):
        w[label == c] *= share / w[label == c].sum()
    return torch.from_numpy(w)


def swapped(images, label, styles, pool_label, seed):
    """Films in the tone and sharpness of the other class's training films."""
    g = torch.Generator().manual_seed(seed)
    own = Styles(images)
    both = copy.copy(own)
    both.cdf = torch.cat([own.cdf, styles.cdf])
    both.spec = torch.cat([own.spec, styles.spec])
    sick = torch.from_numpy(pool_label > 0)
    pools = [sick.nonzero()[:, 0], (~sick).nonzero()[:, 0]]  # for normals, for pneumonias
    j = torch.empty(len(images), dtype=torch.long)
    for c in (0, 1):
        k = torch.from_numpy((label > 0) == bool(c)).nonzero()[:, 0]
        j[k] = pools[c][torch.randint(len(pools[c]), (len(k),), generator=g)]
    out = []
    for s in range(0, len(images), 64):
        i = torch.arange(s, min(s + 64, len(images)))
        u = images[i]
        x = both.tone(i, j[i] + len(images)).gather(1, u.reshape(len(i), -1).long()).view(u.shape)
        gain = both.sharpness(i, j[i] + len(images), torch.ones(len(i)), torch.zeros(len(i)))
        out.append(filtered(x, gain))
    return torch.cat(out)


def pneumonia(net, x):
    out = []
    with torch.no_grad():
        for s in range(0, len(x), 64):
            out.append(F.softmax(net(common.normalise(x[s:s + 64].numpy())), 1)[:, 1:].sum(1))
    return torch.cat(out).numpy()


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    a.add_argument("--data", required=True, help="folder with NORMAL and PNEUMONIA")
    a.add_argument("--out", required=True)
    a.add_argument("--split", default=os.path.join(here, "split.csv"))
    a.add_argument("--seed", type=int, default=20261124)
    a.add_argument("--epochs", type=int, default=110)
    a.add_argument("--minutes", type=float, default=0, help="shorten the schedule to fit this wall time")
    a.add_argument("--start", help="weights (last.pt) to go on from")
    a.add_argument("--batch", type=int, default=64)
    a.add_argument("--lr", type=float, default=0.08)
    a.add_argument("--decay", type=float, default=5e-4)
    a.add_argument("--smooth", type=float, default=0.06)
    a.add_argument("--mixup", type=float, default=0.4, help="share of batches")
    a.add_argument("--average", type=float, default=0.998)
    a.add_argument("--small", type=int, default=176, help="film size in the first part")
    a.add_argument("--small-share", type=float, default=0.55)
    a.add_argument("--no-style", action="store_true", help="leave out tone, sharpness and JPEG swaps")
    a.add_argument("--threads", type=int, default=2)
    o = a.parse_args()
    os.makedirs(o.out, exist_ok=True)
    torch.set_num_threads(o.threads)
    torch.manual_seed(o.seed)
    np.random.seed(o.seed % 2 ** 32)

    rows = common.read_split(o.split, o.data, o.seed)
    label = np.array([common.class_of(p) for _, p, _ in rows])
    images = torch.from_numpy(common.load_images(o.data, [f for f, _, _ in rows]))
    tr = np.array([i for i, r in enumerate(rows) if r[2] == "train"])
    va = np.array([i for i, r in enumerate(rows) if r[2] == "validation"])
    x_tr, y_tr, x_va, y_va = images[tr], label[tr], images[va], label[va]
    styles = Styles(x_tr)
    x_sw = swapped(x_va, y_va, styles, y_tr, o.seed)
    weights = sample_weights([rows[i][1] for i in tr], y_tr)
    t_tr = torch.from_numpy(y_tr)

    net = common.ChestNet().to(memory_format=torch.channels_last)
    if o.start:
        net.load_state_dict(torch.load(o.start))
    avg = copy.deepcopy(net).eval()
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    opt = torch.optim.SGD([{"params": decayed, "weight_decay": o.decay},
                           {"params": plain, "weight_decay": 0}], lr=o.lr, momentum=0.9, nesterov=True)
    log = open(os.path.join(o.out, "log.txt"), "w")

    def say(text):
        print(text, flush=True)
        print(text, file=log, flush=True)

    say(f"train {len(tr)} validation {len(va)} parameters {sum(p.numel() for p in net.parameters())}")
    per_epoch = len(tr) // o.batch
    start, done, epoch, step = time.time(), 0.0, 0, 0

    def progress(step):
        """Share of the schedule: by epochs, or by the clock when --minutes is the tighter limit."""
        by_clock = (time.time() - start) / (60 * o.minutes) if o.minutes else 0
        return max(step / (o.epochs * per_epoch), by_clock)

    while done < 1:
        size = o.small if done < o.small_share else common.SIZE
        order = torch.multinomial(weights, per_epoch * o.batch, replacement=True)
        net.train()
        total, t0 = 0.0, time.time()
        for i in order.split(o.batch):
            done = progress(step)
            if done >= 1:
                break
            rate = min(1.0, done / 0.06) * 0.5 * (1 + math.cos(math.pi * done)) + 1e-3
            for g in opt.param_groups:
                g["lr"] = o.lr * rate
            x = augment(x_tr[i], i, styles, size, not o.no_style)
            x = ((x - common.MEAN) / common.STD)[:, None].contiguous(memory_format=torch.channels_last)
            t = F.one_hot(t_tr[i], 3).float() * (1 - o.smooth) + o.smooth / 3
            if np.random.rand() < o.mixup:
                k = np.random.beta(0.4, 0.4)
                p = torch.randperm(len(i))
                x, t = x * k + x[p] * (1 - k), t * k + t[p] * (1 - k)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = net(x)
            loss = soft_loss(logits.float(), t, 0.4)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            opt.step()
            step += 1
            m = o.average if o.start else min(o.average, (step + 1) / (step + 20))
            with torch.no_grad():
                for p, q in zip(avg.state_dict().values(), net.state_dict().values()):
                    if p.dtype.is_floating_point:
                        p.lerp_(q, 1 - m)
            total += loss.item()
        epoch += 1
        done = progress(step)
        if epoch % 4 == 0 or done >= 1:
            s = pneumonia(avg, x_va)
            w = pneumonia(avg, x_sw)
            sick = y_va > 0
            say(f"{epoch:3d} {(time.time() - start) / 60:5.1f} min size {size} loss {total / per_epoch:.4f} "
                f"{per_epoch * o.batch / (time.time() - t0):.0f} img/s | auc {roc_auc_score(sick, s):.4f} "
                f"acc {((s > .5) == sick).mean():.4f} spec {(s[~sick] < .5).mean():.3f} | "
                f"swapped auc {roc_auc_score(sick, w):.4f} acc {((w > .5) == sick).mean():.4f} "
                f"spec {(w[~sick] < .5).mean():.3f}")
            torch.save(avg.state_dict(), os.path.join(o.out, "last.pt"))
    common.export_onnx(avg, os.path.join(o.out, "model.onnx"))
    test = torch.randn(4, 1, common.SIZE, common.SIZE)
    with torch.no_grad():
        d = (avg(test) - common.OnnxNet(os.path.join(o.out, "model.onnx")).run(test)[0]).abs().max()
    say(f"done in {(time.time() - start) / 60:.1f} min, {epoch} epochs; file against network {d:.2e}")


if __name__ == "__main__":
    main()
