"""Augmentation of chest films in batches, meant to take away what is not lung.

In this data the classes differ in ways that have nothing to do with pneumonia: normals are sharper
(larger originals), blacker outside the body, squeezed sideways less and framed wider. Each step below
breaks one of these ties: tone (histogram of another film, either class), sharpness (radial spectrum of
another film, blur), framing (independent zoom, shift, stretch), borders and markers (blackout, cutout),
compression (JPEG-like quantisation).
"""
import math

import torch
import torch.nn.functional as F

BINS = 113  # radial frequency bins, 0..112 cycles per film

_LUMA = torch.tensor([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99]).float().view(8, 8)
_k = torch.arange(8).float()
_DCT = torch.cos((2 * _k[None] + 1) * _k[:, None] * math.pi / 16) / 2
_DCT[0] /= math.sqrt(2)


def _radius(n):
    fy = torch.fft.fftfreq(n)[:, None] * n
    fx = torch.fft.rfftfreq(n)[None] * n
    return (fy * fy + fx * fx).sqrt()


class Styles:
    """Tone and sharpness of each film of a uint8 set [N,224,224]."""

    def __init__(self, images):
        n = images.shape[-1]
        r = _radius(n)
        self.bin = r.round().clamp(max=BINS - 1).long()
        self.freq = r / n  # cycles per pixel
        m = n // 10
        count = torch.zeros(BINS).scatter_add_(0, self.bin.flatten(), torch.ones(self.bin.numel()))
        cdf, spec = [], []
        for s in range(0, len(images), 64):
            u = images[s:s + 64]
            c = u[:, m:-m, m:-m].reshape(len(u), -1).long()  # without the borders
            h = torch.zeros(len(u), 256).scatter_add_(1, c, torch.ones(c.shape))
            cdf.append(((h.cumsum(1) - h / 2) / c.shape[1]))
            a = torch.fft.rfft2(u.float() / 255).abs().square().flatten(1)
            p = torch.zeros(len(u), BINS).scatter_add_(1, self.bin.flatten().expand(len(u), -1), a)
            spec.append(F.avg_pool1d(((p / count + 1e-6).log() / 2)[:, None], 5, 1, 2,
                                     count_include_pad=False)[:, 0])
        self.cdf = torch.cat(cdf)
        self.spec = torch.cat(spec)

    def tone(self, i, j):
        """Look-up tables [B,256], 0..1, that give films i the histogram of films j."""
        a, b = self.cdf[i], self.cdf[j].contiguous()
        hi = torch.searchsorted(b, a.contiguous()).clamp(1, 255)
        x0, x1 = b.gather(1, hi - 1), b.gather(1, hi)
        f = ((a - x0) / (x1 - x0).clamp(min=1e-6)).clamp(0, 1)
        return (hi - 1 + f) / 255

    def sharpness(self, i, j, strength, sigma):
        """Gains [B,n,n/2+1] towards the radial spectrum of films j, and a Gaussian blur."""
        g = (self.spec[j] - self.spec[i]) * strength[:, None]
        g[:, :4] = 0  # overall shading stays
        g = g.clamp(-1.5, 1.5).exp()[:, self.bin]
        return g * torch.exp(-2 * (math.pi * self.freq) ** 2 * sigma[:, None, None] ** 2)


def filtered(x, gain):
    return torch.fft.irfft2(torch.fft.rfft2(x) * gain, s=x.shape[-2:]).clamp(0, 1)


def jpeg(x, quality):
    """Quantise 8x8 DCT blocks of x [B,H,W], 0..1, as a JPEG of each quality would."""
    b, h, w = x.shape
    q = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    t = ((_LUMA * q[:, None, None] + 50) / 100).floor().clamp(1, 255)[:, None, :, None, :]
    y = (x * 255 - 128).view(b, h // 8, 8, w // 8, 8)
    y = torch.einsum("ui,bhiwj,vj->bhuwv", _DCT, y, _DCT)
    y = (y / t).round() * t
    y = torch.einsum("ui,bhuwv,vj->bhiwj", _DCT, y, _DCT)
    return ((y.reshape(b, h, w) + 128) / 255).clamp(0, 1)


def uniform(b, lo, hi):
    return torch.rand(b) * (hi - lo) + lo


def where(p, a, b):
    """a with probability p, else b, for each film."""
    return torch.where(torch.rand(len(a)) < p, a, b)


def augment(u8, i, styles, size, style=True):
    """Films u8 [B,224,224] (numbers i of `styles`) -> [B,size,size], 0..1."""
    b = len(u8)
    j = torch.randint(len(styles.cdf), (b,))
    zero, one = torch.zeros(b), torch.ones(b)

    grey = torch.arange(256).float().expand(b, 256) / 255
    if style:
        k = where(0.6, uniform(b, 0.3, 1.0), zero)[:, None]
        grey = grey * (1 - k) + styles.tone(i, j) * k
    gamma = where(0.7, uniform(b, -0.4, 0.4).exp(), one)[:, None]
    contrast = where(0.7, uniform(b, 0.65, 1.3), one)[:, None]
    shift = where(0.7, uniform(b, -0.15, 0.15), zero)[:, None]
    grey = ((grey ** gamma - 0.48) * contrast + 0.48 + shift).clamp(0, 1)
    x = grey.gather(1, u8.reshape(b, -1).long()).view(b, *u8.shape[1:])

    if style:
        strength = where(0.5, uniform(b, 0.2, 1.0), zero)
        sigma = where(0.3, uniform(b, 0.3, 1.5), zero)
        k = ((strength > 0) | (sigma > 0)).nonzero()[:, 0]
        if len(k):
            x[k] = filtered(x[k], styles.sharpness(i[k], j[k], strength[k], sigma[k]))

    # framing: window of 0.68..1.1 of each side, independently, about a moved centre
    s = uniform(b, 0.76, 1.06)
    stretch = uniform(b, -0.14, 0.14)
    sx, sy = (s * stretch.exp()).clamp(0.66, 1.15), (s * (-stretch).exp()).clamp(0.66, 1.15)
    angle = where(0.7, uniform(b, -0.17, 0.17), zero)
    shear = where(0.3, uniform(b, -0.1, 0.1), zero)
    flip = where(0.5, -one, one)
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack([
        torch.stack([flip * sx * cos, sy * (shear * cos - sin), uniform(b, -0.16, 0.16)], 1),
        torch.stack([flip * sx * sin, sy * (shear * sin + cos), uniform(b, -0.16, 0.16)], 1)], 1)
    x = F.grid_sample(x[:, None], F.affine_grid(theta, (b, 1, size, size), align_corners=False),
                      mode="bilinear", padding_mode="zeros", align_corners=False)[:, 0]

    k = (torch.rand(b) < 0.2).nonzero()[:, 0]
    if style and len(k):
        x[k] = jpeg(x[k], uniform(len(k), 15, 80))
    k = (torch.rand(b) < 0.3).nonzero()[:, 0]
    if len(k):
        x[k] = x[k] + torch.randn(len(k), size, size) * uniform(len(k), 0, 0.04)[:, None, None]

    pos = (torch.arange(size).float() + 0.5) / size
    row, col = pos[None, :, None], pos[None, None, :]
    v = lambda lo, hi: uniform(b, lo, hi)[:, None, None]  # noqa: E731
    edge = (row < v(-0.05, 0.12)) | (row > v(0.88, 1.05)) | (col < v(-0.05, 0.12)) | (col > v(0.88, 1.05))
    edge &= (torch.rand(b) < 0.25)[:, None, None]
    x = torch.where(edge, where(0.7, zero, uniform(b, 0, 1))[:, None, None], x)
    for p in (0.35, 0.2):
        hole = ((row - v(0, 1)).abs() < v(0.02, 0.11)) & ((col - v(0, 1)).abs() < v(0.02, 0.11))
        hole &= (torch.rand(b) < p)[:, None, None]
        x = torch.where(hole, v(0, 1), x)
    return x.clamp(0, 1)
