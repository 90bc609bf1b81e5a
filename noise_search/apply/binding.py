"""A card bound to one training in plain PyTorch.

    noise = load_card("card.yaml").bind(model, optimizer, total_steps=steps, seed=0)
    for inputs, targets in batches:
        with noise.step():                                 # weights are noisy in here
            inputs, targets = noise.batch(inputs, targets) # inputs and targets become noisy
            F.cross_entropy(model(inputs), targets).backward()
        clip_grad_norm_(model.parameters(), 1.0)           # weights are as they were
        optimizer.step()                                   # gradients become noisy just before it
        optimizer.zero_grad()

Noises, tables and draws are those of a search, with a cohort of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from noise_search.apply.batches import Normalize, Units, check_batch, make_units, noisy
from noise_search.apply.parameters import named_parameters, shaken_gradients, shaken_weights, wide
from noise_search.apply.ranks import batch_seed, refuse_disagreement
from noise_search.errors import CallerError, raise_if_any
from noise_search.noises import CohortTerm
from noise_search.noises.mixing import MIXING_NOISES
from noise_search.policy import Card, Policy, cohort_terms, policy_from_list, policy_to_list

_AROUND = "`with noise.step():` around the forward and backward pass"


def bind(
    card: Card,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    total_steps: int,
    seed: int,
    normalize: Normalize | None = None,
    classes: int | None = None,
) -> BoundNoise:
    """Bind a card to one training: what `Card.bind` does.

    Args:
        card: Its policy is applied; its context says what inputs are.
        model: The one that is trained; also in DDP, or compiled.
        optimizer: The one that is stepped, made from the model's parameters.
        total_steps: Optimiser steps of the whole training, over which the schedules run.
        seed: Of all draws; the same in every process of a training.
        normalize: (mean, std) that inputs come normalised with, each one number or one a channel; None: they come raw.
        classes: How many; needed for class indices where a noise makes probabilities of them.

    Raises:
        CallerError: With every mistake.

    >>> from noise_search.policy import Card, Policy, Term
    >>> model = nn.Linear(2, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> noise = bind(Card(Policy((Term("weights", "relative", 0.1),)), {}), model, optimizer, total_steps=1, seed=0)
    >>> clean = model.weight.detach().clone()
    >>> with noise.step():
    ...     changed = not torch.equal(model.weight, clean)
    ...     model(torch.ones(4, 2)).sum().backward()
    >>> changed, torch.equal(model.weight, clean)
    (True, True)
    """
    raise_if_any(_mistakes(model, optimizer, total_steps, seed))
    policy = policy_from_list(policy_to_list(card.policy), "card: terms", modality=card.context.get("modality"))
    acting = {key for key, table in policy.tabulate(total_steps).items() if table.any()}
    sites = {key.partition(".")[0] for key in acting}
    mixes = any(f"inputs.{noise}" in acting for noise in MIXING_NOISES)
    units = make_units(card.context, normalize, classes, sites=sites, mixes=mixes)
    parameters = named_parameters(model)
    if "weights" in sites and not any(value.dim() > 1 for value in parameters.values()):
        raise CallerError("weights: expected a parameter of two dimensions or more to put noise on, got none")
    return BoundNoise(policy, units, frozenset(sites), parameters, optimizer, total_steps, seed)


class BoundNoise:
    """The noise of one training, made by `bind`: where it is in the schedules, and what has to be put back.

    Attributes:
        total_steps: Steps of the whole training.
        steps_done: Steps that have ended.
    """

    def __init__(
        self,
        policy: Policy,
        units: Units,
        sites: frozenset[str],
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        total_steps: int,
        seed: int,
    ) -> None:
        self.total_steps, self.steps_done = total_steps, 0
        self._policy, self._units, self._seed = policy, units, seed
        self._parameters = parameters
        self._hook = optimizer.register_step_pre_hook(self._before_optimizer)
        self._tables: dict[torch.dtype, list[CohortTerm]] = {}
        self._full_batch = 0  # samples in the largest batch so far
        self._micro_batches = 0  # of the step at hand
        self._clean: dict[str, Tensor] | None = None  # what noise has changed, as it was; None outside a step
        self._due: int | None = None  # step whose gradients wait for the optimiser
        self._untested = set(sites)  # sites that have not acted yet
        self._finite = True  # gradients of the last step, while those are untested
        self._agreed = False  # with the other processes
        self._closed = False

    @contextmanager
    def step(self) -> Iterator[None]:
        """Make weights noisy for one optimiser step, and put them back, also when something is raised.

        Around the forward AND backward pass of all micro-batches; unscaling, clipping and `optimizer.step()` come after
        it, autocast inside. A step in which something was raised is not counted: the next one has its draws.

        Raises:
            CallerError: Within another step or autocast, past the last step, or where noise did not act: every site
                has to in the first step.
        """
        _refuse_autocast({value.device.type for value in self._parameters.values()})
        self.shake()
        self._micro_batches = 0
        try:
            yield
        finally:
            self.restore()
        self.finish()

    def batch(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy inputs and targets of one micro-batch, which has draws of its own; to be called inside `step()`.

        Args:
            inputs: (batch, ...), in raw units, or normalised as `bind` was told.
            targets: Class indices (batch,) or probabilities (batch, classes).

        Returns:
            Inputs in the units and type that they came in. Probabilities where the card has noise at targets or mixes
            samples, in every step of the training; else the targets as they came.

        Raises:
            CallerError: Outside a step, or for a batch of another kind, out of range or with a NaN.
        """
        if torch.compiler.is_compiling():
            raise CallerError("noise.batch: expected outside of what torch.compile compiles; compile the model alone")
        if self._clean is None:
            raise CallerError(f"noise.batch: expected {_AROUND}, and the call inside it, got it outside")
        check_batch(inputs, targets, self._units)
        self._full_batch = max(self._full_batch, len(inputs))
        seed = batch_seed(self._seed, micro_batch=self._micro_batches)
        terms = [replace(term, seeds=(seed,)) for term in self._terms(wide(inputs.dtype))]
        made = noisy(inputs, targets, self._units, terms, step=self.steps_done, full_batch=self._full_batch)
        self._micro_batches += 1
        self._untested -= {"inputs", "targets"}
        return made

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs for the training to go on with the same draws.

        Raises:
            CallerError: Inside a step, where the model's own state would be noisy too.
        """
        if self._clean is not None:
            raise CallerError("noise.state_dict: expected outside `with noise.step():`, where weights are clean")
        return {**self._identity(), "steps_done": self.steps_done, "full_batch": self._full_batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the training that `state` comes from stood.

        Raises:
            CallerError: For a state of another card, seed or number of steps: schedules or draws would be others.
        """
        own = self._identity()
        mistakes = [
            f"noise.load_state_dict: {name}: expected {value!r:.200}, as bound, got {state.get(name)!r:.200}"
            for name, value in own.items()
            if state.get(name) != value
        ]
        mistakes += [
            f"noise.load_state_dict: {name}: expected a whole number from 0 up, got {state.get(name)!r}"
            for name in ("steps_done", "full_batch")
            if type(state.get(name)) is not int or state[name] < 0
        ]
        raise_if_any(mistakes)
        self.steps_done, self._full_batch = state["steps_done"], state["full_batch"]
        self._micro_batches, self._due = 0, None

    def close(self) -> None:
        """Put the weights back if need be and leave the optimiser alone from now on."""
        self.restore()
        self._hook.remove()
        self._closed = True

    def shake(self) -> None:
        """Make weights noisy: what `step` begins with, for loops that have hooks in place of a block."""
        self._refuse_shake()
        if not self._agreed:
            refuse_disagreement({**self._identity(), "steps_done": self.steps_done})
            self._agreed = True
        changed = shaken_weights(self._parameters, self._terms, step=self.steps_done)
        self._clean = {name: self._parameters[name].detach().clone() for name in changed}
        try:
            _put(self._parameters, changed)
        except BaseException:
            self.restore()
            raise

    def restore(self) -> None:
        """Put the weights back, if they are noisy; `shake` again gives the same noise until `finish`."""
        clean, self._clean = self._clean, None
        _put(self._parameters, clean or {})

    def finish(self) -> None:
        """Count the step at hand, all of whose gradients are there: what `step` ends with."""
        if self._untested:
            self._test_forward()
        self._due, self._micro_batches = self.steps_done, 0
        self.steps_done += 1

    def _identity(self) -> dict[str, Any]:
        return {"seed": self._seed, "total_steps": self.total_steps, "terms": policy_to_list(self._policy)}

    def _terms(self, dtype: torch.dtype) -> list[CohortTerm]:
        """Terms of a cohort of one, tabulated once."""
        if dtype not in self._tables:
            self._tables[dtype] = cohort_terms([self._policy], seeds=[self._seed], steps=self.total_steps, dtype=dtype)
        return self._tables[dtype]

    def _refuse_shake(self) -> None:
        if self._clean is not None:
            raise CallerError("noise.step: expected one step after another, got one inside another")
        if self._closed:
            raise CallerError("noise.step: expected before noise.close(), got it after; bind the card again")
        if self.steps_done >= self.total_steps:
            raise CallerError(
                f"noise.step: expected {self.total_steps} steps, the total_steps of bind, got one more; "
                "bind to all steps of the training, or train on without step() after noise.close()"
            )
        # A scaler passes over steps whose gradients are not finite.
        if "gradients" in self._untested and self._due is not None and self._finite:
            raise CallerError(
                "gradients: noise did not act in the first step, because the bound optimizer was not stepped after it; "
                "bind the optimizer whose step() is called"
            )

    def _test_forward(self) -> None:
        """What must have happened by the end of the first step."""
        for site in sorted(self._untested & {"inputs", "targets"}):
            raise CallerError(
                f"{site}: noise did not act in the first step, because noise.batch was not called; "
                "expected `inputs, targets = noise.batch(inputs, targets)` inside `with noise.step():`"
            )
        gradients = [value.grad for value in self._parameters.values() if value.grad is not None]
        for site in sorted(self._untested) if not gradients else ():
            raise CallerError(
                f"{site}: noise did not act in the first step, because no gradient reached the bound model; "
                "bind the model that is trained, and put its backward pass inside `with noise.step():`"
            )
        self._untested.discard("weights")
        self._finite = all(bool(gradient.sum().isfinite()) for gradient in gradients)

    def _before_optimizer(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Hook of the optimiser: gradients become noisy, those of a closure once it has made them."""
        if self._clean is not None:
            raise CallerError(
                "optimizer.step: expected after the block `with noise.step():`, got it inside; "
                "there weights are noisy, and putting them back would undo the update"
            )
        closure: Callable[[], Any] | None = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._make_gradients_noisy(optimizer)
            return None

        def noisy_closure() -> Any:
            loss = closure()
            self._make_gradients_noisy(optimizer)
            return loss

        return args[:1], {**kwargs, "closure": noisy_closure}

    def _make_gradients_noisy(self, optimizer: torch.optim.Optimizer) -> None:
        if self._due is None:
            raise CallerError(
                f"optimizer.step: expected {_AROUND} before every one, got none since the last; "
                "noise.close() ends the noise"
            )
        step, self._due = self._due, None
        stepped = {id(value) for group in optimizer.param_groups for value in group["params"]}
        own = {name: value for name, value in self._parameters.items() if id(value) in stepped}
        gradients = {name: value.grad for name, value in own.items() if value.grad is not None}
        if gradients:
            _put(gradients, shaken_gradients(gradients, self._terms, step=step))
            self._untested.discard("gradients")


@torch.no_grad()
def _put(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        tensors[name].copy_(value)


def _refuse_autocast(devices: set[str]) -> None:
    """Within autocast, half-precision copies of the weights outlive the step in its cache."""
    on = sorted(device for device in devices | {"cpu"} if torch.is_autocast_enabled(device))
    if on:
        raise CallerError(
            f"noise.step: expected outside of torch.autocast, got it inside ({on[0]}), where copies of clean weights "
            "are kept; put autocast inside the step, around the forward pass"
        )


def _mistakes(model: object, optimizer: object, total_steps: object, seed: object) -> list[str]:
    mistakes = []
    if not isinstance(model, nn.Module):
        mistakes.append(f"bind: model: expected a torch.nn.Module, got {type(model).__name__}")
    if not isinstance(optimizer, torch.optim.Optimizer):
        mistakes.append(f"bind: optimizer: expected a torch.optim.Optimizer, got {type(optimizer).__name__}")
    if type(total_steps) is not int or total_steps < 1:
        mistakes.append(f"bind: total_steps: expected a whole number from 1 up, got {total_steps!r}")
    if type(seed) is not int:
        mistakes.append(f"bind: seed: expected a whole number, got {seed!r}")
    if isinstance(model, nn.Module) and isinstance(optimizer, torch.optim.Optimizer):
        own = {id(value) for value in model.parameters()}
        if not any(id(value) in own for group in optimizer.param_groups for value in group["params"]):
            mistakes.append("bind: optimizer: expected parameters of the model in it, got others; make it from them")
    return mistakes
