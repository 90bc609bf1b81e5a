"""The card of a trial: the context it was tuned in, and the evidence there is, against what the store holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import torch
from confirm_examples import confirmed_store
from sweep_examples import NAME, config, finished_store, spec

import noise_search
from noise_search.commands import front
from noise_search.corruptions import CORRUPTIONS
from noise_search.policy import Card, load_card, policy_from_list, save_card
from noise_search.policy.evidence import ARMS, SCORES
from noise_search.search.cards import CARD_ARMS, make_card
from noise_search.search.confirmed import finished_confirmations, measured
from noise_search.search.evidence import Yard, item_scores
from noise_search.search.fronts import FrontRow, complete_rows
from noise_search.search.pick import pick_row
from noise_search.statistics import paired_difference
from noise_search.store import Confirmed, Store, locate, open_store
from noise_search.training import load_dataset

T_OF_TWO = 12.706204736  # 97.5 % of Student's t with one degree of freedom


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    with open_store(locate(folder), create=False) as store:
        yield store


def card_of(row: FrontRow, folder: Path | None = None) -> Card:
    with opened(folder or finished_store()) as store:
        return make_card(store, store.sweep(NAME), row, "best")


def confirmed_card() -> tuple[Mapping[str, Any], list[Confirmed]]:
    """Evidence in the card of the winner, and the trainings it is from."""
    with opened(confirmed_store()[0]) as store:
        sweep = store.sweep(NAME)
        (record,) = finished_confirmations(store, sweep.id)
        row = pick_row(complete_rows(store, sweep.id), "best")
        card = make_card(store, sweep, row, "best", record)
        assert card.evidence is not None
        return card.evidence, list(measured(store, record).arms)


def measured_on() -> Yard:
    with opened(confirmed_store()[0]) as store:
        (record,) = finished_confirmations(store, store.sweep(NAME).id)
        return measured(store, record).yard


def best() -> FrontRow:
    return pick_row(front(NAME, store=finished_store()), "best")


def test_a_card_carries_the_policy_and_the_context_it_was_tuned_in(tmp_path: Path) -> None:
    card = card_of(best())
    save_card(card, tmp_path / "card.yaml")
    assert load_card(tmp_path / "card.yaml") == card
    assert card.policy == policy_from_list(best().policy)
    data = load_dataset(spec().data)
    facts = {key: card.context[key] for key in ("modality", "input_range", "data", "data_digest", "model", "epochs")}
    assert facts == {
        "modality": "images",
        "input_range": [0.0, 1.0],
        "data": {"name": "digits", "split_seed": 0},
        "data_digest": data.digest,
        "model": {"name": "mlp", "hidden": [8]},
        "epochs": 2,
    }
    named = {key: card.context[key] for key in ("batch_size", "seed", "seeds", "suite", "sweep", "trial", "rule")}
    assert named == {
        "batch_size": 256,
        "seed": 0,
        "seeds": [0],
        "suite": {"name": "digits", "digest": spec().suite.digest},
        "sweep": NAME,
        "trial": best().trial,
        "rule": "best",
    }
    assert card.context["optimizer"] == config()["optimizer"]
    assert card.context["versions"] == {"noise_search": noise_search.__version__, "torch": torch.__version__}


def test_a_card_tabulates_as_the_trial_did(tmp_path: Path) -> None:
    for one in front(NAME, store=finished_store()):
        save_card(card_of(one), tmp_path / "card.yaml")
        tables = load_card(tmp_path / "card.yaml").tabulate(10)
        expected = policy_from_list(one.policy).tabulate(10)
        assert tables.keys() == expected.keys()
        assert all(torch.equal(tables[key], expected[key]) for key in tables)


def test_searched_scores_are_those_of_the_trial_on_validation_and_stand_nowhere_else() -> None:
    row = best()
    card = card_of(row)
    assert card.evidence == {
        "kind": "searched",
        "split": "validation",
        "suite": {"name": "digits", "digest": spec().suite.digest},
        "seeds": [0],
        "test_reads": 0,
        "arms": {
            "winner": {
                name: {"mean": round(getattr(row, name), 6)}
                for name in ("clean", "robust", "worst_family", "robust_weights")
            }
        },
    }
    assert "scores" not in card.context


def test_every_arm_of_a_store_has_its_name_in_a_card() -> None:
    assert list(CARD_ARMS.values()) == list(ARMS)
    for ours, theirs in CARD_ARMS.items():
        assert ours.replace("its ", "").replace(" ", "_") == theirs


def test_confirmed_evidence_says_on_what_with_which_seeds_and_how_often_test_was_read() -> None:
    found, trainings = confirmed_card()
    held_out = confirmed_store()[1].settings["held_out"]
    assert (found["kind"], found["split"], found["confidence"]) == ("confirmed", "test", 0.95)
    assert list(found["suite"].values()) == held_out
    assert found["seeds"] == sorted({one.seed for one in trainings})
    assert found["test_reads"] == 1
    assert set(found["arms"]) == {CARD_ARMS[arm] for arm in confirmed_store()[1].evidence.means}


def test_scores_of_arms_are_those_that_confirming_printed() -> None:
    found, _ = confirmed_card()
    for arm, means in confirmed_store()[1].evidence.means.items():
        scores = found["arms"][CARD_ARMS[arm]]
        for name, mean in means.items():
            assert scores[name]["mean"] == pytest.approx(mean, abs=1e-6)
        for numbers in scores.values():
            assert numbers["low"] <= numbers["mean"] <= numbers["high"]


def test_robust_accuracy_is_split_into_families_that_were_in_training_and_others() -> None:
    found, trainings = confirmed_card()
    seen = measured_on().seen
    own = [one for one in trainings if one.arm == "no noise"]

    def mean(families: set[str]) -> float:
        """Mean over families of kinds of severities, above chance of ten classes, over seeds."""
        by_family: dict[str, list[float]] = {}
        for one in own:
            for kind, cells in one.cells.items():
                if kind in CORRUPTIONS and CORRUPTIONS[kind].family in families:
                    above = [max(0.0, (cell - 0.1) / 0.9) for cell in cells]
                    by_family.setdefault(CORRUPTIONS[kind].family, []).append(fmean(above))
        return fmean(fmean(kinds) for kinds in by_family.values())

    every = {CORRUPTIONS[kind].family for kind in own[0].cells if kind in CORRUPTIONS}
    scores = found["arms"]["no_noise"]
    for name, families in (("robust", every), ("robust_seen", every & seen), ("robust_unseen", every - seen)):
        assert (name in scores) == bool(families)
        if families:
            assert scores[name]["mean"] == pytest.approx(mean(families), abs=1e-6)


def test_intervals_of_means_over_samples_are_over_seeds_and_samples_the_others_over_seeds() -> None:
    found, trainings = confirmed_card()
    own = [one for one in trainings if one.arm == "winner"]
    items, scores = item_scores(own, measured_on()), found["arms"]["winner"]
    for name, layout in (("clean", items.clean), ("robust", items.robust.mean(axis=1))):
        expected = paired_difference(layout)
        assert scores[name]["high"] - scores[name]["low"] == pytest.approx(expected.high - expected.low, abs=2e-6)
    for name in ("worst_family", "robust_weights"):
        half = T_OF_TWO * stdev(one.scores[name] for one in own) / 2**0.5
        assert scores[name]["high"] - scores[name]["mean"] == pytest.approx(half, abs=2e-6)


def test_the_random_arm_is_the_mean_of_its_policies() -> None:
    found, trainings = confirmed_card()
    own = [one.scores["worst_family"] for one in trainings if one.arm.startswith("random ")]
    assert found["arms"]["random"]["worst_family"]["mean"] == pytest.approx(np.mean(own), abs=1e-6)


def test_gains_are_the_differences_that_confirming_printed() -> None:
    found, _ = confirmed_card()
    said = confirmed_store()[1].evidence
    for one in said.against:
        gain = found["gains"][CARD_ARMS[one.arm]]
        assert gain["robust"] == {
            "mean": round(one.robust.mean, 6),
            "low": round(one.robust.low, 6),
            "high": round(one.robust.high, 6),
            "p_value": pytest.approx(one.p_adjusted, rel=5e-3),
        }
        assert gain["clean"]["mean"] == round(one.clean.mean, 6)
        assert set(gain) <= set(SCORES)
    assert found["gains"]["search"]["robust"] == found["gains"]["best_random"]["robust"]
    if said.scheduling is not None:
        assert found["gains"]["scheduling"]["robust"]["mean"] == round(said.scheduling.mean, 6)
    assert ("scheduling" in found["gains"]) == (said.scheduling is not None)


def test_an_arm_that_diverged_is_written_as_the_worst_there_is(tmp_path: Path) -> None:
    with opened(confirmed_store()[0]) as store:
        sweep = store.sweep(NAME)
        (record,) = finished_confirmations(store, sweep.id)
        worst = dict.fromkeys(("clean", "robust", "worst_family", "robust_weights", "score"), 0.0)
        lost = [
            replace(one, diverged=True, scores={**one.scores, **worst}) if one.arm == "no noise" else one
            for one in store.confirmed(record.id)
        ]

        class Diverged:
            """The store, with the arm without noise lost."""

            def confirmed(self, _: int) -> list[Confirmed]:
                return lost

            def test_reads(self, _: str) -> int:  # noqa: PT019  # no test
                return 1

        card = make_card(Diverged(), sweep, best(), "best", record)  # type: ignore[arg-type]
    save_card(card, tmp_path / "card.yaml")
    evidence = load_card(tmp_path / "card.yaml").evidence
    assert evidence is not None
    assert evidence["arms"]["no_noise"]["robust"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
