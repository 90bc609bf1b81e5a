"""Suites: named corruptions at frozen strengths, read from configuration and checked against their hash."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from noise_search.corruptions import CORRUPTIONS
from noise_search.errors import expected_one_of, raise_if_any
from noise_search.seeds import generator

SEVERITIES = 5
ANY_DATA = "any"  # what a suite of published strengths says it was made on
HELD_OUT = "_held_out"  # what the name of a held-out suite has after that of its data
# Kinds that may steer a search, by modality. Any other kind is held out: read when a result is measured only.
TUNE_KINDS = {"images": ("gaussian", "speckle", "gaussian_blur", "contrast", "pixelate", "elastic")}


@dataclass(frozen=True, slots=True)
class Kind:
    """One corruption of a suite, at severities 1 to 5.

    Args:
        name: Key in `CORRUPTIONS`.
        family: Its family there.
        strengths: One for each severity, strictly increasing, in the corruption's unit.
        achieved: What the reference kept of its clean accuracy above chance, at each severity; empty where
            nothing was measured.
        calibrated: False where the strengths are the literature's.
    """

    name: str
    family: str
    strengths: tuple[float, ...]
    achieved: tuple[float, ...]
    calibrated: bool


@dataclass(frozen=True, slots=True)
class Suite:
    """Corruptions with the strengths and seeds that make them the same for every trial.

    Args:
        name: Of the suite.
        data: Data set it was calibrated on; `any` for published strengths throughout.
        modality: Kind of data.
        kinds: In the order results list them.
        weight_strengths: Strengths of `weights.perturbed`, at least one.
        weight_draws: Draws at each of them. Draw d uses `generator(seed, "suite", "weights", d)`.
        seed: Of every draw.
        reference: The model the strengths were calibrated with, and how well it does on clean data.
        digest: SHA-256 of all the above as it stood in the file.
        weight_bits: Numbers of bits to which `weights.rounded` rounds, falling; they draw nothing.
    """

    name: str
    data: str
    modality: str
    kinds: tuple[Kind, ...]
    weight_strengths: tuple[float, ...]
    weight_draws: int
    seed: int
    reference: Mapping[str, object]
    digest: str
    weight_bits: tuple[int, ...] = ()


def held_out_kinds(modality: str, channels: int | None) -> tuple[str, ...]:
    """Names of the kinds that never steer a search, in the order of the registry.

    Args:
        modality: Kind of data.
        channels: How many the images have; None for kinds that any number will do for.

    >>> {"saturate", "inverse"} & set(held_out_kinds("images", channels=1))
    {'inverse'}
    """
    return tuple(
        name
        for name, kind in CORRUPTIONS.items()
        if kind.modality == modality and name not in TUNE_KINDS[modality] and kind.channels in (None, channels)
    )


def is_held_out(suite: Suite) -> bool:
    """Whether a suite is for measuring results only; its kinds say so, whatever its name."""
    return suite.kinds[0].name not in TUNE_KINDS[suite.modality]


def families(suite: Suite) -> dict[str, tuple[str, ...]]:
    """Names of the suite's kinds by family, both in the suite's order."""
    names = dict.fromkeys(kind.family for kind in suite.kinds)
    return {name: tuple(kind.name for kind in suite.kinds if kind.family == name) for name in names}


def uncalibrated(node: Any) -> str:
    """What to say beside results of a suite with published strengths in it; empty for a calibrated one.

    Args:
        node: The suite as a mapping, sound, as a configuration or a store holds it.

    >>> uncalibrated({"kinds": [{"name": "gaussian", "calibrated": True}, {"name": "elastic", "calibrated": False}]})
    'uncalibrated: published strengths for elastic'
    """
    kinds = [kind["name"] for kind in node["kinds"] if not kind["calibrated"]]
    which = "" if len(kinds) == len(node["kinds"]) else f" for {', '.join(kinds)}"
    return f"uncalibrated: published strengths{which}" if kinds else ""


def corrupted(images: Tensor, kind: str, strength: float, seed: int) -> Tensor:
    """Images under one kind at one strength, with the draws a suite of that seed has for the kind."""
    return CORRUPTIONS[kind].apply(images, strength, generator(seed, "suite", kind))


def corrupted_images(suite: Suite, images: Tensor) -> Tensor:
    """A whole split under every kind and severity, shape (kinds * severities, samples, C, H, W), kinds major.

    The severities of a kind share its draws, which depend on the suite's seed, the kind's name and the shape
    of `images` alone: other kinds, their order and the device change nothing. Draws are made for the split as
    a whole, so corrupt first and cut into chunks afterwards; a part corrupted by itself gets other draws.

    Args:
        suite: A suite of modality images.
        images: All samples of the split, (samples, C, H, W), values in [0, 1].
    """
    return clean_and_corrupted(suite, images)[1:]


def clean_and_corrupted(suite: Suite, images: Tensor) -> Tensor:
    """A whole split as it is, and then as `corrupted_images` has it: shape (1 + kinds * severities, samples, C, H, W).

    Args:
        suite, images: As of `corrupted_images`.
    """
    pairs = [(kind.name, strength) for kind in suite.kinds for strength in kind.strengths]
    # Filled in place: parts to be put together would take twice the memory, gigabytes of it.
    results = torch.empty((1 + len(pairs), *images.shape), dtype=images.dtype, device=images.device)
    results[0].copy_(images)
    for result, (kind, strength) in zip(results[1:], pairs, strict=True):
        result.copy_(corrupted(images, kind, strength, suite.seed))
    return results


def suite_digest(node: Mapping[str, Any]) -> str:
    """SHA-256 of a suite's mapping without its digest, as canonical JSON; 64 hexadecimal digits.

    The order of keys does not count, the order of kinds does.

    >>> suite_digest({"name": "a", "seed": 0}) == suite_digest({"seed": 0, "name": "a", "digest": "?"})
    True
    """
    content = {key: value for key, value in node.items() if key != "digest"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def suite_from_mapping(node: Mapping[str, Any], where: str) -> Suite:
    """Suite read from plain data, as a file of `conf/suite/` holds it.

    Args:
        node: Keys name, data, modality, seed, reference, weights {strengths, draws, perhaps bits}, kinds (a list
            of {name, family, calibrated, strengths, achieved}) and digest. Kinds are all for tuning or all held out.
        where: Key of the node in the configuration, for messages.

    Raises:
        CallerError: With every mistake at once, a digest that is not the content's among them.
    """
    raise_if_any(_shape_mistakes(node, where) + _digest_mistakes(node))
    weights: Mapping[str, Any] = node["weights"]
    return Suite(
        name=node["name"],
        data=node["data"],
        modality=node["modality"],
        kinds=tuple(_kind(entry) for entry in node["kinds"]),
        weight_strengths=tuple(map(float, weights["strengths"])),
        weight_draws=weights["draws"],
        seed=node["seed"],
        reference=dict(node["reference"]),
        digest=node["digest"],
        weight_bits=tuple(weights.get("bits", ())),
    )


def _kind(entry: Mapping[str, Any]) -> Kind:
    return Kind(
        name=entry["name"],
        family=entry["family"],
        strengths=tuple(map(float, entry["strengths"])),
        achieved=tuple(map(float, entry["achieved"])),
        calibrated=entry["calibrated"],
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _are_numbers(value: object) -> bool:
    return isinstance(value, Sequence) and _is_list(value) and all(map(_is_number, value))


def _are_rising(value: object) -> bool:
    if not isinstance(value, Sequence) or not _are_numbers(value) or not value:
        return False
    return all(strength > 0 for strength in value) and all(a < b for a, b in pairwise(value))


def _are_severities(value: object) -> bool:
    return isinstance(value, Sequence) and len(value) == SEVERITIES


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) for key in value) and all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, bool)) or _is_number(value)


Rules = dict[str, tuple[Callable[[Any], bool], str]]
SUITE_RULES: Rules = {
    "name": (_is_name, "a name"),
    "data": (_is_name, "the name of a data set"),
    "modality": (lambda value: value in list(TUNE_KINDS), f"one of {sorted(TUNE_KINDS)}"),
    "seed": (lambda value: _is_whole(value, 0), "a whole number from 0 up"),
    "reference": (
        lambda value: isinstance(value, Mapping) and _is_plain(value),
        "a mapping of names to numbers, words and lists of them",
    ),
    "weights": (lambda value: isinstance(value, Mapping), "a mapping of strengths and draws"),
    "kinds": (lambda value: _is_list(value) and len(value) > 0, "a list of at least one kind"),
    "digest": (_is_digest, "64 hexadecimal digits"),
}
WEIGHT_RULES: Rules = {
    "strengths": (_are_rising, "a rising list of at least one positive number"),
    "draws": (lambda value: _is_whole(value, 1), "a whole number from 1 up"),
    "bits": (
        lambda value: _is_list(value) and all(_is_whole(bits, 2) for bits in value),
        "a list of whole numbers from 2 up",
    ),
}
OPTIONAL = ("bits",)
KIND_RULES: Rules = {
    "name": (_is_name, "the name of a corruption"),
    "family": (_is_name, "the name of a family"),
    "calibrated": (lambda value: isinstance(value, bool), "true or false"),
    "strengths": (
        lambda value: _are_severities(value) and _are_rising(value),
        f"{SEVERITIES} rising positive numbers",
    ),
    "achieved": (
        lambda value: _are_numbers(value) and (not value or _are_severities(value)),
        f"{SEVERITIES} numbers, or none where nothing was measured",
    ),
}


def _rule_mistakes(node: object, rules: Rules, where: str) -> list[str]:
    if not isinstance(node, Mapping):
        return [f"{where}: expected a mapping of {sorted(rules)}, got {node!r}"]
    unknown = [expected_one_of(where, rules, key) for key in node if key not in rules]
    needed = [key for key in rules if key not in OPTIONAL]
    missing = [f"{where}.{key}: expected {rules[key][1]}, got nothing" for key in needed if key not in node]
    wrong = [
        f"{where}.{key}: expected {words}, got {node[key]!r}"
        for key, (holds, words) in rules.items()
        if key in node and not holds(node[key])
    ]
    return unknown + missing + wrong


def _shape_mistakes(node: Mapping[str, Any], where: str) -> list[str]:
    mistakes = _rule_mistakes(node, SUITE_RULES, where)
    if not isinstance(node, Mapping):
        return mistakes
    if isinstance(node.get("weights"), Mapping):
        mistakes += _rule_mistakes(node["weights"], WEIGHT_RULES, f"{where}.weights")
    if _is_list(node.get("kinds")):
        mistakes += _kind_mistakes(node["kinds"], node.get("modality"), f"{where}.kinds")
    return mistakes


def _kind_mistakes(entries: Sequence[object], modality: object, where: str) -> list[str]:
    mistakes: list[str] = []
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        mistakes += _rule_mistakes(entry, KIND_RULES, f"{where}[{i}]")
        if not isinstance(entry, Mapping) or not _is_name(entry.get("name")):
            continue
        mistakes += _registry_mistakes(entry, modality, f"{where}[{i}]")
        if entry["name"] in seen:
            mistakes.append(f"{where}[{i}].name: expected each kind once, got {entry['name']!r} again")
        seen.add(entry["name"])
    return mistakes + _mixture_mistakes(seen & CORRUPTIONS.keys(), where)


def _mixture_mistakes(names: set[str], where: str) -> list[str]:
    """Kinds that may steer a search beside kinds that must not."""
    may_steer = {name for kinds in TUNE_KINDS.values() for name in kinds}
    tuned, held_out = sorted(names & may_steer), sorted(names - may_steer)
    if not tuned or not held_out:
        return []
    return [f"{where}: expected kinds of a search or held-out ones, got {tuned} beside held-out {held_out}"]


def _registry_mistakes(entry: Mapping[str, Any], modality: object, where: str) -> list[str]:
    """What a kind says of itself that the registry of corruptions does not."""
    if entry["name"] not in CORRUPTIONS:
        return [expected_one_of(f"{where}.name", CORRUPTIONS, entry["name"])]
    corruption = CORRUPTIONS[entry["name"]]
    mistakes = []
    if entry.get("calibrated") is True and not entry.get("achieved", True):
        mistakes.append(f"{where}.achieved: expected {SEVERITIES} numbers, for the kind is calibrated, got none")
    if _is_name(entry.get("family")) and entry["family"] != corruption.family:
        mistakes.append(f"{where}.family: expected {corruption.family!r}, got {entry['family']!r}")
    if modality != corruption.modality:
        mistakes.append(f"{where}.name: expected a kind for {modality}, got one for {corruption.modality}")
    return mistakes


def _digest_mistakes(node: Mapping[str, Any]) -> list[str]:
    # Values that JSON cannot hold are reported for what they are.
    if not isinstance(node, Mapping) or not _is_plain(node) or not _is_digest(node.get("digest")):
        return []
    if node["digest"] == suite_digest(node):
        return []
    return [
        f"suite {node.get('name')}: content does not match its hash {node['digest'][:12]}...: a frozen suite "
        "must not be edited; make a new one with scripts/calibrate_suite"
    ]
