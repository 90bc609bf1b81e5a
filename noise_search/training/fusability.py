"""Can trials of this model be trained as one, and if not, which layer stands in the way.

A few steps are taken both ways from the same weights, buffers, batches and random numbers: what `vmap` refuses
cannot be fused, and neither can what it accepts but computes otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from noise_search.errors import CallerError
from noise_search.evaluation import fused_logits, looped_logits
from noise_search.models.layers import entered_layers
from noise_search.spec import Mode
from noise_search.targets import told
from noise_search.training.engines import Engine, Gradients, fused_engine, looped_engine
from noise_search.training.job import Workbench, skeleton
from noise_search.training.layers_alone import layers_that_cannot
from noise_search.training.state import initial_state, stack_part

Tensors = dict[str, Tensor]
_SAMPLES, _STEPS, _RATE = 16, 3, 0.05
# Relative, in the 2-norm. Kernels of either way differ in the last bits; on GPUs convolutions drop some more.
_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
_TOLERANCE_ON_GPU = 2e-2
# What torch says, and what it means.
_REASONS = (
    (
        r"data-dependent control flow",
        "data-dependent control flow, or a number read out of a tensor (.item(), float())",
    ),
    (r"Cannot access data pointer", "a tensor handed to code outside torch (.numpy(), .tolist())"),
    (r"dynamic shape.*?(?:over|batch over) (.+?)\.", "a result whose size depends on the numbers ({0})"),
    (r"dynamic shape", "a result whose size depends on the numbers (a boolean mask, nonzero, unique)"),
    (r"doesn't match the broadcast shape", "a tensor made in the forward pass and changed in place"),
    (r"vmapped over but `self` not", "a tensor made in the forward pass and changed in place"),
    (r"setup_context|generate_vmap_rule", "an autograd.Function without setup_context and generate_vmap_rule"),
    (r"[Bb]atching rule not implemented for (\S+?)[;.,]?\s", "torch has no batching rule for {0}"),
    (r"random", "random numbers drawn in a way that vmap does not share among trials"),
)


def refuse_unfusable(workbench: Workbench, mode: Mode, score_mode: Mode) -> None:
    """Refuse `fused` for a model that cannot be fused, by a `CallerError` with the reason."""
    if "fused" in (mode, score_mode) and (reason := unfusable(workbench)):
        raise CallerError(f"train.mode: expected looped or auto for this model, got fused: {reason}")
    if score_mode == "fused" and mode != "looped" and (reason := unfusable_scoring(workbench)):
        raise CallerError(f"train.score_mode: expected looped or auto for this model, got fused: {reason}")


def unfusable(workbench: Workbench) -> str | None:
    """Why trials of the model cannot be trained as one, and in which layer, in one line; None when they can."""
    return _reason(workbench, _training_difference, "model cannot be fused")


def unfusable_scoring(workbench: Workbench) -> str | None:
    """Why trials of the model cannot be scored as one, as `unfusable`: some can be trained so all the same."""
    return _reason(workbench, _scoring_difference, "scoring cannot be fused")


class _RefusalError(Exception):
    """Vmap refuses the model: in which layer, as far as its forward pass tells, and why."""

    def __init__(self, layer: str | None, reason: str) -> None:
        super().__init__(reason)
        self.layer, self.reason = layer, reason


def _reason(workbench: Workbench, compare: Callable[[Workbench, _Probe], str | None], what: str) -> str | None:
    was_training = workbench.model.training
    try:
        with _reproducible(workbench):
            return _told(workbench, compare, what)
    finally:
        workbench.model.train(was_training)


def _told(workbench: Workbench, compare: Callable[[Workbench, _Probe], str | None], what: str) -> str | None:
    probe, layer = _open_probe(workbench), None
    try:
        reason = compare(workbench, probe)
    except _RefusalError as refusal:
        layer, reason = refusal.layer, refusal.reason
    if reason is None:
        return None
    if layer is None:
        layer = next(layers_that_cannot(workbench.model, probe.parameters, probe.buffers, probe.inputs), None)
    return f"{what}: {f'layer {layer}: ' if layer else ''}{reason}"


@contextmanager
def _refusals(workbench: Workbench) -> Iterator[None]:
    """Note where and why a fused pass fails, whatever the model raises: one trial at a time it was seen to work."""
    with entered_layers(workbench.model) as entered:
        try:
            yield
        except Exception as error:
            raise _RefusalError(entered[-1] if entered else None, plain_reason(error)) from error


def plain_reason(error: Exception) -> str:
    """What torch means when `vmap` refuses, with the place in the caller's code where there is one.

    >>> plain_reason(RuntimeError("Batching rule not implemented for aten::div.out; the fallback path ..."))
    'torch has no batching rule for aten::div.out'
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    for pattern, words in _REASONS:
        if found := re.search(pattern, lines[0]):
            return _placed(words.format(*found.groups()), error)
    return _placed(lines[0], error)


def _placed(reason: str, error: Exception) -> str:
    return told(RuntimeError(reason).with_traceback(error.__traceback__)).removeprefix("RuntimeError: ")


@dataclass(frozen=True, slots=True)
class _Probe:
    """Two trials of different weights on different samples, and what either way is to be given.

    parameters, buffers: Each (2, ...).
    inputs: (2, samples, ...).
    targets: (2, samples, classes).
    """

    parameters: Tensors
    buffers: Tensors
    inputs: Tensor
    targets: Tensor


def _open_probe(workbench: Workbench) -> _Probe:
    models = [skeleton(workbench.setup, workbench.dataset, seed=seed) for seed in (0, 1)]
    states = [initial_state(model.to(workbench.device, workbench.dtype)) for model in models]
    inputs, labels = workbench.train.inputs[:_SAMPLES], workbench.train.labels[:_SAMPLES]
    targets = F.one_hot(labels, workbench.dataset.classes).to(workbench.dtype)
    return _Probe(
        stack_part(states, "parameters"),
        stack_part(states, "buffers"),
        torch.stack([inputs, inputs.flip(0)]),
        torch.stack([targets, targets.flip(0)]),
    )


def _training_difference(workbench: Workbench, probe: _Probe) -> str | None:
    """How far gradients, losses or buffers of some steps are apart, both ways going on from those of the loop."""
    model = workbench.model.train()
    fused, looped = fused_engine(model), _one_by_one(looped_engine(model))
    parameters, buffers = probe.parameters, probe.buffers
    for _ in range(_STEPS):
        other = _gradients(looped, parameters, buffers, probe)
        with _refusals(workbench):
            one = _gradients(fused, parameters, buffers, probe)
        if mistake := _difference(one, other, _tolerance(workbench)):
            return mistake
        parameters = {name: value - _RATE * other.gradients[name] for name, value in parameters.items()}
        buffers = other.buffers
    return None


def _gradients(engine: Engine, parameters: Tensors, buffers: Tensors, probe: _Probe) -> Gradients:
    torch.manual_seed(0)
    return engine(parameters, _copied(buffers), probe.inputs, probe.targets)


def _one_by_one(engine: Engine) -> Engine:
    """The looped engine for two trials, both with the same random numbers."""

    def gradients(
        parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], inputs: Tensor, targets: Tensor
    ) -> Gradients:
        found = []
        for start, stop in pairwise(range(len(inputs) + 1)):
            torch.manual_seed(0)
            own, states = ({name: value[start:stop] for name, value in part.items()} for part in (parameters, buffers))
            found.append(engine(own, states, inputs[start:stop], targets[start:stop]))
        return Gradients(
            torch.cat([one.losses for one in found]),
            {name: torch.cat([one.gradients[name] for one in found]) for name in parameters},
            {name: torch.cat([one.buffers[name] for one in found]) for name in buffers},
        )

    return gradients


def _difference(fused: Gradients, looped: Gradients, tolerance: float) -> str | None:
    parts: dict[str, Callable[[Gradients], Tensor]] = {
        "losses": lambda found: found.losses[:, None],
        "gradients": lambda found: _joined(found.gradients),
        "buffers": lambda found: _joined(found.buffers),
    }
    for name, part in parts.items():
        apart = relative_distance(part(fused), part(looped))
        if apart > tolerance:
            return f"fused, its {name} are {apart:.2g} apart, relatively, from those of one trial at a time"
    return None


def _scoring_difference(workbench: Workbench, probe: _Probe) -> str | None:
    """Compare logits; fused ones of more samples, as scoring cuts chunks of another size when fused."""
    model, images = workbench.model.eval(), probe.inputs[0]
    with torch.no_grad():
        with _refusals(workbench):
            fused = fused_logits(model)(probe.parameters, probe.buffers, images)
        looped = looped_logits(model)(probe.parameters, probe.buffers, images)
        fewer = looped_logits(model)(probe.parameters, probe.buffers, images[: _SAMPLES // 2])
    if relative_distance(fused.flatten(1), looped.flatten(1)) > _tolerance(workbench):
        return "fused, its logits in eval mode are not those of one trial at a time"
    if relative_distance(looped[:, : fewer.shape[1]].flatten(1), fewer.flatten(1)) > _tolerance(workbench):
        return "its logits in eval mode depend on which samples stand together, and fused scoring cuts other chunks"
    return None


def relative_distance(one: Tensor, other: Tensor) -> float:
    """Largest distance of a trial, relative to the norm of `other`; rows are trials. NaN equals NaN.

    >>> relative_distance(torch.tensor([[3.0, 4.5]]), torch.tensor([[3.0, 4.0]]))
    0.1
    """
    one, other = one.double().nan_to_num(), other.double().nan_to_num()
    norms = torch.linalg.vector_norm(other, dim=1).clamp(min=1e-6)
    return float((torch.linalg.vector_norm(one - other, dim=1) / norms).max())


def _joined(tensors: Mapping[str, Tensor]) -> Tensor:
    flat = [value.reshape(len(value), -1).double() for value in tensors.values()]
    return torch.cat(flat, dim=1) if flat else torch.zeros(2, 1)


def _tolerance(workbench: Workbench) -> float:
    return _TOLERANCE[workbench.dtype] if workbench.device.type == "cpu" else _TOLERANCE_ON_GPU


def _copied(tensors: Mapping[str, Tensor]) -> Tensors:
    return {name: value.clone() for name, value in tensors.items()}


@contextmanager
def _reproducible(workbench: Workbench) -> Iterator[None]:
    """Put torch's global generators back afterwards."""
    devices = [workbench.device] if workbench.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield
