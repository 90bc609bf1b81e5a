"""Policies: which noise, how much, when during training; and the card, the file that carries one.

Loading a card needs torch, numpy and PyYAML only. A card is data from outside: names are looked up in the
registries, numbers are range-checked, and YAML tags are refused.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from noise_search.errors import CallerError, expected_one_of, raise_if_any
from noise_search.noises import NOISES, CohortTerm, Noise
from noise_search.schedules import Schedule, schedule_mistakes

CARD_VERSION = 1
CARD_LIMIT_BYTES = 200_000
LEVELS = ("fixed", "uniform")
_CARD_KEYS = ("version", "terms", "context")
_TERM_KEYS = ("site", "noise", "magnitude", "fraction", "level", "schedule")


@dataclass(frozen=True, slots=True)
class Term:
    """One noise of a policy.

    Args:
        site, noise: Key in `NOISES`.
        magnitude: Strength in the noise's own unit, in [0, limit].
        fraction: Share of samples (at weights: of batches) that get it, in [0, 1].
        level: "fixed" for the magnitude m itself, "uniform" for U(0, m) in each sample.
        schedule: Factor of the magnitude over training.

    Raises:
        CallerError: Naming every value that is out of range or does not fit the noise.
    """

    site: str
    noise: str
    magnitude: float
    fraction: float = 1.0
    level: str = "fixed"
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        raise_if_any(_term_mistakes("term", _term_mapping(self)))
        object.__setattr__(self, "magnitude", float(self.magnitude))  # NumPy's would not go into a card
        object.__setattr__(self, "fraction", float(self.fraction))

    @property
    def key(self) -> str:
        """Name of the term in tables, parameters and metrics: `site.noise`."""
        return f"{self.site}.{self.noise}"


@dataclass(frozen=True, slots=True)
class Policy:
    """A set of terms, at most one for each (site, noise), kept in registry order. No terms: no noise.

    >>> policy = Policy((Term("inputs", "gaussian", 0.2),))
    >>> policy.tabulate(2)["inputs.gaussian"].tolist()
    [0.2, 0.2]
    """

    terms: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        raise_if_any(_repetition_mistakes("terms", self.terms))
        order = [f"{site}.{noise}" for site, noises in NOISES.items() for noise in noises]
        ordered = sorted(self.terms, key=lambda term: order.index(term.key))
        object.__setattr__(self, "terms", tuple(ordered))

    def tabulate(self, steps: int) -> dict[str, Tensor]:
        """Magnitude of each term at each of `steps` training steps: `site.noise` -> (steps,), float64."""
        return {term.key: term.magnitude * term.schedule.factors(steps) for term in self.terms}


def cohort_terms(
    policies: Sequence[Policy],
    *,
    seeds: Sequence[int],
    steps: int,
    device: torch.device,
    dtype: torch.dtype,
) -> list[CohortTerm]:
    """Terms of all policies of a cohort, gathered by noise, each with the slots that have it.

    Args:
        policies: One a slot.
        seeds: Seed of each slot.
        steps: Steps of the whole training, over which schedules run.
        device, dtype: Of the tensors made.
    """
    return [
        _cohort_term(site, noise, policies, seeds, steps, device, dtype)
        for site, noises in NOISES.items()
        for noise in noises
        if any(term.key == f"{site}.{noise}" for policy in policies for term in policy.terms)
    ]


def _cohort_term(
    site: str,
    noise: str,
    policies: Sequence[Policy],
    seeds: Sequence[int],
    steps: int,
    device: torch.device,
    dtype: torch.dtype,
) -> CohortTerm:
    members = [
        (slot, term)
        for slot, policy in enumerate(policies)
        for term in policy.terms
        if (term.site, term.noise) == (site, noise)
    ]
    # One trial at a time: a power taken over stacked trials differs by slot in the last bits.
    tables = [term.magnitude * term.schedule.factors(steps) for _, term in members]
    return CohortTerm(
        site=site,
        noise=noise,
        slots=torch.tensor([slot for slot, _ in members], device=device),
        seeds=tuple(seeds[slot] for slot, _ in members),
        magnitudes=torch.stack(tables, dim=1).to(device=device, dtype=dtype),
        fractions=torch.tensor([term.fraction for _, term in members], device=device, dtype=dtype),
        uniform=torch.tensor([term.level == "uniform" for _, term in members], device=device),
    )


def policy_to_list(policy: Policy) -> list[dict[str, Any]]:
    """Plain data of a policy, as cards and the store keep it."""
    return [_term_mapping(term) for term in policy.terms]


def policy_from_list(terms: object, where: str = "terms", *, modality: str | None = None) -> Policy:
    """Policy from plain data.

    Args:
        terms: List of mappings as `policy_to_list` makes them.
        where: How messages name it.
        modality: Kind of data the noises must suit; None: not checked.

    Raises:
        CallerError: With every mistake, each naming its term and key.
    """
    if not isinstance(terms, list):
        raise CallerError(f"{where}: expected a list of terms, got {terms!r}")
    mistakes = [
        mistake for index, term in enumerate(terms) for mistake in _term_mistakes(f"{where}[{index}]", term, modality)
    ]
    raise_if_any(mistakes)
    made = tuple(_term(term) for term in terms)
    raise_if_any(_repetition_mistakes(where, made))
    return Policy(made)


def _term(mapping: Mapping[str, Any]) -> Term:
    schedule = dict(mapping.get("schedule", {"kind": "constant"}))
    kind = schedule.pop("kind")
    return Term(
        site=mapping["site"],
        noise=mapping["noise"],
        magnitude=float(mapping["magnitude"]),
        fraction=float(mapping.get("fraction", 1.0)),
        level=mapping.get("level", "fixed"),
        schedule=Schedule(kind, tuple(sorted((name, float(value)) for name, value in schedule.items()))),
    )


def _term_mapping(term: Term) -> dict[str, Any]:
    mapping: dict[str, Any] = {"site": term.site, "noise": term.noise, "magnitude": term.magnitude}
    noise = NOISES.get(term.site, {}).get(term.noise)
    knobs = noise.knobs if noise else frozenset()
    if "fraction" in knobs or term.fraction != 1.0:
        mapping["fraction"] = term.fraction
    if "level" in knobs or term.level != "fixed":
        mapping["level"] = term.level
    mapping["schedule"] = {"kind": term.schedule.kind, **dict(term.schedule.parameters)}
    return mapping


def _term_mistakes(where: str, term: object, modality: str | None = None) -> list[str]:
    if not isinstance(term, Mapping):
        return [f"{where}: expected a mapping with {list(_TERM_KEYS)}, got {term!r}"]
    unknown = [expected_one_of(where, _TERM_KEYS, key) for key in term if key not in _TERM_KEYS]
    site, name = term.get("site"), term.get("noise")
    if not isinstance(site, str) or site not in NOISES:
        return [*unknown, expected_one_of(f"{where}.site", NOISES, site)]
    if not isinstance(name, str) or name not in NOISES[site]:
        return [*unknown, expected_one_of(f"{where}.noise", NOISES[site], name)]
    noise = NOISES[site][name]
    return [
        *unknown,
        *_number_mistakes(f"{where}.magnitude", term.get("magnitude"), noise.limit),
        *_knob_mistakes(where, term, noise),
        *_modality_mistakes(f"{where}.noise", noise, modality),
        *_schedule_mistakes(f"{where}.schedule", term.get("schedule", {"kind": "constant"})),
    ]


def _repetition_mistakes(where: str, terms: Sequence[Term]) -> list[str]:
    keys = [term.key for term in terms]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    return [f"{where}: expected at most one term for each noise, got {key} twice" for key in twice]


def _number_mistakes(where: str, value: object, limit: float) -> list[str]:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= limit:
        return []
    return [f"{where}: expected a number in [0, {limit:g}], got {value!r}"]


def _knob_mistakes(where: str, term: Mapping[Any, Any], noise: Noise[Any]) -> list[str]:
    mistakes = []
    if "fraction" in term:
        mistakes += _number_mistakes(f"{where}.fraction", term["fraction"], 1.0)
    if "level" in term and term["level"] not in LEVELS:
        mistakes.append(expected_one_of(f"{where}.level", LEVELS, term["level"]))
    mistakes += [
        f"{where}.{knob}: {noise.site}.{noise.name} has no such knob; remove the key"
        for knob in ("fraction", "level")
        if knob in term and knob not in noise.knobs
    ]
    return mistakes


def _modality_mistakes(where: str, noise: Noise[Any], modality: str | None) -> list[str]:
    if modality is None or modality in noise.modalities:
        return []
    return [f"{where}: {noise.name} works on {sorted(noise.modalities)}, got data of modality {modality!r}"]


def _schedule_mistakes(where: str, schedule: object) -> list[str]:
    if not isinstance(schedule, Mapping) or "kind" not in schedule:
        return [f"{where}: expected a mapping with a 'kind', got {schedule!r}"]
    numbers = {str(name): value for name, value in schedule.items() if name != "kind"}
    return schedule_mistakes(where, schedule["kind"], numbers)


@dataclass(frozen=True, slots=True)
class Card:
    """A policy with the context it was tuned in: data, model, epochs, seeds, suite hash, scores.

    >>> Card(Policy((Term("weights", "relative", 0.1),)), {}).tabulate(1)["weights.relative"].tolist()
    [0.1]
    """

    policy: Policy
    context: Mapping[str, Any]

    def tabulate(self, steps: int) -> dict[str, Tensor]:
        """Magnitude of each term at each of `steps` steps of your training: `site.noise` -> (steps,)."""
        return self.policy.tabulate(steps)


def card_to_mapping(card: Card) -> dict[str, Any]:
    """Plain data of a card, as its file holds it."""
    return {"version": CARD_VERSION, "terms": policy_to_list(card.policy), "context": dict(card.context)}


def save_card(card: Card, path: str | Path) -> None:
    """Write a card as YAML, whole or not at all.

    Raises:
        CallerError: When the folder is missing or cannot be written, or the context is no plain data.
    """
    target = Path(path)
    text = _yaml_text(card_to_mapping(card), f"{target}: context")
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".yaml", delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(text)
                file.flush()
                temporary.chmod(0o644)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise CallerError(f"{target}: cannot write the card: {error.strerror}") from error


def load_card(path: str | Path) -> Card:
    """Read a card.

    Raises:
        CallerError: For a missing or unreadable file, YAML tags and aliases, an unknown version, and every wrong key
            and term.
    """
    where = str(path)
    content = _yaml_content(Path(path), where)
    if not isinstance(content, dict):
        raise CallerError(f"{where}: expected a card with {list(_CARD_KEYS)}, got {content!r:.80}")
    version = content.get("version")
    if type(version) is not int or version != CARD_VERSION:
        newer = type(version) is int and version > CARD_VERSION
        hint = "; upgrade noise-search" if newer else ""
        raise CallerError(f"{where}: version: expected {CARD_VERSION}, got {version!r}{hint}")
    mistakes = [expected_one_of(where, _CARD_KEYS, key) for key in content if key not in _CARD_KEYS]
    context = {} if content.get("context") is None else content["context"]
    mistakes += _context_mistakes(where, context)
    modality = None if mistakes else context.get("modality")
    try:
        policy = policy_from_list(content.get("terms"), f"{where}: terms", modality=modality)
    except CallerError as error:
        raise CallerError(*mistakes, *error.mistakes) from error
    raise_if_any(mistakes)
    return Card(policy, context)


class _CardLoader(yaml.SafeLoader):
    """Safe loader that refuses aliases: a short text full of them stands for a huge one."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "an alias, which cards may not have", mark)
        return super().compose_node(parent, index)


class _CardDumper(yaml.SafeDumper):
    """Safe dumper that writes an object twice where it occurs twice, not as an alias."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _yaml_text(content: Mapping[str, Any], where: str) -> bytes:
    try:
        return yaml.dump(content, Dumper=_CardDumper, sort_keys=False, allow_unicode=True).encode()
    except (yaml.YAMLError, UnicodeEncodeError, RecursionError) as error:
        expected = "expected numbers, words, and lists and mappings of them"
        raise CallerError(f"{where}: {expected}, got {_first_line(error)}") from error


def _yaml_content(path: Path, where: str) -> object:
    try:
        with path.open("rb") as file:
            data = file.read(CARD_LIMIT_BYTES + 1)
        if len(data) > CARD_LIMIT_BYTES:
            raise CallerError(f"{where}: expected a card of at most {CARD_LIMIT_BYTES} bytes, got a larger file")
        content: object = _CardLoader(data.decode()).get_single_data()
    except OSError as error:
        raise CallerError(f"{where}: cannot read the card: {error.strerror}") from error
    except CallerError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or a date like 2020-13-45
        raise CallerError(f"{where}: expected a YAML card, got {_first_line(error)}") from error
    return content


def _context_mistakes(where: str, context: object) -> list[str]:
    if not isinstance(context, dict):
        return [f"{where}: context: expected a mapping, got {context!r}"]
    modality = context.get("modality")
    if modality is None or isinstance(modality, str):
        return []
    return [f"{where}: context.modality: expected a word, got {modality!r}"]


def _first_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f" at line {mark.line + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error)
    return f"{str(problem).splitlines()[0]}{place}"
