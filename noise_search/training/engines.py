"""Two ways to get the gradients of a cohort.

Both have one signature, so that one training loop serves both: parameters, buffers, inputs and targets carry a
leading trial axis and come back with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

Tensors = Mapping[str, Tensor]


class Gradients(NamedTuple):
    """Loss of each trial (trials,), gradients (trials, ...), and buffers as the forward pass left them."""

    losses: Tensor
    gradients: dict[str, Tensor]
    buffers: dict[str, Tensor]


Engine = Callable[[Tensors, Tensors, Tensor, Tensor], Gradients]


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples of -sum_k y_k log p_k: logits and targets (batch, classes) -> ()."""
    return -(targets * F.log_softmax(logits, dim=-1)).sum(dim=-1).mean()


def fused_engine(model: nn.Module) -> Engine:
    """All trials in one pass of `vmap`; the loss is the sum over trials of batch means."""

    def loss(
        parameters: Tensors, buffers: Tensors, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logits, updated = _forward(model, parameters, buffers, inputs)
        return soft_cross_entropy(logits, targets), updated

    together = vmap(grad_and_value(loss, has_aux=True), randomness="same")

    def gradients(parameters: Tensors, buffers: Tensors, inputs: Tensor, targets: Tensor) -> Gradients:
        gradient, (losses, updated) = together(dict(parameters), dict(buffers), inputs, targets)
        return Gradients(losses, gradient, updated)

    return gradients


def looped_engine(model: nn.Module) -> Engine:
    """A cohort of exactly one trial in plain PyTorch."""

    def gradients(parameters: Tensors, buffers: Tensors, inputs: Tensor, targets: Tensor) -> Gradients:
        own = {name: value[0].detach().requires_grad_() for name, value in parameters.items()}
        before = {name: value[0].clone() for name, value in buffers.items()}
        logits, updated = _forward(model, own, before, inputs[0])
        loss = soft_cross_entropy(logits, targets[0])
        gradient = torch.autograd.grad(loss, list(own.values()), materialize_grads=True)
        return Gradients(
            loss.detach()[None],
            {name: value[None] for name, value in zip(own, gradient, strict=True)},
            {name: value.detach()[None] for name, value in updated.items()},
        )

    return gradients


def _forward(
    model: nn.Module, parameters: Tensors, buffers: Tensors, inputs: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and buffers as the pass left them, changed in place or put anew."""
    # One dictionary: only then does torch write back into it what a module has put in a buffer's place.
    values = {**parameters, **buffers}
    logits = functional_call(model, values, (inputs,))
    return logits, {name: values[name] for name in buffers}


def clip_per_trial(gradients: Tensors, limit: float | None) -> tuple[dict[str, Tensor], Tensor]:
    """Scale the gradients of each trial down to a norm of at most `limit`.

    Args:
        gradients: Each (trials, ...).
        limit: Largest L2 norm over all parameters of a trial; None only measures.

    Returns:
        Gradients, and the norms before clipping, (trials,).

    Source: Pascanu et al. 2013, arXiv:1211.5063; as `torch.nn.utils.clip_grad_norm_`, a trial at a time.
    """
    # Rows of `vector_norm` do not depend on how many there are, nor on the threads; sums over stacked trials do.
    layers = [torch.linalg.vector_norm(value.reshape(len(value), -1), dim=1) for value in gradients.values()]
    norms = torch.linalg.vector_norm(torch.stack(layers, dim=1), dim=1)
    if limit is None:
        return dict(gradients), norms
    factors = (limit / (norms + 1e-6)).clamp(max=1.0)
    return {name: value * _as_factor(factors, value) for name, value in gradients.items()}, norms


def masked(gradients: Tensors, alive: Tensor) -> dict[str, Tensor]:
    """Gradients with zeros for members that are not `alive` (trials,)."""
    return {name: torch.where(_as_factor(alive, value), value, 0.0) for name, value in gradients.items()}


def _as_factor(per_trial: Tensor, like: Tensor) -> Tensor:
    return per_trial.reshape((-1,) + (1,) * (like.dim() - 1))
