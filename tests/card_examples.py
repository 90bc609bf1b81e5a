"""Cards that are sound: everything a card can hold, and cards as earlier versions wrote them."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

SUITE = {"name": "digits_held_out", "digest": "5f" * 32}
CONTEXT: dict[str, Any] = {
    "modality": "images",
    "input_range": [0.0, 1.0],
    "data": {"name": "digits", "split_seed": 0, "limit": 500},
    "data_digest": "0a" * 32,
    "model": {"name": "mlp", "hidden": [8]},
    "epochs": 10,
    "batch_size": 64,
    "clip": 1.0,
    "mode": "fused",
    "score_mode": None,
    "optimizer": {"name": "adamw", "lr": 0.01, "options": {}},
    "seed": 0,
    "seeds": [0, 4035225266123964416],
    "suite": {"name": "digits", "digest": "1b" * 32},
    "suite_note": "uncalibrated: published strengths for elastic",
    "sweep": "default-digits-mlp-000000",
    "trial": 7,
    "rule": "knee",
    "scores": {"kind": "searched, on validation: optimistic", "seeds": 2, "clean": 0.9},
    "versions": {"noise_search": "0.1.0", "torch": "2.13.0"},
    "notes": ["anything", {"of": "ours", "n": 3, "none": None, "yes": True}],
}
POINT = {"mean": 0.9, "low": 0.88, "high": 0.92}
SEARCHED: dict[str, Any] = {
    "kind": "searched",
    "split": "validation",
    "seeds": [0],
    "test_reads": 0,
    "arms": {"winner": {"clean": {"mean": 0.9}, "robust": {"mean": 0.7}}},
}
CONFIRMED: dict[str, Any] = {
    "kind": "confirmed",
    "split": "test",
    "suite": SUITE,
    "seeds": [11, 12, 13, 14, 15],
    "test_reads": 1,
    "confidence": 0.95,
    "arms": {
        "winner": {"clean": POINT, "robust": {"mean": 0.7, "low": 0.66, "high": 0.74}, "robust_seen": POINT},
        "no_noise": {"clean": {"mean": 0.99, "low": 0.97, "high": 1.01}, "robust": POINT},
    },
    "gains": {
        "no_noise": {"clean": {"mean": -0.01, "low": -0.03, "high": 0.01, "p_value": 0.2}, "robust": POINT},
        "scheduling": {"robust": {"mean": 0.0, "low": -0.02, "high": 0.02}},
    },
}


def evidence(kind: dict[str, Any], path: str = "", value: Any = None, *, without: bool = False) -> dict[str, Any]:
    """Evidence with one value changed or left out, by its dotted path."""
    made: dict[str, Any] = json.loads(json.dumps(kind))  # a deep copy, also of what occurs twice
    *parents, last = path.split(".")
    node = made
    for name in parents:
        node = node[name]
    if without:
        del node[last]
    elif path:
        node[last] = deepcopy(value)
    return made


GAUSSIAN = "terms:\n- site: inputs\n  noise: gaussian\n  magnitude: 0.2\n"
OLD_CARDS = {
    "of the first sweeps": f"""version: 1
{GAUSSIAN}  fraction: 0.5
  level: uniform
  schedule:
    kind: linear
    a: 0.0
    b: 1.0
    start: 0.0
    stop: 0.7
context:
  modality: images
  input_range: [0.0, 1.0]
  data:
    name: digits
    split_seed: 0
  data_digest: {"0a" * 32}
  model:
    name: cnn
    channels: [16, 32]
  epochs: 10
  batch_size: 64
  optimizer:
    name: adamw
    lr: 0.003
    weight_decay: 0.01
    lr_schedule: cosine
    options: {{}}
  seed: 0
  suite:
    name: digits
    digest: {"1b" * 32}
  sweep: default-digits-cnn-fd5e8a
  trial: 12
  rule: best
  scores:
    kind: 'searched, on validation: optimistic'
    clean: 0.9412
    robust: 0.7128
    worst_family: 0.6
    score: 0.827
  versions:
    noise_search: 0.1.0
    torch: 2.13.0+cpu
""",
    "of one's own data and model": f"""version: 1
{GAUSSIAN}  schedule:
    kind: constant
context:
  modality: tabular
  input_range: null
  data:
    name: mine
    split_seed: 3
    limit: 100
  data_digest: {"0a" * 32}
  model:
    _target_: my_models.Net
    width: 3
  epochs: 2
  batch_size: 8
  clip: null
  mode: looped
  score_mode: looped
  optimizer:
    name: sgd
  seed: 1
  suite:
    name: literature
    digest: {"1b" * 32}
  suite_note: 'uncalibrated: published strengths'
  sweep: mine
  trial: 0
  rule: min-clean=0.9
  scores:
    kind: 'searched, on validation: optimistic'
    seeds: 2
    clean: 0.9
  versions:
    noise_search: 0.1.0
    torch: 2.13.0+cpu
""",
    "as the design writes one": """version: 1
terms: [{site: inputs, noise: gaussian, magnitude: .18, fraction: .6, level: uniform,
         schedule: {kind: linear, a: 0, b: 1, start: 0, stop: .7}}]
context: {modality: images, input_range: [0, 1], data: digits, model: cnn, epochs: 10}
""",
    "by hand": f"version: 1\n{GAUSSIAN}context:\n",
    "of no noise": "version: 1\nterms: []\n",
}
