from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sweep_examples import NAME, config, finished_store, record, spec

import noise_search
from noise_search.commands import front
from noise_search.errors import CallerError
from noise_search.policy import load_card, policy_from_list, save_card
from noise_search.search.fronts import FrontRow, pareto
from noise_search.search.pick import make_card, pick_row
from noise_search.training import load_dataset

GAUSSIAN: list[dict[str, object]] = [
    {"site": "inputs", "noise": "gaussian", "magnitude": 0.2, "fraction": 1.0, "level": "fixed",
     "schedule": {"kind": "constant"}}
]  # fmt: skip


def row(trial: int | None, clean: float, robust: float, *, on_front: bool = True, weight: float = 0.5) -> FrontRow:
    """A trial with these scores, or the no-noise control."""
    score = weight * clean + (1 - weight) * robust
    control = "no_noise" if trial is None else None
    return FrontRow(trial, control, clean, robust, robust, robust, score, on_front, GAUSSIAN)


ROWS = [
    row(3, 0.60, 0.90),
    row(1, 0.88, 0.80),
    row(7, 0.90, 0.60),
    row(0, 0.99, 0.99, on_front=False),
    row(None, 0.99, 0.99, on_front=False),
]


def test_best_is_the_highest_score_on_the_front() -> None:
    assert pick_row(ROWS, "best").trial == 1


def test_best_of_equal_scores_is_the_cleanest() -> None:
    assert pick_row([row(0, 0.5, 0.75), row(1, 0.75, 0.5)], "best").trial == 1


def test_the_most_robust_trial_that_is_clean_enough_is_picked() -> None:
    picked = [pick_row(ROWS, f"min-clean={bound}").trial for bound in ("0", "0.6", "0.61", "0.88", "0.9")]
    assert picked == [3, 3, 1, 1, 7]


@pytest.mark.parametrize("bound", ["nan", "1.01", "-0.1", "inf", "x", "0,5", "90%"])
def test_a_bound_that_is_no_share_is_refused(bound: str) -> None:
    with pytest.raises(CallerError, match=r"pick rule min-clean: expected a number in \[0, 1\], got '"):
        pick_row(ROWS, f"min-clean={bound}")


def test_a_bound_that_no_trial_meets_is_refused_with_the_best_there_is() -> None:
    with pytest.raises(CallerError, match=r"expected a bound that a trial meets, got 0\.95; best is 0\.9000"):
        pick_row(ROWS, "min-clean=0.95")


@pytest.mark.parametrize(
    ("rule", "near"), [("bset", "best"), ("kne", "knee"), ("min-clean", "min-clean=X"), ("", None)]
)
def test_an_unknown_rule_is_refused_with_the_nearest(rule: str, near: str | None) -> None:
    with pytest.raises(CallerError, match="pick rule: expected one of") as caught:
        pick_row(ROWS, rule)
    assert near is None or f"did you mean '{near}'?" in str(caught.value)


@pytest.mark.parametrize("rule", ["best", "knee", "min-clean=0"])
def test_without_a_trial_on_the_front_there_is_nothing_to_pick(rule: str) -> None:
    with pytest.raises(CallerError, match="expected a front with at least one complete trial, got none"):
        pick_row([row(None, 0.9, 0.9, on_front=False)], rule)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, unique=True))
def test_the_knee_is_the_trial_farthest_beyond_the_line_between_the_ends(points: list[tuple[float, float]]) -> None:
    front_points = sorted(pareto(points))
    rows = [row(number, *point) for number, point in enumerate(front_points)]
    picked = pick_row(rows, "knee")
    (low, top), (high, bottom) = front_points[0], front_points[-1]
    if low == high or top == bottom:
        assert picked == pick_row(rows, "best")
        return

    def beyond(one: FrontRow) -> float:
        x, y = (one.clean - low) / (high - low), (one.robust - bottom) / (top - bottom)
        return (x + y - 1) / math.sqrt(2)  # signed distance from the line through (0, 1) and (1, 0)

    assert beyond(picked) >= max(beyond(one) for one in rows) - 1e-12


def test_the_knee_of_a_bent_front_is_its_corner() -> None:
    assert pick_row(ROWS, "knee").trial == 1


def test_a_card_carries_the_policy_and_the_context_it_was_tuned_in(tmp_path: Path) -> None:
    picked = pick_row(front(NAME, store=finished_store()), "best")
    card = make_card(record(finished_store()), picked, "best")
    save_card(card, tmp_path / "card.yaml")
    assert load_card(tmp_path / "card.yaml") == card
    assert card.policy == policy_from_list(picked.policy)
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
        "trial": picked.trial,
        "rule": "best",
    }
    assert card.context["optimizer"] == config()["optimizer"]
    assert card.context["versions"] == {"noise_search": noise_search.__version__, "torch": torch.__version__}


def test_the_scores_in_a_card_say_that_they_were_searched() -> None:
    picked = pick_row(front(NAME, store=finished_store()), "best")
    scores = make_card(record(finished_store()), picked, "best").context["scores"]
    assert scores["kind"] == "searched, on validation: optimistic"
    assert scores["score"] == round(picked.score, 4)


def test_a_card_tabulates_as_the_trial_did(tmp_path: Path) -> None:
    for one in front(NAME, store=finished_store()):
        save_card(make_card(record(finished_store()), one, "best"), tmp_path / "card.yaml")
        tables = load_card(tmp_path / "card.yaml").tabulate(10)
        expected = policy_from_list(one.policy).tabulate(10)
        assert tables.keys() == expected.keys()
        assert all(torch.equal(tables[key], expected[key]) for key in tables)
