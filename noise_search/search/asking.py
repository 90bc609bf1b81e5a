"""Optuna: proposes policies and remembers how they did.

Each ask uses a fresh sampler seeded by (sweep seed, trial number), so that proposals are a function of the stored
trials and the same after a kill. It samples on a copy of the study in memory and then stores the whole trial in
one transaction: a kill leaves no trial with half of its parameters.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import optuna
from optuna.storages import BaseStorage
from optuna.trial import Trial, TrialState

from noise_search.policy import Policy
from noise_search.search.space import Picked, policy_of
from noise_search.seeds import stable_hash
from noise_search.spec import Range, SamplerSpec, Space

_SAMPLER_SEEDS = 2**32  # NumPy's generators take no larger seed


def delete_study(storage: BaseStorage, name: str) -> None:
    """Delete a sweep's study; nothing happens where there is none."""
    with contextlib.suppress(KeyError):
        optuna.delete_study(study_name=name, storage=storage)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trial as asked: its number, the searched parameters and the policy they make."""

    number: int
    parameters: dict[str, Picked]
    policy: Policy


class _Asking:
    """Chooser that asks an Optuna trial."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    def number(self, name: str, within: Range) -> float:
        if within.integer:
            return self._trial.suggest_int(name, int(within.low), int(within.high), log=within.log)
        return self._trial.suggest_float(name, within.low, within.high, log=within.log)

    def option(self, name: str, options: Sequence[Picked]) -> Picked:
        return cast(Picked, self._trial.suggest_categorical(name, options))


class Study:
    """One sweep's Optuna study, asked and told by one driver.

    Args:
        storage: Where it is kept; its tables exist.
        name: Of the sweep.
        space: What is searched.
        sampler: How.
        seed: Of the sweep.
    """

    def __init__(self, storage: BaseStorage, name: str, space: Space, sampler: SamplerSpec, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = storage
        self._stored = optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(seed=0),  # never asked: proposals come from the copy
        )
        self._study_id = storage.get_study_id_from_name(name)
        self._space, self._sampler, self._seed = space, sampler, seed
        self._copy = optuna.create_study(direction="maximize")
        self._copy.add_trials(self._stored.get_trials(deepcopy=True))

    def ask(self) -> Proposal:
        """Propose the next trial and store it, running."""
        self._copy.sampler = _sampler(self._sampler, self._seed, len(self._copy.get_trials(deepcopy=False)))
        trial = self._copy.ask()
        policy = policy_of(self._space, _Asking(trial))
        frozen = copy.deepcopy(self._copy.get_trials(deepcopy=False)[trial.number])
        stored = self._storage.get_trial(self._storage.create_new_trial(self._study_id, template_trial=frozen))
        if stored.number != trial.number:
            raise RuntimeError(f"trial {trial.number} was stored as {stored.number}: another process asks this study")
        return Proposal(trial.number, dict(frozen.params), policy)

    def tell(self, number: int, score: float, *, diverged: bool) -> None:
        """Tell the outcome of a trial; nothing happens where it was told before.

        Args:
            number: Of the trial.
            score: Finite, also for a trial that diverged.
            diverged: Stored as a violated constraint, so that the sampler keeps away.
        """
        for study in (self._stored, self._copy):
            trial = study.get_trials(deepcopy=False)[number]
            if trial.state.is_finished():
                continue
            if diverged and not trial.constraints:  # there already when a kill came before the tell
                Trial(study, trial._trial_id).set_constraint("diverged", 1.0)
            study.tell(number, score)

    def running(self) -> list[tuple[int, dict[str, Picked]]]:
        """Number and parameters of every trial that was asked and not told."""
        trials = self._stored.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [(trial.number, dict(trial.params)) for trial in trials]

    def __len__(self) -> int:
        return len(self._copy.get_trials(deepcopy=False))


def random_policies(space: Space, count: int, *, seed: int) -> list[Policy]:
    """Policies drawn at random from the space, independent of any study."""
    study = optuna.create_study(
        sampler=optuna.samplers.RandomSampler(seed=stable_hash(seed, "random") % _SAMPLER_SEEDS)
    )
    return [policy_of(space, _Asking(study.ask())) for _ in range(count)]


def _sampler(spec: SamplerSpec, seed: int, number: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # `group`, since Optuna 2.8
        return optuna.samplers.TPESampler(
            seed=stable_hash(seed, "ask", number) % _SAMPLER_SEEDS,
            n_startup_trials=spec.startup_trials,
            multivariate=True,
            group=True,
            constant_liar=True,
        )
