from __future__ import annotations

import copy
import doctest
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import yaml

from noise_search.corruptions import CORRUPTIONS, suites
from noise_search.corruptions.suites import (
    TUNE_KINDS,
    Suite,
    corrupted_images,
    families,
    held_out_kinds,
    is_held_out,
    suite_digest,
    suite_from_mapping,
    uncalibrated,
)
from noise_search.errors import CallerError
from noise_search.seeds import generator

Node = dict[str, Any]


def node() -> Node:
    kinds = [
        {
            "name": name,
            "family": CORRUPTIONS[name].family,
            "calibrated": True,
            "strengths": list(CORRUPTIONS[name].literature),
            "achieved": [0.95, 0.85, 0.7, 0.5, 0.3],
        }
        for name in TUNE_KINDS["images"]
    ]
    content: Node = {
        "name": "digits",
        "data": "digits",
        "modality": "images",
        "seed": 0,
        "reference": {"model": "cnn", "epochs": 30, "seeds": [0, 1, 2], "clean_above_chance": 0.96},
        "weights": {"strengths": [0.01, 0.05], "draws": 4},
        "kinds": kinds,
    }
    return {**content, "digest": suite_digest(content)}


def resealed(changed: Node) -> Node:
    return {**changed, "digest": suite_digest(changed)}


def suite(changed: Node | None = None) -> Suite:
    return suite_from_mapping(resealed(changed or node()), "suite")


def pictures(samples: int = 20) -> torch.Tensor:
    return torch.rand((samples, 1, 8, 8), generator=generator(0, "pictures"))


def by_kind(of: Suite, clean: torch.Tensor) -> torch.Tensor:
    """Corrupted images, (kinds, severities, ...)."""
    return corrupted_images(of, clean).reshape(len(of.kinds), 5, *clean.shape)


def mistakes_of(changed: Any) -> tuple[str, ...]:
    with pytest.raises(CallerError) as error:
        suite_from_mapping(changed, "suite")
    return error.value.mistakes


def test_a_suite_is_read_with_everything_its_mapping_says() -> None:
    found = suite_from_mapping(node(), "suite")
    assert (found.name, found.data, found.modality, found.seed) == ("digits", "digits", "images", 0)
    assert (found.weight_strengths, found.weight_draws) == ((0.01, 0.05), 4)
    assert found.reference["clean_above_chance"] == 0.96
    assert found.digest == node()["digest"]
    assert tuple(kind.name for kind in found.kinds) == TUNE_KINDS["images"]
    assert found.kinds[0].strengths == CORRUPTIONS["gaussian"].literature
    assert found.kinds[0].achieved == (0.95, 0.85, 0.7, 0.5, 0.3)
    assert found.kinds[0].calibrated


def test_a_suite_survives_being_written_as_yaml() -> None:
    assert suite_from_mapping(yaml.safe_load(yaml.safe_dump(node())), "suite") == suite_from_mapping(node(), "suite")


def test_published_strengths_need_no_measurement_and_are_told_of() -> None:
    assert uncalibrated(node()) == ""
    changed = node()
    changed["kinds"][1].update(calibrated=False, achieved=[])
    assert suite(changed).kinds[1].achieved == ()
    assert uncalibrated(changed) == "uncalibrated: published strengths for speckle"
    for kind in changed["kinds"]:
        kind.update(calibrated=False, achieved=[])
    assert uncalibrated(changed) == "uncalibrated: published strengths"


def test_families_list_their_kinds_in_the_order_of_the_suite() -> None:
    assert families(suite()) == {
        "noise": ("gaussian", "speckle"),
        "blur": ("gaussian_blur",),
        "tone": ("contrast",),
        "digital": ("pixelate",),
        "shape": ("elastic",),
    }


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key in value for leaf in leaves(value[key], (*path, key))]
    if isinstance(value, list):
        return [leaf for i in range(len(value)) for leaf in leaves(value[i], (*path, i))]
    return [path]


def with_leaf_changed(path: tuple[Any, ...]) -> Node:
    changed = copy.deepcopy(node())
    inner: Any = changed
    for key in path[:-1]:
        inner = inner[key]
    old = inner[path[-1]]
    inner[path[-1]] = not old if isinstance(old, bool) else old + ("x" if isinstance(old, str) else 1e-3)
    return changed


def test_any_edit_changes_the_digest() -> None:
    paths = [path for path in leaves(node()) if path != ("digest",)]
    assert len(paths) > 70
    digests = {suite_digest(with_leaf_changed(path)) for path in paths}
    assert len(digests) == len(paths)
    assert suite_digest(node()) not in digests


def test_the_digest_knows_the_order_of_kinds_but_not_of_keys() -> None:
    backwards = dict(reversed(node().items()))
    assert suite_digest(backwards) == node()["digest"]
    assert suite_digest({**node(), "kinds": node()["kinds"][::-1]}) != node()["digest"]


def test_a_strength_edited_by_hand_is_refused_and_the_way_out_named() -> None:
    edited = node()
    edited["kinds"][0]["strengths"][0] = 0.081
    assert mistakes_of(edited) == (
        f"suite digits: content does not match its hash {edited['digest'][:12]}...: a frozen suite must "
        "not be edited; make a new one with scripts/calibrate_suite",
    )


EDITS: dict[str, tuple[Callable[[Node], object], str]] = {
    "an unknown key": (
        lambda n: n.update(nmae="x"),
        "suite: expected one of ['data', 'digest', 'kinds', 'modality', 'name', 'reference', 'seed', "
        "'weights'], got 'nmae'; did you mean 'name'?",
    ),
    "a missing key": (lambda n: n.pop("seed"), "suite.seed: expected a whole number from 0 up, got nothing"),
    "a negative seed": (lambda n: n.update(seed=-1), "suite.seed: expected a whole number from 0 up, got -1"),
    "a true seed": (lambda n: n.update(seed=True), "suite.seed: expected a whole number from 0 up, got True"),
    "an unknown modality": (
        lambda n: n.update(modality="smells"),
        "suite.modality: expected one of ['images'], got 'smells'",
    ),
    "a list as modality": (
        lambda n: n.update(modality=["images"]),
        "suite.modality: expected one of ['images'], got ['images']",
    ),
    "no kinds": (lambda n: n.update(kinds=[]), "suite.kinds: expected a list of at least one kind, got []"),
    "a kind that is a word": (
        lambda n: n["kinds"].append("gaussian"),
        "suite.kinds[6]: expected a mapping of ['achieved', 'calibrated', 'family', 'name', 'strengths'], "
        "got 'gaussian'",
    ),
    "an unknown kind": (
        lambda n: n["kinds"][0].update(name="gausian"),
        f"suite.kinds[0].name: expected one of {sorted(CORRUPTIONS)}, got 'gausian'; did you mean 'gaussian'?",
    ),
    "a kind named twice": (
        lambda n: n["kinds"].append(n["kinds"][1]),
        "suite.kinds[6].name: expected each kind once, got 'speckle' again",
    ),
    "a wrong family": (
        lambda n: n["kinds"][0].update(family="blur"),
        "suite.kinds[0].family: expected 'noise', got 'blur'",
    ),
    "falling strengths": (
        lambda n: n["kinds"][0].update(strengths=[5, 4, 3, 2, 1]),
        "suite.kinds[0].strengths: expected 5 rising positive numbers, got [5, 4, 3, 2, 1]",
    ),
    "four strengths": (
        lambda n: n["kinds"][0].update(strengths=[1, 2, 3, 4]),
        "suite.kinds[0].strengths: expected 5 rising positive numbers, got [1, 2, 3, 4]",
    ),
    "words for strengths": (
        lambda n: n["kinds"][0].update(strengths="12345"),
        "suite.kinds[0].strengths: expected 5 rising positive numbers, got '12345'",
    ),
    "achieved without a number": (
        lambda n: n["kinds"][0].update(achieved=[1, 1, 1, 1, None]),
        "suite.kinds[0].achieved: expected 5 numbers, or none where nothing was measured, got [1, 1, 1, 1, None]",
    ),
    "a calibrated kind that nobody measured": (
        lambda n: n["kinds"][0].update(achieved=[]),
        "suite.kinds[0].achieved: expected 5 numbers, for the kind is calibrated, got none",
    ),
    "no weight strengths": (
        lambda n: n["weights"].update(strengths=[]),
        "suite.weights.strengths: expected a rising list of at least one positive number, got []",
    ),
    "no draws": (
        lambda n: n["weights"].update(draws=0),
        "suite.weights.draws: expected a whole number from 1 up, got 0",
    ),
    "a bit": (
        lambda n: n["weights"].update(bits=[8, 1]),
        "suite.weights.bits: expected a list of whole numbers from 2 up, got [8, 1]",
    ),
    "a held-out kind among those of a search": (
        lambda n: n["kinds"].append({**n["kinds"][0], "name": "shot"}),
        "suite.kinds: expected kinds of a search or held-out ones, got ['contrast', 'elastic', 'gaussian', "
        "'gaussian_blur', 'pixelate', 'speckle'] beside held-out ['shot']",
    ),
    "a digest that is none": (
        lambda n: n.update(digest="abc"),
        "suite.digest: expected 64 hexadecimal digits, got 'abc'",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_every_mistake_is_named_with_its_key(edit: str) -> None:
    change, message = EDITS[edit]
    changed = node()
    change(changed)
    assert message in mistakes_of(changed)


def test_all_mistakes_are_reported_together_with_the_broken_hash() -> None:
    changed = node()
    changed["seed"] = -1
    changed["kinds"][2]["family"] = "noise"
    found = mistakes_of(changed)
    assert [mistake.split(":")[0] for mistake in found] == [
        "suite.seed",
        "suite.kinds[2].family",
        "suite digits",
    ]


def test_numbers_that_are_not_finite_are_refused_without_a_crash() -> None:
    changed = node()
    changed["reference"]["clean_above_chance"] = float("nan")
    changed["kinds"][0]["strengths"][4] = float("inf")
    assert [mistake.split(":")[0] for mistake in mistakes_of(changed)] == [
        "suite.reference",
        "suite.kinds[0].strengths",
    ]


@pytest.mark.parametrize("wrong", [None, "digits", [1, 2]])
def test_a_suite_that_is_no_mapping_is_refused(wrong: object) -> None:
    assert mistakes_of(wrong)[0].startswith("suite: expected a mapping of ['data', 'digest', ")


def test_corrupted_images_come_kind_by_kind_and_weakest_first() -> None:
    clean, found = pictures(), suite()
    sets = corrupted_images(found, clean)
    assert sets.shape == (30, 20, 1, 8, 8)
    for i, kind in enumerate(found.kinds):
        for j, strength in enumerate(kind.strengths):
            expected = CORRUPTIONS[kind.name].apply(clean, strength, generator(0, "suite", kind.name))
            assert torch.equal(sets[5 * i + j], expected)


def test_severities_of_a_kind_share_their_draw() -> None:
    grey = torch.full((4, 1, 8, 8), 0.5, dtype=torch.float64)
    one = replace(suite(), kinds=(replace(suite().kinds[0], strengths=(0.01, 0.02, 0.03, 0.04, 0.05)),))
    noise = corrupted_images(one, grey) - grey
    for severity in range(5):
        torch.testing.assert_close(noise[severity], (severity + 1) * noise[0])


def test_draws_do_not_depend_on_the_other_kinds_or_their_order() -> None:
    clean, whole = pictures(), suite()
    reversed_suite = replace(whole, kinds=whole.kinds[::-1])
    alone = replace(whole, kinds=whole.kinds[-1:])
    in_order = by_kind(whole, clean)
    assert torch.equal(in_order.flip(0), by_kind(reversed_suite, clean))
    assert torch.equal(in_order[-1], corrupted_images(alone, clean))


def test_draws_do_not_depend_on_the_global_generator() -> None:
    before = corrupted_images(suite(), pictures())
    state = torch.get_rng_state()
    after = corrupted_images(suite(), pictures())
    assert torch.equal(before, after)
    assert torch.equal(state, torch.get_rng_state())


def test_another_seed_changes_kinds_that_draw_and_no_others() -> None:
    one, other = (by_kind(suite({**node(), "seed": s}), pictures()) for s in (0, 1))
    changed = {kind.name: not torch.equal(one[i], other[i]) for i, kind in enumerate(suite().kinds)}
    assert {name for name, differs in changed.items() if differs} == {"gaussian", "speckle", "elastic"}


def held_out() -> Node:
    kinds = [
        {**node()["kinds"][0], "name": name, "family": CORRUPTIONS[name].family} for name in held_out_kinds("images", 1)
    ]
    return {**node(), "name": "digits_held_out", "kinds": kinds, "weights": {"strengths": [0.2], "draws": 2}}


def test_a_suite_is_held_out_by_its_kinds_whatever_its_name() -> None:
    assert not is_held_out(suite())
    assert is_held_out(suite(held_out()))
    assert is_held_out(suite({**held_out(), "name": "digits"}))


def test_numbers_of_bits_are_read_and_none_where_a_suite_has_none() -> None:
    assert suite(held_out()).weight_bits == ()
    weights = {**held_out()["weights"], "bits": [8, 4]}
    assert suite({**held_out(), "weights": weights}).weight_bits == (8, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_corrupted_images_keep_the_dtype_of_the_clean_ones(dtype: torch.dtype) -> None:
    assert corrupted_images(suite(), pictures(2).to(dtype)).dtype == dtype


def test_the_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(suites).failed == 0
