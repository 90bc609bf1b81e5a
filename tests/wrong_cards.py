"""Cards that are refused: the text of each, and how every line that is said of it begins behind its path."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import yaml
from card_examples import CONFIRMED, SEARCHED, evidence

from noise_search.noises import NOISES
from noise_search.policy.context import CONTEXT_FIELDS
from noise_search.policy.evidence import ARMS
from noise_search.schedules import SCHEDULES

GAUSSIAN: dict[str, Any] = {
    "site": "inputs",
    "noise": "gaussian",
    "magnitude": 0.2,
    "fraction": 0.5,
    "level": "uniform",
    "schedule": {"kind": "linear", "a": 0, "b": 1, "start": 0, "stop": 0.7},
}
SITES = sorted(NOISES)
KEYS = ["version", "terms", "context", "evidence", "rescale", "not_for"]
TERM_KEYS = ["fraction", "level", "magnitude", "noise", "schedule", "site", "unit"]
MODALITIES = ["audio", "images", "tabular"]


def card_of(*terms: Any, **changes: Any) -> str:
    return yaml.safe_dump({"version": 1, "terms": [deepcopy(term) for term in terms], "context": {}, **changes})


def term_with(**changes: Any) -> str:
    return card_of({**GAUSSIAN, **changes})


def context_with(**context: Any) -> str:
    return card_of(context=context)


def evidence_of(*arguments: Any, **changes: Any) -> str:
    return card_of(evidence=evidence(*arguments, **changes))


def term_without(key: str) -> str:
    return card_of({name: value for name, value in GAUSSIAN.items() if name != key})


MAGNITUDE = ": terms[0].magnitude: expected a number in [0, 10], got"
FRACTION = ": terms[0].fraction: expected a number in [0, 1], got"
BAD_CARDS: dict[str, tuple[str, list[str]]] = {
    "an empty file": ("", [f": expected a card with {KEYS}, got None"]),
    "a list": ("- 1\n- 2\n", [f": expected a card with {KEYS}, got [1, 2]"]),
    "corrupt YAML": ("version: 1\nterms: [", [": expected a YAML card, got expected the node content"]),
    "two documents": ("a: 1\n---\nb: 2\n", [": expected a YAML card, got but found another document at line 2"]),
    "a control character": ("version: \x07", [": expected a YAML card, got unacceptable character #x0007"]),
    "a date that is none": ("version: 2020-13-45", [": expected a YAML card, got month must be in 1..12"]),
    "a number of too many digits": ("version: " + "1" * 5000, [": expected a YAML card, got Exceeds the limit"]),
    "a Python tag": (
        "version: 1\nterms: !!python/object/apply:os.system ['echo broken into > {marker}']\n",
        [": expected a YAML card, got the tag tag:yaml.org,2002:python/object/apply:os.system, which cards may"],
    ),
    "nesting without end": ("[" * 50_000, [": expected a YAML card, got maximum recursion depth exceeded"]),
    "bytes": ("version: 1\nterms: []\ncontext: {b: !!binary aGVsbG8=}\n", [": expected a YAML card, got the tag"]),
    "an alias": ("version: 1\nterms: &a []\ncontext: {b: *a}\n", [": expected a YAML card, got an alias"]),
    "no version": ("terms: []\n", [": expected a policy card, got a file without a 'version', so it is none; "]),
    "another version": (card_of(version=0), [": version: expected 1, got 0"]),
    "a newer version": (card_of(version=2), [": version: expected 1, got 2; upgrade noise-search"]),
    "a version that is true": (card_of(version=True), [": version: expected 1, got True"]),
    "a version that is a word": (card_of(version="1"), [": version: expected 1, got '1'"]),
    "no terms": ("version: 1\n", [": terms: expected a list of terms, got None"]),
    "terms that are a mapping": (
        card_of(terms={"a": 1}),
        [
            ": terms: expected a list of terms, got {'a': 1}; "
            "write each as an item, - {site: inputs, noise: gaussian, magnitude: 0.1}"
        ],
    ),
    "a term that is a word": (card_of("gaussian"), [": terms[0]: expected a mapping with ['site', 'noise', "]),
    "an unknown key": (
        card_of(contxt={}),
        [f": expected one of {sorted(KEYS)}, got 'contxt'; did you mean 'context'?"],
    ),
    "a context that is a list": (card_of(context=["a"]), [": context: expected a mapping, got ['a']"]),
    "a context that is an empty list": (card_of(context=[]), [": context: expected a mapping, got []"]),
    "a context that is a number": (card_of(context=0), [": context: expected a mapping, got 0"]),
    "a modality that is a list": (
        card_of(GAUSSIAN, context={"modality": ["images"]}),
        [f": context.modality: expected one of {MODALITIES}, got ['images']"],
    ),
    "an unknown modality": (
        card_of(GAUSSIAN, context={"modality": "video"}),
        [f": context.modality: expected one of {MODALITIES}, got 'video'"],
    ),
    "another modality": (
        card_of(
            {"site": "inputs", "noise": "mixup", "magnitude": 1.0},
            {"site": "inputs", "noise": "cutmix", "magnitude": 1.0},
            context={"modality": "audio"},
        ),
        [": terms[1].noise: cutmix works on ['images'], got data of modality 'audio'; take the term out"],
    ),
    "an unknown key of a term": (
        term_with(magnitud=0.1),
        [f": terms[0]: expected one of {TERM_KEYS}, got 'magnitud'"],
    ),
    "a key that is no word": (
        card_of({**GAUSSIAN, 3: 1}),
        [f": terms[0]: expected one of {TERM_KEYS}, got 3"],
    ),
    "an unknown site": (
        term_with(site="input"),
        [f": terms[0].site: expected one of {SITES}, got 'input'; did you mean 'inputs'?"],
    ),
    "no site": (term_without("site"), [f": terms[0].site: expected one of {SITES}, got None"]),
    "a site that is a list": (
        term_with(site=["inputs"]),
        [f": terms[0].site: expected one of {SITES}, got ['inputs']"],
    ),
    "an unknown noise": (
        term_with(noise="gausian"),
        [f": terms[0].noise: expected one of {sorted(NOISES['inputs'])}, got 'gausian'; did you mean 'gaussian'?"],
    ),
    "several things in one term": (
        term_with(noise="gausian", magnitude=-1, fraction=2, level="low", schedule={"kind": "linaer"}),
        [
            f": terms[0].noise: expected one of {sorted(NOISES['inputs'])}, got 'gausian'; did you mean 'gaussian'?",
            ": terms[0].magnitude: expected a number of at least 0, got -1",
            f"{FRACTION} 2",
            ": terms[0].level: expected one of ['fixed', 'uniform'], got 'low'",
            f": terms[0].schedule.kind: expected one of {sorted(SCHEDULES)}, got 'linaer'; did you mean 'linear'?",
        ],
    ),
    "several things in a term of an unknown site": (
        term_with(site="input", magnitude="much"),
        [
            f": terms[0].site: expected one of {SITES}, got 'input'; did you mean 'inputs'?",
            ": terms[0].magnitude: expected a number of at least 0, got 'much'",
        ],
    ),
    "a noise of another site": (
        term_with(noise="relative"),
        [f": terms[0].noise: expected one of {sorted(NOISES['inputs'])}, got 'relative'"],
    ),
    "a noise that is a mapping": (
        term_with(noise={"a": 1}),
        [f": terms[0].noise: expected one of {sorted(NOISES['inputs'])}, got {{'a': 1}}"],
    ),
    "no magnitude": (term_without("magnitude"), [f"{MAGNITUDE} None"]),
    "a magnitude that is no number": (term_with(magnitude=math.nan), [f"{MAGNITUDE} nan"]),
    "an infinite magnitude": (term_with(magnitude=math.inf), [f"{MAGNITUDE} inf"]),
    "a negative magnitude": (term_with(magnitude=-0.1), [f"{MAGNITUDE} -0.1"]),
    "a magnitude over the limit": (term_with(magnitude=10.1), [f"{MAGNITUDE} 10.1"]),
    "a magnitude beyond floating point": (term_with(magnitude=10**400), [f"{MAGNITUDE} {10**400}"]),
    "a magnitude that is true": (term_with(magnitude=True), [f"{MAGNITUDE} True"]),
    "a magnitude that is a word": (term_with(magnitude="0.1"), [f"{MAGNITUDE} '0.1'"]),
    "a magnitude that is a list": (term_with(magnitude=[0.1]), [f"{MAGNITUDE} [0.1]"]),
    "a fraction over 1": (term_with(fraction=1.01), [f"{FRACTION} 1.01"]),
    "a fraction under 0": (term_with(fraction=-0.01), [f"{FRACTION} -0.01"]),
    "a fraction that is no number": (term_with(fraction=math.nan), [f"{FRACTION} nan"]),
    "a fraction that is nothing": (term_with(fraction=None), [f"{FRACTION} None"]),
    "an unknown level": (
        term_with(level="unifrm"),
        [": terms[0].level: expected one of ['fixed', 'uniform'], got 'unifrm'; did you mean 'uniform'?"],
    ),
    "a level that is a list": (
        term_with(level=["fixed"]),
        [": terms[0].level: expected one of ['fixed', 'uniform'], got ['fixed']"],
    ),
    "a knob the noise does not have": (
        card_of({"site": "inputs", "noise": "mixup", "magnitude": 1.0, "level": "fixed"}),
        [": terms[0].level: inputs.mixup has no such knob; remove the key"],
    ),
    "an unknown schedule": (
        term_with(schedule={"kind": "linaer"}),
        [f": terms[0].schedule.kind: expected one of {sorted(SCHEDULES)}, got 'linaer'; did you mean 'linear'?"],
    ),
    "a schedule that is a word": (
        term_with(schedule="linear"),
        [": terms[0].schedule: expected a mapping with a 'kind', got 'linear'"],
    ),
    "a schedule without a kind": (
        term_with(schedule={"a": 1}),
        [": terms[0].schedule: expected a mapping with a 'kind', got {'a': 1}"],
    ),
    "an unknown parameter of a schedule": (
        term_with(schedule={"kind": "window", "begin": 0}),
        [": terms[0].schedule.window: expected one of ['start', 'stop'], got 'begin'"],
    ),
    "a schedule that ends before it starts": (
        term_with(schedule={"kind": "window", "start": 0.7, "stop": 0.2}),
        [": terms[0].schedule: expected start < stop, got start=0.7, stop=0.2"],
    ),
    "a schedule with a number that is none": (
        term_with(schedule={"kind": "exponential", "g": math.nan}),
        [": terms[0].schedule.g: expected a number in [-20, 20], got nan"],
    ),
    "a table with an infinite value": (
        term_with(schedule={"kind": "table", "values": [0, math.inf]}),
        [": terms[0].schedule.values[1]: expected a number in [0, 1], got inf"],
    ),
    "knots without values": (
        term_with(schedule={"kind": "knots", "monotone": "up"}),
        [": terms[0].schedule.values: expected a list of 3 to 6 numbers in [0, 1], got none"],
    ),
    "a direction that is none": (
        term_with(schedule={"kind": "power", "direction": "donw"}),
        [": terms[0].schedule.direction: expected one of ['down', 'up'], got 'donw'; did you mean 'down'?"],
    ),
    "a gate that is a number": (
        term_with(schedule={"kind": "constant", "every": 3}),
        [": terms[0].schedule.every: expected a mapping with ['cycles', 'on'], got 3"],
    ),
    "a gate with wrong numbers": (
        term_with(schedule={"kind": "constant", "every": {"cycles": 2.5, "on": 2}}),
        [
            ": terms[0].schedule.every.cycles: expected a whole number in [1, 1000], got 2.5",
            ": terms[0].schedule.every.on: expected a number in [0, 1], got 2",
        ],
    ),
    "two terms of one noise": (
        card_of(GAUSSIAN, GAUSSIAN),
        [": terms: expected at most one term for each noise, got inputs.gaussian twice"],
    ),
    "a unit that is not the noise's": (
        term_with(unit="dB"),
        [": terms[0].unit: expected 'standard deviation, raw units', got 'dB'; convert the magnitude, or leave out"],
    ),
    "an unknown key of the context": (
        context_with(epohcs=3),
        [f": context: expected one of {sorted(CONTEXT_FIELDS)}, got 'epohcs'; did you mean 'epochs'?; what is yours"],
    ),
    "a key of the context that is no word": (
        context_with(**{"model": {3: 1}}),
        [": context.model: expected a word for"],
    ),
    "no epochs": (context_with(epochs=0), [": context.epochs: expected a whole number of at least 1, got 0"]),
    "epochs that are no number": (context_with(epochs=math.nan), [": context.epochs: expected a whole number of at"]),
    "half an epoch": (context_with(epochs=2.5), [": context.epochs: expected a whole number of at least 1, got 2.5"]),
    "an infinite norm": (context_with(clip=math.inf), [": context.clip: expected a number above 0, or null, got inf"]),
    "an unknown mode": (context_with(mode="fast"), [": context.mode: expected one of ['auto', 'fused', 'looped'], or"]),
    "no seeds": (context_with(seeds=[]), [": context.seeds: expected a list of at least 1, got []"]),
    "a negative seed": (
        context_with(seeds=[0, -1]),
        [": context.seeds[1]: expected a whole number of at least 0, got"],
    ),
    "an unknown key of the data": (
        context_with(data={"name": "digits", "root": "/"}),
        [": context.data: expected one of ['limit', 'name', 'split_seed'], got 'root'"],
    ),
    "data without a name": (context_with(data={"limit": 3}), [": context.data.name: expected it, got nothing"]),
    "a suite that is a number": (context_with(suite=3), [": context.suite: expected a word or a mapping, got 3"]),
    "a digest that is a number": (context_with(data_digest=3), [": context.data_digest: expected a word, got 3"]),
    "versions that are numbers": (context_with(versions={"torch": 2.6}), [": context.versions.torch: expected a word"]),
    "a range the wrong way round": (context_with(input_range=[1, 0]), [": context.input_range: expected two numbers,"]),
    "a range of three": (context_with(input_range=[0, 1, 2]), [": context.input_range: expected two numbers, the"]),
    "a note that is no number": (
        context_with(notes={"a": [1, math.nan]}),
        [": context.notes.a[1]: expected numbers, words, and lists and mappings of them, got nan"],
    ),
    "a note that is a date": (
        "version: 1\nterms: []\ncontext: {notes: 2020-01-01}\n",
        [": context.notes: expected num"],
    ),
    "advice that is one sentence": (card_of(rescale="none"), [": rescale: expected a list of at least 0, got 'none'"]),
    "advice that is a number": (card_of(not_for=["x", 3]), [": not_for[1]: expected a word, got 3"]),
    "evidence that is a word": (card_of(evidence="none"), [": evidence: expected a mapping with ['kind', 'split',"]),
    "an unknown key of the evidence": (
        evidence_of(SEARCHED, "test_read", 0),
        [": evidence: expected one of ['arms', 'confidence', 'gains', 'kind', 'seeds', 'split', 'suite', 'test_reads"],
    ),
    "evidence of an unknown kind": (
        evidence_of(SEARCHED, "kind", "confirm"),
        [": evidence.kind: expected one of ['confirmed', 'searched'], got 'confirm'; did you mean 'confirmed'?"],
    ),
    "evidence that does not say how often test was read": (
        evidence_of(SEARCHED, "test_reads", without=True),
        [": evidence.test_reads: expected it, got nothing"],
    ),
    "searched scores from test": (
        evidence_of(SEARCHED, "split", "test"),
        [": evidence.split: expected 'validation', where searched scores are from, got 'test'"],
    ),
    "evidence without the winner": (
        evidence_of(CONFIRMED, "arms.winner", without=True),
        [": evidence.arms.winner: expected it, got nothing"],
    ),
    "an arm without robust accuracy": (
        evidence_of(CONFIRMED, "arms.no_noise.robust", without=True),
        [": evidence.arms.no_noise.robust: expected it, got nothing"],
    ),
    "an unknown arm": (
        evidence_of(CONFIRMED, "arms.no_nose", CONFIRMED["arms"]["no_noise"]),
        [f": evidence.arms: expected one of {sorted(ARMS)}, got 'no_nose'; did you mean 'no_noise'?"],
    ),
    "accuracy over 1": (
        evidence_of(SEARCHED, "arms.winner.clean.mean", 1.01),
        [": evidence.arms.winner.clean.mean: expected a number in [0, 1], got 1.01"],
    ),
    "a gain over 2": (
        evidence_of(CONFIRMED, "gains.scheduling.robust", {"mean": 2.01, "low": 1.9, "high": 2.1}),
        [": evidence.gains.scheduling.robust.mean: expected a number in [-2, 2], got 2.01"],
    ),
    "an interval without an end": (
        evidence_of(CONFIRMED, "gains.no_noise.robust.high", math.inf),
        [": evidence.gains.no_noise.robust.high: expected a finite number, got inf"],
    ),
    "a p-value that is no number": (
        evidence_of(CONFIRMED, "gains.no_noise.clean.p_value", math.nan),
        [": evidence.gains.no_noise.clean.p_value: expected a number in [0, 1], got nan"],
    ),
    "confirmed scores without an interval": (
        evidence_of(CONFIRMED, "gains.scheduling.robust.low", without=True),
        [": evidence.gains.scheduling.robust: expected low and high, for it is confirmed, got no low"],
    ),
    "an interval that leaves out its mean": (
        evidence_of(CONFIRMED, "arms.winner.robust.low", 0.71),
        [": evidence.arms.winner.robust: expected low <= mean, got low=0.71, mean=0.7"],
    ),
    "confirmed scores of one seed, from a test that nobody read, of no confidence": (
        card_of(evidence=evidence({**CONFIRMED, "seeds": [1], "test_reads": 0}, "confidence", without=True)),
        [
            ": evidence.test_reads: expected at least 1, for confirmed scores are from test, got 0",
            ": evidence.seeds: expected at least 2 for confirmed scores, got 1",
            ": evidence.confidence: expected that of the intervals, got nothing",
        ],
    ),
    "many mistakes": (
        card_of({**GAUSSIAN, "magnitude": -1, "level": "x"}, "?", {**GAUSSIAN, "site": "?"}, context=7, extra=1),
        [
            f": expected one of {sorted(KEYS)}, got 'extra'",
            ": context: expected a mapping, got 7",
            f"{MAGNITUDE} -1",
            ": terms[0].level: expected one of ['fixed', 'uniform'], got 'x'",
            ": terms[1]: expected a mapping with",
            f": terms[2].site: expected one of {SITES}, got '?'",
        ],
    ),
}

# What JSON Schema cannot say: two numbers compared with each other.
BEYOND_A_SCHEMA = {
    "a schedule that ends before it starts",
    "a range the wrong way round",
    "an interval that leaves out its mean",
}
