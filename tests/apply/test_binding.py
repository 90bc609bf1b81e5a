from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from apply_examples import EVERY_NOISE, IMAGES, SGD, Training, card, differing, workbench
from apply_loops import GRADIENTS, IMAGE, INPUTS, LABELS, WEIGHTS, Loop, network
from torch import nn

from noise_search.errors import CallerError
from noise_search.policy import Card
from noise_search.seeds import generator


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
