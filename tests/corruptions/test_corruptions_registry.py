from __future__ import annotations

from itertools import pairwise

import pytest

from noise_search.corruptions import CORRUPTIONS, Corruption
from noise_search.corruptions.suites import TUNE_KINDS, held_out_kinds

KINDS = pytest.mark.parametrize("kind", CORRUPTIONS.values(), ids=CORRUPTIONS)


def test_corruptions_are_registered_under_their_own_names() -> None:
    assert all(name == kind.name for name, kind in CORRUPTIONS.items())


def test_tune_kinds_of_images_are_those_of_the_reference_with_their_families() -> None:
    assert {name: CORRUPTIONS[name].family for name in TUNE_KINDS["images"]} == {
        "gaussian": "noise",
        "speckle": "noise",
        "gaussian_blur": "blur",
        "contrast": "tone",
        "pixelate": "digital",
        "elastic": "shape",
    }


def test_held_out_kinds_of_images_are_those_of_the_reference_with_their_families() -> None:
    names = dict.fromkeys(held_out_kinds("images", 1) + held_out_kinds("images", 3))
    by_family: dict[str, set[str]] = {}
    for name in names:
        by_family.setdefault(CORRUPTIONS[name].family, set()).add(name)
    assert by_family == {
        "noise": {"shot", "impulse", "brown"},
        "blur": {"motion", "glass", "defocus"},
        "tone": {"brightness", "fog", "saturate", "inverse"},
        "shape": {"rotate", "shear", "translate", "scale"},
        "occlusion": {"stripe", "dotted_line", "zigzag", "checkerboard"},
        "digital": {"quantize", "spatter"},
    }


def test_every_kind_is_for_searches_or_held_out_and_none_for_both() -> None:
    held_out = {*held_out_kinds("images", 1), *held_out_kinds("images", 3)}
    assert held_out.isdisjoint(TUNE_KINDS["images"])
    assert held_out | set(TUNE_KINDS["images"]) == set(CORRUPTIONS)


def test_kinds_that_need_channels_are_held_out_for_pictures_that_have_them() -> None:
    grey, colour, any_number = (set(held_out_kinds("images", channels)) for channels in (1, 3, None))
    assert grey - any_number == {"inverse"}
    assert colour - any_number == {"saturate"}
    assert any_number == grey & colour


@KINDS
def test_literature_strengths_rise_inside_the_search_range(kind: Corruption) -> None:
    low, high = kind.search
    assert low < kind.literature[0]
    assert kind.literature[-1] <= high
    assert all(a < b for a, b in pairwise(kind.literature))


@KINDS
def test_every_corruption_states_unit_and_source(kind: Corruption) -> None:
    assert kind.unit
    assert kind.source
