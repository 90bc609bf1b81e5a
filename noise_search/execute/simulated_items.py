"""Trainings drawn item by item from distributions whose means are known: what tries out a procedure under a null.

An item is classified rightly in a cell, a kind of corruption at a severity, where a latent value is above the cell's
threshold:

    difficulty of the item + its difficulty in the family + what the policy does to it + what the training does to it
        + ability of the model  >  threshold

All of them are normal. The first four have a variance of 1 together, so a model of ability a is right in a share
Phi(a - threshold) of all items there could be. Ability varies between trainings: a part of that is the seed's, common
to all policies that train with it, the rest is the training's own. What a policy does to an item stays the same with
every seed, and differs from split to split; its mean is what the policy truly gains or costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special

from noise_search.corruptions.suites import Suite, families
from noise_search.execute.simulated import LookedUp, bare_history
from noise_search.metrics import counts_packed, packed, scores
from noise_search.policy import Policy
from noise_search.seeds import numpy_generator
from noise_search.training import Job, Member, Result

STEPS_PER_EPOCH = 2
KEPT = (0.95, 0.85, 0.70, 0.50, 0.30)  # of clean accuracy above chance at each severity, as suites are calibrated
# Of the latent variance: the item, the item in a family, a policy on an item, one training on an item.
SHARES = (0.45, 0.10, 0.10, 0.35)
SHARED = 0.3  # of the variance of ability: the seed's, common to all policies
_SHIFTS = np.linspace(-3.0, 3.0, 6001)  # of ability, among which effects are looked up
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Effect:
    """What a policy adds to accuracy above chance, in the mean over all seeds and items there could be."""

    robust: float = 0.0
    clean: float = 0.0


def no_effect(_policy: Policy) -> Effect:
    """That of every policy under the null."""
    return Effect()


@dataclass(frozen=True, slots=True)
class World:
    """What simulated trainings are drawn from.

    Args:
        seed: Of every draw.
        clean: Accuracy on clean items without noise.
        seed_sd: SD of robust accuracy above chance between seeds, on all items there could be.
        classes: Of the data.
        effect: What each policy truly adds.
    """

    seed: int
    clean: float
    seed_sd: float
    classes: int = 10
    effect: Callable[[Policy], Effect] = no_effect


class ItemsExecutor(LookedUp):
    """Executor that draws right answers, item by item; a training gives the same ones whenever it is asked for.

    Args:
        world: Drawn from.
        suite: That is scored on; of its strengths only their number counts.
        split: Name of the split: another has other items.
        samples: Items of the split.
    """

    def __init__(self, world: World, suite: Suite, *, split: str, samples: int) -> None:
        super().__init__(validation_samples=samples, steps_per_epoch=STEPS_PER_EPOCH)
        self._world, self._suite, self._split = world, suite, split
        self._families = families(suite)
        self._row = {family: row for row, family in enumerate(self._families, start=1)}
        rng = numpy_generator(world.seed, split, "items")
        of_item, of_family = (math.sqrt(share) for share in SHARES[:2])
        self._items = of_item * rng.standard_normal(samples)
        self._items = self._items + of_family * rng.standard_normal((1 + len(self._families), samples))
        self._spread = ability_sd(world)

    def _result(self, member: Member, job: Job) -> Result:
        right_clean, right = self._right(member)
        cells = {kind.name: row.mean(axis=1).tolist() for kind, row in zip(self._suite.kinds, right, strict=True)}
        named = scores(float(right_clean.mean()), cells, self._families, self._world.classes)
        return Result(
            member=member.name,
            epoch=job.to_epoch,
            seed=member.seed,
            scores={**named, "robust_weights": named["clean"]},
            cells={"clean": [float(right_clean.mean())], **cells, "weights": [float(right_clean.mean())]},
            history=bare_history(job),
            diverged=False,
            seconds=0.0,
            correct={job.to_epoch: packed(torch.from_numpy(right_clean))},
            hits=self._hits(right) if job.hits else {},
        )

    def _right(self, member: Member) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which items are classified rightly: clean (samples,), corrupted (kinds, severities, samples)."""
        of_policy, of_training = (math.sqrt(share) for share in SHARES[2:])
        name, kinds = repr(member.policy), self._suite.kinds
        latent = self._items[[0, *(self._row[kind.family] for kind in kinds)]]
        latent += of_policy * numpy_generator(self._world.seed, self._split, name).standard_normal(latent.shape[1])
        rng = numpy_generator(self._world.seed, self._split, name, member.seed)
        latent += of_training * rng.standard_normal(latent.shape, dtype=np.float32)
        latent += self._ability(name, member.seed)
        on_clean, on_corrupted = shifts(self._world, self._world.effect(member.policy))
        first = latent[0] + on_clean > -special.ndtri(self._world.clean)
        return first, (latent[1:, None] + on_corrupted) > thresholds(self._world)[:, None]

    def _ability(self, name: str, seed: int) -> float:
        """Of a trained model, whatever split it is scored on."""
        common = numpy_generator(self._world.seed, "ability", seed).standard_normal()
        own = numpy_generator(self._world.seed, "ability", seed, name).standard_normal()
        return self._spread * float(math.sqrt(SHARED) * common + math.sqrt(1 - SHARED) * own)

    def _hits(self, right: NDArray[np.bool_]) -> dict[str, str]:
        rows: dict[str, list[int]] = {family: [] for family in self._families}
        for row, kind in enumerate(self._suite.kinds):
            rows[kind.family].append(row)
        counts = {family: right[own].sum(axis=(0, 1), dtype=np.uint8) for family, own in rows.items()}
        return {family: counts_packed(torch.from_numpy(own)) for family, own in counts.items()}


def thresholds(world: World) -> Floats:
    """Of a kind of corruption at each severity."""
    chance = 1.0 / world.classes
    found: Floats = -special.ndtri(chance + np.array(KEPT) * (world.clean - chance))
    return found


def robust_accuracy(world: World, ability: Floats, *, spread: float = 0.0) -> Floats:
    """Robust accuracy above chance on all items there could be, of models whose ability is normal about a mean."""
    right = special.ndtr((ability[..., None] - thresholds(world)) / math.sqrt(1 + spread**2))
    return _above_chance(right.mean(axis=-1), world)


def ability_sd(world: World) -> float:
    """SD of ability between seeds that makes up the world's SD of robust accuracy, by its slope at the mean."""
    low, high = robust_accuracy(world, np.array([-0.01, 0.01]))
    return float(world.seed_sd * 0.02 / (high - low))


@lru_cache(maxsize=64)  # a few effects, looked up for every training
def shifts(world: World, effect: Effect) -> tuple[float, float]:
    """What an effect adds to ability, on clean and on corrupted items."""
    spread = ability_sd(world)
    robust = robust_accuracy(world, _SHIFTS, spread=spread)
    clean = _above_chance(special.ndtr((_SHIFTS + special.ndtri(world.clean)) / math.sqrt(1 + spread**2)), world)
    return _shift(clean, effect.clean), _shift(robust, effect.robust)


def _shift(accuracy: Floats, effect: float) -> float:
    return float(np.interp(accuracy[len(_SHIFTS) // 2] + effect, accuracy, _SHIFTS)) if effect else 0.0


def _above_chance(right: Floats, world: World) -> Floats:
    chance = 1.0 / world.classes
    found: Floats = (right - chance) / (1.0 - chance)
    return found
