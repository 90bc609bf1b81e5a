"""Sweeps and their confirmations on simulated trainings, whose true differences are known: what is said of them.

All that decides is the real code: who races, who is chosen, the arms of stage 2, intervals and Holm's p-values, on a
real store. Trainings are drawn item by item, see `noise_search.execute.simulated_items`; the search and its rival's
draw policies at random, and their fronts are taken as those of sweeps are. Every policy has a schedule unless it is
constant by its part in the comparison.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from scipy import special

from measuring import spread
from noise_search.config import build, compose
from noise_search.config.held_out import held_out_suite
from noise_search.corruptions.suites import Suite
from noise_search.execute import Executor
from noise_search.execute.simulated import LookedUp
from noise_search.execute.simulated_items import Effect, ItemsExecutor, World, no_effect
from noise_search.metrics import combined
from noise_search.policy import Policy, policy_to_list
from noise_search.search.asking import random_policies
from noise_search.search.choosing import FRONT, candidates
from noise_search.search.confirmed import measured
from noise_search.search.confirming import (
    Confirmation,
    ConfirmSettings,
    Sizes,
    run_choosing,
    run_measuring,
    stage_seeds,
)
from noise_search.search.evidence import (
    BEST_RANDOM,
    CLEAN_MARGIN,
    NO_NOISE,
    PUBLISHED,
    WINNER,
    Evidence,
)
from noise_search.search.fronts import FrontRow, pareto
from noise_search.seeds import stable_hash
from noise_search.spec import SweepSpec
from noise_search.statistics import CONFIDENCE
from noise_search.store import CHOOSE, MEASURE, Store, begin_confirmation, locate, open_store
from noise_search.training import Job, Member, Result

ALPHA = 1 - CONFIDENCE
MOST_FALSE_POSITIVES = 0.06
TRIALS, TOP, RANDOMS, CHOOSE_SEEDS = 32, 4, 3, 3
SWEEP = (
    "data=digits",
    "space=gaussian",
    "space.terms.inputs.schedule.choices=[linear,cosine,window]",
    f"budget.trials={TRIALS}",
    "train.epochs=5",
    f"driver.cohort={2 * TRIALS}",
    "tracking.enabled=false",
)
CONSTANT = ("space.terms.inputs.schedule=constant",)


@dataclass(frozen=True)
class Cell:
    """Sizes of a confirmation, and how much its trainings vary.

    Args:
        seeds: Of stage 2.
        items, validation: Samples of the test and of the validation split.
        clean: Accuracy on clean items.
        seed_sd: SD of robust accuracy above chance between seeds.
    """

    seeds: int
    items: int
    validation: int
    clean: float
    seed_sd: float


# Digits have a seed SD of about 3 points of robust accuracy, Fashion-MNIST of about 1.2.
CELLS = {
    "5 seeds of 2,000 items": Cell(5, 2_000, 1_000, 0.90, 0.012),
    "10 seeds of 360 items": Cell(10, 360, 359, 0.97, 0.030),
}


def gain_of_schedules(points: float) -> Callable[[Policy], Effect]:
    """Every policy with a schedule is so many points more robust than no noise and than constant ones."""
    return lambda policy: Effect(robust=points / 100) if _has_schedule(policy) else Effect()


def loss_of_the_margin(policy: Policy) -> Effect:
    """Noise costs just the clean accuracy that may be lost: to call that kept is a false call."""
    return Effect(clean=-CLEAN_MARGIN) if policy.terms else Effect()


EFFECTS: Mapping[str, Callable[[Policy], Effect]] = {
    "null": no_effect,
    "gain of 1 point": gain_of_schedules(1),
    "gain of 2 points": gain_of_schedules(2),
    "gain of 4 points": gain_of_schedules(4),
    "clean loss of 1 point": loss_of_the_margin,
}


def _has_schedule(policy: Policy) -> bool:
    return any(term.schedule.kind != "constant" for term in policy.terms)


class Reusing(LookedUp):
    """Stage 2 as it must not be: trainings with the seeds that have chosen.

    Args:
        executor: That trains.
        seeds: Seed that is asked for -> seed that is taken.
    """

    def __init__(self, executor: ItemsExecutor, seeds: Mapping[int, int]) -> None:
        super().__init__(validation_samples=executor.validation_samples, steps_per_epoch=executor.steps_per_epoch)
        self._executor, self._seeds = executor, seeds

    def _result(self, member: Member, job: Job) -> Result:
        """That of another seed under the name of the one that was asked for."""
        taken = replace(member, seed=self._seeds[member.seed])
        (found,) = self._executor.run(replace(job, members=(taken,)), lambda _epochs: None)
        return replace(found, seed=member.seed)


def sweeps(
    cell: Cell, effect: Callable[[Policy], Effect], seeds: Sequence[int], *, reuse: bool = False
) -> list[dict[str, Any]]:
    """What is said of so many sweeps, one for each seed.

    Args:
        cell: Their sizes.
        effect: What policies truly add.
        seeds: Of everything that is drawn in a sweep.
        reuse: Whether stage 2 takes split and seeds of stage 1, as it must not.
    """
    with tempfile.TemporaryDirectory() as folder, open_store(locate(folder), create=True) as store:
        return [_sweep(cell, effect, seed, store, reuse=reuse) for seed in seeds]


def _sweep(cell: Cell, effect: Callable[[Policy], Effect], seed: int, store: Store, *, reuse: bool) -> dict[str, Any]:
    world = World(seed, cell.clean, cell.seed_sd, effect=effect)
    spec, rival = (replace(_spec(*more), seed=seed) for more in ((), CONSTANT))
    validation = ItemsExecutor(world, spec.suite, split="validation", samples=cell.validation)
    fronts = [_searched(own, validation) for own in (spec, rival)]
    found, chosen = _confirm(cell, world, spec, store, fronts, reuse=reuse)
    return said(found) | _numbers(found, fronts[0], chosen)


def _searched(spec: SweepSpec, executor: ItemsExecutor) -> list[FrontRow]:
    """Rows of a search at random, the control without noise first."""
    policies = [Policy(), *random_policies(spec.space, TRIALS, seed=spec.seed)]
    members = tuple(Member(str(slot), policy, spec.seed) for slot, policy in enumerate(policies))
    results = executor.run(Job(members, 0, spec.train.epochs), lambda _epochs: None)
    control, *rows = (_row(slot, *found, spec) for slot, found in enumerate(zip(policies, results, strict=True)))
    best = pareto([(row.clean, row.robust) for row in rows])
    return [control, *(replace(row, on_front=(row.clean, row.robust) in best) for row in rows)]


def _row(slot: int, policy: Policy, result: Result, spec: SweepSpec) -> FrontRow:
    clean, robust, worst, weights = (result.scores[key] for key in PUBLISHED)
    trial, control = (slot - 1, None) if slot else (None, "no_noise")
    score = combined(clean, robust, spec.objective.weight)
    return FrontRow(trial, control, clean, robust, worst, weights, score, False, policy_to_list(policy))


def _confirm(
    cell: Cell, world: World, spec: SweepSpec, store: Store, fronts: Sequence[list[FrontRow]], *, reuse: bool
) -> tuple[Evidence, str]:
    """What stage 2 finds, and the trial that stage 1 has chosen."""
    suite = _held_out()
    settings = ConfirmSettings(
        TRIALS, "best", TOP, RANDOMS, CHOOSE_SEEDS, cell.seeds, ("constants", TRIALS), (suite.name, suite.digest)
    )
    sweep = store.create_sweep(
        name=f"sweep {spec.seed}", digest="simulated", identity={}, config={}, budget_trials=TRIALS
    )
    with store.take_lease(sweep.id) as writer:
        record = begin_confirmation(writer, settings.stored())
        own = stable_hash(spec.seed, "confirm", record.number) % 2**63
        racers = candidates(*fronts, spec.space, top=TOP, randoms=RANDOMS, seed=own)
        executors: dict[str, Executor] = {
            CHOOSE: ItemsExecutor(world, spec.suite, split="validation", samples=cell.validation)
        }
        confirmation = Confirmation(
            spec,
            settings,
            store,
            writer,
            record,
            lambda stage, _multiple: executors[stage],
            lambda _epochs: None,
            Sizes(world.classes, executors[CHOOSE].steps_per_epoch, cell.validation, cell.items),
        )
        executors[MEASURE] = _measuring(cell, world, confirmation, reuse=reuse)
        run_choosing(confirmation, racers, fronts[0])
        run_measuring(confirmation)
        choice: Any = confirmation.record.choice
        return measured(store, confirmation.record).evidence, choice["chosen"][WINNER]


def _measuring(cell: Cell, world: World, confirmation: Confirmation, *, reuse: bool) -> Executor:
    if not reuse:
        return ItemsExecutor(world, _held_out(), split="test", samples=cell.items)
    taken = itertools.cycle(stage_seeds(confirmation, CHOOSE))
    seeds = dict(zip(stage_seeds(confirmation, MEASURE), taken, strict=False))
    return Reusing(ItemsExecutor(world, _held_out(), split="validation", samples=cell.validation), seeds)


@cache
def _spec(*more: str) -> SweepSpec:
    return build(compose([*SWEEP, *more]))


@cache
def _held_out() -> Suite:
    return held_out_suite("digits", "images")


def said(found: Evidence) -> dict[str, bool | None]:
    """What a confirmation calls a difference; None where it does not look for one."""
    no_noise, random = found.over(NO_NOISE), found.over(BEST_RANDOM)
    by_holm = [one.arm for one in found.against if one.p_adjusted < ALPHA]
    return {
        "winner_beats_no_noise": no_noise.robust.low > 0,
        "winner_beats_no_noise_by_holm": no_noise.robust.mean > 0 and NO_NOISE in by_holm,
        "winner_differs_from_no_noise": no_noise.robust.p_value < ALPHA,
        "winner_differs_from_any_arm_by_holm": bool(by_holm),
        "clean_is_kept": found.clean.holds,
        "clean_differs": found.clean.difference.p_value < ALPHA,
        "gain_of_scheduling": None if found.scheduling is None else found.scheduling.low > 0,
        "gain_of_search": random.robust.low > 0,
    }


def _numbers(found: Evidence, front: Sequence[FrontRow], chosen: str) -> dict[str, float]:
    """Gain of the winner over no noise, as it was measured and as the search had it."""
    winner = next(row for row in front if f"{FRONT} {row.trial}" == chosen)
    control = next(row for row in front if row.control == "no_noise")
    return {"gain": found.over(NO_NOISE).robust.mean, "searched_gain": winner.robust - control.robust}


def summary(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How often each thing was said, with binomial intervals, and the mean gains."""
    names = [name for name, value in found[0].items() if not isinstance(value, float)]
    return {
        "sweeps": len(found),
        "said": {name: share([one[name] for one in found if one[name] is not None]) for name in names},
        **{name: _spread([one[name] for one in found]) for name in ("gain", "searched_gain")},
    }


def share(said: Sequence[bool]) -> dict[str, Any]:
    """Share of what is true with its 95 % interval.

    Source: Clopper & Pearson 1934, Biometrika 26.

    >>> share([True, False, False, False])["share"]
    0.25
    """
    count, of, tail = sum(said), len(said), (1 - CONFIDENCE) / 2
    low = float(special.betaincinv(count, of - count + 1, tail)) if count else 0.0
    high = float(special.betaincinv(count + 1, of - count, 1 - tail)) if count < of else 1.0
    return {
        "found": count,
        "of": of,
        "share": count / of if of else math.nan,
        "interval": [round(low, 4), round(high, 4)],
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    """As of other benchmarks, without the thousand values."""
    return {key: value for key, value in spread(values).items() if key != "values"}
