#!/usr/bin/python3
"""Write model packages for the tests, one good and many broken (tests/support/tiny_model.py).
usage: make_packages.py FOLDER"""
import pathlib
import sys

import numpy as np
import onnx

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
import study_models  # noqa: E402
import tiny_model  # noqa: E402
from tiny_model import graph  # noqa: E402

ROOT = pathlib.Path(sys.argv[1])


def write(name, after=None, **options):
    """A package ROOT/name/p; `after` changes the folder."""
    folder = tiny_model.write(ROOT / name / "p", **options)
    if after:
        after(folder)
    return folder


def link_out(folder):
    (folder / "model.onnx").rename(folder.parent / "outside.onnx")
    (folder / "model.onnx").symlink_to("../outside.onnx")


def flip_byte(folder):
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(data)


write("good")
write("no-gate", contrast=0)
write("nan", network=graph(divide=True), bright=0, contrast=0,
      edit=("saliency:\n  method: grad-cam\n  features: features\n", ""))
write("two", model_id="first")
write("two-q", model_id="second").rename(ROOT / "two" / "q")
write("two-r", model_id="first").rename(ROOT / "two" / "r")
(ROOT / "two" / "s").mkdir()
(ROOT / "two" / "s" / "model.yaml").write_text("medaid_model: 2\n")
(ROOT / "two" / "empty").mkdir()
(ROOT / "two" / "text.so").write_text("this is no library\n")

# "second" looks only at what "first", a gate, calls bright; and the other ways round
AFTER = "after: {model: first, finding: bright%s}\naccepts:"
GATE = ("accepts:", "role: gate\naccepts:")
for name, gate, edit in (("gated", True, AFTER % ""), ("gated-absent", True, AFTER % ", when: absent"),
                         ("chained", False, AFTER % ""), ("gated-narrow", "narrow", AFTER % ""),
                         ("gated-finding", True, AFTER.replace("bright", "bleak") % "")):
    write(name, model_id="second", edit=("accepts:", edit))
    # its folder's name comes later, so order does not decide
    folder = write(name + "-gate", model_id="first", edit=GATE if gate else None)
    if gate == "narrow":
        text = (folder / "model.yaml").read_text()
        (folder / "model.yaml").write_text(text.replace("modality: [CR, DX]", "modality: [CR]"))
    folder.rename(ROOT / name / "q")
# a gate that is never sure, one whose network gives no number, and one of another version
write("gated-unsure", model_id="second", edit=("accepts:", "after: {model: first, finding: dark, when: absent}\naccepts:"))
write("gated-unsure-q", model_id="first", edit=GATE).rename(ROOT / "gated-unsure" / "q")
write("gated-nan", model_id="second", contrast=0, edit=("accepts:", AFTER % ", when: absent"))
folder = write("gated-nan-q", network=graph(divide=True), bright=0, contrast=0, model_id="first",
               edit=("saliency:\n  method: grad-cam\n  features: features\n", ""))
(folder / "model.yaml").write_text((folder / "model.yaml").read_text().replace(*GATE))
folder.rename(ROOT / "gated-nan" / "q")
write("gated-newer", model_id="second", edit=("accepts:", AFTER % ""))
folder = write("gated-newer-q", model_id="first", edit=GATE)
(folder / "model.yaml").write_text((folder / "model.yaml").read_text().replace("version: 1.2.3", "version: 1.2.4"))
folder.rename(ROOT / "gated-newer" / "q")
write("gate-alone", model_id="first", edit=GATE)
write("gate-missing", model_id="second", edit=("accepts:", AFTER % ""))
write("gate-missing-q").rename(ROOT / "gate-missing" / "q")
write("gate-loop", model_id="first", edit=("accepts:", "after: {model: second, finding: dark}\naccepts:"))
write("gate-loop-q", model_id="second", edit=("accepts:", AFTER % "")).rename(ROOT / "gate-loop" / "q")

CAM = "method: grad-cam\n  features: features"
MAPS = {
    "pp": "method: grad-cam++\n  features: features",
    "deep": "method: grad-cam\n  features: conv",
    "deep-pp": "method: grad-cam++\n  features: conv",
    "ig": "method: integrated-gradients\n  steps: 8\n  cell: 8",
    "ig-mean": "method: integrated-gradients\n  baseline: mean",
    "sg": "method: smooth-grad\n  samples: 4\n  noise: 0.2\n  seed: 7\n  cell: 1",
}
for key, text in MAPS.items():
    write("map-" + key, edit=(CAM, text))
odd = onnx.load_from_string(graph())
odd.graph.node[1].op_type = "Erf"
odd.graph.node[1].name = "odd_one"
odd_bytes = odd.SerializeToString()
# erf is no Relu: the self-test's output is another one, but the method is refused before it runs
for key in ("ig", "deep"):
    write("bad-map-" + key, network=odd_bytes, edit=(CAM, MAPS[key]))
whole = graph()
write("bad-truncated", network=whole[:len(whole) // 2])
write("bad-hash", after=flip_byte)
write("bad-link", after=link_out)
write("bad-missing", after=lambda f: (f / "in.f32").unlink())
write("bad-self-test", expected_bytes=np.array([[0, 1]], "<f4").tobytes())
write("bad-self-test-nan", expected_bytes=np.array([[0, np.nan]], "<f4").tobytes())
write("bad-self-test-short", input_bytes=b"\0" * 16)
write("bad-self-test-long", expected_bytes=np.zeros((1, 3), "<f4").tobytes())
write("bad-folder-file", after=lambda f: ((f / "in.f32").unlink(), (f / "in.f32").mkdir()))
EDITS = {
    "escape": ("file: model.onnx", "file: ../model.onnx"),
    "absolute": ("  in.f32: ", "  /etc/passwd: "),
    "hidden": ("file: model.onnx", "file: .model.onnx"),
    "unlisted": ("  out.f32: ", "  other.f32: "),
    "short-hash": ("  in.f32: ", "  in.f32: 00 #"),
    "unknown-key": ("  fit: stretch", "  fitt: stretch"),
    "kind": ("kind: image", "kind: sound"),
    "id": ("id: tiny", "id: Tiny"),
    "input-name": ("input: image", "input: picture"),
    "output-name": ("output: logits", "output: scores"),
    "features-name": ("features: features", "features: nothing"),
    "size": ("width: 32", "width: 64"),
    "channels": ("channels: 1", "channels: 3"),
    "two-channels": ("channels: 1", "channels: 2"),
    "std": ("std: [1]", "std: [0]"),
    "class": ("classes: [1]", "classes: [2]"),
    "class-all": ("classes: [1]", "classes: [0, 1]"),
    "class-twice": ("classes: [1]", "classes: [1, 1]"),
    "no-findings": ("key: dark", "key: bright"),
    "undetermined": ("undetermined: [0.0, 1.0]", "undetermined: [0.6, 0.9]"),
    "undetermined-one": ("undetermined: [0.0, 1.0]", "undetermined: [0.5]"),
    "threshold": ("threshold: 0.5", "threshold: 1.5"),
    "sigmoid-sum": ("activation: softmax", "activation: sigmoid"),
    "interval": ("accuracy: [0.9, 0.8, 1.0]", "accuracy: [0.9, 0.95, 1.0]"),
    "age": ("min_age_years: 0", "min_age_years: 151"),
    "age-order": ("max_age_years: 150", "max_age_years: 10\n  min_age_years: 12"),
    "same-file": ("expected: out.f32", "expected: in.f32"),
    "precision": ("precision: f32", "precision: f16"),
    "modality": ("[CR, DX]", "[cr]"),
    "no-use": ("intended_use: >\n  For tests,\n  never for people.\n", ""),
    "sop-class": ("sop_class: []", "sop_class: [1.2.x]"),
    "map-method": ("grad-cam\n", "gradcam\n"),
    "map-features": ("  features: features\n", ""),
    "map-steps": (CAM, CAM + "\n  steps: 16"),
    "map-few-steps": (CAM, "method: integrated-gradients\n  steps: 4"),
    "map-noise": (CAM, "method: smooth-grad\n  noise: 0.9"),
    "after-self": ("accepts:", "after: {model: tiny, finding: dark}\naccepts:"),
    "after-gate": ("accepts:", "role: gate\nafter: {model: other, finding: dark}\naccepts:"),
    "gate-required": ("accepts:", "role: gate\nrequired: {count: 2}\naccepts:"),
    "after-when": ("accepts:", "after: {model: other, finding: dark, when: sure}\naccepts:"),
    "views": ("calibration:", "test_time: {shift: 0.01}\ncalibration:"),
    "views-key": ("calibration:", "test_time: {flipp: true}\ncalibration:"),
    "map-cell": (CAM, "method: smooth-grad\n  cell: 5"),
    "map-pixels": (CAM, "method: smooth-grad\n  features: features"),
    "map-past": (CAM, "method: grad-cam\n  features: pooled"),
    "activation-none": ("activation: softmax", "activation: none"),
}
for key, change in EDITS.items():
    if key == "sigmoid-sum":
        write("bad-" + key, edit=change, after=lambda f: (f / "model.yaml").write_text(
            (f / "model.yaml").read_text().replace("classes: [1]", "classes: [0, 1]")))
    elif key == "age-order":
        write("bad-" + key, edit=("min_age_years: 0\n  max_age_years: 150",
                                  "min_age_years: 12\n  max_age_years: 10"))
    else:
        write("bad-" + key, edit=change)

# ---- kind text and risk ----


write("beyond")
study_models.write_text(ROOT / "beyond" / "q")
study_models.write_risk(ROOT / "beyond" / "r")
study_models.write_text(ROOT / "text" / "p")
study_models.write_risk(ROOT / "risk" / "p")
# one image package that serves, beside one of each kind that does not
write("half")
study_models.write_text(ROOT / "half" / "q", edit=("classes: [1]", "classes: [2]"))
study_models.write_risk(ROOT / "half" / "r", edit=("threshold: 0.5", "threshold: 1.5"))
write("nan-text")
study_models.write_text(ROOT / "nan-text" / "q", network=study_models.text_graph(nan=True),
                        text=b"pneumonia", expected=study_models.logits_of([5]).astype("<f4").tobytes())
study_models.write_risk(ROOT / "nan-text" / "r")
TEXT_EDITS = {
    "attribute": ("[ReasonForStudy, ", "[PatientName, "),
    "twice": ("[ReasonForStudy, ", "[StudyDescription, "),
    "no-attribute": ("[ReasonForStudy, AdditionalPatientHistory, StudyDescription, Report]", "[]"),
    "preprocess": ("findings:", "preprocess: {width: 3}\nfindings:"),
    "vocabulary": ("vocabulary: vocabulary.txt", "vocabulary: model.onnx"),
    "output": ("activation: sigmoid", "activation: sigmoid\n  output: other"),
    "kind": ("kind: text", "kind: sound"),
}
for key, edit in TEXT_EDITS.items():
    study_models.write_text(ROOT / ("bad-text-" + key) / "p", edit=edit)
study_models.write_text(ROOT / "bad-text-self-test" / "p", expected=np.zeros(2, "<f4").tobytes())
study_models.write_text(ROOT / "bad-text-words" / "p", vocabulary="medaid_vocabulary 1\n<pad>\nfever\n")
RISK_EDITS = {
    "two": ("intended_use:", "  - key: other\n    concept: {code: \"1\", scheme: 99X, meaning: y}\n"
            "    threshold: 0.5\nintended_use:"),
    "range": ("least_known: 2", "range: [0, 10]"),
    "tag": ('"0018,1088"', '"heart rate"'),
    "feature": ("vital.heart_rate:", "vital.heart_beat:"),
    "network": ("risk:\n", "network: {file: risk.json}\nrisk:\n"),
}
for key, edit in RISK_EDITS.items():
    study_models.write_risk(ROOT / ("bad-risk-" + key) / "p", edit=edit)
study_models.write_risk(ROOT / "bad-risk-self-test" / "p", answer=np.zeros(1, "<f4").tobytes())
study_models.write_risk(ROOT / "bad-risk-json" / "p", model=b"{\"medaid_risk\": 1, \"name\": NaN}")
study_models.write_risk(ROOT / "bad-risk-value" / "p",
                        model=study_models.risk_json(answer="value", link="identity", unit="min", a=None,
                                                      b=None))
