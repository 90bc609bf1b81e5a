"""What every noise in the registry keeps to; a new one is covered by a line in `noise_setups`."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from noise_setups import (
    BATCH,
    KEYS,
    PARAMETERS,
    SETUPS,
    STEPS,
    Key,
    SetUp,
    Values,
    bits,
    changed,
    clean_alone,
    clean_values,
    entry,
    policy,
    run,
    run_alone,
    same_bits,
    set_up,
    term,
)
from scipy import stats

from noise_search.noises import NOISES
from noise_search.policy import Policy
from noise_search.schedules import Schedule
from noise_search.seeds import Draws, generator

CUT = SetUp(strong=1.0)
EVERY = pytest.mark.parametrize("key", KEYS, ids=".".join)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
LEVELLED = [key for key in KEYS if "level" in entry(key).knobs]
WITH_LEVEL = pytest.mark.parametrize("key", LEVELLED, ids=".".join)
LINEAR = [key for key in LEVELLED if SETUPS.get(key, CUT).linear]
LINEAR_WITH_LEVEL = pytest.mark.parametrize("key", LINEAR, ids=".".join)
LINEAR_WITH_BOTH = pytest.mark.parametrize("key", [key for key in LINEAR if key[0] not in PARAMETERS], ids=".".join)
WITH_FRACTION = pytest.mark.parametrize("key", [key for key in KEYS if "fraction" in entry(key).knobs], ids=".".join)


def test_every_noise_has_a_set_up_and_every_set_up_a_noise() -> None:
    assert sorted(SETUPS) == sorted(KEYS), "noise_setups.SETUPS must have one line for each noise in NOISES"


def magnitudes(key: Key) -> list[float]:
    """From the least that is not 0 to the largest allowed."""
    noise = entry(key)
    return [torch.finfo(torch.float32).smallest_normal, 1e-6, *noise.search, set_up(key).strong, noise.limit]


# --- the registry


@EVERY
def test_an_entry_is_filed_under_its_own_site_and_name(key: Key) -> None:
    noise = entry(key)
    assert (noise.site, noise.name) == key


@EVERY
def test_an_entry_says_what_people_and_searches_need(key: Key) -> None:
    noise = entry(key)
    low, high = noise.search
    assert 0 <= low < high <= noise.limit < math.inf
    assert low > 0 or not noise.log
    assert noise.knobs <= {"fraction", "level"}
    assert noise.modalities
    assert noise.modalities <= {"images", "audio", "tabular"}
    assert all(text and "\n" not in text for text in (noise.unit, noise.source, noise.summary))


# --- magnitude 0


@EVERY
@DTYPES
@pytest.mark.parametrize(("fraction", "level"), list(product([0.5, 1.0], ["fixed", "uniform"])))
def test_magnitude_0_changes_no_bit(key: Key, dtype: torch.dtype, fraction: float, level: str) -> None:
    none = term(key, 0.0, fraction, level)
    for step in range(5):
        assert same_bits(run_alone(key, none, dtype=dtype, step=step), clean_alone(key, dtype))


@EVERY
def test_a_schedule_at_0_changes_no_bit_beside_members_that_are_noisy(key: Key) -> None:
    strong = term(key, set_up(key).strong)
    late = Policy((type(strong)(*key, set_up(key).strong, schedule=Schedule("window", (("start", 0.5),))),))
    clean = clean_values(key[0], torch.float32, members=3)
    noisy = run(key[0], [policy(strong), late, policy(strong)], clean, step=STEPS // 2 - 1)
    assert all(torch.equal(bits(noisy[name][1]), bits(clean[name][1])) for name in clean)
    on = run(key[0], [late], clean_values(key[0], torch.float32), step=STEPS // 2)
    assert not all(torch.equal(on[name][0], clean[name][1]) for name in clean)


@EVERY
@DTYPES
def test_magnitude_0_changes_no_bit_of_a_sample_or_trial_beside_others_that_are_noisy(
    key: Key, dtype: torch.dtype
) -> None:
    clean = clean_values(key[0], dtype, members=2)
    shape = (2,) if key[0] in PARAMETERS else (2, BATCH)
    strong = torch.full(shape, set_up(key).strong, dtype=dtype)
    strong[..., ::2] = 0.0  # every other sample, or the first trial
    draws = Draws((0, 1), *key, 3, BATCH, BATCH, torch.device("cpu"), dtype)
    kept = strong == 0
    for name, value in applied(key, clean, strong, draws).items():
        assert torch.equal(bits(value[kept]), bits(clean[name][kept]))
        assert value.dim() < 3 or not torch.equal(value[~kept], clean[name][~kept])


def applied(key: Key, clean: Values, strong: torch.Tensor, draws: Draws) -> Values:
    """What a noise makes of what it acts on, outside any cohort."""
    noise = entry(key).apply
    if key[0] in PARAMETERS:
        noisy: Values = noise(clean, strong, draws)
        return noisy
    outcome = noise(clean[key[0]], strong, draws)
    return {key[0]: outcome[0] if isinstance(outcome, tuple) else outcome}


@EVERY
def test_magnitude_0_passes_gradients_through_unchanged(key: Key) -> None:
    clean, outcome = with_gradients(key, 0.0, torch.float64)
    upstream = random_like(outcome)
    backward(outcome, upstream)
    for name, value in clean.items():
        assert value.grad is not None
        assert torch.equal(value.grad, upstream[name])


# --- gradients, dtypes, shapes


def with_gradients(key: Key, magnitude: float, dtype: torch.dtype) -> tuple[Values, Values]:
    clean = {name: value.requires_grad_() for name, value in clean_values(key[0], dtype).items()}
    return clean, run(key[0], [policy(term(key, magnitude))], clean)


def random_like(values: Values) -> Values:
    return {
        name: torch.randn(value.shape, generator=generator(0, "upstream", name), dtype=value.dtype)
        for name, value in values.items()
    }


def backward(outcome: Values, upstream: Values) -> None:
    torch.autograd.backward(list(outcome.values()), [upstream[name] for name in outcome])


@EVERY
@DTYPES
def test_values_and_gradients_are_finite_at_every_magnitude(key: Key, dtype: torch.dtype) -> None:
    for magnitude in [0.0, *magnitudes(key)]:
        clean, outcome = with_gradients(key, magnitude, dtype)
        assert all(bool(value.isfinite().all()) for value in outcome.values()), magnitude
        backward(outcome, random_like(outcome))
        for value in clean.values():
            assert value.grad is not None
            assert bool(value.grad.isfinite().all()), magnitude


@EVERY
@DTYPES
def test_dtype_and_shape_are_kept(key: Key, dtype: torch.dtype) -> None:
    clean = clean_values(key[0], dtype, members=2)
    noisy = run(key[0], [policy(term(key, set_up(key).strong))] * 2, clean)
    assert {name: (value.dtype, value.shape) for name, value in noisy.items()} == {
        name: (value.dtype, value.shape) for name, value in clean.items()
    }


@EVERY
def test_what_is_passed_in_is_left_alone(key: Key) -> None:
    clean = clean_values(key[0], torch.float32, members=2)
    kept = {name: value.clone() for name, value in clean.items()}
    run(key[0], [policy(term(key, set_up(key).strong)), policy()], clean)
    assert same_bits(clean, kept)


@EVERY
def test_a_strong_noise_does_something(key: Key) -> None:
    noisy = run_alone(key, term(key, set_up(key).strong))
    assert float(changed(clean_alone(key), noisy, key[0]).double().mean()) > 0.8


# --- draws


@EVERY
def test_the_same_key_gives_the_same_noise_and_another_step_or_seed_another(key: Key) -> None:
    half = 0.5 if key[0] not in PARAMETERS else 1.0  # who is chosen is a draw too, for noises without any other
    noise = term(key, set_up(key).strong, half)
    first = run_alone(key, noise, step=3, seed=1)
    assert same_bits(first, run_alone(key, noise, step=3, seed=1))
    assert not same_bits(first, run_alone(key, noise, step=4, seed=1))
    assert not same_bits(first, run_alone(key, noise, step=3, seed=2))


@EVERY
def test_global_generators_are_not_touched(key: Key) -> None:
    before = torch.get_rng_state()
    run_alone(key, term(key, set_up(key).strong, 0.5, "uniform"))
    assert torch.equal(torch.get_rng_state(), before)


# Mixing finds its partners in the batch at hand: see test_mixing.
@pytest.mark.parametrize(
    "key", [key for key in KEYS if key[0] not in PARAMETERS and SETUPS.get(key, CUT).cuts], ids=".".join
)
@pytest.mark.parametrize("size", [1, 2, BATCH - 1])
def test_a_partial_batch_gets_the_first_of_the_full_batchs_draws(key: Key, size: int) -> None:
    noise = [policy(term(key, set_up(key).strong, 0.5, "uniform"))]
    full = run(key[0], noise, clean_values(key[0], torch.float32))
    partial = run(key[0], noise, clean_values(key[0], torch.float32, batch=size))
    assert same_bits(partial, {name: value[:, :size] for name, value in full.items()})


# --- cohorts


def neighbours(key: Key) -> list[Policy]:
    """Policies to sit beside one: none, the same noise otherwise, and every noise at once."""
    noise = entry(key)
    everything = Policy(tuple(term(other, set_up(other).strong, 0.7, "uniform") for other in KEYS))
    return [policy(), policy(term(key, noise.limit)), policy(term(key, 0.0)), everything]


def members_own(site: str, members: int) -> Values:
    """Values of a cohort; parameters differ from member to member, batches do not."""
    clean = clean_values(site, torch.float32, members=members)
    if site not in PARAMETERS:
        return clean
    return {
        name: value * torch.arange(1, members + 1).reshape(-1, *[1] * (value.dim() - 1))
        for name, value in clean.items()
    }


@EVERY
@pytest.mark.parametrize("width", [2, 3, 5])
def test_a_members_numbers_depend_on_no_slot_width_or_neighbour(key: Key, width: int) -> None:
    own = policy(term(key, set_up(key).strong, 0.7, "uniform"))
    others = [neighbours(key)[i % 4] for i in range(width - 1)]
    for slot in range(width):
        clean = members_own(key[0], width)
        seeds = list(range(10, 10 + width))
        beside = run(key[0], [*others[:slot], own, *others[slot:]], clean, step=7, seeds=seeds)
        mine = {name: value[slot : slot + 1] for name, value in clean.items()}
        alone = run(key[0], [own], mine, step=7, seeds=[seeds[slot]])
        assert same_bits({name: value[slot : slot + 1] for name, value in beside.items()}, alone)


@pytest.mark.parametrize("key", [key for key in KEYS if key[0] in PARAMETERS], ids=".".join)
@DTYPES
def test_large_layers_are_the_same_in_any_width_with_several_threads(key: Key, dtype: torch.dtype) -> None:
    layers = torch.randn((5, 300, 200), generator=generator(0, "layers")).to(dtype)
    own = policy(term(key, set_up(key).strong))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        together = run(key[0], [own] * 5, {"w": layers})["w"]
        alone = [run(key[0], [own], {"w": layers[k : k + 1]})["w"][0] for k in range(5)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(together[k], alone[k]) for k in range(5))
    assert not torch.equal(together, layers)


@EVERY
def test_members_of_one_seed_see_the_same_draws(key: Key) -> None:
    own = policy(term(key, set_up(key).strong, 0.7, "uniform"))
    noisy = run(key[0], [own] * 3, clean_values(key[0], torch.float32, members=3), seeds=[4, 4, 5])
    first, second, third = ({name: value[k] for name, value in noisy.items()} for k in range(3))
    assert same_bits(first, second)
    assert not same_bits(first, third)


@EVERY
def test_a_member_without_the_noise_is_left_alone(key: Key) -> None:
    clean = clean_values(key[0], torch.float32, members=3)
    noisy = run(key[0], [policy(term(key, set_up(key).strong)), policy(), policy()], clean)
    for name, value in clean.items():
        assert torch.equal(bits(noisy[name][1:]), bits(value[1:]))


# --- fraction and level


def chosen_share(key: Key, fraction: float, steps: int) -> tuple[float, int]:
    """Share of units that changed over many steps, and how many there were."""
    noise, clean = term(key, set_up(key).strong, fraction), clean_alone(key, torch.float32)
    units = torch.cat(
        [changed(clean, run_alone(key, noise, dtype=torch.float32, step=step), key[0]) for step in range(steps)]
    )
    return float(units.double().mean()), len(units)


@WITH_FRACTION
def test_fraction_0_chooses_nothing_and_fraction_1_everything(key: Key) -> None:
    steps = 20
    assert chosen_share(key, 0.0, steps)[0] == 0
    share, units = chosen_share(key, 1.0, steps)
    spared = set_up(key).spared
    assert share >= 1 - spared - 5 * math.sqrt(spared / units)


@WITH_FRACTION
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.85])
def test_the_share_of_changed_samples_is_the_fraction(key: Key, fraction: float) -> None:
    share, units = chosen_share(key, fraction, STEPS if key[0] in PARAMETERS else 200)
    expected = fraction * (1 - set_up(key).spared)
    assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / units))


@WITH_FRACTION
def test_a_larger_fraction_chooses_the_same_samples_and_more(key: Key) -> None:
    strong, clean = set_up(key).strong, clean_alone(key)
    for step in range(10):
        few, many = (
            changed(clean, run_alone(key, term(key, strong, fraction), step=step), key[0]) for fraction in (0.4, 0.8)
        )
        spared = ~changed(clean, run_alone(key, term(key, strong, 1.0), step=step), key[0])
        assert bool((~few | many | spared).all())


@WITH_LEVEL
def test_level_uniform_is_the_noise_at_the_magnitude_times_the_draw_that_its_key_names(key: Key) -> None:
    site, batch = key[0], 1 if key[0] in PARAMETERS else BATCH
    for step in range(20):
        rng = generator(5, *key, "level", step)
        level = float(torch.rand(batch, generator=rng, dtype=torch.float64)[0])
        levelled = run_alone(key, term(key, set_up(key).strong, 1.0, "uniform"), step=step, seed=5)
        fixed = run_alone(key, term(key, set_up(key).strong * level), step=step, seed=5)
        name = "linear.weight" if site in PARAMETERS else site
        first = slice(None) if site in PARAMETERS else 0  # the other samples have levels of their own
        torch.testing.assert_close(levelled[name][first], fixed[name][first], rtol=1e-12, atol=1e-15)


@LINEAR_WITH_LEVEL
def test_level_uniform_spreads_magnitudes_evenly_up_to_the_fixed_one(key: Key) -> None:
    clean, shares = clean_alone(key), []
    for step in range(STEPS if key[0] in PARAMETERS else 30):
        fixed, uniform = (
            run_alone(key, term(key, set_up(key).strong, 1.0, level), step=step) for level in ("fixed", "uniform")
        )
        name = "linear.weight" if key[0] in PARAMETERS else key[0]
        units = 1 if key[0] in PARAMETERS else BATCH
        full, part = ((noisy[name] - clean[name]).reshape(units, -1) for noisy in (fixed, uniform))
        shares += ((full * part).sum(1) / full.square().sum(1)).tolist()
        share = torch.tensor(shares[-units:], dtype=torch.float64)[:, None]
        torch.testing.assert_close(part, share * full, rtol=1e-6, atol=1e-9)
    assert 0 <= min(shares) <= max(shares) < 1
    assert stats.kstest(shares, "uniform").pvalue > 0.001


@LINEAR_WITH_BOTH
def test_who_is_chosen_and_how_strongly_are_independent_draws(key: Key) -> None:
    clean, sizes = clean_alone(key), []
    for step in range(60):
        noisy = run_alone(key, term(key, set_up(key).strong, 0.3, "uniform"), step=step)
        fixed = run_alone(key, term(key, set_up(key).strong, 1.0, "fixed"), step=step)
        part, full = ((of[key[0]] - clean[key[0]]).reshape(BATCH, -1).norm(dim=1) for of in (noisy, fixed))
        sizes += (part / full)[part > 0].tolist()
    # Chosen by u < 0.3: with the same u as level they would all lie under 0.3.
    assert stats.kstest(sizes, "uniform").pvalue > 0.001


def test_the_registry_of_noises_has_the_sites_that_cohorts_know() -> None:
    assert set(NOISES) <= {"inputs", "weights", "activations", "targets", "gradients"}
