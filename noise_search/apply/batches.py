"""Batches of one's own loop: checked, brought to raw units, noisy, and back to the units that they came in."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from noise_search.apply.parameters import wide
from noise_search.errors import CallerError
from noise_search.noises import Batch, CohortTerm, noisy_batch

Numbers: TypeAlias = float | Sequence[float] | Tensor
Normalize: TypeAlias = tuple[Numbers, Numbers]
_SHAPES = {"images": ((4,), "(batch, channels, height, width)"), "tabular": ((2,), "(batch, features)")}
_UNIT = (0.0, 1.0)  # range of images
_ROUNDING = 8  # machine epsilons that a value may gain on the way to normalised units and back
_SUM_TOLERANCE = 1e-2  # of probabilities, which may come in half precision


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """What batches of a training are.

    Args:
        modality: Kind of data; None where the card does not say.
        input_range: Bounds of raw inputs, to which noisy ones are clipped; None for data without bounds.
        mean, std: What inputs were normalised with, one number or one a channel; None where they come raw.
        classes: How many; None where targets come as probabilities.
        noisy_inputs: Whether there is noise at inputs; without it they are passed on as they are.
        soft_targets: Whether a noise makes probabilities of targets; else they are passed on.
    """

    modality: str | None
    input_range: tuple[float, float] | None
    mean: Tensor | None
    std: Tensor | None
    classes: int | None
    noisy_inputs: bool
    soft_targets: bool


def make_units(
    context: Mapping[str, Any], normalize: Normalize | None, classes: int | None, *, sites: Collection[str], mixes: bool
) -> Units:
    """Units from a card's context and what the caller says.

    Args:
        sites: Where there is noise. At inputs it is clipped to the range of the data, which must then be known.
        mixes: Whether a noise at inputs mixes samples, and so their targets.

    Raises:
        CallerError: With every mistake.
    """
    mistakes: list[str] = []
    modality = context.get("modality")
    if "inputs" in sites and modality is None and "input_range" not in context:
        mistakes.append(
            "card: context: expected modality and input_range, to which noisy inputs are clipped, got neither; add them"
        )
    input_range = _bounds(context.get("input_range", _UNIT if modality == "images" else None), mistakes)
    mean, std = _statistics(normalize, mistakes)
    if classes is not None and not (type(classes) is int and classes >= 2):
        mistakes.append(f"bind: classes: expected a whole number from 2 up, got {classes!r}")
    if mistakes:
        raise CallerError(*mistakes)
    soft = mixes or "targets" in sites
    return Units(modality, input_range, mean, std, classes, "inputs" in sites, soft)


@torch.no_grad()
def noisy(
    inputs: Tensor, targets: Tensor, units: Units, terms: Sequence[CohortTerm], *, step: int, full_batch: int
) -> tuple[Tensor, Tensor]:
    """Apply every input and target noise to one batch of one's own, which was checked.

    Args:
        inputs: (batch, ...), raw or normalised as `units` says.
        targets: Class indices (batch,) or probabilities (batch, classes).
        units: What they are.
        terms: Of a cohort of one.
        step: Training step.
        full_batch: Samples in a full batch.

    Returns:
        Inputs in the units and type that they came in, and targets, as probabilities if a noise makes them so.
    """
    clean = _raw(inputs, units)
    soft = units.soft_targets
    probabilities = _probabilities(targets, units, clean.dtype) if soft else clean.new_zeros(len(clean), 1)
    input_range = units.input_range if units.noisy_inputs else None
    with torch.autocast(inputs.device.type, enabled=False):
        batch = Batch(clean[None], probabilities[None])
        made = noisy_batch(batch, terms, step=step, full_batch=full_batch, input_range=input_range)
    back = _normalised(made.inputs[0], clean, inputs, units) if units.noisy_inputs else inputs
    return back, made.targets[0] if soft else targets


def check_batch(inputs: Tensor, targets: Tensor, units: Units) -> None:
    """Refuse a batch that is not what `units` says.

    Raises:
        CallerError: In one line.
    """
    _check_kind(inputs, units)
    if units.noisy_inputs:
        _check_values(inputs, units)
    if not isinstance(targets, Tensor) or len(targets) != len(inputs):
        got = tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
        raise CallerError(f"batch: targets: expected a tensor of {len(inputs)}, one for each input, got {got}")
    if units.soft_targets:
        _check_targets(targets, units)


def _check_kind(inputs: Tensor, units: Units) -> None:
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        got = inputs.dtype if isinstance(inputs, Tensor) else type(inputs).__name__
        hint = "; divide pixels of 0 to 255 by 255" if got == torch.uint8 else ""
        raise CallerError(f"batch: inputs: expected a tensor of floating point numbers, got {got}{hint}")
    if inputs.requires_grad:
        raise CallerError("batch: inputs: expected a tensor without gradient, got one that requires it; detach it")
    dimensions, shape = _SHAPES.get(units.modality or "", (None, "(batch, ...)"))
    if inputs.dim() < 2 or not inputs.numel() or (dimensions and inputs.dim() not in dimensions):
        kind = f"{units.modality} {shape}, which the card is for" if units.modality else shape
        raise CallerError(f"batch: inputs: expected {kind}, got shape {tuple(inputs.shape)}")


def _check_values(inputs: Tensor, units: Units) -> None:
    low, high = torch.stack(_raw(inputs, units).aminmax()).tolist()  # NaN if there is one; one wait for a GPU
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CallerError("batch: inputs: expected finite numbers, got some that are not")
    if units.input_range is None:
        return
    least, most = units.input_range
    slack = 0.0 if units.mean is None else _ROUNDING * torch.finfo(inputs.dtype).eps * (most - least)
    if low < least - slack or high > most + slack:
        hint = "pass normalize=(mean, std) to bind if these are normalised" if units.mean is None else "see normalize"
        raise CallerError(
            f"batch: inputs: expected raw values in [{least:g}, {most:g}], got {low:g} to {high:g}; {hint}"
        )


def _check_targets(targets: Tensor, units: Units) -> None:
    if targets.dim() == 2 and targets.is_floating_point():
        off = (targets.sum(dim=1) - 1).abs().max() if targets.shape[1] > 1 else targets.new_tensor(math.inf)
        if not (off <= _SUM_TOLERANCE and (targets >= 0).all()):
            raise CallerError("batch: targets: expected class probabilities that sum to 1, got other numbers")
        if units.classes not in (None, targets.shape[1]):
            raise CallerError(f"batch: targets: expected {units.classes} classes, got {targets.shape[1]}")
    elif targets.dim() == 1 and not targets.is_floating_point() and targets.dtype != torch.bool:
        _check_labels(targets, units)
    else:
        got = f"{targets.dtype} of shape {tuple(targets.shape)}"
        raise CallerError(
            f"batch: targets: expected class indices (batch,) or probabilities (batch, classes), got {got}"
        )


def _check_labels(labels: Tensor, units: Units) -> None:
    if units.classes is None:
        raise CallerError(
            "bind: classes: expected how many, because a noise of the card makes probabilities of class indices, "
            "got None; pass classes=..."
        )
    least, most = torch.stack(labels.aminmax()).tolist()
    if least < 0 or most >= units.classes:
        raise CallerError(f"batch: targets: expected class indices 0 to {units.classes - 1}, got {least} to {most}")


def _probabilities(targets: Tensor, units: Units, dtype: torch.dtype) -> Tensor:
    if targets.dim() == 1:
        assert units.classes is not None  # checked
        targets = F.one_hot(targets.long(), units.classes)
    return targets.to(dtype)


def _raw(inputs: Tensor, units: Units) -> Tensor:
    values = inputs.to(wide(inputs.dtype))
    if units.mean is None or units.std is None:
        return values
    return values * _per_channel(units.std, values) + _per_channel(units.mean, values)


def _normalised(noisy: Tensor, clean: Tensor, given: Tensor, units: Units) -> Tensor:
    """Back in the units of `given`, whose very bits are kept where noise has changed nothing."""
    if units.mean is None or units.std is None:
        return noisy.to(given.dtype)
    values = (noisy - _per_channel(units.mean, noisy)) / _per_channel(units.std, noisy)
    clipped = clean if units.input_range is None else clean.clamp(*units.input_range)
    return torch.where(noisy == clipped, given, values.to(given.dtype))


def _per_channel(numbers: Tensor, like: Tensor) -> Tensor:
    """Numbers, () or (channels,), so that they broadcast over `like` (batch, channels, ...)."""
    if numbers.dim() and len(numbers) != like.shape[1]:
        raise CallerError(f"bind: normalize: expected one number or {like.shape[1]}, one a channel, got {len(numbers)}")
    shape = (-1,) + (1,) * (like.dim() - 2) if numbers.dim() else ()
    return numbers.to(like.device, like.dtype).reshape(shape)


def _bounds(value: object, mistakes: list[str]) -> tuple[float, float] | None:
    if value is None:
        return None
    if isinstance(value, Sequence) and len(value) == 2 and all(isinstance(one, int | float) for one in value):
        low, high = float(value[0]), float(value[1])
        if math.isfinite(low) and math.isfinite(high) and low < high:
            return low, high
    mistakes.append(f"card: context.input_range: expected two numbers, the smaller first, or null, got {value!r}")
    return None


def _statistics(normalize: object, mistakes: list[str]) -> tuple[Tensor | None, Tensor | None]:
    if normalize is None:
        return None, None
    try:
        mean, std = (torch.as_tensor(numbers, dtype=torch.float64) for numbers in normalize)  # type: ignore[attr-defined]
        if all(one.dim() < 2 and one.numel() and one.isfinite().all() for one in (mean, std)) and (std > 0).all():
            return mean, std
    except (TypeError, ValueError, RuntimeError):
        pass  # said below
    mistakes.append(
        f"bind: normalize: expected (mean, std), each one number or one a channel, std over 0, got {normalize!r:.80}"
    )
    return None, None
