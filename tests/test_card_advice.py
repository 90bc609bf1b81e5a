from __future__ import annotations

import pytest
from card_examples import CONTEXT

from noise_search.policy import Card, Policy, Term
from noise_search.schedules import Gate, Schedule

GAUSSIAN, RELATIVE = Term("inputs", "gaussian", 0.2), Term("weights", "relative", 0.1)
GRADIENTS = Term("gradients", "gaussian", 0.1)


def gated(cycles: int, on: float) -> Term:
    return Term("inputs", "gaussian", 0.2, schedule=Schedule("constant", (), Gate(cycles, on)))


def rescale(*terms: Term, **context: object) -> str:
    return " ".join(Card(Policy(terms), context).rescale)


def not_for(*terms: Term, **context: object) -> str:
    return " ".join(Card(Policy(terms), context).not_for)


def test_schedules_need_no_change_and_the_epochs_they_were_tuned_at_are_told() -> None:
    assert rescale().startswith(
        "Schedules are fractions of training: with other numbers of epochs or steps nothing has"
    )
    assert "tuned at 10 epochs." in rescale(epochs=10)
    assert "epochs." not in rescale()


@pytest.mark.parametrize(("cycles", "on", "steps"), [(4, 0.5, 9), (4, 1.0, 5), (3, 0.7, 6), (2, 0.1, 21)])
def test_a_gate_tells_how_many_steps_it_needs(cycles: int, on: float, steps: int) -> None:
    term = gated(cycles, on)
    assert f"in fewer than {steps} steps some may have no noise." in rescale(term)
    # Moments lie 1 / (steps - 1) apart, no more than the share of an interval that is on: one falls into each.
    on_at = [step / (steps - 1) for step, factor in enumerate(term.schedule.factors(steps)) if factor > 0]
    assert {min(int(cycles * moment + 1e-9), cycles - 1) for moment in on_at} == set(range(cycles))


def test_a_gate_that_is_never_on_and_no_gate_tell_of_none() -> None:
    assert "gate" not in rescale(gated(4, 0.0))
    assert "gate" not in rescale(GAUSSIAN)


def test_the_batch_size_matters_to_what_is_drawn_once_a_batch() -> None:
    assert "weights.relative: one draw for each batch, tuned at batches of 64;" in rescale(RELATIVE, batch_size=64)
    assert "weights.relative: one draw for each batch; at another" in rescale(RELATIVE)
    assert "inputs.gaussian: drawn for each sample, so the batch size does not matter" in rescale(GAUSSIAN)
    assert "each batch" not in rescale(GAUSSIAN)


def test_gradient_noise_alone_is_said_to_add_up_over_steps() -> None:
    assert "Noise of gradients adds up over steps" in rescale(GRADIENTS)
    assert "adds up" not in rescale(GAUSSIAN, RELATIVE)


def test_another_optimiser_is_to_be_compared_with_no_noise() -> None:
    assert "than adamw as it was tuned with, compare it with no noise first" in rescale(optimizer={"name": "adamw"})
    assert "With another optimiser or learning rate, compare it" in rescale()


def test_it_is_never_for_fine_tuning() -> None:
    assert not_for().startswith("Fine-tuning: it was tuned for training from initial weights")


def test_it_is_not_for_inputs_of_another_range_where_it_has_noise_of_inputs() -> None:
    assert "Inputs in another range than [-1, 1], or normalised before" in not_for(GAUSSIAN, input_range=[-1.0, 1.0])
    assert "Inputs in other units than those it was tuned in" in not_for(GAUSSIAN, input_range=None)
    assert "Inputs" not in not_for(RELATIVE, input_range=[0.0, 1.0])


def test_it_is_not_for_data_of_another_kind_nor_unchecked_for_other_data_and_models() -> None:
    said = not_for(**CONTEXT)
    assert "Data other than images." in said
    assert "Data or models other than digits and mlp, unchecked: compare it with no noise first" in said
    assert "Data or models other than those it was tuned with, unchecked" in not_for()
    assert "other than my_models.Net, unchecked" in not_for(model={"_target_": "my_models.Net"})
