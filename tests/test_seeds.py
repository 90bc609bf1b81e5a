from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from noise_search.seeds import Draws, generator, numpy_generator, stable_hash

DRAWS = Draws((3,), "inputs", "gaussian", 7, 32, 32, torch.device("cpu"), torch.float64)
PARTS = st.lists(st.integers(-(2**40), 2**40) | st.text(max_size=5), min_size=1, max_size=4)


def test_the_hash_is_the_top_63_bits_of_blake2b_of_the_parts_as_json() -> None:
    expected = int.from_bytes(hashlib.blake2b(b'[0, "order", 3]', digest_size=8).digest(), "big") // 2
    assert stable_hash(0, "order", 3) == expected


@given(PARTS, PARTS)
def test_other_parts_have_another_hash(first: Sequence[str | int], second: Sequence[str | int]) -> None:
    assert (stable_hash(*first) == stable_hash(*second)) == (first == second)


@pytest.mark.parametrize(("first", "second"), [(("ab", "c"), ("a", "bc")), ((1, 23), (12, 3)), ((1,), ("1",))])
def test_the_cut_between_parts_and_their_type_count(first: Sequence[str | int], second: Sequence[str | int]) -> None:
    assert stable_hash(*first) != stable_hash(*second)


@given(PARTS)
def test_hashes_are_seeds_that_torch_and_numpy_take(parts: Sequence[str | int]) -> None:
    assert 0 <= stable_hash(*parts) < 2**63


def test_the_hash_does_not_depend_on_the_process() -> None:
    program = "from noise_search.seeds import stable_hash; print(stable_hash(0, 'order', 3))"
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    printed = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert int(printed.stdout) == stable_hash(0, "order", 3)


def test_a_generator_is_fresh_at_every_call() -> None:
    assert torch.equal(torch.rand(5, generator=generator(0, "a")), torch.rand(5, generator=generator(0, "a")))
    assert np.array_equal(numpy_generator(0, "a").random(5), numpy_generator(0, "a").random(5))


@pytest.mark.parametrize("other", [(1, "a", 0), (0, "b", 0), (0, "a", 1), (0, "a"), (0,)])
def test_a_generator_of_another_seed_or_purpose_draws_otherwise(other: tuple[int, *tuple[str | int, ...]]) -> None:
    assert not torch.equal(torch.rand(5, generator=generator(0, "a", 0)), torch.rand(5, generator=generator(*other)))
    assert not np.array_equal(numpy_generator(0, "a", 0).random(5), numpy_generator(*other).random(5))


def test_drawing_leaves_the_global_generators_alone() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    DRAWS.sample_normal("a", (4,))
    DRAWS.sample_uniform("a")
    DRAWS.each_trial("a")[0].random(3)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[index]


def test_the_same_key_gives_the_same_draw() -> None:
    assert torch.equal(DRAWS.normal("xi", (4, 5)), DRAWS.normal("xi", (4, 5)))
    assert torch.equal(DRAWS.uniform("u", (4, 5)), DRAWS.uniform("u", (4, 5)))
    assert DRAWS.each_trial("lam")[0].random() == DRAWS.each_trial("lam")[0].random()


@pytest.mark.parametrize("change", [{"seeds": (4,)}, {"site": "weights"}, {"noise": "mixup"}, {"step": 8}, {}])
def test_another_seed_site_noise_step_or_draw_gives_another_draw(change: dict[str, object]) -> None:
    other, name = replace(DRAWS, **change), "xi" if change else "another"  # type: ignore[arg-type]
    assert not torch.equal(DRAWS.normal("xi", (4,)), other.normal(name, (4,)))
    assert not torch.equal(DRAWS.uniform("xi", (4,)), other.uniform(name, (4,)))
    assert DRAWS.each_trial("xi")[0].random() != other.each_trial(name)[0].random()


def test_trials_of_one_seed_share_one_draw() -> None:
    shared = replace(DRAWS, seeds=(3, 3, 3)).normal("xi", (4,))
    assert torch.equal(shared, DRAWS.normal("xi", (4,)))
    assert len(shared) == 1


def test_every_trial_gets_the_draw_of_its_own_seed_whoever_is_beside_it() -> None:
    mixed = replace(DRAWS, seeds=(5, 3, 5, 4))
    for draw in (mixed.normal("xi", (4,)), mixed.uniform("xi", (4,))):
        assert len(draw) == 4
    for slot, seed in enumerate(mixed.seeds):
        alone = replace(DRAWS, seeds=(seed,))
        assert torch.equal(mixed.normal("xi", (4,))[slot], alone.normal("xi", (4,))[0])
        assert torch.equal(mixed.uniform("xi", (4,))[slot], alone.uniform("xi", (4,))[0])
        assert mixed.each_trial("lam")[slot].random() == alone.each_trial("lam")[0].random()


@pytest.mark.parametrize("size", [1, 5, 31, 32])
def test_draws_for_a_partial_batch_are_the_first_of_the_full_ones(size: int) -> None:
    partial = replace(DRAWS, size=size)
    assert torch.equal(partial.sample_normal("xi", (2, 3)), DRAWS.sample_normal("xi", (2, 3))[:, :size])
    assert torch.equal(partial.sample_uniform("u"), DRAWS.sample_uniform("u")[:, :size])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_have_the_dtype_asked_for(dtype: torch.dtype) -> None:
    draws = replace(DRAWS, dtype=dtype)
    assert {draws.sample_normal("xi").dtype, draws.sample_uniform("u").dtype} == {dtype}


def test_draws_over_many_steps_follow_their_distributions() -> None:
    steps = [replace(DRAWS, step=step) for step in range(200)]
    normal = torch.cat([draws.sample_normal("xi")[0] for draws in steps]).numpy()
    uniform = torch.cat([draws.sample_uniform("u")[0] for draws in steps]).numpy()
    assert stats.kstest(normal, "norm").pvalue > 0.001
    assert stats.kstest(uniform, "uniform").pvalue > 0.001
    assert 0 <= uniform.min() <= uniform.max() < 1


def test_every_trial_gets_a_torch_generator_of_its_own_in_the_state_its_seed_gives() -> None:
    first, second, third = replace(DRAWS, seeds=(5, 3, 5)).generators("counts")
    expected = generator(5, DRAWS.site, DRAWS.noise, "counts", DRAWS.step)
    drawn = torch.rand(4, generator=expected)
    assert torch.equal(torch.rand(4, generator=first), drawn)
    assert torch.equal(torch.rand(4, generator=third), drawn)  # what the first trial used up is not missing here
    assert not torch.equal(torch.rand(4, generator=second), drawn)
