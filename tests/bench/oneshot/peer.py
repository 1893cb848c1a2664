#!/usr/bin/python3
"""The peer of the benchmark: what a data scientist writes with pydicom and torch. Reads one film,
applies window and photometric interpretation, resizes with anti-aliasing, runs the network.

usage: peer.py FILM NETWORK.pt MEAN STD. Prints the logits.
"""
import sys

import numpy as np
import pydicom
import torch

film = pydicom.dcmread(sys.argv[1])
pixels = torch.from_numpy(film.pixel_array.astype(np.float32))
center, width = float(film.WindowCenter), float(film.WindowWidth)
display = ((pixels - (center - 0.5)) / (width - 1) + 0.5).clamp(0, 1)
if film.PhotometricInterpretation == "MONOCHROME1":
    display = 1 - display
image = torch.nn.functional.interpolate(display[None, None], size=(224, 224), mode="bilinear",
                                        align_corners=False, antialias=True)
mean, std = float(sys.argv[3]), float(sys.argv[4])
network = torch.jit.load(sys.argv[2]).eval()
with torch.no_grad():
    print(network((image - mean) / std).tolist())
