"""Policies: which noise, how much, when during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from noise_search.errors import CallerError, raise_if_any
from noise_search.noises import NOISES, CohortTerm
from noise_search.policy.checks import term_mistakes
from noise_search.schedules import Schedule, schedule_from_mapping, schedule_to_mapping


@dataclass(frozen=True, slots=True)
class Term:
    """One noise of a policy.

    Args:
        site, noise: Key in `NOISES`.
        magnitude: Strength in the noise's own unit, in [0, limit].
        fraction: Share of samples (at weights and gradients: of batches) that get it, in [0, 1].
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
        raise_if_any(term_mistakes("term", _term_mapping(self)))
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
    dtype: torch.dtype,
) -> list[CohortTerm]:
    """Terms of all policies of a cohort, gathered by noise, each with the slots that have it.

    Args:
        policies: One a slot.
        seeds: Seed of each slot.
        steps: Steps of the whole training, over which schedules run.
        dtype: Of the tables.
    """
    return [
        _cohort_term(site, noise, policies, seeds, steps, dtype)
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
        slots=tuple(slot for slot, _ in members),
        seeds=tuple(seeds[slot] for slot, _ in members),
        magnitudes=torch.stack(tables, dim=1).to(dtype),
        fractions=torch.tensor([term.fraction for _, term in members], dtype=dtype),
        uniform=torch.tensor([term.level == "uniform" for _, term in members]),
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
        hint = "; write each as an item, - {site: inputs, noise: gaussian, magnitude: 0.1}"
        raise CallerError(f"{where}: expected a list of terms, got {terms!r}{hint if isinstance(terms, dict) else ''}")
    mistakes = [
        mistake for index, term in enumerate(terms) for mistake in term_mistakes(f"{where}[{index}]", term, modality)
    ]
    raise_if_any(mistakes)
    made = tuple(_term(term) for term in terms)
    raise_if_any(_repetition_mistakes(where, made))
    return Policy(made)


def _term(mapping: Mapping[str, Any]) -> Term:
    return Term(
        site=mapping["site"],
        noise=mapping["noise"],
        magnitude=float(mapping["magnitude"]),
        fraction=float(mapping.get("fraction", 1.0)),
        level=mapping.get("level", "fixed"),
        schedule=schedule_from_mapping(mapping.get("schedule", {"kind": "constant"})),
    )


def _term_mapping(term: Term) -> dict[str, Any]:
    mapping: dict[str, Any] = {"site": term.site, "noise": term.noise, "magnitude": term.magnitude}
    noise = NOISES.get(term.site, {}).get(term.noise)
    knobs = noise.knobs if noise else frozenset()
    if "fraction" in knobs or term.fraction != 1.0:
        mapping["fraction"] = term.fraction
    if "level" in knobs or term.level != "fixed":
        mapping["level"] = term.level
    mapping["schedule"] = schedule_to_mapping(term.schedule)
    return mapping


def _repetition_mistakes(where: str, terms: Sequence[Term]) -> list[str]:
    keys = [term.key for term in terms]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    return [f"{where}: expected at most one term for each noise, got {key} twice" for key in twice]
