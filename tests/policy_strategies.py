"""Hypothesis strategies over everything the registries hold: schedules, terms and policies."""

from __future__ import annotations

from hypothesis import strategies as st

from noise_search.noises import NOISES
from noise_search.policy import LEVELS, Policy, Term
from noise_search.schedules import SCHEDULES, Gate, Number, Parameter, Schedule, Setting, Word

FRACTIONS = st.floats(0, 1)
ALL_NOISES = [(site, noise) for site, noises in NOISES.items() for noise in noises]


LONGEST_TABLE = 9
GATES = st.builds(Gate, st.integers(1, 1000), FRACTIONS)
GATES_OR_NONE: st.SearchStrategy[Gate | None] = st.none() | GATES


def settings(parameter: Parameter) -> st.SearchStrategy[Setting]:
    """Any valid value of a parameter."""
    if isinstance(parameter, Word):
        return st.sampled_from(parameter.choices)
    if not isinstance(parameter, Number):
        lists = st.lists(FRACTIONS, min_size=parameter.shortest, max_size=parameter.longest or LONGEST_TABLE)
        return lists.map(tuple)
    if parameter.integer:
        return st.integers(int(parameter.low), int(parameter.high))
    return st.floats(parameter.low, parameter.high, exclude_min=parameter.positive)


@st.composite
def schedules(
    draw: st.DrawFn,
    kinds: tuple[str, ...] = tuple(SCHEDULES),
    gates: st.SearchStrategy[Gate | None] = GATES_OR_NONE,
) -> Schedule:
    """Schedule of any of `kinds` with any valid parameters, under a gate or not."""
    kind = draw(st.sampled_from(kinds))
    curve = SCHEDULES[kind]
    values = {name: draw(settings(parameter)) for name, parameter in curve.parameters.items()}
    if curve.increasing:
        low, high = sorted(draw(st.lists(FRACTIONS, min_size=2, max_size=2, unique=True)))
        values |= dict(zip(curve.increasing, (low, high), strict=True))
    return Schedule(kind, tuple(values.items()), draw(gates))


@st.composite
def terms(draw: st.DrawFn, site: str, name: str) -> Term:
    """Term of one noise with any valid numbers for the knobs it has."""
    noise = NOISES[site][name]
    fraction = draw(FRACTIONS) if "fraction" in noise.knobs else 1.0
    level = draw(st.sampled_from(LEVELS)) if "level" in noise.knobs else "fixed"
    return Term(site, name, draw(st.floats(0, noise.limit)), fraction, level, draw(schedules()))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Policy of any of the noises."""
    keys = draw(st.lists(st.sampled_from(ALL_NOISES), unique=True))
    return Policy(tuple(draw(terms(site, name)) for site, name in keys))
