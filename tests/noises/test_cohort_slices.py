"""Each noise runs on the slice of trials that has it, and only while it does something."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from noise_setups import BATCH, KEYS, PARAMETERS, STEPS, Key, clean_values, entry, policy, run, set_up, term

from noise_search.noises.gradients import GRADIENT_NOISES
from noise_search.noises.inputs import INPUT_NOISES
from noise_search.noises.mixing import MIXING_NOISES
from noise_search.noises.slots import Slots
from noise_search.noises.targets import TARGET_NOISES
from noise_search.noises.weights import WEIGHT_NOISES
from noise_search.policy import Policy, Term
from noise_search.schedules import Schedule
from noise_search.seeds import Draws

REGISTRIES: tuple[dict[str, Any], ...] = (
    MIXING_NOISES,
    INPUT_NOISES,
    WEIGHT_NOISES,
    TARGET_NOISES,
    GRADIENT_NOISES,
)
EVERY = pytest.mark.parametrize("key", KEYS, ids=".".join)
Calls = list[tuple[Key, tuple[int, ...], int]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Every call of a noise: which, the seeds of the trials it was called for, and how many trials it was given."""
    seen: Calls = []
    for registry in REGISTRIES:
        for name, noise in registry.items():
            monkeypatch.setitem(registry, name, replace(noise, apply=watched((noise.site, name), noise.apply, seen)))
    return seen


def watched(key: Key, apply: Callable[..., Any], seen: Calls) -> Callable[..., Any]:
    def watching(values: Any, magnitudes: torch.Tensor, draws: Draws) -> Any:
        given = next(iter(values.values())) if isinstance(values, dict) else values
        assert len(given) == len(magnitudes) == len(draws.seeds)
        seen.append((key, draws.seeds, len(given)))
        return apply(values, magnitudes, draws)

    return watching


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The noise of every base draw that is made."""
    seen: list[str] = []
    original = Draws._generator

    def counting(draws: Draws, seed: int, draw: str) -> torch.Generator:
        seen.append(f"{draws.site}.{draws.noise}")
        return original(draws, seed, draw)

    monkeypatch.setattr(Draws, "_generator", counting)
    return seen


def run_cohort(policies: list[Policy], step: int = 0) -> None:
    """All sites; the seed of each member is its slot, so that draws tell who they were made for."""
    for site in ("inputs", *PARAMETERS):
        clean = clean_values(site, torch.float32, members=len(policies))
        run(site, policies, clean, step=step, seeds=range(len(policies)))


def strong(key: Key, schedule: Schedule | None = None) -> Term:
    return replace(term(key, set_up(key).strong), schedule=schedule or Schedule())


def test_where_every_trial_has_another_noise_each_noise_is_called_once_with_that_trial_alone(calls: Calls) -> None:
    run_cohort([policy(strong(key)) for key in KEYS])
    assert sorted(calls) == sorted((key, (slot,), 1) for slot, key in enumerate(KEYS))


@EVERY
def test_a_noise_is_called_once_with_exactly_the_trials_that_have_it(calls: Calls, key: Key) -> None:
    others = [policy(strong(other)) for other in KEYS if other != key]
    having = policy(*(strong(other) for other in KEYS))
    run_cohort([having, *others[:4], having, policy(), having, *others[4:]])
    assert [call for call in calls if call[0] == key] == [(key, (0, 5, 7), 3)]


@EVERY
def test_a_trial_whose_schedule_is_at_0_is_left_out(calls: Calls, key: Key) -> None:
    late = policy(strong(key, Schedule("window", (("start", 0.5),))))
    always = policy(strong(key))
    run_cohort([always, late, always, late], step=STEPS // 2 - 1)
    run_cohort([always, late, always, late], step=STEPS // 2)
    assert calls == [(key, (0, 2), 2), (key, (0, 1, 2, 3), 4)]


@EVERY
def test_where_no_trial_has_a_magnitude_nothing_is_called_and_nothing_drawn(
    calls: Calls, drawn: list[str], key: Key
) -> None:
    late = replace(strong(key, Schedule("window", (("start", 0.5),))), **knobs(key))
    run_cohort([policy(late)] * 2, step=STEPS // 2 - 1)
    assert (calls, drawn) == ([], [])
    run_cohort([policy(late)] * 2, step=STEPS // 2)
    assert len(calls) == 1


def knobs(key: Key) -> dict[str, Any]:
    """Values of the knobs a noise has that make it draw who gets it, and how strongly."""
    values = {"fraction": 0.999, "level": "uniform"}
    return {knob: value for knob, value in values.items() if knob in entry(key).knobs}


@pytest.mark.parametrize("key", [key for key in KEYS if key[0] in PARAMETERS and "fraction" in entry(key).knobs])
def test_a_batch_that_was_not_chosen_costs_nothing_but_the_draw_of_who_is(calls: Calls, key: Key) -> None:
    for step in range(50):
        run_cohort([policy(replace(strong(key), fraction=0.3))], step)
    assert 4 <= len(calls) <= 26  # 15 expected, with a standard deviation of 3.2


def test_who_gets_it_and_how_strongly_is_drawn_only_where_it_is_not_certain(drawn: list[str]) -> None:
    certain = policy(Term("targets", "label_smoothing", 0.1))
    run_cohort([certain])
    assert drawn == []
    run_cohort([policy(Term("targets", "label_smoothing", 0.1, 0.5, "uniform"))])
    assert drawn == ["targets.label_smoothing"] * 2


# --- Slots


def test_slots_that_are_not_put_back_are_the_very_tensor_that_was_given() -> None:
    values = torch.ones(3, 2)
    slots = Slots(values)
    slots.take([0, 2])
    assert slots.whole() is values


@pytest.mark.parametrize("taken", [[0], [1], [0, 1], [1, 2], [0, 2], [0, 1, 2], [0, 1, 3], [0, 1, 2, 3]])
def test_what_is_put_back_is_read_by_the_next_and_leaves_the_rest_and_what_was_given_alone(taken: list[int]) -> None:
    values = torch.arange(8.0).reshape(4, 2)
    slots = Slots(values)
    slots.put(taken, slots.take(taken) * 10)
    slots.put([1], slots.take([1]) + 0.5)
    expected = values.clone()
    expected[taken] *= 10
    expected[1] += 0.5
    assert torch.equal(slots.whole(), expected)
    assert torch.equal(slots.take([0, 1, 3]), expected[[0, 1, 3]])
    assert torch.equal(values, torch.arange(8.0).reshape(4, 2))


def test_what_was_put_back_for_all_slots_is_left_alone_by_the_next() -> None:
    first = torch.zeros(4, 2)
    slots = Slots(torch.ones(4, 2))
    slots.put([0, 1, 2, 3], first)
    slots.put([1], torch.ones(1, 2))
    assert not first.any()
    assert slots.whole().sum(1).tolist() == [0, 2, 0, 0]


def test_slots_of_one_tensor_seen_many_times_are_changed_one_at_a_time() -> None:
    shared = torch.zeros(BATCH).expand(3, BATCH)
    slots = Slots(shared)
    slots.put([1], torch.ones(1, BATCH))
    assert slots.whole().sum(1).tolist() == [0, BATCH, 0]
    assert slots.whole().is_contiguous()
