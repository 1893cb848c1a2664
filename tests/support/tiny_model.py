"""A model package whose network can be computed by hand, good or broken on purpose.

The features are the image and its negative, the logits are [0, 10 * (mean - 0.5)], so the score of
"bright" is sigmoid(10 * (mean - 0.5) / T)."""
import hashlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 32


def graph(divide=False):
    """Conv -> Relu ("features") -> GlobalAveragePool -> Flatten -> Gemm ("logits"). With `divide`
    the logits are [10 * (mean - 0.5) * mean / mean, 0]: NaN for a black image."""
    first, second = ([10, 0], [0, 0]) if divide else ([0, 0], [10, 0])
    weights = {
        "w": np.array([1, -1], np.float32).reshape(2, 1, 1, 1),
        "b": np.array([0, 1], np.float32),
        "fc_w": np.array([first, second], np.float32),
        "fc_b": np.array([-first[0] / 2, -second[0] / 2], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["conv"], kernel_shape=[1, 1]),
        helper.make_node("Relu", ["conv"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc_w", "fc_b"], ["gemm" if divide else "logits"],
                         transB=1),
    ]
    if divide:
        weights["pick"] = np.array([[1, 0], [0, 0]], np.float32)  # [mean, 0]
        weights["add"] = np.array([0, 1], np.float32)  # [mean, 1]
        nodes += [
            helper.make_node("MatMul", ["flat", "pick"], ["mean"]),
            helper.make_node("Add", ["mean", "add"], ["divisor"]),
            helper.make_node("Div", ["mean", "divisor"], ["one"]),
            helper.make_node("Mul", ["gemm", "one"], ["logits"]),
        ]
    g = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(v, k) for k, v in weights.items()])
    model = helper.make_model(g, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()


MANIFEST = """medaid_model: 1
id: {id}
version: 1.2.3
name: Tiny test network
manufacturer: medaid tests
kind: image
network:
  file: model.onnx
  input: image
  output: logits
  activation: softmax
  precision: f32
accepts:
  modality: [CR, DX]
  sop_class: []
  body_part: [CHEST, THORAX]
  view: [AP, PA]
  photometric: [MONOCHROME1, MONOCHROME2]
  when_body_part_absent: refuse
  when_view_absent: accept
  min_age_years: 0
  max_age_years: 150
quality:
  min_rows: 200
  min_columns: 200
  min_contrast: {contrast}
  max_aspect: 3.0
  inverted_check: none
preprocess:
  values: display
  fit: stretch
  width: 32
  height: 32
  filter: area
  channels: 1
  mean: [0]
  std: [1]
calibration:
  method: temperature
  temperature: 2.0
  error: 0.01
findings:
  - key: bright
    concept: {{code: "111211", scheme: DCM, meaning: Under exposed}}
    site: {{code: "39607008", scheme: SCT, meaning: Lung}}
    classes: [{bright}]
    threshold: 0.5
    urgent: true
  - key: dark
    concept: {{code: "111212", scheme: DCM, meaning: Over exposed}}
    classes: [{dark}]
    threshold: 0.5
    undetermined: [0.0, 1.0]
saliency:
  method: grad-cam
  features: features
training:
  data: none
  seed: 1
performance:
  set: validation
  n_images: 10
  n_patients: 5
  accuracy: [0.9, 0.8, 1.0]
intended_use: >
  For tests,
  never for people.
self_test:
  input: in.f32
  expected: out.f32
  tolerance: 0.0001
files:
  model.onnx: {model}
  in.f32: {input}
  out.f32: {expected}
"""


def sha(data):
    return hashlib.sha256(data).hexdigest()


def write(folder, network=None, edit=None, model_id="tiny", bright=1, contrast=0.05, input_bytes=None,
          expected_bytes=None):
    """A package in this new folder; `edit` = (old, new) changes the manifest's text."""
    folder.mkdir(parents=True)
    ramp = np.linspace(0, 1, SIDE * SIDE, dtype=np.float32)
    logit = 10 * (ramp.mean() - 0.5)
    expected = np.array([[0, logit]] if bright == 1 else [[logit, 0]], "<f4")
    data = {
        "model.onnx": network if network is not None else graph(),
        "in.f32": input_bytes if input_bytes is not None else ramp.astype("<f4").tobytes(),
        "out.f32": expected_bytes if expected_bytes is not None else expected.tobytes(),
    }
    for file, content in data.items():
        (folder / file).write_bytes(content)
    text = MANIFEST.format(id=model_id, bright=bright, dark=1 - bright, contrast=contrast,
                           model=sha(data["model.onnx"]), input=sha(data["in.f32"]),
                           expected=sha(data["out.f32"]))
    if edit:
        changed = text.replace(*edit)
        assert changed != text, edit
        text = changed
    (folder / "model.yaml").write_text(text)
    return folder
