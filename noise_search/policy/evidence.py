"""The evidence of a card: what its policy was measured to gain, on what, and how often test was read for it.

Scores are accuracies above chance. `arms` are means over seeds; `gains` are what the winner has more than an arm with
the same seeds, or by having searched (`search`: over the best of as many random policies) or scheduled (`scheduling`:
over the best of the constant ones). A p-value is that of `statistics.paired_difference`, after Holm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from noise_search.policy.context import SUITE
from noise_search.policy.rules import FINITE, Fields, Many, Named, OneOf, Rule, Schema, Value, number, whole

SEARCHED, CONFIRMED = "searched", "confirmed"
SPLITS = {SEARCHED: "validation", CONFIRMED: "test"}  # where each is scored
WINNER = "winner"
ARMS = (
    WINNER,
    "no_noise",
    "best_constant",
    "random",
    "best_random",
    "reversed",
    "shuffled",
    "constant_at_mean",
    "constant_at_rms",
)
GAINS = (*ARMS[1:], "search", "scheduling")
SCORES = ("clean", "robust", "robust_seen", "robust_unseen", "robust_weights", "worst_family")
LEAST_SEEDS = 2
_ENDS: dict[str, Rule] = {"low": FINITE, "high": FINITE}
_SCORE = Fields({"mean": number(0, 1), **_ENDS}, ("mean",))
# Differences of item scores, which go down to -1 / (K - 1) for K classes: of two, from -1 to 1.
_GAIN = Fields({"mean": number(-2, 2), **_ENDS, "p_value": number(0, 1)}, ("mean",))
_CONFIDENCE = Value(
    "a number between 0 and 1",
    lambda value: FINITE.holds(value) and 0 < value < 1,
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
)

EVIDENCE = Fields(
    {
        "kind": OneOf((SEARCHED, CONFIRMED)),
        "split": OneOf(tuple(SPLITS.values())),
        "suite": SUITE,
        "seeds": Many(whole(0), 1),
        "test_reads": whole(0),
        "confidence": _CONFIDENCE,
        "arms": Named(Named(_SCORE, SCORES, ("clean", "robust")), ARMS, (WINNER,)),
        "gains": Named(Named(_GAIN, SCORES), GAINS),
    },
    ("kind", "split", "seeds", "test_reads", "arms"),
)


def evidence_mistakes(where: str, evidence: object) -> list[str]:
    """Everything wrong with evidence given as plain data, each message beginning with `where`."""
    found = EVIDENCE.mistakes(where, evidence)
    if found or not isinstance(evidence, Mapping):
        return found
    found += _kind_mistakes(where, evidence)
    for path, numbers in _intervals(evidence):
        found += _interval_mistakes(f"{where}.{path}", numbers, needed=evidence["kind"] == CONFIRMED)
    return found


def evidence_schema() -> Schema:
    """The form of evidence as JSON Schema, but for the order of an interval's ends, which it cannot say."""
    ends = {"required": list(_ENDS)}
    intervals = {"additionalProperties": {"additionalProperties": ends}}
    confirmed = {
        "required": ["confidence"],
        "properties": {
            "split": {"const": SPLITS[CONFIRMED]},
            "test_reads": {"minimum": 1},
            "seeds": {"minItems": LEAST_SEEDS},
            "arms": intervals,
            "gains": intervals,
        },
    }
    searched = {"properties": {"split": {"const": SPLITS[SEARCHED]}}}
    is_confirmed = {"properties": {"kind": {"const": CONFIRMED}}, "required": ["kind"]}
    return {**EVIDENCE.schema, "if": is_confirmed, "then": confirmed, "else": searched}


def _kind_mistakes(where: str, evidence: Mapping[str, Any]) -> Iterator[str]:
    kind, split = evidence["kind"], SPLITS[evidence["kind"]]
    if evidence["split"] != split:
        yield f"{where}.split: expected {split!r}, where {kind} scores are from, got {evidence['split']!r}"
    if kind == SEARCHED:
        return
    if evidence["test_reads"] < 1:
        yield f"{where}.test_reads: expected at least 1, for confirmed scores are from test, got 0"
    if len(evidence["seeds"]) < LEAST_SEEDS:
        yield f"{where}.seeds: expected at least {LEAST_SEEDS} for confirmed scores, got {len(evidence['seeds'])}"
    if "confidence" not in evidence:
        yield f"{where}.confidence: expected that of the intervals, got nothing"


def _intervals(evidence: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for part in ("arms", "gains"):
        for name, scores in evidence.get(part, {}).items():
            for score, numbers in scores.items():
                yield f"{part}.{name}.{score}", numbers


def _interval_mistakes(where: str, numbers: Mapping[str, Any], *, needed: bool) -> Iterator[str]:
    missing = [name for name in _ENDS if name not in numbers]
    if missing and needed:
        yield f"{where}: expected low and high, for it is confirmed, got no {' and no '.join(missing)}"
    if "low" in numbers and numbers["low"] > numbers["mean"]:
        yield f"{where}: expected low <= mean, got low={numbers['low']!r}, mean={numbers['mean']!r}"
    if "high" in numbers and numbers["high"] < numbers["mean"]:
        yield f"{where}: expected mean <= high, got mean={numbers['mean']!r}, high={numbers['high']!r}"
