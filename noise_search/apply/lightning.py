"""A card in a Lightning training: a callback that does what `binding` does in a plain loop.

fit
    training_step: weights and the batch become noisy            (shake, batch)
    backward; weights are as they were                           (restore)
    after the last micro-batch of a step: it is counted          (finish)
    clipping; gradients become noisy; optimizer.step             (the optimiser's hook)
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

if "lightning.pytorch" in sys.modules:  # the same library under its other name, whose classes are others
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    from pytorch_lightning import Callback, LightningModule, Trainer

from noise_search.apply.batches import Normalize
from noise_search.apply.binding import BoundNoise, bind
from noise_search.errors import CallerError
from noise_search.policy import Card

Place = int | str


class NoiseCallback(Callback):  # type: ignore[misc]  # untyped to mypy, which does not follow Lightning
    """Noise of a card in every training step of a `Trainer`, for automatic optimisation with one optimiser.

    Args:
        card: As `load_card` gives it.
        seed: Of all draws; the same in every process.
        total_steps: Optimiser steps of the whole training; None: as many as the trainer expects.
        normalize, classes: See `noise_search.apply.bind`.
        inputs, targets: Where they lie in a batch: positions in a sequence or keys of a mapping.
        model: Dotted name of the part of the module that gets noise on its weights and gradients; "" for all of it.

    Raises:
        CallerError: When training begins, for what `bind` refuses, for manual optimisation, and where a training goes
            on from a checkpoint that knows nothing of the callback.
    """

    def __init__(
        self,
        card: Card,
        *,
        seed: int,
        total_steps: int | None = None,
        normalize: Normalize | None = None,
        classes: int | None = None,
        inputs: Place = 0,
        targets: Place = 1,
        model: str = "",
    ) -> None:
        self._card, self._seed, self._total_steps = card, seed, total_steps
        self._normalize, self._classes = normalize, classes
        self._inputs, self._targets, self._model = inputs, targets, model
        self._noise: BoundNoise | None = None
        self._loaded: dict[str, Any] = {}
        self._before: Any = None  # training_step, where the module itself has one

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bind the card, and let every training step begin with its noise."""
        _refuse_manual(trainer, pl_module)
        noise = bind(
            self._card,
            _part(pl_module, self._model),
            trainer.optimizers[0],
            total_steps=_steps(trainer) if self._total_steps is None else self._total_steps,
            seed=self._seed,
            normalize=self._normalize,
            classes=self._classes,
        )
        try:
            _go_on(noise, self._loaded, trainer)
        except CallerError:
            noise.close()
            raise
        self._noise, self._loaded = noise, {}
        self._wrap(pl_module, noise)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Put the weights back: between two micro-batches there may be a validation."""
        if self._noise:
            self._noise.restore()

    def on_before_optimizer_step(
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,  # noqa: ARG002
        optimizer: Any,  # noqa: ARG002
    ) -> None:
        """Count the step; gradients become noisy later, once they are clipped."""
        if self._noise:
            self._noise.finish()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Leave module and optimiser as they were found."""
        self._end(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Leave module and optimiser as they were found."""
        self._end(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Part of the trainer's checkpoints."""
        return self._noise.state_dict() if self._noise else dict(self._loaded)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep what a checkpoint says until training begins."""
        self._loaded = dict(state_dict)

    def _wrap(self, module: LightningModule, noise: BoundNoise) -> None:
        plain = module.training_step

        @functools.wraps(plain)
        def training_step(batch: Any, *args: Any, **kwargs: Any) -> Any:
            noise.shake()
            try:
                made = plain(self._noisy(batch, noise), *args, **kwargs)
            except BaseException:
                noise.restore()
                raise
            if made is None:  # no backward pass follows
                noise.restore()
            return made

        self._before = vars(module).get("training_step")
        module.training_step = training_step

    def _noisy(self, batch: Any, noise: BoundNoise) -> Any:
        """A new batch with noisy inputs and targets in their places."""
        places = (self._inputs, self._targets)
        _refuse_batch(batch, places)
        made = noise.batch(*(batch[place] for place in places))
        filled = dict(zip(places, made, strict=True))
        if isinstance(batch, Mapping):
            return {**batch, **filled}
        values = [filled.get(place, value) for place, value in enumerate(batch)]
        return type(batch)(*values) if hasattr(batch, "_fields") else type(batch)(values)

    def _end(self, module: LightningModule) -> None:
        if self._noise is None:
            return
        self._noise.close()
        self._loaded, self._noise = self._noise.state_dict(), None
        del module.training_step
        if self._before is not None:
            module.training_step = self._before


def _refuse_manual(trainer: Trainer, module: LightningModule) -> None:
    if not module.automatic_optimization or len(trainer.optimizers) != 1:
        raise CallerError(
            "NoiseCallback: expected automatic optimisation with one optimizer, "
            f"got {len(trainer.optimizers)} with automatic_optimization={module.automatic_optimization}; "
            "call card.bind in the module and its step() in training_step"
        )


def _refuse_batch(batch: object, places: Sequence[Place]) -> None:
    held: Sequence[object] = ()
    if isinstance(batch, Mapping):
        held = list(batch)
    elif isinstance(batch, list | tuple):
        held = range(len(batch))
    missing = [place for place in places if place not in held]
    if missing:
        raise CallerError(
            f"NoiseCallback: expected batches with inputs and targets at {list(places)}, got {type(batch).__name__} "
            f"with {list(held)}; say inputs=... and targets=..."
        )


def _part(module: LightningModule, name: str) -> Any:
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        raise CallerError(f"NoiseCallback: model: expected a part of the module, got {name!r}") from error


def _steps(trainer: Trainer) -> int:
    steps = trainer.estimated_stepping_batches
    if not math.isfinite(steps) or steps < 1:
        raise CallerError(
            f"NoiseCallback: total_steps: expected a training of known length, got {steps:g}; "
            "pass total_steps=..., or max_steps to the trainer"
        )
    return int(steps)


def _go_on(noise: BoundNoise, state: Mapping[str, Any], trainer: Trainer) -> None:
    if state and trainer.global_step:
        noise.load_state_dict(state)
    if noise.steps_done != trainer.global_step:
        raise CallerError(
            f"NoiseCallback: expected a training that has had its noise from the first step, got step "
            f"{trainer.global_step} with {noise.steps_done} of noise; train from the start, or from a checkpoint that "
            "was written with this callback"
        )
