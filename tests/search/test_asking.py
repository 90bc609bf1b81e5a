from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import Trial, TrialState
from sweep_examples import spec

from noise_search.config import parse_space
from noise_search.policy import policy_to_list
from noise_search.search.asking import Outcome, Proposal, Study, random_policies
from noise_search.search.space import Stored, policy_of
from noise_search.spec import ObjectiveSpec, SamplerSpec, Space

SAMPLER = SamplerSpec(batch=2, startup_trials=2)
SPACE = spec().space


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[RDBStorage]:
    made = RDBStorage(f"sqlite:///{tmp_path / 'optuna.db'}")
    yield made
    made.remove_session()
    made.engine.dispose()


def _study(storage: RDBStorage, *, name: str = "one", seed: int = 0) -> Study:
    return Study(storage, name, SPACE, ObjectiveSpec(), SAMPLER, seed)


def outcome(score: float, *, diverged: bool = False) -> Outcome:
    return Outcome(TrialState.COMPLETE, (score,), 2, {"diverged": 1.0} if diverged else {})


def _ask_and_tell(study: Study, count: int) -> list[Proposal]:
    proposals = []
    for _ in range(count):
        proposals.append(study.ask())
        study.tell(
            proposals[-1].number, outcome(0.1 * (proposals[-1].number % 5), diverged=proposals[-1].number % 4 == 3)
        )
    return proposals


def test_a_proposal_is_a_policy_of_the_space_and_stored_running_with_its_parameters(storage: RDBStorage) -> None:
    study = _study(storage)
    proposal = study.ask()
    assert proposal.policy == policy_of(SPACE, Stored(proposal.parameters))
    assert study.running() == [(0, proposal.parameters)]
    assert len(study) == 1
    (trial,) = storage.get_all_trials(storage.get_study_id_from_name("one"))
    assert (trial.state.name, trial.params) == ("RUNNING", proposal.parameters)
    assert set(trial.distributions) == set(proposal.parameters)


@pytest.mark.parametrize("told", [0, 1, 2, 5, 9])
def test_a_reloaded_study_proposes_what_the_original_does(told: int, storage: RDBStorage) -> None:
    original = _study(storage)
    _ask_and_tell(original, told)
    original.ask()  # one that is not told yet
    reloaded = _study(storage)
    expected = reloaded.ask()
    storage_again = RDBStorage("sqlite://")
    try:
        twin = _study(storage_again)
        _ask_and_tell(twin, told)
        twin.ask()
        assert twin.ask() == expected
    finally:
        storage_again.remove_session()
        storage_again.engine.dispose()


def test_a_study_reloaded_before_every_ask_proposes_what_one_that_never_was_does(storage: RDBStorage) -> None:
    steady = _ask_and_tell(_study(storage, name="steady"), 8)
    reloaded = [_ask_and_tell(_study(storage, name="reloaded"), 1)[0] for _ in range(8)]
    assert reloaded == steady


def test_another_seed_proposes_other_policies(storage: RDBStorage) -> None:
    one = _ask_and_tell(_study(storage, name="one", seed=1), 4)
    other = _ask_and_tell(_study(storage, name="other", seed=2), 4)
    assert all(a.parameters != b.parameters for a, b in zip(one, other, strict=True))


def test_the_first_trials_are_random_and_differ(storage: RDBStorage) -> None:
    study = Study(storage, "one", SPACE, ObjectiveSpec(), SamplerSpec(batch=8, startup_trials=8), seed=0)
    asked = [study.ask().parameters for _ in range(8)]
    assert all(one != other for number, one in enumerate(asked) for other in asked[:number])


def test_what_is_told_changes_what_is_proposed_after_the_first_random_trials(storage: RDBStorage) -> None:
    proposals = []
    for name, sign in (("up", 1.0), ("down", -1.0)):
        study = _study(storage, name=name)
        for number in range(8):
            study.ask()
            study.tell(number, outcome(sign * number, diverged=False))
        proposals.append(study.ask())
    assert proposals[0].parameters != proposals[1].parameters


def test_nothing_is_learned_inside_a_batch_but_that_others_are_running(storage: RDBStorage) -> None:
    study = _study(storage)
    _ask_and_tell(study, 4)
    first, second = study.ask(), study.ask()
    assert first.parameters != second.parameters
    assert [number for number, _ in study.running()] == [4, 5]


def test_a_batch_is_proposed_like_its_trials_one_by_one(storage: RDBStorage) -> None:
    together, singly = _study(storage, name="together"), _study(storage, name="singly")
    for study in (together, singly):
        _ask_and_tell(study, 4)
    assert together.ask_batch(4) == [singly.ask() for _ in range(4)]
    assert [number for number, _ in _study(storage, name="together").running()] == [4, 5, 6, 7]


def test_outcomes_are_told_together_like_one_by_one(storage: RDBStorage) -> None:
    found = []
    for name in ("together", "singly"):
        study = _study(storage, name=name)
        study.ask_batch(3)
        outcomes = {number: outcome(0.1 * number, diverged=number == 1) for number in (2, 0, 1)}
        if name == "together":
            study.tell_all(outcomes)
        else:
            for number, one in outcomes.items():
                study.tell(number, one)
        stored = storage.get_all_trials(storage.get_study_id_from_name(name))
        found.append([(trial.state, trial.values, trial.constraints) for trial in stored])
    assert found[0] == found[1]
    assert found[0][1][2] == {"diverged": 1.0}


def test_a_sampler_that_draws_at_random_proposes_the_same_whatever_it_was_told(storage: RDBStorage) -> None:
    told, untold = (
        Study(storage, name, SPACE, ObjectiveSpec(), SamplerSpec("random"), seed=0) for name in ("told", "untold")
    )
    _ask_and_tell(told, 3)
    untold.ask_batch(3)
    assert told.ask() == untold.ask()
    assert [trial.number for trial in storage.get_all_trials(storage.get_study_id_from_name("told"))] == [0, 1, 2, 3]


def test_a_trial_told_twice_keeps_what_it_was_told_first(storage: RDBStorage) -> None:
    study = _study(storage)
    study.ask()
    study.tell(0, outcome(0.25, diverged=False))
    study.tell(0, outcome(0.75, diverged=True))
    (trial,) = storage.get_all_trials(storage.get_study_id_from_name("one"))
    assert (trial.value, trial.constraints) == (0.25, {})


def test_a_reloaded_study_can_tell_what_the_original_asked(storage: RDBStorage) -> None:
    _study(storage).ask()
    reloaded = _study(storage)
    reloaded.tell(0, outcome(0.5, diverged=False))
    assert reloaded.running() == []
    assert _study(storage).running() == []


def test_a_trial_that_diverged_is_complete_with_a_violated_constraint(storage: RDBStorage) -> None:
    study = _study(storage)
    study.ask()
    study.tell(0, outcome(0.0, diverged=True))
    (trial,) = storage.get_all_trials(storage.get_study_id_from_name("one"))
    assert (trial.state.name, trial.value, trial.constraints) == ("COMPLETE", 0.0, {"diverged": 1.0})


def test_a_kill_between_the_constraint_and_the_telling_is_made_good(storage: RDBStorage) -> None:
    _study(storage).ask()
    stored = optuna.load_study(study_name="one", storage=storage)
    Trial(stored, stored.get_trials()[0]._trial_id).set_constraint("diverged", 1.0)
    _study(storage).tell(0, outcome(0.0, diverged=True))
    (trial,) = storage.get_all_trials(storage.get_study_id_from_name("one"))
    assert (trial.state.name, trial.constraints) == ("COMPLETE", {"diverged": 1.0})


def test_random_policies_depend_on_the_seed_and_start_alike_whatever_their_count() -> None:
    assert random_policies(SPACE, 3, seed=0) == random_policies(SPACE, 5, seed=0)[:3]
    assert random_policies(SPACE, 3, seed=0) != random_policies(SPACE, 3, seed=1)
    assert random_policies(SPACE, 0, seed=0) == []


def test_random_policies_differ_from_each_other() -> None:
    texts = {str(policy_to_list(policy)) for policy in random_policies(SPACE, 20, seed=0)}
    assert len(texts) > 15


def test_random_policies_have_noise_wherever_the_space_can_give_any() -> None:
    sometimes = only_inputs(noise={"choices": ["none", "gaussian"]}, magnitude={"choices": [0.0, 0.1]})
    drawn = random_policies(sometimes, 40, seed=0)
    assert {term.magnitude for policy in drawn for term in policy.terms} == {0.1}
    assert all(policy.terms for policy in drawn)
    assert drawn == random_policies(sometimes, 40, seed=0)


def test_random_policies_of_a_space_without_noise_have_none() -> None:
    never = only_inputs(noise={"choices": ["none", "gaussian"]}, magnitude=0.0)
    assert all(term.magnitude == 0.0 for policy in random_policies(never, 3, seed=0) for term in policy.terms)


def only_inputs(**inputs: object) -> Space:
    return parse_space({"terms": {"inputs": inputs}}, modality="images", epochs=2)


# --- samplers and objectives ---

FLAT = parse_space(
    {
        "terms": {
            "inputs": {
                "noise": "gaussian",
                "magnitude": {"low": 0.02, "high": 0.6},
                "fraction": {"low": 0.1, "high": 1.0},
                "level": "fixed",
                "schedule": "constant",
            }
        }
    },
    modality="images",
    epochs=2,
)
NAMES = ("tpe", "random", "nsga2", "qmc", "gp")
Name = Literal["tpe", "random", "nsga2", "qmc", "gp"]


def _searched(
    name: Name, storage: RDBStorage, study_name: str, *, pareto: bool, reloads: bool, count: int
) -> list[Any]:
    """Parameters of so many trials, each told before the next is asked, or the study loaded anew before each."""
    space: Space = FLAT if name == "gp" else SPACE
    objective = ObjectiveSpec("pareto" if pareto else "combined")
    sampler = SamplerSpec(name, batch=2, startup_trials=3, population=4)

    def load() -> Study:
        return Study(storage, study_name, space, objective, sampler, 5)

    study, found = load(), []
    for number in range(count):
        study = load() if reloads else study
        proposal = study.ask()
        found.append(proposal.parameters)
        values = (0.1 * (number % 4), 0.05 * (number % 7)) if pareto else (0.1 * (number % 4),)
        state = TrialState.PRUNED if number % 5 == 4 else TrialState.COMPLETE
        study.tell(number, Outcome(state, values, 1))
    return found


@pytest.mark.parametrize("pareto", [False, True], ids=["combined", "pareto"])
@pytest.mark.parametrize("name", NAMES)
def test_a_sampler_proposes_the_same_when_the_study_is_loaded_before_every_ask(
    name: Name, pareto: bool, storage: RDBStorage
) -> None:
    steady = _searched(name, storage, "steady", pareto=pareto, reloads=False, count=10)
    reloaded = _searched(name, storage, "reloaded", pareto=pareto, reloads=True, count=10)
    assert reloaded == steady
    assert len({str(parameters) for parameters in steady}) >= 9


def test_the_points_of_qmc_fill_a_range_evenly(storage: RDBStorage) -> None:
    study = Study(storage, "one", FLAT, ObjectiveSpec(), SamplerSpec("qmc"), 0)
    for _ in range(17):
        study.tell(study.ask().number, outcome(0.5))
    values = [
        trial.params["inputs.gaussian.fraction"]
        for trial in storage.get_all_trials(storage.get_study_id_from_name("one"))
    ][1:]
    shares = sorted(int(16 * (value - 0.1) / 0.9) for value in values)
    assert len(set(shares)) >= 14


def test_a_trial_that_waits_is_pruned_in_the_eyes_of_samplers_and_running_in_the_storage(storage: RDBStorage) -> None:
    study = _study(storage)
    for _ in range(4):
        study.ask()
    before = _study(storage, name="other")
    for _ in range(4):
        before.ask()
    for number in range(4):
        study.pause(number, 1, 0.1 * number, {})
    assert [trial.state for trial in storage.get_all_trials(storage.get_study_id_from_name("one"))] == [
        TrialState.RUNNING
    ] * 4
    assert study.ask().parameters != before.ask().parameters


def test_what_goes_on_runs_again_in_the_eyes_of_samplers(storage: RDBStorage) -> None:
    one, other = _study(storage), _study(storage, name="other")
    for study in (one, other):
        for _ in range(4):
            study.ask()
    one.pause(2, 1, 0.9, {})
    one.resume(2)
    assert one.ask().parameters == other.ask().parameters


def test_a_stopped_trial_is_pruned_at_its_last_score(storage: RDBStorage) -> None:
    study = _study(storage)
    study.ask()
    study.tell(0, Outcome(TrialState.PRUNED, (0.4,), 3))
    (trial,) = storage.get_all_trials(storage.get_study_id_from_name("one"))
    assert (trial.state.name, trial.intermediate_values) == ("PRUNED", {3: 0.4})


def test_a_failed_trial_is_told_as_such(storage: RDBStorage) -> None:
    study = _study(storage)
    study.ask()
    study.tell(0, Outcome(TrialState.FAIL))
    (trial,) = storage.get_all_trials(storage.get_study_id_from_name("one"))
    assert trial.state is TrialState.FAIL


def test_policies_known_to_be_good_are_asked_first(storage: RDBStorage) -> None:
    known = [{"inputs.gaussian.magnitude": 0.3, "inputs.gaussian.fraction": 0.5}]
    study = Study(storage, "one", FLAT, ObjectiveSpec(), SAMPLER, 0, known)
    assert study.ask().parameters == known[0]
    assert study.ask().parameters != known[0]
