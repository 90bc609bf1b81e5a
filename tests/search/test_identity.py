from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from sweep_examples import NAME, config, contents, drive, finished_store, plan, record

from noise_search.commands import run_sweep
from noise_search.config import build, config_folder
from noise_search.corruptions.suites import suite_digest
from noise_search.errors import CallerError
from noise_search.policy import Card, Policy, Term, save_card
from noise_search.search.identity import default_name, digest_of, refuse_another
from noise_search.search.opening import finished, make_plan
from noise_search.store import locate
from noise_search.training import load_dataset

ANOTHER = {
    "seed=1": "seed",
    "train.epochs=3": "train.epochs",
    "train.batch_size=128": "train.batch_size",
    "train.clip=0.5": "train.clip",
    "train.mode=looped": "train.mode",
    "model.hidden=[6]": "model.hidden",
    "optimizer.lr=0.01": "optimizer.lr",
    "optimizer.lr_schedule=constant": "optimizer.lr_schedule",
    "+optimizer.options.eps=1e-6": "optimizer.options.eps",
    "objective.weight=0.6": "objective.weight",
    "sampler.batch=3": "sampler.batch",
    "sampler.startup_trials=3": "sampler.startup_trials",
    "objective=pareto": "objective.name",
    "objective.clean_drop=0.02": "objective.clean_drop",
    "objective.family_drop=0.02": "objective.family_drop",
    "stopping=halving": "stopping.name",
    "budget.seeds=2": "budget.seeds",
    "data.split_seed=1": "data.split_seed",
    "space.terms.inputs.fraction.high=0.9": "space.terms.inputs.fraction.high",
}
SAME = (
    "driver.cohort=3",
    "store.url=elsewhere",
    "tracking.enabled=true",
    "tracking.experiment=another",
    "train.threads=2",
    "controls.constants=2",
    "train.mode=auto",
    "train.score_mode=auto",
    "budget.trials=100",
    "budget.minutes=5",
    "budget.seeds=1",
    "driver.share_prefix=false",
    "driver.retries.error=3",
    "sampler.warm_start=[]",
    "log.level=debug",
)


@pytest.mark.parametrize("override", ANOTHER)
def test_another_search_under_the_same_name_is_refused_naming_the_key(override: str) -> None:
    with pytest.raises(CallerError) as caught:
        finished(plan(override), locate(finished_store()))
    assert any(mistake.startswith(f"{ANOTHER[override]}: sweep {NAME} has ") for mistake in caught.value.mistakes)
    assert caught.value.mistakes[-1].startswith(f"name: {NAME} is another search")


def test_the_message_gives_both_values() -> None:
    with pytest.raises(CallerError) as caught:
        finished(plan("train.epochs=3"), locate(finished_store()))
    assert caught.value.mistakes[0] == f"train.epochs: sweep {NAME} has 2, got 3"


def test_every_key_that_differs_is_named_up_to_eight() -> None:
    with pytest.raises(CallerError) as two:
        finished(plan("seed=3", "train.epochs=4"), locate(finished_store()))
    assert [mistake.partition(":")[0] for mistake in two.value.mistakes] == ["seed", "train.epochs", "name"]
    with pytest.raises(CallerError) as many:
        finished(plan("space=gaussian"), locate(finished_store()))
    *shown, more, last = many.value.mistakes
    assert len(shown) == 8
    assert more.startswith("... and ")
    assert last.startswith("name: ")


def test_a_suite_of_other_kinds_is_another_search() -> None:
    node = yaml.safe_load((config_folder() / "suite" / "digits.yaml").read_text())
    fewer: dict[str, Any] = {**node, "kinds": node["kinds"][:3]}
    spec = build({**config(), "suite": {**fewer, "digest": suite_digest(fewer)}})
    with pytest.raises(CallerError, match=r"suite\.digest: sweep tiny has"):
        finished(make_plan(spec, load_dataset(spec.data)), locate(finished_store()))


def test_other_data_is_another_search() -> None:
    one = plan()
    inputs = one.dataset.train.inputs.clone()
    inputs[0, 0, 0, 0] = 0.5
    other = replace(one.dataset, train=replace(one.dataset.train, inputs=inputs))
    with pytest.raises(CallerError, match=r"data\.digest"):
        finished(make_plan(one.spec, other), locate(finished_store()))


@pytest.mark.parametrize("override", SAME)
def test_what_changes_no_trial_is_no_part_of_the_identity(override: str) -> None:
    refuse_another(record(finished_store()), plan(override).identity)


@pytest.mark.parametrize("override", [o for o in SAME if "mode" not in o])
def test_the_digest_and_with_it_the_default_name_follow_the_identity_alone(override: str) -> None:
    assert plan(override).digest == plan().digest


def test_a_refused_sweep_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    drive(tmp_path, "budget.trials=1")
    before = contents(tmp_path)
    with pytest.raises(CallerError):
        drive(tmp_path, "seed=5")
    assert contents(tmp_path) == before


def test_a_sweep_without_a_name_is_called_after_experiment_data_model_and_digest() -> None:
    unnamed = plan("name=null")
    assert unnamed.name == f"default-digits-mlp-{unnamed.digest[:6]}"
    assert unnamed.name == default_name(unnamed.spec, digest_of(unnamed.identity))
    assert plan("name=null", "seed=1").name != unnamed.name


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest_of({"a": 1, "b": [2.5]}) == digest_of({"b": [2.5], "a": 1})


def test_a_mode_left_to_us_is_settled_once_and_stored(tmp_path: Path) -> None:
    auto = ("train.mode=auto", "train.score_mode=auto", "budget.trials=1", "controls.constants=0", "controls.random=0")
    drive(tmp_path, *auto)
    stored = record(tmp_path)
    assert stored.train_mode in ("fused", "looped")
    assert stored.score_mode in ("fused", "looped")
    other = "looped" if stored.train_mode == "fused" else "fused"
    with pytest.raises(CallerError, match=f"train.mode: sweep tiny has '{stored.train_mode}', got '{other}'"):
        drive(tmp_path, *auto, f"train.mode={other}")
    settled = (f"train.mode={stored.train_mode}", f"train.score_mode={stored.score_mode}")
    assert not drive(tmp_path, *auto, *settled).changed
    assert drive(tmp_path, *auto, "budget.trials=2").changed
    assert record(tmp_path).train_mode == stored.train_mode


def test_the_device_counts_by_its_kind() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert plan("train.device=auto").identity["train.device"] == expected


def test_a_sweep_stored_by_name_is_found_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "with a space"
    assert run_sweep(config("budget.trials=1"), store=folder).name == NAME
    assert not run_sweep(config("budget.trials=1"), store=str(folder)).changed


def test_keys_that_are_not_set_are_no_part_of_it_as_in_sweeps_made_before_there_were_any() -> None:
    newer = {"objective.clean_drop", "objective.family_drop", "budget.seeds", "sampler.warm_start"}
    assert not newer & plan().identity.keys()
    assert (
        newer - {"sampler.warm_start"}
        <= plan("objective.clean_drop=0.02", "objective.family_drop=0.0", "budget.seeds=2").identity.keys()
    )


def test_of_a_warm_start_the_parameters_count_and_not_the_file(tmp_path: Path) -> None:
    digests = []
    for name, magnitude in (("one", 0.1), ("two", 0.1), ("three", 0.2)):
        term = Term("inputs", "gaussian", magnitude, fraction=0.5)
        save_card(Card(Policy((term,)), {}), tmp_path / f"{name}.yaml")
        digests.append(plan(f"sampler.warm_start=[{tmp_path / name}.yaml]").digest)
    assert digests[0] == digests[1] != digests[2]
    assert digests[0] != plan().digest
