"""Optuna: proposes policies and remembers how they did.

Each ask uses a fresh sampler seeded by (sweep seed, trial number), so that proposals are a function of the stored
trials and the same after a kill. It samples on a copy of the study in memory and then stores the whole trial in
one transaction: a kill leaves no trial with half of its parameters.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

import optuna
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from noise_search.policy import Policy
from noise_search.search.space import Picked, policy_of
from noise_search.seeds import stable_hash
from noise_search.spec import ObjectiveSpec, Range, SamplerSpec, Space
from noise_search.store.studies import Ending, create_trials, end_trials

_SAMPLER_SEEDS = 2**32  # NumPy's generators take no larger seed
_DRAWS = 100  # after which a space is taken to have no noise to give


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


class _Kept(FrozenTrial):
    """A trial whose copies share its parts, because nobody changes those in place.

    Optuna copies trials deeply wherever it takes one, which costs more than anything else that it does with them.
    """

    def __deepcopy__(self, _memo: object) -> _Kept:
        return copy.copy(self)


def _kept(trial: FrozenTrial) -> _Kept:
    return _Kept(
        number=trial.number,
        state=trial.state,
        value=None,
        values=trial.values,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
        system_attrs=dict(sorted(trial.system_attrs.items())),  # constraints are told apart by their place in it
        intermediate_values=trial.intermediate_values,
        trial_id=trial._trial_id,
    )


def _constrained(trial: _Kept, constraints: Mapping[str, float]) -> _Kept:
    """Copy with constraints; those stay that it has, which are there when a kill came before the tell."""
    copied = _kept(trial)
    for name in sorted(constraints.keys() - trial.constraints.keys()):
        copied.set_constraint(name, constraints[name])
    return copied


def _ending(before: _Kept, told: _Kept) -> Ending:
    notes = {key: told.system_attrs[key] for key in sorted(told.system_attrs.keys() - before.system_attrs.keys())}
    return Ending(before._trial_id, told.state, told.values, notes)


class Study:
    """One sweep's Optuna study, asked and told by one driver.

    Samplers look at a copy in memory. There a trial that waits at a rung is pruned, with its score so far, until it
    goes on; in the storage it runs.

    Args:
        storage: Where it is kept; its tables exist.
        name: Of the sweep.
        space: What is searched.
        objective: What is maximised.
        sampler: How.
        seed: Of the sweep.
        warm_start: Parameters of the trials that are tried first.
    """

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        space: Space,
        objective: ObjectiveSpec,
        sampler: SamplerSpec,
        seed: int,
        warm_start: Sequence[Mapping[str, Picked]] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # it warns of spaces with branches at every start
        self._storage = storage
        self._directions = [StudyDirection.MAXIMIZE] * (2 if objective.name == "pareto" else 1)
        self._stored = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=self._directions,
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(seed=0),  # never asked: proposals come from the copy
        )
        self._study_id = storage.get_study_id_from_name(name)
        self._space, self._sampler, self._seed = space, sampler, seed
        self._warm_start = warm_start
        self._trials = [_kept(trial) for trial in self._stored.get_trials(deepcopy=True)]
        self._paused: dict[int, FrozenTrial] = {}
        self._copy: optuna.Study | None = None

    def ask(self) -> Proposal:
        """Propose the next trial and store it, running."""
        return self.ask_batch(1)[0]

    def ask_batch(self, count: int) -> list[Proposal]:
        """Propose the next trials, each knowing of those before, and store them, running."""
        first, policies = len(self._trials), []
        for number in range(first, first + count):
            policy, proposed = self.propose(self.seen(), number)
            policies.append(policy)
            self._trials.append(proposed)
        asked = self._trials[first:]
        for trial, trial_id in zip(asked, create_trials(self._storage, self._study_id, asked), strict=True):
            if self._storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number) != trial_id:
                raise RuntimeError(f"trial {trial.number} was stored as another: another process asks this study")
            trial._trial_id = trial_id
        return [
            Proposal(trial.number, dict(trial.params), policy) for trial, policy in zip(asked, policies, strict=True)
        ]

    def propose(self, study: optuna.Study, number: int) -> tuple[Policy, _Kept]:
        """What the sampler makes of the trials so far; nothing is stored."""
        study.sampler = make_sampler(self._sampler, self._seed, number)
        if number < len(self._warm_start):
            study.enqueue_trial(dict(self._warm_start[number]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            trial = study.ask()
            policy = policy_of(self._space, _Asking(trial))
        proposed = _kept(study.get_trials(deepcopy=False)[trial.number])
        proposed.number = number  # another where the copy does not hold all
        return policy, proposed

    def pause(self, number: int, epoch: int, score: float, constraints: Mapping[str, float]) -> None:
        """Let samplers know how a trial stands that waits at a rung; nothing is stored."""
        paused = _constrained(self._trials[number], constraints)
        paused.state, paused.datetime_complete = TrialState.PRUNED, paused.datetime_start
        if len(self._directions) == 1:  # with two objectives one such value breaks the next ask
            paused.intermediate_values = {epoch: score}
        self._paused[number] = paused
        self._copy = None

    def resume(self, number: int) -> None:
        """A trial that waited goes on."""
        if self._paused.pop(number, None) is not None:
            self._copy = None

    def tell(self, number: int, outcome: Outcome) -> None:
        """Tell the outcome of a trial; nothing happens where it was told before."""
        self.tell_all({number: outcome})

    def tell_all(self, outcomes: Mapping[int, Outcome]) -> None:
        """Tell outcomes of trials by number, those left out that were told before."""
        new = {n: self._told(self._trials[n], one) for n, one in outcomes.items() if not self._is_told(n)}
        end_trials(self._storage, [_ending(self._trials[number], told) for number, told in new.items()])
        for number, told in new.items():
            self._trials[number] = told
        for number in outcomes:
            self._paused.pop(number, None)
        self._copy = None

    def _is_told(self, number: int) -> bool:
        return self._trials[number].state.is_finished()

    def _told(self, trial: _Kept, outcome: Outcome) -> _Kept:
        """The trial as it is to be stored."""
        told = _constrained(trial, outcome.constraints)
        told.state, told.datetime_complete = outcome.state, datetime.now()
        if outcome.state is TrialState.COMPLETE:
            told.values = list(outcome.values)
        elif outcome.state is TrialState.PRUNED and len(self._directions) == 1:
            # With two objectives one such value breaks the next ask.
            told.values, told.intermediate_values = list(outcome.values), {outcome.epoch: outcome.values[0]}
            self._storage.set_trial_intermediate_value(trial._trial_id, outcome.epoch, outcome.values[0])
        return told

    def running(self) -> list[tuple[int, dict[str, Picked]]]:
        """Number and parameters of every trial that was asked and not told."""
        return [(trial.number, dict(trial.params)) for trial in self._trials if trial.state is TrialState.RUNNING]

    def __len__(self) -> int:
        return len(self._trials)

    def seen(self) -> optuna.Study:
        """Copy of the study as samplers are to see it.

        Made anew whenever a trial has changed, because samplers keep notes in a study: proposals depend on the trials
        alone, and are the same after a kill. One that draws at random looks at no trial.
        """
        if self._copy is None or self._sampler.name == "nsga2":
            memory = InMemoryStorage()
            self._copy = optuna.create_study(storage=memory, directions=self._directions)
            copy_id = memory.get_study_id_from_name(self._copy.study_name)
            for trial in self._trials if self._sampler.name != "random" else ():
                memory.create_new_trial(copy_id, template_trial=self._paused.get(trial.number, trial))
        return self._copy


@dataclass(frozen=True, slots=True)
class Outcome:
    """What Optuna is told of a trial.

    Args:
        state: Of the trial, finished.
        values: One an objective, finite; of a trial that was stopped those at its last rung, of a failed one none.
        epoch: It was scored after.
        constraints: By name, violated where positive; the same names for every trial, because a Gaussian process
            models each of them.
    """

    state: TrialState
    values: tuple[float, ...] = ()
    epoch: int = 0
    constraints: Mapping[str, float] = field(default_factory=dict)


def random_policies(space: Space, count: int, *, seed: int) -> list[Policy]:
    """Policies with noise, drawn at random from the space, independent of any study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it tells of every study
    study = optuna.create_study(
        sampler=optuna.samplers.RandomSampler(seed=stable_hash(seed, "random") % _SAMPLER_SEEDS)
    )
    return [_with_noise(space, study) for _ in range(count)]


def _with_noise(space: Space, study: optuna.Study) -> Policy:
    """Next policy that has noise: one without is the no-noise control once more, and says nothing of luck."""
    for _ in range(_DRAWS):
        policy = policy_of(space, _Asking(study.ask()))
        if any(term.magnitude > 0 and term.fraction > 0 for term in policy.terms):
            break
    return policy


def make_sampler(spec: SamplerSpec, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Fresh sampler for one ask, seeded by the sweep's seed and the trial's number."""
    own = stable_hash(seed, "ask", number) % _SAMPLER_SEEDS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match spec.name:
            case "random":
                return optuna.samplers.RandomSampler(seed=own)
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=own, population_size=spec.population)
            case "qmc":
                return _Points(number, stable_hash(seed, "points") % _SAMPLER_SEEDS, own)
            case "gp":
                return optuna.samplers.GPSampler(seed=own, n_startup_trials=spec.startup_trials)
            case "tpe":
                return optuna.samplers.TPESampler(
                    seed=own,
                    n_startup_trials=spec.startup_trials,
                    multivariate=True,
                    group=True,
                    constant_liar=True,
                )


class _Points(optuna.samplers.QMCSampler):
    """Scrambled Sobol points, of which each trial takes that of its number.

    Optuna's own counts in the study, where a copy has no count.
    """

    def __init__(self, number: int, seed: int, rest: int) -> None:
        super().__init__(
            scramble=True,
            seed=seed,
            independent_sampler=optuna.samplers.RandomSampler(seed=rest),
            warn_independent_sampling=False,
        )
        self._number = number

    def _find_sample_id(self, study: optuna.Study, search_space: object) -> int:  # noqa: ARG002
        return self._number
