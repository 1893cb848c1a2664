#!/usr/bin/python3
"""Measure model.onnx on the validation patients, calibrate it and write the package.

    evaluate.py --data ../shared/data/chest-xray-224/train --model /tmp/chest/model.onnx \
        [--original ../shared/data/chest-xray-original] [--package plugins/chest]

Everything is computed from the ONNX file itself. Prints the tables of the model card; with --package
also writes model.onnx, the self-test and model.yaml there.
"""
import argparse
import hashlib
import io
import os
import shutil

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

import common
from augment import Styles, filtered, jpeg
from train import swapped

N = common.SIZE

# ---------------------------------------------------------------- scores


def raw(logits):
    """Log-odds of pneumonia, from the softmax over (normal, bacterial, viral)."""
    return np.logaddexp(logits[:, 1], logits[:, 2]) - logits[:, 0]


def score(logits, ab=(1.0, 0.0)):
    return 1 / (1 + np.exp(-(ab[0] * raw(logits) + ab[1])))


def nll(s, sick):
    s = np.clip(s, 1e-7, 1 - 1e-7)
    return -np.mean(np.where(sick, np.log(s), np.log(1 - s)))


def fit_platt(logits, sick, steps=50):
    """a, b of sigmoid(a * log-odds + b) of least log loss, by Newton's method."""
    x = np.column_stack([raw(logits), np.ones(len(logits))])
    w = np.array([1.0, 0.0])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-x @ w))
        w = w - np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(2), x.T @ (p - sick))
    return w


def fit_temperature(logits, sick):
    """For comparison only: the best single factor."""
    grid = np.exp(np.linspace(np.log(0.2), np.log(5), 801))
    return grid[np.argmin([nll(score(logits, (k, 0.0)), sick) for k in grid])], 0.0


def ece(s, sick, bins=15):
    b = np.minimum((s * bins).astype(int), bins - 1)
    return sum(abs(s[b == k].mean() - sick[b == k].mean()) * (b == k).mean()
               for k in range(bins) if (b == k).any())


def rates(s, sick, threshold):
    y = s >= threshold
    tp, fp = (y & sick).sum(), (y & ~sick).sum()
    fn, tn = (~y & sick).sum(), (~y & ~sick).sum()
    return {"accuracy": (tp + tn) / len(s), "sensitivity": tp / max(tp + fn, 1),
            "specificity": tn / max(tn + fp, 1), "f1": 2 * tp / max(2 * tp + fp + fn, 1),
            "auc": roc_auc_score(sick, s)}


def bootstrap(f, patients, n, seed):
    """95% interval of each value of f(image numbers), patients drawn with replacement."""
    of = {}
    for i, p in enumerate(patients):
        of.setdefault(p, []).append(i)
    groups = [np.array(v) for v in of.values()]
    rng = np.random.default_rng(seed)
    got = [f(np.concatenate([groups[k] for k in rng.integers(0, len(groups), len(groups))]))
           for _ in range(n)]
    return {k: np.percentile([g[k] for g in got], [2.5, 97.5]) for k in got[0]}


# ---------------------------------------------------------------- disturbed films


def warp(x, sx=1.0, sy=1.0, angle=0.0, dx=0.0, dy=0.0):
    """Window of sx, sy of the film's sides; above 1 shows black around it."""
    c, s = np.cos(angle), np.sin(angle)
    m = torch.tensor([[sx * c, -sy * s, dx], [sx * s, sy * c, dy]]).float()
    g = F.affine_grid(m.expand(len(x), 2, 3), (len(x), 1, N, N), align_corners=False)
    return F.grid_sample(x[:, None], g, padding_mode="zeros", align_corners=False)[:, 0]


def blur(x, sigma):
    f2 = torch.fft.fftfreq(N)[:, None] ** 2 + torch.fft.rfftfreq(N)[None] ** 2
    return filtered(x, torch.exp(-2 * np.pi ** 2 * sigma ** 2 * f2))


def resampled(x, n):
    out = [np.asarray(Image.fromarray(np.asarray(a)).resize((n, n), Image.BILINEAR)
                      .resize((N, N), Image.BICUBIC)) for a in x]
    return torch.from_numpy(np.stack(out)).clamp(0, 1)


def box_mask(top, bottom, left, right):
    m = torch.zeros(N, N, dtype=torch.bool)
    m[round(top * N):round(bottom * N), round(left * N):round(right * N)] = True
    return m


def filled(x, mask, value=None):
    """x with `mask` painted over, by `value` or each film's mean."""
    v = torch.full((len(x), 1, 1), value) if value is not None else x.mean((1, 2), keepdim=True)
    return torch.where(mask, v, x)


def disturbances(x, swap, seed):
    g = torch.Generator().manual_seed(seed)
    con = lambda k, b=0.0: ((x - 0.48) * k + 0.48 + b).clamp(0, 1)  # noqa: E731
    return [
        ("as they are", x),
        ("gamma 0.7", x ** 0.7),
        ("gamma 1.4", x ** 1.4),
        ("contrast 0.6", con(0.6)),
        ("contrast 1.4", con(1.4)),
        ("brightness -0.12", con(1, -0.12)),
        ("brightness +0.12", con(1, 0.12)),
        ("blur sigma 1.0", blur(x, 1.0)),
        ("blur sigma 1.5", blur(x, 1.5)),
        ("through 112x112", resampled(x, 112)),
        ("noise 0.03", (x + torch.randn(x.shape, generator=g) * 0.03).clamp(0, 1)),
        ("JPEG quality 30", jpeg(x, torch.full((len(x),), 30.0))),
        ("outer 5% cut off", warp(x, 0.9, 0.9)),
        ("outer 10% cut off", warp(x, 0.8, 0.8)),
        ("lower 15% cut off", warp(x, 1, 0.85, dy=-0.15)),
        ("black frame of 8%", warp(x, 1.19, 1.19)),
        ("wider by 1.2", warp(x, 1 / 1.2, 1)),
        ("narrower by 1.2 (black sides)", warp(x, 1.2, 1)),
        ("higher by 1.2", warp(x, 1, 1 / 1.2)),
        ("rotated by 8 degrees", warp(x, angle=0.14)),
        ("mirrored", x.flip(2)),
        ("tone and sharpness of the other class", swap),
    ]


# ---------------------------------------------------------------- self-test


def synthetic_film():
    """A drawn chest, no patient's: trunk, two lungs, ribs, spine, heart, a haze on one side."""
    y, x = np.mgrid[0:N, 0:N].astype(np.float64) / N

    def soft(d, w=0.03):
        return 1 / (1 + np.exp(np.clip(d / w, -60, 60)))

    def ellipse(cx, cy, rx, ry):
        return soft(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 - 1, 0.12)

    film = 0.02 + 0.66 * ellipse(0.5, 0.62, 0.44, 0.75)
    for cx in (0.31, 0.69):
        lung = ellipse(cx, 0.45, 0.15, 0.32)
        film -= 0.44 * lung
        film += 0.10 * lung * np.cos(2 * np.pi * (y * 11 - 5 * (x - cx) ** 2))
    film += 0.22 * soft(np.abs(x - 0.5) - 0.035, 0.01) + 0.25 * ellipse(0.57, 0.6, 0.14, 0.17)
    film += 0.16 * ellipse(0.3, 0.58, 0.09, 0.1)
    return np.clip(film, 0, 1)[None].astype(np.float32)


# ---------------------------------------------------------------- report


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for r in rows:
        print("| " + " | ".join(r) + " |")
    print()


def cam_share(net, x, mask, head=None):
    """Mean share of the positive Grad-CAM of the pneumonia log-odds that falls into mask."""
    w = net.weights["head.weight"] if head is None else head
    share = []
    m = F.avg_pool2d(mask.float()[None, None], N // 14)[0, 0]
    with torch.no_grad():
        for s in range(0, len(x), 64):
            f, z = net.run(common.normalise(x[s:s + 64].numpy()), ("features", "logits"))
            p = F.softmax(z[:, 1:], 1)
            v = p @ w[1:] - w[0]
            c = F.relu(torch.einsum("nchw,nc->nhw", f, v))
            share.append((c * m).sum((1, 2)) / c.sum((1, 2)).clamp(min=1e-9))
    return float(torch.cat(share).mean())


def surface(x):
    """What can be said of a film without looking at lungs: tone, sharpness, borders."""
    a = x.numpy()
    q = np.percentile(a.reshape(len(a), -1)[:, ::7], [5, 25, 50, 75, 95], axis=1).T
    lap = np.abs(4 * a[:, 1:-1, 1:-1] - a[:, :-2, 1:-1] - a[:, 2:, 1:-1] - a[:, 1:-1, :-2] - a[:, 1:-1, 2:])
    edge = [a[:, :22].mean((1, 2)), a[:, -22:].mean((1, 2)), a[:, :, :22].mean((1, 2)),
            a[:, :, -22:].mean((1, 2))]
    return np.column_stack([q, a.mean((1, 2)), a.std((1, 2)), lap.mean((1, 2)), *edge])


def write_package(folder, model, yaml_text, net):
    os.makedirs(folder, exist_ok=True)
    path = lambda n: os.path.join(folder, n)  # noqa: E731
    if os.path.abspath(model) != os.path.abspath(path("model.onnx")):
        shutil.copyfile(model, path("model.onnx"))
    x = common.normalise(synthetic_film())
    with torch.no_grad():
        z = net.run(x)[0]
    x.numpy().astype("<f4").tofile(path("selftest-input.f32"))
    z.numpy().astype("<f4").tofile(path("selftest-output.f32"))
    sums = {n: hashlib.sha256(open(path(n), "rb").read()).hexdigest()
            for n in ("model.onnx", "selftest-input.f32", "selftest-output.f32")}
    with open(path("model.yaml"), "w") as f:
        f.write(yaml_text + "\nfiles:\n" + "".join(f"  {n}: {s}\n" for n, s in sums.items()))
    print("self-test logits", [round(float(v), 4) for v in z[0]], "| bytes", os.path.getsize(path("model.onnx")))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    a.add_argument("--data", required=True)
    a.add_argument("--model", required=True)
    a.add_argument("--original")
    a.add_argument("--package")
    a.add_argument("--split", default=os.path.join(here, "split.csv"))
    a.add_argument("--template", default=os.path.join(here, "model.yaml.in"))
    a.add_argument("--seed", type=int, default=20261124)
    a.add_argument("--threshold", type=float, help="instead of the rule")
    a.add_argument("--resamples", type=int, default=2000)
    a.add_argument("--threads", type=int, default=2)
    o = a.parse_args()
    torch.set_num_threads(o.threads)

    rows = common.read_split(o.split, o.data, o.seed)
    va = [r for r in rows if r[2] == "validation"]
    tr = [r for r in rows if r[2] == "train"]
    x8 = torch.from_numpy(common.load_images(o.data, [r[0] for r in va]))
    t8 = torch.from_numpy(common.load_images(o.data, [r[0] for r in tr]))
    y = np.array([common.class_of(r[1]) for r in va])
    y_tr = np.array([common.class_of(r[1]) for r in tr])
    sick, patients = y > 0, [r[1] for r in va]
    net = common.OnnxNet(o.model)
    logits = net.logits(x8.numpy())

    print(f"## Data\n\nvalidation: {len(va)} images of {len(set(patients))} patients "
          f"({(y == 0).sum()} normal, {(y == 1).sum()} bacterial, {(y == 2).sum()} viral); training: "
          f"{len(tr)} images of {len(set(r[1] for r in tr))} patients; patients in both: "
          f"{len(set(patients) & set(r[1] for r in tr))}")
    small = lambda u: F.normalize(  # noqa: E731
        (lambda v: v - v.mean(1, keepdim=True))(F.avg_pool2d(u.float(), 7).flatten(1)), dim=1)
    near = (small(x8) @ small(t8).T).max(1)[0]
    twin = near.numpy() > 0.985
    print(f"validation films with a near twin in training (correlation of 32x32 above 0.985): {twin.sum()}")

    t = fit_platt(logits, sick)
    s = score(logits, t)
    half = np.array([hash_of(p) for p in patients]) % 2 == 0
    cross = np.empty(len(s))
    for h in (half, ~half):
        cross[h] = score(logits[h], fit_platt(logits[~h], sick[~h]))
    err = ece(s, sick)
    print("\n## Calibration\n")
    table(("calibration", "error", "log loss", "Brier"),
          [(n, f"{ece(v, sick):.4f}", f"{nll(v, sick):.4f}", f"{np.mean((v - sick) ** 2):.4f}")
           for n, v in (("none", score(logits)), ("temperature", score(logits, fit_temperature(logits, sick))),
                        (f"Platt, a {t[0]:.4f}, b {t[1]:.4f}", s),
                        ("Platt, fitted on one half of the patients, measured on the other", cross))])

    # threshold: best mean Youden index over films as they are and disturbed, among those whose validation
    # accuracy is 0.97 to two figures
    x = x8.float() / 255
    swap = swapped(x8, y, Styles(t8), y_tr, o.seed)
    cases = [(n, score(net.logits(v.numpy()), t)) for n, v in disturbances(x, swap, o.seed)]
    grid = np.round(np.arange(0.05, 0.96, 0.01), 2)
    youden = lambda v, k: (v[sick] >= k).mean() + (v[~sick] < k).mean() - 1  # noqa: E731
    mean_j = np.array([np.mean([youden(v, k) for _, v in cases]) for k in grid])
    acc = np.array([((s >= k) == sick).mean() for k in grid])
    fit = acc >= min(0.965, acc.max())
    threshold = o.threshold or float(grid[np.argmax(np.where(fit, mean_j, -1))])
    print("\n## Threshold\n")
    table(("threshold", "accuracy", "sensitivity", "specificity", "mean Youden, disturbed"),
          [(f"{k:.2f}", *(f"{rates(s, sick, k)[n]:.4f}" for n in ("accuracy", "sensitivity", "specificity")),
            f"{np.mean([youden(v, k) for _, v in cases]):.4f}")
           for k in sorted({0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, threshold})])
    print(f"chosen: {threshold}\n")

    m = rates(s, sick, threshold)
    ci = bootstrap(lambda i: rates(s[i], sick[i], threshold), patients, o.resamples, o.seed)
    print("## Validation\n")
    table(("measure", "value", "95% interval"),
          [(k, f"{m[k]:.4f}", f"{ci[k][0]:.4f} to {ci[k][1]:.4f}") for k in m])
    print("without the near twins:", {k: round(float(v), 4) for k, v in
                                      rates(s[~twin], sick[~twin], threshold).items()})
    k = y > 0
    lv = logits[k, 2] - logits[k, 1]
    print(f"viral against bacterial among the pneumonias: AUC {roc_auc_score(y[k] == 2, lv):.4f}; three-class "
          f"accuracy {(logits.argmax(1) == y).mean():.4f}; sensitivity bacterial "
          f"{(s[y == 1] >= threshold).mean():.4f}, viral {(s[y == 2] >= threshold).mean():.4f}\n")

    print("## Disturbed films\n")
    table(("films", "AUC", "accuracy", "sensitivity", "specificity"),
          [(n, *(f"{rates(v, sick, threshold)[q]:.3f}" for q in ("auc", "accuracy", "sensitivity", "specificity")))
           for n, v in cases])

    print("## Does it look at the lungs\n")
    inner, lungs = box_mask(0.1, 0.9, 0.1, 0.9), box_mask(0.14, 0.82, 0.12, 0.88)
    full = torch.ones_like(inner)
    checks = [("as they are", x), ("outer 10% black", filled(x, ~inner, 0.0)),
              ("outer 10% grey", filled(x, ~inner)), ("only the lung box, rest grey", filled(x, ~lungs)),
              ("only the lung box, rest black", filled(x, ~lungs, 0.0)),
              ("lung box painted grey", filled(x, lungs)), ("lung box black", filled(x, lungs, 0.0))]
    table(("films", "AUC"), [(n, f"{roc_auc_score(sick, score(net.logits(v.numpy()), t)):.3f}")
                             for n, v in checks])
    hit = torch.from_numpy(sick & (s >= threshold))
    torch.manual_seed(o.seed)
    print(f"Grad-CAM of the {int(hit.sum())} films rightly called: {cam_share(net, x[hit], lungs):.3f} of the positive "
          f"part in the lung box, which is {float(lungs.float().mean()):.3f} of the film; "
          f"{1 - cam_share(net, x[hit], inner):.3f} in the outer 10%, which is "
          f"{1 - float(inner.float().mean()):.3f} of it (whole film {cam_share(net, x[hit], full):.2f})")
    deaf = common.OnnxNet(o.model)
    for name, w in deaf.weights.items():
        if name.endswith("weight"):
            deaf.weights[name] = torch.randn_like(w) * w.std()
    head = torch.randn_like(net.weights["head.weight"]) * net.weights["head.weight"].std()
    print(f"the same with a random last layer: {cam_share(net, x[hit], lungs, head):.3f} in the lung box; "
          f"with all weights random: {cam_share(deaf, x[hit], lungs):.3f}, AUC "
          f"{roc_auc_score(sick, score(deaf.logits(x.numpy()))):.3f}")
    cheap = np.concatenate([surface(c.float() / 255) for c in t8.split(256)])
    sc = StandardScaler().fit(cheap)
    lr = LogisticRegression(max_iter=2000, class_weight="balanced").fit(sc.transform(cheap), y_tr > 0)
    d = lr.decision_function(sc.transform(surface(x)))
    lo = raw(logits)
    print(f"a linear rule on tone, sharpness and borders alone: AUC {roc_auc_score(sick, d):.3f}; rank correlation "
          f"of its score with the model's, normals {rank_corr(d[~sick], lo[~sick]):.2f}, pneumonias "
          f"{rank_corr(d[sick], lo[sick]):.2f}\n")

    if o.original:
        print("## Original resolution\n")
        original_check(o, net, t, threshold)

    if o.package:
        values = {k: "[" + ", ".join(f"{v:.4f}" for v in (m[k], *ci[k])) + "]" for k in m}
        text = open(o.template).read().format(
            mean=common.MEAN, std=common.STD, a=f"{t[0]:.4f}", b=f"{t[1]:.4f}",
            error=f"{err:.4f}", threshold=threshold,
            seed=o.seed, n_images=len(va), n_patients=len(set(patients)), **values)
        write_package(o.package, o.model, text, net)


def hash_of(text):
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def rank_corr(a, b):
    return np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1]


def original_check(o, net, t, threshold):
    """Scores of originals, resized by a triangle filter with antialiasing, against the 224x224 files."""
    names, big, small = [], [], []
    for folder in ("NORMAL", "PNEUMONIA"):
        for n in sorted(os.listdir(os.path.join(o.original, folder))):
            if common.patient_of(n):
                im = Image.open(os.path.join(o.original, folder, n)).convert("L")
                big.append(np.asarray(im.resize((N, N), Image.BILINEAR)))
                small.append(np.asarray(Image.open(os.path.join(o.data, folder, n)).convert("L")))
                names.append(n)
    big, small = np.stack(big), np.stack(small)
    a, b = score(net.logits(big), t), score(net.logits(small), t)
    d = np.abs(a - b)
    px = np.abs(big.astype(float) - small).mean((1, 2))
    print(f"{len(names)} films: grey difference mean {px.mean():.2f} of 255; score difference mean {d.mean():.4f}, "
          f"95th percentile {np.percentile(d, 95):.4f}, largest {d.max():.4f}; other side of the threshold: "
          f"{((a >= threshold) != (b >= threshold)).sum()}")
    again = []
    for im in big:
        f = io.BytesIO()
        Image.fromarray(im).save(f, "JPEG", quality=75)
        again.append(np.asarray(Image.open(f)))
    c = score(net.logits(np.stack(again)), t)
    print(f"the same after JPEG at quality 75: score difference mean {np.abs(c - b).mean():.4f}, "
          f"largest {np.abs(c - b).max():.4f}\n")


if __name__ == "__main__":
    main()
