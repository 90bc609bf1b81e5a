from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from noise_search.metrics import packed
from noise_search.search.overuse import overuse

SAMPLES = 400


def right(count: int, *, first: int = 0) -> str:
    """Samples `first` to `first + count` right, the others wrong."""
    flags = torch.zeros(SAMPLES, dtype=torch.bool)
    flags[first : first + count] = True
    return packed(flags)


def losses(*values: float, first: int = 5) -> list[dict[str, float]]:
    return [{"epoch": float(first + index), "corrupted/nll": value} for index, value in enumerate(values)]


def found(own: str, control: str, history: Sequence[dict[str, float]] = ()) -> str | None:
    return overuse({5: [own]}, {5: [control]}, history, samples=SAMPLES, epochs=20)


def test_as_good_as_the_control_is_no_overuse() -> None:
    assert found(right(350), right(350)) is None
    assert found(right(360), right(350)) is None


def test_points_lost_on_the_same_samples_are_overuse() -> None:
    reason = found(right(340), right(360))
    assert reason is not None
    assert reason.startswith("clean accuracy 5.0 points under no noise after 5 epochs (SE 1.1")


def test_a_point_or_less_is_no_overuse() -> None:
    assert found(right(356), right(360)) is None


def test_two_standard_errors_are_needed_besides() -> None:
    # Three points lost in the sum of 60 samples won and 72 lost: within the noise of that many.
    own, control = right(200, first=0), right(212, first=128)
    difference = 12 / SAMPLES
    assert difference > 0.01
    assert found(own, control) is None


def test_seeds_are_averaged_before_samples_are() -> None:
    own, control = [right(340), right(360)], [right(360), right(340)]
    assert overuse({5: own}, {5: control}, [], samples=SAMPLES, epochs=20) is None


def test_epochs_without_the_control_say_nothing() -> None:
    assert overuse({5: [right(10)]}, {6: [right(360)]}, [], samples=SAMPLES, epochs=20) is None


def test_a_loss_that_rises_at_three_scorings_running_is_overuse() -> None:
    reason = found(right(350), right(350), losses(1.0, 1.1, 1.2, 1.3))
    assert reason == "loss on corrupted images risen at 3 scorings running, the last after 8 epochs"


@pytest.mark.parametrize(
    "history",
    [losses(1.0, 1.1, 1.2), losses(1.0, 1.1, 1.2, 1.1, 1.2, 1.3), losses(1.0, 1.1, 1.2, 1.3, first=2), []],
    ids=["twice only", "with a fall between", "in the first quarter", "nothing scored"],
)
def test_a_loss_that_rises_less_or_early_is_not(history: list[dict[str, float]]) -> None:
    assert found(right(350), right(350), history) is None
