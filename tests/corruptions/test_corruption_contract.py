"""What every corruption of images keeps to, whatever it does to them."""

from __future__ import annotations

import doctest
import importlib

import pytest
import torch
from corruption_examples import (
    DRAWN,
    KINDS,
    KINDS_AND_SIZES,
    WITHOUT_CHANCE,
    a_strength,
    channels_of,
    pictures,
    ramps,
    rng,
)

from noise_search.corruptions import CORRUPTIONS, Corruption, images

# Blobs that have moved by more than their size are no further from where they were; a ramp always is.
MOVING = ("elastic", "glass", "rotate", "shear", "translate", "scale")


@KINDS_AND_SIZES
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_weakest_strength_changes_no_bit(kind: Corruption, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    clean = torch.rand(shape, generator=rng()).to(dtype)
    assert torch.equal(kind.apply(clean, kind.search[0], rng()), clean)


@KINDS_AND_SIZES
@pytest.mark.parametrize("share", [0.03, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_results_keep_shape_and_dtype_and_lie_in_the_unit_range(
    kind: Corruption, shape: tuple[int, ...], share: float, dtype: torch.dtype
) -> None:
    clean = torch.rand(shape, generator=rng()).to(dtype)
    result = kind.apply(clean, a_strength(kind, share), rng())
    assert (result.shape, result.dtype, result.device) == (clean.shape, clean.dtype, clean.device)
    assert result.isfinite().all()
    assert 0 <= result.min() <= result.max() <= 1


@KINDS
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_images_passed_in_are_left_alone_and_not_handed_back(kind: Corruption, share: float) -> None:
    clean = pictures(2, channels_of(kind), 8, 8)
    kept = clean.clone()
    kind.apply(clean, a_strength(kind, share), rng()).zero_()
    assert torch.equal(clean, kept)


@KINDS
def test_the_same_generator_key_gives_the_same_pictures(kind: Corruption) -> None:
    clean, strength = pictures(4, channels_of(kind), 8, 8), a_strength(kind, 0.1)
    assert torch.equal(kind.apply(clean, strength, rng()), kind.apply(clean, strength, rng()))


@KINDS
def test_the_global_generator_is_neither_used_nor_moved(kind: Corruption) -> None:
    clean, strength = pictures(4, channels_of(kind), 8, 8), a_strength(kind, 0.1)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    before = kind.apply(clean, strength, rng())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(kind.apply(clean, strength, rng()), before)


@pytest.mark.parametrize("name", DRAWN)
def test_another_generator_key_gives_other_pictures(name: str) -> None:
    kind, clean = CORRUPTIONS[name], pictures(20, 1, 8, 8)
    strength = kind.literature[2]
    assert not torch.equal(kind.apply(clean, strength, rng("a")), kind.apply(clean, strength, rng("b")))


@pytest.mark.parametrize("name", WITHOUT_CHANCE)
def test_kinds_without_chance_draw_nothing(name: str) -> None:
    kind, used = CORRUPTIONS[name], rng()
    kind.apply(pictures(2, channels_of(kind), 8, 8), kind.literature[2], used)
    assert torch.equal(used.get_state(), rng().get_state())


@pytest.mark.parametrize("name", sorted(set(DRAWN) - {"shot"}))
def test_draws_do_not_depend_on_the_strength(name: str) -> None:
    # Poisson's law does: what it draws for one value can take more of the generator than for another.
    kind, clean = CORRUPTIONS[name], pictures(3, 1, 8, 8)
    after = []
    for strength in kind.literature:
        used = rng()
        kind.apply(clean, strength, used)
        after.append(used.get_state())
    assert all(torch.equal(state, after[0]) for state in after)


@pytest.mark.parametrize("name", DRAWN)
def test_every_dtype_sees_the_same_draw(name: str) -> None:
    kind, clean = CORRUPTIONS[name], pictures(4, 1, 8, 8)
    wide = kind.apply(clean, kind.literature[1], rng())
    narrow = kind.apply(clean.float(), kind.literature[1], rng())
    torch.testing.assert_close(narrow.double(), wide, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", sorted(set(DRAWN) - {"gaussian", "speckle", "shot", "brown", "inverse"}))
def test_all_channels_of_an_image_are_treated_alike(name: str) -> None:
    # Noise of a sensor is another one in each channel; all else happens to the scene or to the whole picture.
    kind = CORRUPTIONS[name]
    result = kind.apply(pictures(2, 1, 9, 9).expand(2, 3, 9, 9), kind.literature[3], rng())
    torch.testing.assert_close(result, result[:, :1].expand_as(result), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", DRAWN)
def test_every_image_gets_a_draw_of_its_own(name: str) -> None:
    kind = CORRUPTIONS[name]
    same = pictures(1, 1, 9, 9).expand(40, 1, 9, 9)
    results = kind.apply(same, kind.literature[2], rng())
    assert len({tuple(image.flatten().tolist()) for image in results}) > 1


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"pixelate"}))
@pytest.mark.parametrize("size", [(8, 8), (9, 14), (28, 28)], ids=str)
def test_pictures_move_further_from_the_clean_ones_as_strength_grows(name: str, size: tuple[int, int]) -> None:
    kind = CORRUPTIONS[name]
    clean = (ramps if name in MOVING else pictures)(20, channels_of(kind), *size)
    distances = [(kind.apply(clean, s, rng()) - clean).norm().item() for s in (kind.search[0], *kind.literature)]
    assert distances == sorted(distances)
    assert len(set(distances)) == 6


def test_blocks_that_hold_each_other_move_pictures_further_as_they_grow() -> None:
    # Blocks of 3 pixels cut across those of 2: only widths that divide one another are ordered.
    clean = pictures(3, 1, 16, 16)
    distances = [(images.pixelate(clean, b, rng()) - clean).norm().item() for b in (1.0, 2.0, 4.0, 8.0, 16.0)]
    assert distances == sorted(distances)
    assert len(set(distances)) == 5


@pytest.mark.parametrize("module", ["images", "images_tone"])
def test_the_examples_in_the_documentation_hold(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"noise_search.corruptions.{module}")).failed == 0
