"""Noise policies by hand: what is searched, and how it acts on batches and weights. Part of `handwritten_search.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import optuna
import torch
from torch import Tensor, nn

from noise_search.seeds import generator, numpy_generator

Policy = dict[str, dict[str, Any]]  # "inputs.gaussian" -> its magnitude, fraction, level, schedule


@dataclass(frozen=True)
class Draws:
    """Where random numbers come from: generators asked for by purpose."""

    torch: Callable[..., torch.Generator]
    numpy: Callable[..., np.random.Generator]


def plain_draws(seed: int) -> Draws:
    """One generator of each kind, whatever the purpose."""
    one, beta = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    return Draws(lambda *_: one, lambda *_: beta)


def shared_draws(seed: int) -> Draws:
    """The generators of noise_search, so that a policy comes out the same on both sides; they cost some time."""
    return Draws(partial(generator, seed), partial(numpy_generator, seed))


DRAWS = {"plain": plain_draws, "shared": shared_draws}


# --- the search space ---


def suggest_policy(trial: optuna.trial.BaseTrial) -> Policy:
    policy: Policy = {}
    noise = trial.suggest_categorical("inputs.noise", ["none", "gaussian", "mixup"])
    if noise == "gaussian":
        policy["inputs.gaussian"] = {
            "magnitude": trial.suggest_float("inputs.gaussian.magnitude", 0.02, 0.6, log=True),
            "fraction": trial.suggest_float("inputs.gaussian.fraction", 0.1, 1.0),
            "level": trial.suggest_categorical("inputs.gaussian.level", ["fixed", "uniform"]),
            "schedule": suggest_schedule(trial, "inputs.gaussian"),
        }
    if noise == "mixup":
        policy["inputs.mixup"] = {
            "magnitude": trial.suggest_float("inputs.mixup.magnitude", 0.1, 2.0),
            "fraction": trial.suggest_float("inputs.mixup.fraction", 0.1, 1.0),
            "schedule": suggest_schedule(trial, "inputs.mixup"),
        }
    if trial.suggest_categorical("weights.noise", ["none", "relative"]) == "relative":
        policy["weights.relative"] = {
            "magnitude": trial.suggest_float("weights.relative.magnitude", 0.005, 0.2, log=True),
            "schedule": suggest_schedule(trial, "weights.relative"),
        }
    if trial.suggest_categorical("targets.noise", ["none", "label_smoothing"]) == "label_smoothing":
        policy["targets.label_smoothing"] = {
            "magnitude": trial.suggest_float("targets.label_smoothing.magnitude", 0.01, 0.4),
            "schedule": {"kind": "constant"},
        }
    return policy


def suggest_schedule(trial: optuna.trial.BaseTrial, term: str) -> dict[str, Any]:
    kind = trial.suggest_categorical(f"{term}.schedule", ["constant", "linear", "cosine", "window"])
    searched = {"a": (0.0, 1.0), "b": (0.0, 1.0), "stop": (0.3, 1.0)}
    if kind == "window":
        searched = {"start": (0.0, 0.5), "stop": (0.55, 1.0)}
    if kind == "constant":
        searched = {}
    return {"kind": kind, **{name: trial.suggest_float(f"{term}.{kind}.{name}", *searched[name]) for name in searched}}


def factor(schedule: Mapping[str, Any], progress: float) -> float:
    """Factor of the magnitude at `progress`, from 0 at the first step to 1 at the last."""
    kind, start, stop = schedule["kind"], schedule.get("start", 0.0), schedule.get("stop", 1.0)
    if kind == "constant":
        return 1.0
    if kind == "window":
        return 1.0 if start <= progress <= stop else 0.0
    ramp = min(max((progress - start) / (stop - start), 0.0), 1.0)
    if kind == "cosine":
        ramp = 0.5 * (1 - math.cos(math.pi * ramp))
    return float(schedule["a"] + (schedule["b"] - schedule["a"]) * ramp)


# --- noises ---


def sample_magnitudes(key: str, policy: Policy, magnitude: float, like: Tensor, draws: Draws, step: int) -> Tensor:
    """Magnitude of each sample of the batch, 0 for those that the noise leaves alone."""
    term, size, names = policy[key], len(like), key.split(".")
    magnitudes = torch.full((size,), magnitude, dtype=like.dtype)
    if term.get("level") == "uniform":
        magnitudes *= torch.rand(size, generator=draws.torch(*names, "level", step), dtype=like.dtype)
    if "fraction" in term:
        chosen = torch.rand(size, generator=draws.torch(*names, "select", step), dtype=like.dtype) < term["fraction"]
        magnitudes *= chosen
    return magnitudes


def add_gaussian(x: Tensor, sigma: Tensor, draws: Draws, step: int) -> Tensor:
    xi = torch.randn(x.shape, generator=draws.torch("inputs", "gaussian", "xi", step), dtype=x.dtype)
    return (x + sigma.view(-1, 1, 1, 1) * xi).clamp(0, 1)


def mix_up(x: Tensor, y: Tensor, alphas: Tensor, draws: Draws, step: int) -> tuple[Tensor, Tensor]:
    mixed, alpha = alphas > 0, np.where(alphas > 0, alphas, 1.0)
    share = torch.from_numpy(draws.numpy("inputs", "mixup", "lam", step).beta(alpha, alpha)).to(x.dtype)
    lam = torch.where(mixed, torch.maximum(share, 1 - share), 1.0)
    draw = torch.rand(len(x), generator=draws.torch("inputs", "mixup", "partner", step), dtype=x.dtype)
    partner = draw.argsort(stable=True)
    own = lam.view(-1, 1, 1, 1)
    return own * x + (1 - own) * x[partner], lam[:, None] * y + (1 - lam[:, None]) * y[partner]


@torch.no_grad()
def perturb_weights(model: nn.Module, magnitude: float, draws: Draws, step: int) -> dict[str, Tensor]:
    """Add noise to the layers' weights in place; returns what they were."""
    before = {name: weight.clone() for name, weight in model.named_parameters() if weight.dim() > 1}
    for name, weight in model.named_parameters():
        if name in before:
            rng = draws.torch("weights", "relative", name, step)
            rms = weight.square().mean().sqrt()
            weight += magnitude * rms * torch.randn(weight.shape, generator=rng, dtype=weight.dtype)
    return before


@torch.no_grad()
def restore_weights(model: nn.Module, before: Mapping[str, Tensor]) -> None:
    for name, weight in model.named_parameters():
        if name in before:
            weight.copy_(before[name])


def noisy_batch(
    x: Tensor, y: Tensor, policy: Policy, magnitudes: Mapping[str, float], draws: Draws, step: int
) -> tuple[Tensor, Tensor]:
    if share := magnitudes.get("targets.label_smoothing"):
        y = (1 - share) * y + share / y.shape[1]
    if alpha := magnitudes.get("inputs.mixup"):
        alphas = sample_magnitudes("inputs.mixup", policy, alpha, x, draws, step)
        x, y = mix_up(x, y, alphas, draws, step)
    if sigma := magnitudes.get("inputs.gaussian"):
        sigmas = sample_magnitudes("inputs.gaussian", policy, sigma, x, draws, step)
        x = add_gaussian(x, sigmas, draws, step)
    return x, y
