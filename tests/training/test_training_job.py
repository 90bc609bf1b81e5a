from __future__ import annotations

import pytest
import torch
from training_examples import bench, dataset, fresh_states

from noise_search.errors import CallerError
from noise_search.models import InputStatistics, build_model
from noise_search.training import load_dataset, resolve_device


def test_a_workbench_counts_partial_batches_as_steps() -> None:
    workbench = bench("mlp", epochs=3)
    assert (workbench.steps_per_epoch, workbench.total_steps) == (5, 15)


def test_a_last_batch_of_one_sample_is_refused_with_a_size_that_would_do() -> None:
    with pytest.raises(CallerError, match=r"^train.batch_size: 149 leaves a last batch of one of 150 samples"):
        bench("mlp", batch_size=149)


@pytest.mark.parametrize(("samples", "size"), [(150, 149), (13, 2), (16, 3), (17, 2), (41, 4), (121, 10)])
def test_the_batch_size_that_a_refusal_proposes_is_taken(samples: int, size: int) -> None:
    data = dataset(samples, 20)
    with pytest.raises(CallerError) as refusal:
        bench("mlp", batch_size=size, data=data)
    proposed = int(str(refusal.value).rpartition(" ")[2])
    assert proposed > size
    assert bench("mlp", batch_size=proposed, data=data).steps_per_epoch > 0


def test_a_device_that_torch_does_not_know_is_refused() -> None:
    with pytest.raises(CallerError, match=r"^train.device: expected .*, got 'abacus'"):
        resolve_device("abacus")
    assert resolve_device("cpu") == torch.device("cpu")


def test_a_workbench_keeps_data_and_model_in_its_dtype() -> None:
    workbench = bench("cnn batch", dtype=torch.float64)
    floating = [*workbench.model.parameters(), workbench.train.inputs, workbench.yardstick.images]
    assert {tensor.dtype for tensor in floating} == {torch.float64}


def test_initial_states_are_the_weights_of_the_seed() -> None:
    workbench = bench("mlp")
    statistics: InputStatistics = dataset().statistics
    (state,) = fresh_states(workbench, [3])
    model = build_model("mlp", workbench.setup.model.parameters, statistics, seed=3)
    assert all(torch.equal(state[f"parameters/{name}"], value) for name, value in model.named_parameters())
    assert all(torch.equal(state[f"buffers/{name}"], value) for name, value in model.named_buffers())


def test_data_are_loaded_by_name_with_the_seed_of_their_split() -> None:
    spec = bench("mlp").setup.data
    assert load_dataset(spec).digest == load_dataset(spec).digest
