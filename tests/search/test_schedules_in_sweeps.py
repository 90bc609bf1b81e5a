"""Real sweeps over every schedule that can be searched."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sweep_examples import Quitter, asked, drive, findings, put_tracking_database, spec, trials

from noise_search.policy import Policy, Term, load_card, policy_to_list
from noise_search.policy.words import policy_text
from noise_search.schedules import SCHEDULES, Gate, Schedule
from noise_search.search.asking import random_policies
from noise_search.search.mirroring import policy_parameters
from noise_search.search.space import Stored, policy_of
from noise_search.store import locate
from noise_search.tracking.limits import PARAMETER_CHARACTERS, entry_mistakes

SEARCH = ("space=schedules", "data.limit=400", "budget.trials=8")
SEARCHED = set(SCHEDULES) - {"table"}


@cache
def proposed() -> list[Term]:
    return [policy.terms[0] for policy in random_policies(spec("space=schedules").space, 300, seed=0)]


def test_the_space_over_schedules_proposes_every_kind_with_a_gate_and_without() -> None:
    for gated in (True, False):
        assert {term.schedule.kind for term in proposed() if (term.schedule.every is not None) == gated} == SEARCHED
    knots = [dict[str, Any](term.schedule.parameters) for term in proposed() if term.schedule.kind == "knots"]
    assert {len(one["values"]) for one in knots} == {3, 4, 5, 6}
    assert {one["monotone"] for one in knots} == {"up", "down", "free"}


def test_it_proposes_what_rises_as_often_as_what_falls() -> None:
    chosen = [term.schedule for term in proposed() if term.schedule.kind in ("power", "steps")]
    directions = [dict(schedule.parameters)["direction"] for schedule in chosen]
    ups = directions.count("up")
    assert ups + directions.count("down") == len(directions)
    assert 0.3 < ups / len(directions) < 0.7


def test_a_sweep_over_schedules_stores_policies_that_its_parameters_make_again_and_goes_on_where_it_stopped(
    tmp_path: Path,
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    assert drive(whole, *SEARCH).state == "complete"
    drive(parts, *SEARCH, reporter=Quitter(jobs=3))
    assert drive(parts, *SEARCH).state == "complete"
    assert findings(parts) == findings(whole)
    space = spec(*SEARCH).space
    for text in trials(findings(whole)).values():
        entry = json.loads(text)
        assert policy_to_list(policy_of(space, Stored(entry["parameters"]))) == entry["policy"]
    stored = [json.loads(text)["parameters"] for text in trials(findings(whole)).values()]
    assert [trial.params for trial in asked(whole)] == stored


TABLE = Schedule("table", (("values", (0, 0.25, 1)),), Gate(4, 0.5))
STAIRS = Schedule("steps", (("k", 3), ("direction", "down")), Gate(2, 0.25))


def gaussian(schedule: Schedule) -> list[dict[str, Any]]:
    return policy_to_list(Policy((Term("inputs", "gaussian", 0.2, schedule=schedule),)))


def test_words_lists_and_gates_are_parameters_of_the_run_as_text() -> None:
    at = "inputs.gaussian.schedule"
    found = policy_parameters(gaussian(TABLE))
    assert {key: value for key, value in found.items() if key.startswith(at)} == {
        at: "table",
        f"{at}.values": "[0, 0.25, 1]",
        f"{at}.every.cycles": "4",
        f"{at}.every.on": "0.5",
    }
    assert policy_parameters(gaussian(STAIRS))[f"{at}.direction"] == "down"
    assert policy_parameters(gaussian(STAIRS))[f"{at}.k"] == "3"


@pytest.mark.parametrize("values", [2, 600, 100_000])
def test_a_table_however_long_is_a_parameter_that_mlflow_takes(values: int) -> None:
    table = Schedule("table", (("values", tuple(step / values for step in range(values))),))
    found = policy_parameters(gaussian(table))
    assert entry_mistakes("parameters", found, PARAMETER_CHARACTERS) == []
    assert found["inputs.gaussian.schedule.values"].endswith("100000 values in all]") == (values == 100_000)


def test_words_lists_and_gates_are_shown_in_a_few_words() -> None:
    start = "inputs.gaussian 0.2"
    assert policy_text(gaussian(TABLE)) == f"{start} table(values=[0, 0.25, 1]) every(cycles=4, on=0.5)"
    assert policy_text(gaussian(STAIRS)) == f"{start} steps(direction=down, k=3) every(cycles=2, on=0.25)"
    assert policy_text(gaussian(Schedule(every=Gate(4, 0.5)))) == f"{start} constant every(cycles=4, on=0.5)"
    long = Schedule("table", (("values", (0.5,) * 1000),))
    assert policy_text(gaussian(long)) == f"{start} table(values=[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, ... 1000])"


def test_a_sweep_over_tables_and_gates_is_mirrored_and_its_card_replays_them(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    put_tracking_database(tmp_path)
    schedule = "{kind: table, values: [0, {low: 0.2, high: 1}, 0.5], every: {epochs: 1, on_epochs: 1}}"
    space = f"+space={{terms: {{inputs: {{noise: gaussian, schedule: {schedule}}}}}}}"
    outcome = drive(tmp_path, "~space", space, "tracking.enabled=true", "budget.trials=2", "data.limit=400")
    assert outcome.state == "complete"
    card = load_card(outcome.files["card"])
    (term,) = card.policy.terms
    assert (term.schedule.kind, term.schedule.every) == ("table", Gate(2, 1.0))
    url = locate(tmp_path).tracking_url
    client = MlflowClient(url, registry_uri=url)
    (run,) = client.search_runs(
        [client.get_experiment_by_name("noise_search").experiment_id], filter_string="tags.mlflow.runName = 'trial 0'"
    )
    assert run.data.params["inputs.gaussian.schedule.every.cycles"] == "2"
    assert run.data.params["inputs.gaussian.schedule.values"].startswith("[0, ")
