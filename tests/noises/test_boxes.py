from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from noise_setups import BATCH, policy, run, term
from scipy import stats
from torch import Tensor

from noise_search.noises.boxes import Boxes, box_sides, erase
from noise_search.noises.mixing import cutmix
from noise_search.seeds import Draws, numpy_generator

HEIGHT, WIDTH = 8, 12
PIXELS = HEIGHT * WIDTH
ERASE = Draws((3,), "inputs", "erase", 0, BATCH, BATCH, torch.device("cpu"), torch.float64)
CUTMIX = replace(ERASE, noise="cutmix")
# Under every value that a box is filled with: what is left of it was not in a box.
DARK = torch.full((1, BATCH, 2, HEIGHT, WIDTH), -1.0, dtype=torch.float64)
# Every pixel of sample i is i: pixels tell whose they were.
OWN_NUMBER = torch.arange(BATCH, dtype=torch.float64).reshape(1, BATCH, 1, 1, 1).expand(1, BATCH, 2, HEIGHT, WIDTH)


def row(value: float) -> Tensor:
    return torch.full((1, BATCH), value, dtype=torch.float64)


def erased(share: float, step: int) -> Tensor:
    """(batch, channels, height, width)"""
    return erase(DARK, row(share), replace(ERASE, step=step))[0]


def rectangle(mask: Tensor) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the pixels that are true, (height, width), which must fill a rectangle."""
    rows, columns = mask.any(1).nonzero().flatten().tolist(), mask.any(0).nonzero().flatten().tolist()
    found = (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
    assert bool(mask[found[0] : found[1], found[2] : found[3]].all())
    return found


# --- sides


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (8, 12), (2, 9), (1, 5)])
def test_the_sides_of_a_box_have_its_share_of_the_area_to_half_a_column(height: int, width: int) -> None:
    shares = torch.linspace(0, 1, 2001, dtype=torch.float64)
    rows, columns = box_sides(shares, height, width)
    assert bool((rows == rows.round()).all())
    assert bool((columns == columns.round()).all())
    assert (float(rows.min()), float(rows.max()), float(columns.max())) == (1, height, width)
    assert bool(((rows * columns - shares * height * width).abs() <= rows / 2 + 1e-9).all())


def test_a_box_is_shaped_like_the_image() -> None:
    rows, columns = box_sides(torch.linspace(0.05, 1, 500), 100, 200)
    assert bool(((columns / rows - 2).abs() < 0.1).all())


def test_a_box_of_no_area_holds_no_pixel_and_one_of_all_the_area_every_one() -> None:
    for share, expected in ((0.0, 0), (1.0, PIXELS)):
        rows, columns = box_sides(torch.tensor([[share]]), HEIGHT, WIDTH)
        boxes = Boxes(0 * rows, rows, 0 * columns, columns)
        assert float(boxes.area()) == expected
        assert int(boxes.inside(HEIGHT, WIDTH).sum()) == expected


def test_the_pixels_of_a_box_are_those_of_its_rows_and_columns() -> None:
    top, bottom, left, right = (torch.tensor([[float(value)]]) for value in (2, 4, 1, 4))
    expected = torch.zeros((HEIGHT, WIDTH), dtype=torch.bool)
    expected[2:4, 1:4] = True
    assert torch.equal(Boxes(top, bottom, left, right).inside(HEIGHT, WIDTH)[0, 0, 0], expected)


# --- erase


@pytest.mark.parametrize("share", [0.02, 0.1, 0.4, 1.0])
def test_erase_fills_a_rectangle_of_the_share_wholly_inside_in_all_channels(share: float) -> None:
    sides = set()
    for step in range(10):
        gone = erased(share, step) >= 0
        assert torch.equal(gone[:, 0], gone[:, 1])
        for mask in gone[:, 0]:
            top, bottom, left, right = rectangle(mask)
            sides.add((bottom - top, right - left))
    ((height, width),) = sides  # cut off nowhere
    assert abs(height * width - share * PIXELS) <= height / 2


def test_every_place_inside_the_image_is_erased_equally_often() -> None:
    places = [rectangle(mask)[::2] for step in range(200) for mask in erased(0.25, step)[:, 0] >= 0]
    counts = np.zeros((HEIGHT - 4 + 1, WIDTH - 6 + 1))
    for place in places:
        counts[place] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 0.001


def test_half_of_the_boxes_are_zeros_and_half_uniform_noise() -> None:
    boxes = [image[image >= 0] for step in range(40) for image in erased(0.4, step)]
    zeros = [bool((box == 0).all()) for box in boxes]
    assert stats.binomtest(sum(zeros), len(zeros), 0.5).pvalue > 0.001
    noise = torch.cat([box for box, is_zero in zip(boxes, zeros, strict=True) if not is_zero])
    assert stats.kstest(noise.numpy(), "uniform").pvalue > 0.001


# --- cutmix


def test_the_targets_of_cutmix_are_mixed_by_the_area_that_was_really_pasted() -> None:
    own_class = torch.eye(BATCH, dtype=torch.float64)[None]
    cut_off = set()
    for step in range(20):
        clean = {"inputs": OWN_NUMBER, "targets": own_class}
        noisy = run("inputs", [policy(term(("inputs", "cutmix"), 1.0))], clean, step=step)
        for sample in range(BATCH):
            image, target = noisy["inputs"][0, sample, 0], noisy["targets"][0, sample]
            pasted = image != sample
            if not pasted.any():
                assert float(target[sample]) == 1
                continue
            (partner,) = set(image[pasted].tolist())
            assert float(target[int(partner)]) == pytest.approx(float(pasted.double().mean()), abs=1e-12)
            assert float(target[sample]) == pytest.approx(1 - float(pasted.double().mean()), abs=1e-12)
            top, bottom, left, right = rectangle(pasted)
            cut_off.add(top == 0 or left == 0 or bottom == HEIGHT or right == WIDTH)
    assert cut_off == {True, False}


@pytest.mark.parametrize("alpha", [0.2, 1.0, 100.0])
def test_boxes_of_cutmix_are_where_and_as_large_as_their_draws_say(alpha: float) -> None:
    for step in range(10):
        draws = replace(CUTMIX, step=step)
        mixed, mixing = cutmix(OWN_NUMBER, row(alpha), draws)
        rng = numpy_generator(3, "inputs", "cutmix", "lam", step)
        shares = [min(q, 1 - q) for q in rng.beta([alpha] * BATCH, alpha)]
        middles = [draws.sample_uniform(name)[0] for name in ("row", "column")]
        for sample, share in enumerate(shares):
            height = max(1, round(share**0.5 * HEIGHT))
            width = min(WIDTH, round(share * PIXELS / height))
            top = int(middles[0][sample] * HEIGHT) - height // 2
            left = int(middles[1][sample] * WIDTH) - width // 2
            expected = torch.zeros((HEIGHT, WIDTH), dtype=torch.bool)
            expected[max(top, 0) : top + height, max(left, 0) : left + width] = True
            partner = int(mixing.partner[0, sample])
            assert torch.equal(mixed[0, sample, 0], torch.where(expected, partner, sample).double())
            assert float(mixing.own[0, sample]) == pytest.approx(1 - float(expected.double().mean()), abs=1e-12)


def test_every_row_is_the_middle_of_a_box_equally_often() -> None:
    counts = np.zeros(HEIGHT)
    for step in range(100):
        mixed, _ = cutmix(OWN_NUMBER, row(100.0), replace(CUTMIX, step=step))
        for sample in range(BATCH):
            pasted = mixed[0, sample, 0] != sample
            top, bottom = rectangle(pasted)[:2] if pasted.any() else (0, 0)
            if bottom - top == 6:
                counts[top + 3] += 1
    # A box of 6 rows of 8 is whole where its middle is row 3, 4 or 5.
    assert counts.nonzero()[0].tolist() == [3, 4, 5]
    assert stats.chisquare(counts[3:6]).pvalue > 0.001


def test_cutmix_keeps_targets_a_distribution_and_pixels_among_those_there_were() -> None:
    targets = torch.softmax(torch.arange(BATCH * 5.0).double().reshape(1, BATCH, 5) % 7, dim=-1)
    noisy = run("inputs", [policy(term(("inputs", "cutmix"), 0.8))], {"inputs": OWN_NUMBER, "targets": targets})
    torch.testing.assert_close(noisy["targets"].sum(-1), targets.sum(-1), rtol=0, atol=1e-12)
    assert set(noisy["inputs"].flatten().tolist()) <= set(range(BATCH))
