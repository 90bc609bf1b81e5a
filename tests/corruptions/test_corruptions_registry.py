from __future__ import annotations

from itertools import pairwise

import pytest

from noise_search.corruptions import CORRUPTIONS, Corruption
from noise_search.corruptions.suites import TUNE_KINDS

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
