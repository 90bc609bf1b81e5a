from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from apply_examples import EVERY_NOISE, IMAGES, SGD, Training, card, differing, one_hot, workbench
from torch import Tensor, nn

from noise_search.apply import BoundNoise
from noise_search.errors import CallerError
from noise_search.policy import Card, Term
from noise_search.schedules import Schedule
from noise_search.seeds import generator

INPUTS = Term("inputs", "gaussian", 0.2)
WEIGHTS = Term("weights", "relative", 0.1)
TARGETS = Term("targets", "label_smoothing", 0.2)
GRADIENTS = Term("gradients", "gaussian", 0.3)
IMAGE = torch.rand((8, 1, 4, 4), generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 3


def network() -> nn.Sequential:
    """A small model with biases, a norm and buffers, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


class Loop:
    """A model, its optimiser and bound noise."""

    def __init__(self, *terms: Term, total_steps: int = 10, seed: int = 0) -> None:
        self.model = network()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        bound = card(*terms)
        self.noise = bound.bind(self.model, self.optimizer, total_steps=total_steps, seed=seed, classes=3)

    def forward_backward(self) -> None:
        inputs, targets = self.noise.batch(IMAGE, LABELS)
        F.cross_entropy(self.model(inputs), targets).backward()  # type: ignore[no-untyped-call]

    def train(self, steps: int = 1) -> None:
        for _ in range(steps):
            with self.noise.step():
                self.forward_backward()
            self.optimizer.step()
            self.optimizer.zero_grad()

    def state(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.model.state_dict().items()}


def raise_after(error: type[BaseException], _: object) -> None:
    raise error


# --- weights


def test_weights_are_noisy_in_a_step_by_the_formula_and_the_very_same_bits_after_it() -> None:
    loop = Loop(WEIGHTS)
    clean = loop.state()
    with loop.noise.step():
        for name, value in loop.model.named_parameters():
            xi = torch.randn(value.shape, generator=generator(0, "weights", "relative", name, 0))
            rms = clean[name].square().mean().sqrt()
            torch.testing.assert_close(value.detach(), clean[name] + (0.1 * rms * xi if value.dim() > 1 else 0.0))
        loop.model.eval()  # a forward pass that leaves the buffers alone
        loop.forward_backward()
    assert differing(loop.state(), clean) == []


def test_biases_norms_and_buffers_are_never_touched() -> None:
    loop = Loop(WEIGHTS)
    clean = loop.state()
    with loop.noise.step():
        assert differing(loop.state(), clean) == ["0.weight", "4.weight"]
        loop.forward_backward()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_weights_come_back_when_a_step_fails_and_the_next_one_has_its_draws(error: type[BaseException]) -> None:
    loop, other = Loop(INPUTS, WEIGHTS), Loop(INPUTS, WEIGHTS)
    clean = loop.state()
    with pytest.raises(error), loop.noise.step():
        raise_after(error, loop.noise.batch(IMAGE, LABELS))
    assert differing(loop.state(), clean) == []
    assert loop.noise.steps_done == 0
    loop.train()
    other.train()
    assert differing(loop.state(), other.state()) == []


def test_a_model_in_half_precision_gets_noise_that_was_computed_in_float32() -> None:
    model = nn.Linear(4, 3).to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    noise = card(WEIGHTS, INPUTS, context={"modality": "tabular"}).bind(model, optimizer, total_steps=1, seed=0)
    clean = model.weight.detach().clone()
    with noise.step():
        xi = torch.randn((3, 4), generator=generator(0, "weights", "relative", "weight", 0))
        wide = clean.float()
        expected = wide + 0.1 * wide.square().mean().sqrt() * xi
        torch.testing.assert_close(model.weight.detach(), expected.to(torch.bfloat16))
        inputs, labels = noise.batch(torch.rand(5, 4).to(torch.bfloat16), torch.zeros(5, dtype=torch.long))
        assert inputs.dtype == torch.bfloat16
        F.cross_entropy(model(inputs), labels).backward()  # type: ignore[no-untyped-call]
    assert torch.equal(model.weight, clean)


# --- gradients


def test_gradients_become_noisy_in_the_optimisers_step_by_the_formula() -> None:
    loop = Loop(GRADIENTS)
    with loop.noise.step():
        loop.forward_backward()
    before = {name: value.detach().clone() for name, value in loop.model.named_parameters()}
    gradients = {name: value.grad.clone() for name, value in loop.model.named_parameters() if value.grad is not None}
    loop.optimizer.step()
    for name, value in loop.model.named_parameters():
        xi = torch.randn(value.shape, generator=generator(0, "gradients", "gaussian", name, 0))
        noisy = gradients[name] + 0.3 * gradients[name].square().mean().sqrt() * xi
        torch.testing.assert_close(value.detach(), before[name] - 0.1 * noisy)


def test_a_closure_gives_the_bits_of_a_plain_step() -> None:
    loop, plain = Loop(INPUTS, WEIGHTS, GRADIENTS), Loop(INPUTS, WEIGHTS, GRADIENTS)

    def closure() -> float:
        loop.optimizer.zero_grad()
        with loop.noise.step():
            loop.forward_backward()
        return 0.0

    for _ in range(2):
        loop.optimizer.step(closure)
    plain.train(2)
    assert differing(loop.state(), plain.state()) == []


def test_a_parameter_without_gradient_gets_none() -> None:
    loop = Loop(GRADIENTS)
    loop.model[0].requires_grad_(False)
    clean = loop.state()
    loop.train()
    changed = differing(loop.state(), clean)
    assert "4.weight" in changed
    assert "0.weight" not in changed


def test_a_sparse_gradient_is_refused() -> None:
    model = nn.Embedding(3, 2, sparse=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    noise = card(GRADIENTS).bind(model, optimizer, total_steps=1, seed=0)
    with noise.step():
        model(torch.tensor([0, 1])).sum().backward()
    with pytest.raises(CallerError, match=r"gradients: weight: expected a dense gradient, got torch\.sparse_coo"):
        optimizer.step()


# --- mixed precision, accumulation, compiling


def test_a_scaler_changes_nothing_because_noise_is_measured_by_the_gradient() -> None:
    loop, plain = Loop(INPUTS, WEIGHTS, GRADIENTS), Loop(INPUTS, WEIGHTS, GRADIENTS)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for _ in range(3):
        with loop.noise.step():
            inputs, targets = loop.noise.batch(IMAGE, LABELS)
            scaler.scale(F.cross_entropy(loop.model(inputs), targets)).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(loop.optimizer)
        scaler.step(loop.optimizer)
        scaler.update()
        loop.optimizer.zero_grad()
    plain.train(3)
    torch.testing.assert_close(loop.state(), plain.state(), rtol=1e-4, atol=1e-6)


def test_a_step_that_a_scaler_passes_over_is_counted_and_no_mistake() -> None:
    loop = Loop(GRADIENTS)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    for _ in range(3):
        with loop.noise.step():
            inputs, targets = loop.noise.batch(IMAGE, LABELS)
            loss = F.cross_entropy(loop.model(inputs), targets)
            scaler.scale(loss * 1e3).backward()  # type: ignore[no-untyped-call]
        clean = loop.state()
        scaler.step(loop.optimizer)
        scaler.update()
        loop.optimizer.zero_grad()
        assert differing(loop.state(), clean) == []
    assert loop.noise.steps_done == 3


def test_autocast_lies_inside_a_step_and_never_around_it() -> None:
    loop = Loop(INPUTS, WEIGHTS)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(CallerError, match=r"outside of torch\.autocast"):
        loop.noise.step().__enter__()
    with loop.noise.step():
        with torch.autocast("cpu", torch.bfloat16):
            inputs, targets = loop.noise.batch(IMAGE, LABELS)
            logits = loop.model(inputs)
            loss = F.cross_entropy(logits, targets)
        loss.backward()  # type: ignore[no-untyped-call]
    assert (inputs.dtype, logits.dtype) == (torch.float32, torch.bfloat16)


def test_noise_on_a_batch_is_the_same_under_autocast() -> None:
    loop, plain = Loop(*EVERY_NOISE.terms), Loop(*EVERY_NOISE.terms)
    with loop.noise.step(), torch.autocast("cpu", torch.bfloat16):
        inputs, _ = loop.noise.batch(IMAGE, LABELS)
        loop.model(inputs).sum().backward()
    with plain.noise.step():
        expected, _ = plain.noise.batch(IMAGE, LABELS)
        plain.model(expected).sum().backward()
    assert torch.equal(inputs, expected)


def test_micro_batches_of_a_step_have_one_draw_for_weights_and_each_its_own_for_inputs() -> None:
    loop, other = Loop(INPUTS, WEIGHTS), Loop(INPUTS, WEIGHTS)
    with loop.noise.step():
        weights = loop.model.get_parameter("0.weight").detach().clone()
        parts = []
        for _ in range(2):
            inputs, labels = loop.noise.batch(IMAGE, LABELS)
            F.cross_entropy(loop.model(inputs), labels).backward()  # type: ignore[no-untyped-call]
            parts.append(inputs)
            assert torch.equal(loop.model.get_parameter("0.weight"), weights)
    assert not torch.equal(*parts)
    with other.noise.step():
        inputs, labels = other.noise.batch(IMAGE, LABELS)
        F.cross_entropy(other.model(inputs), labels).backward()  # type: ignore[no-untyped-call]
    assert torch.equal(inputs, parts[0])


def test_steps_differ_in_every_draw() -> None:
    loop = Loop(INPUTS, WEIGHTS)
    seen = []
    for _ in range(2):
        with loop.noise.step():
            inputs, labels = loop.noise.batch(IMAGE, LABELS)
            F.cross_entropy(loop.model(inputs), labels).backward()  # type: ignore[no-untyped-call]
            seen.append((inputs, loop.model.get_parameter("0.weight").detach().clone()))
    assert not torch.equal(seen[0][0], seen[1][0])
    assert not torch.equal(seen[0][1], seen[1][1])


def _compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="aot_eager")  # type: ignore[return-value]  # a module from a module


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own while it imports its compiler
@pytest.mark.parametrize("bound_to", ["the model", "the compiled model"])
def test_a_compiled_model_trains_to_the_numbers_of_a_plain_one(bound_to: str) -> None:
    plain = Loop(INPUTS, WEIGHTS, GRADIENTS)
    plain.train(3)
    model = network()
    compiled = _compiled(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    chosen = model if bound_to == "the model" else compiled
    noise = card(INPUTS, WEIGHTS, GRADIENTS).bind(chosen, optimizer, total_steps=10, seed=0)
    for _ in range(3):
        with noise.step():
            inputs, labels = noise.batch(IMAGE, LABELS)
            F.cross_entropy(compiled(inputs), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    torch.testing.assert_close(dict(model.state_dict()), plain.state())


# --- checkpoints


def test_a_training_goes_on_from_a_checkpoint_with_the_same_bits() -> None:
    bench, policy = workbench("cnn with batch norm", SGD), Card(EVERY_NOISE, IMAGES)
    whole, first, second = (Training(bench, policy, seed=3) for _ in range(3))
    whole.run()
    first.run(stop=4)
    second.model.load_state_dict(copy.deepcopy(first.model.state_dict()))
    second.optimizer.load_state_dict(copy.deepcopy(first.optimizer.state_dict()))
    second.noise.load_state_dict(first.noise.state_dict())
    second.run(start=4)  # the very next batch is a partial one
    assert differing(dict(second.model.state_dict()), dict(whole.model.state_dict())) == []


def test_a_checkpoint_of_another_training_is_refused_with_everything_that_differs() -> None:
    state = Loop(WEIGHTS).noise.state_dict()
    with pytest.raises(CallerError) as raised:
        Loop(WEIGHTS, INPUTS, seed=1, total_steps=20).noise.load_state_dict({**state, "full_batch": -1})
    words = ["seed: expected 1, as bound, got 0", "total_steps: expected 20", "terms: expected", "full_batch: expected"]
    assert len(raised.value.mistakes) == len(words)
    for mistake, part in zip(raised.value.mistakes, words, strict=True):
        assert mistake.startswith(f"noise.load_state_dict: {part}")


def test_no_checkpoint_is_made_while_weights_are_noisy() -> None:
    loop = Loop(WEIGHTS)
    with loop.noise.step():
        with pytest.raises(CallerError, match="expected outside"):
            loop.noise.state_dict()
        loop.forward_backward()


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
