"""Which knobs of a sweep mattered: noise, magnitude, fraction, or the shape of the schedule.

PED-ANOVA over complete trials, which asks how unlike all trials the best tenth is in each parameter; the parameters
are summed by knob. What chance alone would give is found by shuffling the scores among the trials.

Source: Watanabe et al., "PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary subspaces" (2023).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from noise_search.search.results import last_scores
from noise_search.seeds import numpy_generator
from noise_search.store import Store, SweepRecord

KNOBS = ("noise", "magnitude", "fraction", "schedule")
FEWEST_TRIALS = 20
SHUFFLES = 39  # of which one or none may show as much where something matters; each costs a tenth of a second
LIKELY_BY_CHANCE = 0.05
_KNOB_OF = {"noise": "noise", "magnitude": "magnitude", "fraction": "fraction", "level": "fraction"}


@dataclass(frozen=True, slots=True)
class Importance:
    """What mattered.

    Args:
        trials: Complete ones that were looked at.
        shares: Knob -> its share of all importance; they sum to 1.
        chance: Knob -> share of shuffles in which it came out as important or more.
        sentence: What that says of the schedule.
    """

    trials: int
    shares: dict[str, float]
    chance: dict[str, float]
    sentence: str


def importance_in(store: Store, sweep: SweepRecord) -> Importance | None:
    """Importance of each knob in a sweep so far; None while it has too few complete trials, or nothing is searched."""
    by_member = last_scores(store, sweep.id)
    scores = {
        member.number: by_member[member.id]["score"]
        for member in store.members(sweep.id, states=["complete"])
        if member.number is not None
    }
    if len(scores) < FEWEST_TRIALS:
        return None
    study = optuna.load_study(
        study_name=sweep.name, storage=store.optuna_storage(), sampler=optuna.samplers.RandomSampler(seed=0)
    )
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.number in scores]
    return importance(trials, [scores[trial.number] for trial in trials])


def importance(trials: Sequence[FrozenTrial], scores: Sequence[float], *, seed: int = 0) -> Importance | None:
    """Importance of each knob for the score; None where no parameter differs between trials.

    Args:
        trials: With their parameters.
        scores: Of each trial, larger is better.
        seed: Of the shuffles.
    """
    study = _study(trials, scores)
    found = _by_knob(study, scores)
    total = sum(found.values())
    if total <= 0.0:
        return None
    rng = numpy_generator(seed, "importance")
    shuffled = [_by_knob(study, [scores[k] for k in rng.permutation(len(scores))]) for _ in range(SHUFFLES)]
    chance = {knob: (1 + sum(other[knob] >= found[knob] for other in shuffled)) / (1 + SHUFFLES) for knob in found}
    shares = {knob: value / total for knob, value in found.items()}
    return Importance(len(trials), shares, chance, _sentence(shares, chance))


def _study(trials: Sequence[FrozenTrial], scores: Sequence[float]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it tells of every study in memory
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                state=TrialState.COMPLETE, params=trial.params, distributions=trial.distributions, value=score
            )
            for trial, score in zip(trials, scores, strict=True)
        ]
    )
    return study


def _by_knob(study: optuna.Study, scores: Sequence[float]) -> dict[str, float]:
    """Sum over the parameters of each knob, with these scores in trial order."""
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of small regimes, and that targets are minimised: these are negative scores
        found: Mapping[str, float] = evaluator.evaluate(study, target=lambda trial: -scores[trial.number])
    knobs = dict.fromkeys(KNOBS, 0.0)
    for name, value in found.items():
        knobs[_knob(name)] += value
    return {knob: value for knob, value in knobs.items() if any(_knob(name) == knob for name in found)}


def _knob(name: str) -> str:
    return _KNOB_OF.get(name.rpartition(".")[2], "schedule")


def _sentence(shares: Mapping[str, float], chance: Mapping[str, float]) -> str:
    if "schedule" not in shares:
        return "Schedules were not searched."
    percent, by_chance = f"{100 * shares['schedule']:.0f} %", f"{100 * chance['schedule']:.0f} %"
    if chance["schedule"] > LIKELY_BY_CHANCE:
        return f"The shape of the schedule made no difference beyond noise ({by_chance} of shuffles show as much)."
    return f"The shape of the schedule mattered: {percent} of all importance ({by_chance} of shuffles show as much)."
