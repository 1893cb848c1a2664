#!/usr/bin/python3
"""check_augment.py TOOL: every augmentation against numpy, scipy and PIL, in TAP."""
import io
import math
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image
from scipy import ndimage, stats

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
import tap  # noqa: E402

TOOL = sys.argv[1]


def run(*arguments, data=b""):
    done = subprocess.run([TOOL, *map(str, arguments)], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def film(w, h, seed, smooth=2.0):
    """A film of soft blobs over the whole range of 0..1, in multiples of 1/255."""
    x = ndimage.gaussian_filter(np.random.RandomState(seed).rand(h, w), smooth)
    x = (x - x.min()) / (x.max() - x.min())
    return (np.round(x ** (1 + 0.3 * seed) * 255) / 255).astype(np.float32)


def apply(x, out=None, n=1, seed=1, other=None, **options):
    h, w = x.shape
    out_w, out_h = out or (w, h)
    words = [f"{k}={','.join(map(str, v)) if isinstance(v, (tuple, list)) else v}"
             for k, v in options.items()]
    data = x.astype("<f4").tobytes() + (x if other is None else other).astype("<f4").tobytes()
    raw = run("apply", w, h, out_w, out_h, n, seed, *words, data=data)
    films = np.frombuffer(raw, "<f4").reshape(n, out_h, out_w)
    return films[0] if n == 1 else films


def near(a, b, most, what=""):
    worst = float(np.abs(np.asarray(a, float) - np.asarray(b, float)).max())
    print(f"# {what or 'largest'} difference {worst:.1e}, allowed {most:.0e}")
    assert worst <= most, (what, worst)


def cumulative(x):
    h, w = x.shape
    u = np.round(x[h // 10:h - h // 10, w // 10:w - w // 10] * 255).astype(int)
    c = np.bincount(u.ravel(), minlength=256) / u.size
    return np.cumsum(c) - c / 2


def radius(h, w):
    fy, fx = np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None]
    return np.hypot(fy, fx)


def spectrum(x):
    h, w = x.shape
    bins = np.minimum(np.floor(radius(h, w) * 224 + 0.5).astype(int), 112)
    a = np.abs(np.fft.rfft2(x.astype(float))) ** 2 * (224 * 224 / (h * w))
    count = np.bincount(bins.ravel(), minlength=113)
    logs = np.log(np.bincount(bins.ravel(), a.ravel(), 113) / np.maximum(count, 1) + 1e-6) / 2
    for i in range(1, 113):
        logs[i] = logs[i] if count[i] else logs[i - 1]
    return np.array([logs[max(0, i - 2):i + 3].mean() for i in range(113)])


def resample(x, matrix, out):
    """The film at matrix (output pixel centres, from the middle) by triangles, slowly. matrix is
    source from output, both in pixels from the film's middle; a pixel of the output is as large as
    the film over their number."""
    h, w = x.shape
    out_w, out_h = out
    m = np.asarray(matrix, float) * np.array([[w / out_w, h / out_h, 1]])
    rx, ry = max(1, math.hypot(m[0][0], m[0][1])), max(1, math.hypot(m[1][0], m[1][1]))
    to = np.zeros((out_h, out_w))
    for j in range(out_h):
        for i in range(out_w):
            u, v = i + 0.5 - out_w / 2, j + 0.5 - out_h / 2
            sx, sy = m @ (u, v, 1) + (w / 2, h / 2)
            if 0 <= sx < w and 0 <= sy < h:
                wx = np.maximum(0, 1 - np.abs(np.arange(w) + 0.5 - sx) / rx)
                wy = np.maximum(0, 1 - np.abs(np.arange(h) + 0.5 - sy) / ry)
                to[j, i] = wy @ x @ wx / (wx.sum() * wy.sum())
    return to


def inner(a, b, x, matrix):
    """Where both are well inside the film: the edge itself depends on rounding."""
    ones = resample(np.ones_like(x), matrix, a.shape[::-1])
    keep = ndimage.binary_erosion(ones > 0, iterations=1, border_value=1)
    return a[keep], b[keep]


class Augment:
    def test_philox_known_answers(self):
        """The known answers of Random123's philox4x32-10."""
        for key, counter, words in (
                ([0] * 2, [0] * 4, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
                ([0xffffffff] * 2, [0xffffffff] * 4, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
                ([0xa4093822, 0x299f31d0], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                 "d16cfe09 94fdcceb 5001e420 24126ea1")):
            assert run("philox", *key, *counter).decode().split() == words.split()

    def test_normal(self):
        x = np.frombuffer(run("normal", 5, 1000003), "<f4")
        assert np.isfinite(x).all()
        assert abs(x.mean()) < 0.004 and abs(x.std() - 1) < 0.003, (x.mean(), x.std())
        assert stats.kstest(x[:100000], "norm").pvalue > 1e-3
        assert 4.2 < np.abs(x).max() < 6.5
        assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.004
        near(np.frombuffer(run("normal", 5, 1000), "<f4"), x[:1000], 0, "the same stream, cut short:")

    def test_beta_and_below(self):
        for a, b in ((0.4, 0.4), (2.0, 5.0)):
            x = np.frombuffer(run("beta", 3, a, b, 20000), "<f4").astype(float)
            assert stats.kstest(x, "beta", args=(a, b)).pvalue > 1e-3
        n = np.frombuffer(run("below", 3, 7, 70000), "<u4")
        assert stats.chisquare(np.bincount(n, minlength=7)).pvalue > 1e-3 and n.max() == 6

    def test_nothing(self):
        x = film(40, 31, 1)
        near(apply(x), x, 0)
        near(apply(x, rotation=(0, -30, 30), noise=(0, 0, 1), flip_horizontal=0), x, 0)

    def test_tone(self):
        x = film(64, 48, 1)
        near(apply(x, gamma=(1, 0.7, 0.7)), x.astype(float) ** 0.7, 3e-6, "gamma:")
        near(apply(x, contrast=(1, 1.4, 1.4), brightness=(1, -0.1, -0.1), middle=0.48),
             np.clip((x.astype(float) - 0.48) * 1.4 + 0.48 - 0.1, 0, 1), 2e-6, "contrast, brightness:")

    def test_histogram_swap(self):
        x, y = film(96, 80, 1), film(96, 80, 5)
        a, b = cumulative(x), cumulative(y)
        hi = np.clip(np.searchsorted(b, a), 1, 255)
        part = np.clip((a - b[hi - 1]) / np.maximum(b[hi] - b[hi - 1], 1e-6), 0, 1)
        table = (hi - 1 + part) / 255
        for share in (1.0, 0.4):
            curve = np.arange(256) / 255 * (1 - share) + table * share
            got = apply(x, other=y, histogram_swap=(1, share, share))
            # where no pixel of the other film has a grey, any grey up to the next is right
            off = np.abs(got - curve[np.round(x * 255).astype(int)])
            assert np.quantile(off, 0.99) < 1e-4, np.quantile(off, [0.5, 0.9, 0.99, 1])
        got = apply(x, other=y, histogram_swap=(1, 1, 1))[8:-8, 9:-9]
        near(np.quantile(got, [.1, .3, .5, .7, .9]), np.quantile(y[8:-8, 9:-9], [.1, .3, .5, .7, .9]),
             0.02, "quantiles of the other film:")

    def test_spectrum_swap(self):
        for w, h in ((224, 224), (64, 49), (30, 100)):
            x, y = film(w, h, 1, 1.0), film(w, h, 2, 2.5)
            for strength in (1.0, 0.3):
                g = np.clip(strength * (spectrum(y) - spectrum(x)), -1.5, 1.5)
                r = radius(h, w)
                gain = np.exp(g)[np.minimum(np.floor(r * 224 + 0.5).astype(int), 112)]
                gain[np.floor(r * min(w, h) + 0.5) < 4] = 1
                want = np.clip(np.fft.irfft2(np.fft.rfft2(x.astype(float)) * gain, s=(h, w)), 0, 1)
                near(apply(x, other=y, spectrum_swap=(1, strength, strength)), want, 2e-5, f"{w}x{h}:")

    def test_blur(self):
        x = film(57, 40, 1, 0.7)
        for sigma in (1.0, 1.5, 4.0):  # scipy's radius is that of 3 sigma for these
            want = ndimage.gaussian_filter(x.astype(float), sigma, mode="nearest", truncate=3.0)
            near(apply(x, blur=(1, sigma, sigma)), want, 1e-6, f"sigma {sigma}:")
        near(apply(x, blur=(1, 0, 0)), x, 0, "sigma 0:")

    def test_flips(self):
        x = film(41, 30, 1)
        near(apply(x, flip_horizontal=1), x[:, ::-1], 1e-6, "left and right:")
        near(apply(x, flip_vertical=1), x[::-1], 1e-6, "up and down:")
        n = sum(np.abs(f - x).max() > 0.1 for f in apply(x, n=2000, flip_horizontal=0.3))
        assert stats.binomtest(n, 2000, 0.3).pvalue > 1e-3, n

    def test_quarter_turns(self):
        x = film(32, 32, 1)
        near(apply(x, rotation=(1, 90, 90)), np.rot90(x, -1), 2e-6, "clockwise:")
        near(apply(x, rotation=(1, 180, 180)), x[::-1, ::-1], 2e-6, "half a turn:")

    def test_places(self):
        """One thing at a time, at the film's size and at others, against the slow sum."""
        x = film(48, 40, 1, 1.5)
        r = math.radians(25)
        cases = {
            "rotation": (dict(rotation=(1, 25, 25)),
                         [[math.cos(r), math.sin(r), 0], [-math.sin(r), math.cos(r), 0]]),
            "scale up": (dict(scale=(1, 1.5, 1.5)), [[1 / 1.5, 0, 0], [0, 1 / 1.5, 0]]),
            "scale down": (dict(scale=(1, 0.6, 0.6)), [[1 / 0.6, 0, 0], [0, 1 / 0.6, 0]]),
            "aspect": (dict(aspect=(1, 1.44, 1.44)), [[1 / 1.2, 0, 0], [0, 1.2, 0]]),
            "shear": (dict(shear=(1, 10, 10)), [[1, -math.tan(math.radians(10)), 0], [0, 1, 0]]),
            "shift": (dict(shift_x=(1, 0.1, 0.1), shift_y=(1, -0.2, -0.2)), [[1, 0, -4.8], [0, 1, 8]]),
            "size alone": (dict(), [[1, 0, 0], [0, 1, 0]]),
        }
        for name, (options, matrix) in cases.items():
            for out in ((48, 40), (30, 33), (60, 80)):
                a, b = inner(apply(x, out=out, **options), resample(x, matrix, out), x, matrix)
                assert a.size > 0.2 * out[0] * out[1]
                near(a, b, 1e-5, f"{name} {out}:")

    def test_place_against_scipy(self):
        x = film(61, 61, 1, 2.0)
        r = math.radians(-17)
        m = np.array([[math.cos(r), -math.sin(r)], [math.sin(r), math.cos(r)]]) / 1.3
        want = ndimage.affine_transform(x.astype(float), m, np.array([30, 30]) - m @ (30, 30), order=1)
        near(apply(x, rotation=(1, -17, -17), scale=(1, 1.3, 1.3)), want, 1e-5)

    def test_no_aliasing(self):
        """Stripes too fine for a quarter of the size become grey, not other stripes."""
        x = np.tile(np.array([0, 1], np.float32), (64, 32))
        got = apply(x, out=(16, 16), rotation=(1, 1, 1))
        assert got[2:-2, 2:-2].std() < 0.02 and abs(got[2:-2, 2:-2].mean() - 0.5) < 0.02

    def test_crop(self):
        """A window of the film: a ramp keeps its slope, and windows lie everywhere inside."""
        x = np.tile(np.linspace(0, 1, 101, dtype=np.float32), (101, 1))
        starts = []
        for f in apply(x, out=(50, 50), n=400, crop=(1, 0.5, 0.5)):
            assert abs((f[25, 40] - f[25, 10]) / 30 - 0.5 / 50 * 1.01) < 2e-4
            starts.append(f[25, 24:26].mean())
        assert stats.kstest(starts, "uniform", args=(0.2475, 0.505)).pvalue > 1e-3
        assert len({round(float(s), 5) for s in starts}) > 350

    def test_jpeg(self):
        """Pillow's JPEG of the same quality, which rounds where we do not."""
        x = film(96, 64, 1, 1.0)
        for quality in (15, 50, 80):
            file = io.BytesIO()
            Image.fromarray(np.round(x * 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
            want = np.asarray(Image.open(file)) / 255
            got = apply(x, jpeg=(1, quality, quality))
            mean, lost = np.abs(got - want).mean(), np.abs(x - want).mean()
            print(f"# quality {quality}: {mean * 255:.2f} levels from Pillow, which lost {lost * 255:.2f}")
            assert mean * 255 < 0.6 and mean < 0.35 * lost
        near(apply(film(43, 29, 1), jpeg=(1, 100, 100)), film(43, 29, 1), 0.01, "quality 100, odd sides:")

    def test_noise(self):
        x = np.full((64, 64), 0.5, np.float32)
        f = apply(x, n=20, noise=(1, 0.05, 0.05)) - 0.5
        assert abs(f.std() - 0.05) < 0.0006 and abs(f.mean()) < 0.0006
        assert stats.kstest(f.ravel() / 0.05, "norm").pvalue > 1e-3
        sigmas = apply(x, n=300, noise=(1, 0, 0.08)).std((1, 2))
        assert stats.kstest(sigmas, "uniform", args=(0, 0.08)).pvalue > 1e-3
        bright = apply(np.ones((64, 64), np.float32), noise=(1, 0.5, 0.5))
        assert bright.max() == 1 and 0 <= bright.min() < 0.5

    def test_cutout(self):
        x = np.full((50, 80), 0.5, np.float32)
        n_whole = 0
        for f in apply(x, n=500, cutout=(0.6, 0.2, 0.2), cutout_count=1):
            changed = f != 0.5
            n_whole += not changed.any()
            if changed.any():
                ys, xs = np.nonzero(changed)
                box = changed[ys.min():ys.max() + 1, xs.min():xs.max() + 1]
                assert box.all() and box.shape[0] <= 11 and box.shape[1] <= 17
                assert np.unique(f[changed]).size == 1
        assert stats.binomtest(n_whole, 500, 0.4).pvalue > 1e-3, n_whole

    def test_border(self):
        x = np.full((100, 100), 0.5, np.float32)
        greys = 0
        for f in apply(x, n=300, border=(1, -0.1, 0.1), border_grey=0.3):
            assert (f[12:-12, 12:-12] == 0.5).all()
            for edge in (f[0], f[-1], f[:, 0], f[:, -1]):
                assert (edge == edge[50]).mean() > 0.75
            values = np.unique(f[f != 0.5])
            assert values.size <= 1
            greys += values.size == 1 and values[0] > 0
        assert 60 < greys < 120, greys

    def test_probability_and_order(self):
        """Each happens as often as said, and none moves what another draws."""
        x = film(32, 32, 1)
        many = dict(gamma=(0.5, 0.7, 1.4), rotation=(0.7, -10, 10), blur=(0.3, 0.5, 1.5))
        alone = apply(x, n=600, rotation=(0.7, -10, 10))
        n = sum(np.abs(f - x).max() > 0 for f in alone)
        assert stats.binomtest(n, 600, 0.7).pvalue > 1e-3, n
        together = apply(x, n=600, **many)
        same = sum((a == b).all() for a, b in zip(alone, together))
        assert stats.binomtest(same, 600, 0.5 * 0.7).pvalue > 1e-3, same
        assert (apply(x, n=5, **many) == together[:5]).all()
        assert (apply(x, n=5, seed=2, **many) != together[:5]).any()


if __name__ == "__main__":
    tap.run(Augment)
