"""What a page says is what the store has."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from confirm_examples import confirmed_store
from report_examples import confirmed, contents_in, searched
from sweep_examples import BUDGET, NAME, drive, finished_store, record, spec

from noise_search.commands import front, status
from noise_search.metrics import packed
from noise_search.policy import Policy, Term
from noise_search.reports.contents import confirmed_gains, shape_of
from noise_search.reports.figures import figures_of
from noise_search.reports.page import page_of
from noise_search.schedules import Gate, Schedule
from noise_search.search.evidence import NO_NOISE, WINNER
from noise_search.store import Confirmed, add_confirmed, begin_confirmation, locate, open_store

RISING = Schedule("linear", (("a", 0.0), ("b", 1.0), ("start", 0.0), ("stop", 1.0)))
FALLING = Schedule("linear", (("a", 1.0), ("b", 0.0), ("start", 0.0), ("stop", 1.0)))
MIDDLE = Schedule("window", (("start", 0.25), ("stop", 0.75)))


def policy(*schedules: Schedule, magnitude: float = 0.1) -> Policy:
    places = [("inputs", "gaussian"), ("weights", "relative"), ("gradients", "gaussian")]
    return Policy(tuple(Term(*place, magnitude, schedule=one) for place, one in zip(places, schedules, strict=False)))


@pytest.mark.parametrize(
    ("tried", "shape"),
    [
        (policy(), "no noise"),
        (policy(RISING, magnitude=0.0), "no noise"),
        (policy(Schedule()), "constant"),
        (policy(Schedule(), Schedule()), "constant"),
        (policy(RISING), "rising"),
        (policy(FALLING), "falling"),
        (policy(MIDDLE), "even"),
        (policy(RISING, FALLING), "even"),
        (policy(RISING, Schedule()), "rising"),
        (policy(Schedule(every=Gate(4, 0.5))), "even"),
    ],
)
def test_a_shape_is_the_half_of_training_in_which_there_is_more_noise(tried: Policy, shape: str) -> None:
    assert shape_of(tried) == shape


def test_a_sweep_that_is_not_confirmed_says_what_status_and_front_say() -> None:
    found = searched()
    assert (found.measured, found.confirmed, found.state) == (None, None, "complete")
    assert found.numbers["trials"]["complete"] == BUDGET == len(found.lives)
    assert {life.reached for life in found.lives} == {spec().train.epochs}
    assert found.picks["best"].trial == found.numbers["best"]["trial"]
    assert found.searched is not None
    assert found.searched.who == f"trial {found.picks['best'].trial}"


def test_the_numbers_of_a_page_are_plain_data_and_those_of_the_other_commands() -> None:
    folder, outcome = confirmed_store()
    numbers = json.loads(json.dumps(confirmed().to_mapping(), allow_nan=False))
    said = status(numbers["name"], store=folder)
    assert {key: numbers[key] for key in ("trials", "epochs_trained", "best", "seconds")} == {
        key: said[key] for key in ("trials", "epochs_trained", "best", "seconds")
    }
    front_of = {row.trial for row in front(numbers["name"], store=folder) if row.on_front}
    assert {row["trial"] for row in numbers["rows"] if row["on_front"]} == front_of
    assert (numbers["confirmation"], numbers["picks"]["best"]) == (outcome.number, said["best"]["trial"])
    assert numbers["evidence"]["clean"]["difference"]["mean"] == outcome.evidence.clean.difference.mean


def test_trainings_that_diverged_are_at_chance_in_the_gains_as_in_the_evidence() -> None:
    found = confirmed().measured
    assert found is not None
    lost = replace(found, arms=tuple(replace(one, diverged=one.arm == WINNER) for one in found.arms))
    said = confirmed_gains(lost)
    assert said is not None
    control = [one for one in found.arms if one.arm == NO_NOISE]
    for kind, gains in said.by_kind.items():
        expected = [
            1 / found.yard.classes - fmean(column) for column in zip(*(one.cells[kind] for one in control), strict=True)
        ]
        assert gains == pytest.approx(expected)


def test_what_was_trained_is_counted_by_part() -> None:
    folder, _ = confirmed_store()
    found = confirmed()
    assert found.measured is not None
    epochs, parts = spec().train.epochs, {part.name: part for part in found.cost}
    assert parts["sweep"].epochs == epochs * (BUDGET + 3)  # controls too
    assert parts["search among constants"].epochs == epochs * (2 + 1)
    stages = [parts[f"confirmation 1, stage {number}"] for number in (1, 2)]
    assert sum(part.epochs for part in stages) == epochs * len(found.measured.trainings)
    assert sum(part.seconds for part in stages) == pytest.approx(found.measured.record.seconds, abs=0.11)
    assert parts["sweep"].seconds == pytest.approx(record(folder).seconds, abs=0.06)


def test_the_cost_has_every_confirmation_and_no_rivals_where_none_were_searched(tmp_path: Path) -> None:
    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    drive(tmp_path, "budget.trials=2", f"name={NAME}-constant")  # another sweep that happens to have that name
    with open_store(locate(tmp_path), create=False) as store:
        sweep = store.sweep(NAME)
        with store.take_lease(sweep.id) as writer:
            for rule, trained in (("best", 2), ("knee", 1)):
                record = begin_confirmation(writer, {"constants": [f"{NAME}-constant", 0], "rule": rule})
                found = [training("choose", seed) for seed in range(trained)]
                add_confirmed(writer, record.id, found, [], seconds=1.5)
    epochs = spec().train.epochs
    parts = {part.name: part.epochs for part in contents_in(tmp_path).cost}
    assert parts == {
        "sweep": epochs * (BUDGET + 3),
        "confirmation 1, stage 1": 2 * epochs,
        "confirmation 2, stage 1": epochs,
    }


def training(stage: str, seed: int) -> Confirmed:
    return Confirmed(stage, "trial 0", seed, [], {}, {}, packed(torch.zeros(1, dtype=torch.bool)), {}, diverged=False)


def test_what_stopping_saved_is_what_stopped_trials_had_left(tmp_path: Path) -> None:
    drive(tmp_path, "stopping=halving", "stopping.at=[0.5]", "train.epochs=4", "budget.trials=8")
    found = contents_in(tmp_path)
    stopped = [life for life in found.lives if life.state == "stopped"]
    assert stopped
    assert found.saved_by_stopping == sum(4 - life.reached for life in stopped) == 2 * len(stopped)


def test_of_several_seeds_a_page_has_the_means_and_counts_every_training(tmp_path: Path) -> None:
    halving = ("stopping=halving", "stopping.at=[0.5]", "train.epochs=4", "budget.trials=4")
    drive(tmp_path, "budget.seeds=2", *halving, "controls.constants=0", "controls.random=0")
    found = contents_in(tmp_path)
    with open_store(locate(tmp_path), create=False) as store:
        sweep = store.sweep(NAME)
        members = {one.number: one.id for one in store.members(sweep.id)}
        last = [row for row in store.results(sweep.id) if row.epoch == 4]
        shared = store.epochs_shared(sweep.id)
    own = {trial: [row for row in last if row.member_id == members[trial]] for trial in members}
    best = found.picks["best"]
    assert found.searched is not None
    for kind, gains in found.searched.by_kind.items():
        accuracies = [np.mean([row.cells[kind] for row in own[trial]], axis=0) for trial in (best.trial, None)]
        assert gains == pytest.approx(list(accuracies[0] - accuracies[1]))
    for row in found.rows:
        assert len(own[row.trial]) == 2
        assert row.robust == pytest.approx(fmean(one.scores["robust"] for one in own[row.trial]))
    left = sum(4 - life.reached for life in found.lives)
    assert found.saved_by_stopping == 2 * left > 0
    assert found.cost[0].epochs == 2 * 4 * len(members) - 2 * left - shared
    text = page_of(found, figures_of(found))
    for said in ("means of 2 seeds", "Means of 2 seeds, optimistic", "4, each with 2 seeds"):
        assert said in text


def test_a_sweep_without_a_complete_trial_has_what_there_is(tmp_path: Path) -> None:
    assert drive(tmp_path, "budget.minutes=1e-9").state == "out_of_time"
    found = contents_in(tmp_path)
    assert (found.picks, found.searched, found.measured, found.state) == ({}, None, None, "out_of_time")
