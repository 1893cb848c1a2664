"""Packages of kind text and risk that can be computed by hand, good or broken on purpose.

The text network is a table: each token of the vocabulary asks for a share of the attention
(softmax over ASKS) and says something of the two labels (SAYS); the logits are the mean of what
the tokens say, weighed by their shares. The risk model is a line through the logistic function."""
import json
import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tiny_model import sha

TOKENS = 8
WORDS = ["fever", "!fever", "pneumonia", "!pneumonia", "routine"]
VOCABULARY = "medaid_vocabulary 1\n<pad>\n<unknown>\n!\n" + "".join(w + "\n" for w in WORDS)
ASKS = [-1e9, -2, 0, 2, 0, 3, 1, 0]
SAYS = [[9, 9], [0, 0], [0, 1], [3, -3], [-1, 1], [4, -4], [-3, 3], [-4, 4]]


def logits_of(numbers):
    """Of token numbers; what the network gives."""
    share = np.exp(np.array([ASKS[t] for t in numbers], np.float64))
    return (share / share.sum()) @ np.array([SAYS[t] for t in numbers], np.float64)


def attention_of(numbers):
    share = np.exp(np.array([ASKS[t] for t in numbers], np.float64))
    return share / share.sum()


def text_graph(nan=False):
    asks = np.array(ASKS, np.float32).reshape(-1, 1)
    says = np.array(SAYS, np.float32)
    if nan:
        says[3] = np.nan
    nodes = [
        helper.make_node("Gather", ["asks", "tokens"], ["asked"]),
        helper.make_node("Gather", ["says", "tokens"], ["said"]),
        helper.make_node("Reshape", ["asked", "flat"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("Reshape", ["shares", "row"], ["weights"]),
        helper.make_node("MatMul", ["weights", "said"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "flat"], ["logits"]),
        helper.make_node("Identity", ["shares"], ["attention"]),
    ]
    g = helper.make_graph(
        nodes, "tiny-text", [helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, TOKENS])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2]),
         helper.make_tensor_value_info("attention", TensorProto.FLOAT, [1, TOKENS])],
        [numpy_helper.from_array(asks, "asks"), numpy_helper.from_array(says, "says"),
         numpy_helper.from_array(np.array([1, -1], np.int64), "flat"),
         numpy_helper.from_array(np.array([1, 1, -1], np.int64), "row")])
    model = helper.make_model(g, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()


TEXT_MANIFEST = """medaid_model: 1
id: {id}
version: 1.0.0
name: Tiny order reader
manufacturer: medaid tests
kind: text
network:
  file: model.onnx
  activation: sigmoid
text:
  vocabulary: vocabulary.txt
  attributes: [ReasonForStudy, AdditionalPatientHistory, StudyDescription, Report]
accepts:
  modality: [CR, DX, SR]
findings:
  - key: urgent
    concept: {{code: "103391001", scheme: SCT, meaning: Urgent}}
    classes: [0]
    threshold: 0.5
    urgent: true
  - key: normal
    concept: {{code: "17621005", scheme: SCT, meaning: Normal}}
    classes: [1]
    threshold: 0.5
intended_use: For tests, never for people.
self_test:
  input: selftest.txt
  expected: selftest.f32
  tolerance: 0.0001
files:
  model.onnx: {model}
  vocabulary.txt: {vocabulary}
  selftest.txt: {text}
  selftest.f32: {expected}
"""

RISK_MANIFEST = """medaid_model: 1
id: {id}
version: 1.0.0
name: Tiny triage score
manufacturer: medaid tests
kind: risk
risk:
  file: risk.json
  least_known: 2
  attributes: {{vital.heart_rate: "0018,1088"}}
accepts: {{modality: [CR, DX, SR]}}
findings:
  - key: triage
    concept: {{code: "225390008", scheme: SCT, meaning: Triage}}
    threshold: 0.5
    urgent: true
intended_use: For tests, never for people.
self_test:
  input: row.f32
  expected: answer.f32
  tolerance: 0.0001
files:
  risk.json: {risk}
  row.f32: {row}
  answer.f32: {answer}
"""

# name, low, high, reference, what stands for it when it is missing, coefficient
FEATURES = [
    ("finding.bright", 0, 1, 0.5, 0.5, 2.0),
    ("text.urgent", 0, 1, 0.5, 0.5, 3.0),
    ("patient.age_years", 0, 120, 50, 60, 0.02),
    ("vital.heart_rate", 20, 250, 80, 80, 0.01),
]
INTERCEPT = -4.0


def risk_of(values):
    """Of values in the order of FEATURES, NaN for missing."""
    s = INTERCEPT
    for value, (_, low, high, _, missing, weight) in zip(values, FEATURES):
        s += weight * (missing if math.isnan(value) else min(max(value, low), high))
    return 1 / (1 + math.exp(-s))


def risk_json(**changes):
    """The model file; a change to None leaves the key out."""
    model = {
        "medaid_risk": 1, "name": "triage", "meaning": "read first", "unit": "1", "note": "for tests",
        "answer": "score", "kind": "linear", "link": "logistic", "a": 1, "b": 0,
        "features": [{"name": n, "unit": "1", "low": low, "high": high, "reference": ref, "missing": missing}
                     for n, low, high, ref, missing, _ in FEATURES],
        "linear": {"intercept": INTERCEPT, "coefficients": [f[5] for f in FEATURES]},
    }
    model.update(changes)
    return json.dumps({key: value for key, value in model.items() if value is not None}).encode()


def put(folder, data, text, edit):
    folder.mkdir(parents=True)
    for name, content in data.items():
        (folder / name).write_bytes(content)
    if edit:
        changed = text.replace(*edit)
        assert changed != text, edit
        text = changed
    (folder / "model.yaml").write_text(text)
    return folder


def write_text(folder, edit=None, model_id="tiny-text", network=None, vocabulary=VOCABULARY, expected=None,
               text=b"Fever and pneumonia"):
    """A text package in this new folder; `edit` = (old, new) changes the manifest's text."""
    if expected is None:
        expected = logits_of([3, 1, 5]).astype("<f4").tobytes()
    data = {"model.onnx": network or text_graph(), "vocabulary.txt": vocabulary.encode(), "selftest.txt": text,
            "selftest.f32": expected}
    manifest = TEXT_MANIFEST.format(id=model_id, model=sha(data["model.onnx"]),
                                    vocabulary=sha(data["vocabulary.txt"]), text=sha(data["selftest.txt"]),
                                    expected=sha(data["selftest.f32"]))
    return put(folder, data, manifest, edit)


def write_risk(folder, edit=None, model_id="tiny-risk", model=None, answer=None):
    """A risk package, likewise."""
    row = np.array([0.9, np.nan, 70, np.nan], "<f4")
    data = {"risk.json": model or risk_json(), "row.f32": row.tobytes(),
            "answer.f32": answer or np.array([risk_of([float(v) for v in row])], "<f4").tobytes()}
    manifest = RISK_MANIFEST.format(id=model_id, risk=sha(data["risk.json"]), row=sha(data["row.f32"]),
                                    answer=sha(data["answer.f32"]))
    return put(folder, data, manifest, edit)
