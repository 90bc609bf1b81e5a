from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from policy_strategies import ALL_NOISES, policies

from noise_search.errors import CallerError
from noise_search.noises import NOISES
from noise_search.policy import (
    Card,
    Policy,
    Term,
    cohort_terms,
    policy_from_list,
    policy_to_list,
)
from noise_search.schedules import Schedule

EVERY_NOISE = pytest.mark.parametrize(("site", "name"), ALL_NOISES)


@given(policies())
def test_plain_data_of_a_policy_give_it_back_also_through_json(policy: Policy) -> None:
    assert policy_from_list(policy_to_list(policy)) == policy
    assert policy_from_list(json.loads(json.dumps(policy_to_list(policy)))) == policy


def test_terms_are_kept_in_the_order_of_the_registry() -> None:
    made = [Term("targets", "label_smoothing", 0.1), Term("weights", "relative", 0.1), Term("inputs", "mixup", 1.0)]
    expected = ("inputs.mixup", "weights.relative", "targets.label_smoothing")
    assert tuple(term.key for term in Policy(tuple(made)).terms) == expected
    assert Policy(tuple(made)) == Policy(tuple(reversed(made)))
    assert hash(Policy(tuple(made))) == hash(Policy(tuple(reversed(made))))


def test_two_terms_of_one_noise_are_refused() -> None:
    two = (Term("inputs", "gaussian", 0.1), Term("inputs", "gaussian", 0.2))
    with pytest.raises(
        CallerError, match=r"^terms: expected at most one term for each noise, got inputs\.gaussian twice$"
    ):
        Policy(two)


def test_a_table_is_the_magnitude_times_the_factors_of_the_schedule() -> None:
    rising = Schedule("linear", (("a", 0.2), ("b", 1.0)))
    policy = Policy((Term("inputs", "gaussian", 0.5, schedule=rising), Term("weights", "relative", 0.1)))
    tables = policy.tabulate(5)
    np.testing.assert_allclose(tables["inputs.gaussian"].numpy(), [0.1, 0.2, 0.3, 0.4, 0.5], atol=1e-15)
    assert tables["weights.relative"].tolist() == [0.1] * 5
    assert {table.dtype for table in tables.values()} == {torch.float64}


def test_a_card_rescales_to_another_number_of_steps() -> None:
    falling = Schedule("cosine", (("a", 1.0), ("b", 0.0)))
    card = Card(Policy((Term("inputs", "gaussian", 0.5, schedule=falling),)), {})
    short, long = card.tabulate(11)["inputs.gaussian"], card.tabulate(101)["inputs.gaussian"]
    torch.testing.assert_close(long[::10], short, rtol=0, atol=1e-12)


def test_terms_policies_and_cards_cannot_be_changed() -> None:
    term = Term("inputs", "gaussian", 0.1)
    for made, name in ((term, "magnitude"), (Policy((term,)), "terms"), (Card(Policy(), {}), "policy")):
        with pytest.raises(FrozenInstanceError):
            setattr(made, name, None)


@EVERY_NOISE
def test_a_term_is_checked_when_it_is_made(site: str, name: str) -> None:
    limit = NOISES[site][name].limit
    Term(site, name, 0.0)
    Term(site, name, limit)
    for wrong in (-1e-9, math.nextafter(limit, math.inf), math.nan, math.inf, True, "0.1", None):
        with pytest.raises(CallerError) as error:
            Term(site, name, wrong)  # type: ignore[arg-type]
        assert error.value.mistakes == (f"term.magnitude: expected a number in [0, {limit:g}], got {wrong!r}",)


@given(st.lists(policies(), min_size=1, max_size=4), st.integers(1, 30))
def test_a_cohort_gathers_the_terms_of_its_members_by_noise(members: list[Policy], steps: int) -> None:
    seeds = list(range(100, 100 + len(members)))
    gathered = cohort_terms(members, seeds=seeds, steps=steps, dtype=torch.float64)
    found = {
        (slot, f"{term.site}.{term.noise}"): (
            term.magnitudes[:, column].tolist(),
            float(term.fractions[column]),
            bool(term.uniform[column]),
            term.seeds[column],
        )
        for term in gathered
        for column, slot in enumerate(term.slots)
    }
    expected = {
        (slot, term.key): (
            policy.tabulate(steps)[term.key].tolist(),
            term.fraction,
            term.level == "uniform",
            seeds[slot],
        )
        for slot, policy in enumerate(members)
        for term in policy.terms
    }
    assert found == expected
    assert all(list(term.slots) == sorted(term.slots) for term in gathered)


def test_a_table_of_a_cohort_is_cast_once_to_the_dtype_asked_for() -> None:
    policy = Policy((Term("inputs", "gaussian", 0.1, schedule=Schedule("cosine")),))
    (term,) = cohort_terms([policy], seeds=[0], steps=50, dtype=torch.float32)
    assert torch.equal(term.magnitudes[:, 0], policy.tabulate(50)["inputs.gaussian"].float())
