"""What binding a card refuses, and what it finds out in a training: no noise fails silently."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from apply_examples import card, differing, one_hot
from apply_loops import GRADIENTS, IMAGE, INPUTS, LABELS, TARGETS, WEIGHTS, Loop, network
from torch import nn

from noise_search.apply import BoundNoise
from noise_search.errors import CallerError
from noise_search.policy import Term
from noise_search.schedules import Schedule

# --- nothing fails silently


def test_a_batch_that_was_forgotten_is_named_with_its_site() -> None:
    for term, site in ((INPUTS, "inputs"), (TARGETS, "targets")):
        loop = Loop(term)
        with pytest.raises(CallerError, match=rf"^{site}: .* noise\.batch was not called"), loop.noise.step():
            F.cross_entropy(loop.model(IMAGE), LABELS).backward()  # type: ignore[no-untyped-call]


def test_a_batch_outside_a_step_is_refused() -> None:
    with pytest.raises(CallerError, match=r"^noise\.batch: expected `with noise\.step\(\):`"):
        Loop(INPUTS).noise.batch(IMAGE, LABELS)


def test_a_backward_pass_outside_the_first_step_is_refused() -> None:
    for term, site in ((WEIGHTS, "weights"), (GRADIENTS, "gradients")):
        loop = Loop(term)
        with pytest.raises(CallerError, match=rf"^{site}: .* no gradient reached the bound model"), loop.noise.step():
            loop.model(IMAGE)


def test_an_optimizer_that_is_not_the_bound_one_is_found_out_at_the_second_step() -> None:
    loop = Loop(GRADIENTS)
    loop.optimizer = torch.optim.SGD(loop.model.parameters(), lr=0.1)
    loop.train()
    with pytest.raises(CallerError, match=r"^gradients: noise did not act .* bound optimizer was not stepped"):
        loop.train()


def test_an_optimizer_step_without_a_noise_step_is_refused() -> None:
    loop = Loop(INPUTS)
    with pytest.raises(CallerError, match=r"^optimizer\.step: expected `with noise\.step\(\):`"):
        loop.optimizer.step()
    loop.train()
    with pytest.raises(CallerError, match="got none since the last"):
        loop.optimizer.step()


def test_an_optimizer_step_inside_a_noise_step_is_refused_before_it_does_anything() -> None:
    loop = Loop(WEIGHTS)
    clean = loop.state()
    with pytest.raises(CallerError, match=r"^optimizer\.step: expected after the block"), loop.noise.step():
        loop.optimizer.step(loop.forward_backward)
    assert differing(loop.state(), clean) == []


def test_a_step_inside_another_is_refused() -> None:
    loop = Loop(WEIGHTS)
    with pytest.raises(CallerError, match="one inside another"), loop.noise.step(), loop.noise.step():
        pass


def test_a_step_past_the_last_is_refused_until_the_noise_is_closed() -> None:
    loop = Loop(WEIGHTS, GRADIENTS, total_steps=2)
    loop.train(2)
    with pytest.raises(CallerError, match=r"^noise\.step: expected 2 steps, the total_steps of bind, got one more"):
        loop.train()
    loop.noise.close()
    F.cross_entropy(loop.model(IMAGE), LABELS).backward()  # type: ignore[no-untyped-call]
    loop.optimizer.step()
    with pytest.raises(CallerError, match=r"expected before noise\.close\(\), got it after"):
        loop.train()


def test_a_step_that_failed_its_test_can_be_taken_again_with_its_draws() -> None:
    loop, other = Loop(INPUTS, WEIGHTS), Loop(INPUTS, WEIGHTS)
    with pytest.raises(CallerError, match="no gradient reached the bound model"), loop.noise.step():
        loop.noise.batch(IMAGE, LABELS)
    loop.train()
    other.train()
    assert differing(loop.state(), other.state()) == []


def test_a_term_that_begins_later_is_no_reason_to_complain_and_one_that_is_always_zero_needs_nothing() -> None:
    late = Term("weights", "relative", 0.1, schedule=Schedule("window", (("start", 0.5),)))
    loop = Loop(late, Term("inputs", "gaussian", 0.0))
    with loop.noise.step():
        F.cross_entropy(loop.model(IMAGE), LABELS).backward()  # type: ignore[no-untyped-call]
    assert loop.noise.steps_done == 1


def test_a_card_without_terms_changes_no_bit_of_a_training() -> None:
    loop, plain = Loop(), network()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    loop.train(2)
    for _ in range(2):
        F.cross_entropy(plain(IMAGE), LABELS).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    assert differing(loop.state(), dict(plain.state_dict())) == []


# --- what bind refuses


def bound(**changes: object) -> BoundNoise:
    model = network()
    given: dict[str, object] = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "total_steps": 10,
        "seed": 0,
    }
    given |= changes
    binder: Callable[..., BoundNoise] = card(INPUTS, WEIGHTS).bind
    return binder(given.pop("model"), given.pop("optimizer"), **given)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "cnn"}, "bind: model: expected a torch.nn.Module, got str"),
        ({"optimizer": "sgd"}, "bind: optimizer: expected a torch.optim.Optimizer, got str"),
        ({"total_steps": 0}, "bind: total_steps: expected a whole number from 1 up, got 0"),
        ({"total_steps": 10.0}, "bind: total_steps: expected a whole number from 1 up, got 10.0"),
        ({"seed": None}, "bind: seed: expected a whole number, got None"),
        ({"classes": 1}, "bind: classes: expected a whole number from 2 up, got 1"),
        ({"normalize": 0.5}, "bind: normalize: expected (mean, std)"),
        ({"normalize": (0.5, 0.0)}, "bind: normalize: expected (mean, std)"),
        ({"model": network()}, "bind: optimizer: expected parameters of the model in it, got others"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(changes: dict[str, object], words: str) -> None:
    with pytest.raises(CallerError) as raised:
        bound(**changes)
    (mistake,) = raised.value.mistakes
    assert mistake.startswith(words)
    assert "\n" not in mistake


def test_all_wrong_arguments_are_named_at_once() -> None:
    with pytest.raises(CallerError) as raised:
        bound(model=None, optimizer=None, total_steps=-1, seed=0.5)
    assert len(raised.value.mistakes) == 4


def test_a_model_without_weights_cannot_have_noise_on_them() -> None:
    model = nn.BatchNorm1d(4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(CallerError, match=r"^weights: expected a parameter of two dimensions or more"):
        card(WEIGHTS).bind(model, optimizer, total_steps=1, seed=0)


def test_a_noise_that_does_not_suit_the_cards_own_kind_of_data_is_refused() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tabular = card(Term("inputs", "erase", 0.1), context={"modality": "tabular", "input_range": None})
    with pytest.raises(CallerError, match=r"erase works on \['images'\], got data of modality 'tabular'"):
        tabular.bind(model, optimizer, total_steps=1, seed=0)


def test_probabilities_come_out_in_every_step_where_a_noise_needs_them_and_else_what_went_in() -> None:
    loop = Loop(INPUTS)
    with loop.noise.step():
        inputs, targets = loop.noise.batch(IMAGE, LABELS)
        assert targets is LABELS
        loop.model(inputs).sum().backward()
    for term in (TARGETS, Term("inputs", "mixup", 0.5)):
        loop = Loop(term)
        with loop.noise.step():
            inputs, targets = loop.noise.batch(IMAGE, LABELS)
            torch.testing.assert_close(targets.sum(dim=1), torch.ones(8))
            assert not torch.equal(targets, one_hot(LABELS, torch.float32)[:, :3])
            loop.model(inputs).sum().backward()
