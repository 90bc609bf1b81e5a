from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from config_examples import Config, changed, shipped, sound
from hypothesis import given
from hypothesis import strategies as st

from noise_search.config import build, check
from noise_search.corruptions.suites import suite_digest
from noise_search.errors import CallerError
from noise_search.executor_specs import InlineSpec
from noise_search.models import CnnParameters, MlpParameters
from noise_search.noises import NOISES
from noise_search.optimizers import OPTIMIZERS, make_optimizer
from noise_search.schedules import SCHEDULES
from noise_search.spec import DataSpec, ObjectiveSpec, OptimizerSpec, Range, SweepSpec, TrainSpec

WEIGHTS = sorted([*NOISES["weights"], "none"])


# --- sound configurations


def test_the_shipped_configuration_makes_a_sweep() -> None:
    spec = build(sound())
    assert isinstance(spec, SweepSpec)
    assert (spec.name, spec.seed) == ("", 0)
    assert spec.data == DataSpec("digits", 0)
    assert spec.model.parameters == CnnParameters((16, 32), 64, "group")
    assert spec.optimizer == OptimizerSpec("adamw", 0.005, 0.01, (), "cosine", 0.05, 0.0)
    assert spec.train == TrainSpec(30, 64, 1.0, 5, "fused", "looped", "auto", 1)
    assert spec.objective == ObjectiveSpec("combined", 0.5)
    assert (spec.budget.trials, spec.driver.cohort, spec.sampler.batch) == (32, 16, 8)
    assert (spec.controls.constants, spec.controls.random) == (6, 2)
    assert (spec.stopping.name, spec.executor) == ("none", InlineSpec())
    assert [site.site for site in spec.space.sites] == ["inputs", "weights", "targets"]
    assert spec.space.sites[0].branches["gaussian"].magnitude == Range(0.02, 0.6, log=True)
    assert spec.suite.name == "digits"
    assert spec.raw == sound()


@pytest.mark.parametrize("override", ["model=mlp", "model=cnn_bn", "optimizer=sgd", "space=gaussian"])
def test_every_shipped_choice_makes_a_sweep(override: str) -> None:
    assert check(sound(override)) == []


def test_the_parameters_of_a_model_are_those_of_its_own_class() -> None:
    assert build(sound("model=mlp")).model.parameters == MlpParameters((128, 128))
    assert build(sound("model=cnn_bn")).model.parameters == CnnParameters((16, 32), 64, "batch")


def test_options_of_an_optimiser_are_kept_in_order_with_lists_as_tuples() -> None:
    spec = build(changed({"optimizer.options": {"eps": 1e-6, "betas": [0.8, 0.9]}})).optimizer
    assert spec.options == (("betas", (0.8, 0.9)), ("eps", 1e-6))
    made = make_optimizer(spec, [torch.zeros(1, requires_grad=True)])
    assert (made.defaults["betas"], made.defaults["eps"], made.defaults["weight_decay"]) == ((0.8, 0.9), 1e-6, 0.01)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - {"rprop"}))
def test_every_optimiser_but_rprop_takes_the_shipped_keys(name: str) -> None:
    spec = build(changed({"optimizer.name": name})).optimizer
    make_optimizer(spec, [torch.zeros(1, requires_grad=True)])


@pytest.mark.parametrize(
    "changes",
    [
        {"train.clip": None},
        {"train.clip": 5},
        {"train.threads": 2},
        {"objective.weight": 0},
        {"objective.weight": 1},
        {"controls.constants": 0, "controls.random": 0},
        {"name": "a"},
        {"name": "Digits_2.1-b"},
        {"name": "a" * 100},
        {"optimizer.lr": 1},
        {"train.batch_size": 2},
    ],
    ids=str,
)
def test_what_lies_on_the_edge_of_what_is_allowed_is_taken(changes: Config) -> None:
    assert check(changed(changes)) == []


# --- mistakes

WHOLE = "expected integer, got"
NAME = "name: expected up to 100 letters, digits, '-', '_' and '.', the first no '-' or '.', got"
BAD: dict[str, tuple[Config, list[str]]] = {
    "an unknown key at the top": (
        {"trian": {"epochs": 3}},
        [
            "configuration: expected one of ['budget', 'controls', 'data', 'driver', 'executor', 'experiment', "
            "'log', 'model', 'name', 'objective', 'optimizer', 'sampler', 'seed', 'space', 'stopping', 'store', "
            "'suite', 'tracking', 'train'], got 'trian'; did you mean 'train'?"
        ],
    ),
    "an unknown key of a node": (
        {"train.epoch": 3},
        [
            "train: expected one of ['batch_size', 'clip', 'device', 'epochs', 'mode', 'score_every', 'score_mode', "
            "'threads'], got 'epoch'; did you mean 'epochs'?"
        ],
    ),
    "a word for a number": ({"train.epochs": "ten"}, [f"train.epochs: {WHOLE} 'ten'"]),
    "a number in quotes": ({"train.epochs": "10"}, [f"train.epochs: {WHOLE} '10'"]),
    "half an epoch": ({"train.epochs": 1.5}, [f"train.epochs: {WHOLE} 1.5"]),
    "a float that is whole": ({"train.epochs": 10.0}, [f"train.epochs: {WHOLE} 10.0"]),
    "true for a number": ({"train.epochs": True}, [f"train.epochs: {WHOLE} True"]),
    "nothing for a number": ({"train.epochs": None}, [f"train.epochs: {WHOLE} None"]),
    "no epoch": ({"train.epochs": 0}, ["train.epochs: expected greater than or equal to 1, got 0"]),
    "a batch of none": ({"train.batch_size": 0}, ["train.batch_size: expected greater than or equal to 2, got 0"]),
    "a batch of one": ({"train.batch_size": 1}, ["train.batch_size: expected greater than or equal to 2, got 1"]),
    "a clip of 0": ({"train.clip": 0}, ["train.clip: expected greater than 0, got 0"]),
    "an infinite clip": ({"train.clip": math.inf}, ["train.clip: expected a finite number, got inf"]),
    "an unknown mode": ({"train.mode": "fast"}, ["train.mode: expected 'auto', 'fused' or 'looped', got 'fast'"]),
    "a device that is a number": ({"train.device": 3}, ["train.device: expected string, got 3"]),
    "a negative budget": ({"budget.trials": -3}, ["budget.trials: expected greater than or equal to 1, got -3"]),
    "no cohort": ({"driver.cohort": 0}, ["driver.cohort: expected greater than or equal to 1, got 0"]),
    "a negative control": (
        {"controls.constants": -1},
        ["controls.constants: expected greater than or equal to 0, got -1"],
    ),
    "an empty ask": ({"sampler.batch": 0}, ["sampler.batch: expected greater than or equal to 1, got 0"]),
    "an unknown sampler": (
        {"sampler.name": "grid"},
        ["sampler.name: expected 'tpe', 'random', 'nsga2', 'qmc' or 'gp', got 'grid'"],
    ),
    "a weight over 1": ({"objective.weight": 1.1}, ["objective.weight: expected less than or equal to 1, got 1.1"]),
    "a tracking switch that is a word": ({"tracking.enabled": "no"}, ["tracking.enabled: expected boolean, got 'no'"]),
    "a node that is a number": ({"train": 3}, ["train: expected a mapping, got 3"]),
    "a node that is a list": ({"optimizer": []}, ["optimizer: expected a mapping, got []"]),
    "a seed that is true": ({"seed": True}, ["seed: expected a whole number of at least 0, got True"]),
    "a negative seed": ({"seed": -1}, ["seed: expected a whole number of at least 0, got -1"]),
    "half a seed": ({"seed": 0.5}, ["seed: expected a whole number of at least 0, got 0.5"]),
    "a name with a slash": ({"name": "a/b"}, [f"{NAME} 'a/b'"]),
    "a name with a space": ({"name": "a b"}, [f"{NAME} 'a b'"]),
    "a name with an umlaut": ({"name": "\u00e4"}, [f"{NAME} '\u00e4'"]),
    "a name with a line break": ({"name": "a\n"}, [f"{NAME} 'a\\n'"]),
    "a name that looks like an option": ({"name": "-a"}, [f"{NAME} '-a'"]),
    "a hidden name": ({"name": ".."}, [f"{NAME} '..'"]),
    "an empty name": ({"name": ""}, [f"{NAME} ''"]),
    "a name too long": ({"name": "a" * 101}, [f"{NAME} '{'a' * 101}'"]),
    "a name that is a number": ({"name": 7}, [f"{NAME} 7"]),
    "unknown data": (
        {"data.name": "digit"},
        ["data.name: expected one of ['digits', 'fashion_mnist'], got 'digit'; did you mean 'digits'?"],
    ),
    "a negative split seed": (
        {"data.split_seed": -1},
        ["data.split_seed: expected greater than or equal to 0, got -1"],
    ),
    "an unknown model": (
        {"model.name": "cn"},
        ["model.name: expected one of ['cnn', 'gru', 'mlp', 'resnet', 'transformer'], got 'cn'; did you mean 'cnn'?"],
    ),
    "a model that is a list": (
        {"model.name": ["cnn"]},
        ["model.name: expected one of ['cnn', 'gru', 'mlp', 'resnet', 'transformer'], got ['cnn']"],
    ),
    "a model without a name": (
        {"model": {}},
        ["model.name: expected one of ['cnn', 'gru', 'mlp', 'resnet', 'transformer'], got None"],
    ),
    "no model": (
        {"model": None},
        ["model.name: expected one of ['cnn', 'gru', 'mlp', 'resnet', 'transformer'], got None"],
    ),
    "a parameter of another model": (
        {"model": {"name": "mlp", "hidden": [8], "channels": [8]}},
        ["model: expected one of ['hidden'], got 'channels'"],
    ),
    "a layer too narrow": ({"model.hidden": 1}, ["model.hidden: expected greater than or equal to 2, got 1"]),
    "a layer too wide": ({"model.hidden": 5000}, ["model.hidden: expected less than or equal to 4096, got 5000"]),
    "channels that are a number": ({"model.channels": 16}, ["model.channels: expected list, got 16"]),
    "channels with a wrong one": (
        {"model.channels": [16, 0, "x"]},
        [
            "model.channels.1: expected greater than or equal to 2, got 0",
            f"model.channels.2: {WHOLE} 'x'",
        ],
    ),
    "no channels": ({"model.channels": []}, ["model.channels: expected at least 1 entries, got []"]),
    "too many channels": ({"model.channels": [2] * 7}, [f"model.channels: expected at most 6 entries, got {[2] * 7}"]),
    "an unknown norm": ({"model.norm": "layer"}, ["model.norm: expected 'group' or 'batch', got 'layer'"]),
    "an unknown optimiser": (
        {"optimizer.name": "lion"},
        [f"optimizer.name: expected one of {sorted(OPTIMIZERS)}, got 'lion'"],
    ),
    "an optimiser that mixes trials": (
        {"optimizer.name": "lbfgs"},
        [f"optimizer.name: expected one of {sorted(OPTIMIZERS)}, got 'lbfgs'"],
    ),
    "an optimiser that is a mapping": (
        {"optimizer.name": {"a": 1}},
        [f"optimizer.name: expected one of {sorted(OPTIMIZERS)}, got {{'a': 1}}"],
    ),
    "a learning rate of 0": ({"optimizer.lr": 0}, ["optimizer.lr: expected greater than 0, got 0"]),
    "an infinite learning rate": ({"optimizer.lr": math.inf}, ["optimizer.lr: expected a finite number, got inf"]),
    "a learning rate that is no number": (
        {"optimizer.lr": math.nan},
        ["optimizer.lr: expected a finite number, got nan"],
    ),
    "a learning rate that is a word": ({"optimizer.lr": ".inf"}, ["optimizer.lr: expected number, got '.inf'"]),
    "a negative weight decay": (
        {"optimizer.weight_decay": -1},
        ["optimizer.weight_decay: expected greater than or equal to 0, got -1"],
    ),
    "an unknown learning rate schedule": (
        {"optimizer.lr_schedule": "step"},
        ["optimizer.lr_schedule: expected 'constant' or 'cosine', got 'step'"],
    ),
    "a warm-up longer than training": (
        {"optimizer.warmup_fraction": 2},
        ["optimizer.warmup_fraction: expected less than or equal to 1, got 2"],
    ),
    "weight decay for an optimiser without": (
        {"optimizer.name": "rprop"},
        ["optimizer.weight_decay: expected 0 for rprop, which has none, got 0.01"],
    ),
    "an option that the optimiser does not have": (
        {"optimizer.options": {"beta": [0.9, 0.99]}},
        [
            "optimizer.options: expected one of ['amsgrad', 'betas', 'eps', 'foreach', "
            "'fused', 'maximize'], got 'beta'; did you mean 'betas'?"
        ],
    ),
    "options that are a list": (
        {"optimizer.options": ["foreach"]},
        ["optimizer.options: expected a mapping, got ['foreach']"],
    ),
    "options that are an empty list": ({"optimizer.options": []}, ["optimizer.options: expected a mapping, got []"]),
    "an option that is no number": (
        {"optimizer.options": {"eps": math.nan}},
        ["optimizer.options.eps: expected a finite number, got nan"],
    ),
    "an unknown noise": (
        {"space.terms.weights.noise": "relativ"},
        [f"space.terms.weights.noise: expected one of {WEIGHTS}, got 'relativ'; did you mean 'relative'?"],
    ),
    "an unknown schedule": (
        {"space.terms.targets.schedule": "cosin"},
        [
            f"space.terms.targets.schedule.kind: expected one of {sorted(SCHEDULES)}, "
            "got 'cosin'; did you mean 'cosine'?"
        ],
    ),
    "a magnitude out of range": (
        {"space.terms.weights.magnitude": {"low": 0.1, "high": 3}},
        ["space.terms.weights.magnitude.high: expected a number in [0, 2], got 3"],
    ),
    "an infinite magnitude": (
        {"space.terms.weights.magnitude": math.inf},
        ["space.terms.weights.magnitude: expected a number in [0, 2], got inf"],
    ),
    "an unknown stopping rule": (
        {"stopping.name": "asha"},
        ["stopping.name: expected 'none', 'halving' or 'pareto_halving', got 'asha'"],
    ),
    "no suite": ({"suite": None}, ["suite: expected a mapping, got None"]),
}


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=BAD)
def test_a_wrong_configuration_is_told_the_key_the_value_and_what_is_allowed(
    changes: Config, expected: list[str]
) -> None:
    assert check(changed(changes)) == expected


def test_every_mistake_is_told_at_once() -> None:
    several = ["a name with a slash", "half an epoch", "a negative seed", "a negative budget", "a batch of none"]
    several += ["a learning rate of 0", "an option that the optimiser does not have", "an infinite clip"]
    several += ["a layer too narrow", "an unknown key at the top", "an unknown noise"]
    changes: Config = {"executor.name": "rays"}
    expected = ["executor.name: expected one of ['inline', 'processes', 'ray'], got 'rays'; did you mean 'ray'?"]
    for name in several:
        changes |= BAD[name][0]
        expected += BAD[name][1]
    found = check(changed(changes))
    assert sorted(found) == sorted(expected)


def test_building_a_wrong_configuration_raises_what_checking_it_returns() -> None:
    config = changed({"train.epochs": 0, "seed": -1})
    with pytest.raises(CallerError) as error:
        build(config)
    assert list(error.value.mistakes) == check(config)
    assert len(error.value.mistakes) == 2


@pytest.mark.parametrize("node", sorted(set(shipped()) - {"name", "store", "experiment"}))
def test_a_node_that_is_missing_or_of_the_wrong_kind_is_told_of(node: str) -> None:
    missing = {key: value for key, value in sound().items() if key != node}
    for config in (missing, sound() | {node: ["?"]}, sound() | {node: "?"}):
        found = check(config)
        if config is missing and node == "log":  # configurations that are stored with older sweeps have none
            assert found == []
            continue
        assert found
        assert all(mistake.startswith((f"{node}:", f"{node}.")) for mistake in found)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
VALUES = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.text(max_size=3), LEAVES, max_size=2)


def paths(node: Any, path: str = "") -> list[str]:
    if not isinstance(node, dict):
        return [path]
    return [path] * bool(path) + [
        deeper for key, value in node.items() for deeper in paths(value, f"{path}.{key}" if path else key)
    ]


@given(st.sampled_from(paths(shipped())), VALUES)
def test_whatever_stands_at_a_key_is_taken_or_told_of_in_one_line_each(path: str, value: Any) -> None:
    for mistake in check(changed({path: value})):
        assert "\n" not in mistake
        assert mistake.startswith((path.partition(".")[0], "configuration", "suite"))


@pytest.mark.parametrize(
    "options",
    [
        {"betas": []},
        {"betas": [0.9]},
        {"betas": [0.9, 2.0]},
        {"betas": "high"},
        {"betas": {"a": 1}},
        {"eps": -1},
        {"eps": "small"},
        {"fused": True, "foreach": True},
    ],
    ids=str,
)
def test_values_that_torch_refuses_are_a_callers_mistake_when_the_optimiser_is_made(options: Config) -> None:
    spec = build(changed({"optimizer.options": options})).optimizer
    with pytest.raises(CallerError) as error:
        make_optimizer(spec, [torch.zeros(1, requires_grad=True)])
    (mistake,) = error.value.mistakes
    assert mistake.startswith("optimizer: adamw does not take these options: ")
    assert next(iter(options)) in mistake
    assert "\n" not in mistake


# --- suites


def test_a_suite_edited_by_hand_is_refused() -> None:
    (mistake,) = check(changed({"suite.weights.draws": 1}))
    assert mistake.startswith("suite digits: content does not match its hash ")


def test_a_suite_of_another_modality_is_refused() -> None:
    suite = sound()["suite"] | {"modality": "audio"}
    found = check(sound() | {"suite": suite | {"digest": suite_digest(suite)}})
    assert found
    assert all(mistake.startswith("suite") for mistake in found)
    assert any("audio" in mistake and "images" in mistake for mistake in found)


def test_a_suite_with_keys_of_its_own_is_refused() -> None:
    found = check(changed({"suite.sed": 1}))
    assert any(mistake.startswith("suite: expected one of") and "got 'sed'" in mistake for mistake in found)


@pytest.mark.parametrize("name", ["digits_held_out", "mine"])
def test_a_held_out_suite_steers_nothing_whatever_it_is_called(name: str) -> None:
    suite = sound("suite=digits_held_out")["suite"] | {"name": name}
    assert check(sound() | {"suite": suite | {"digest": suite_digest(suite)}}) == [
        f"suite: expected one that may steer a search, got {name}, which is held out for measuring what a search "
        "found; take suite=digits"
    ]
