from __future__ import annotations

import uuid
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from training_examples import bench, members, policies

from noise_search.folders import Folder
from noise_search.training import Job, Member, Resolved, Result, run_from_checkpoints, run_job

MODES = ["fused", "looped"]
FOUR = members(policies(4))
NOT_NUMBERS = ("seconds", "checkpoint", "retrained", "history", "correct")


def numbers(results: list[Result]) -> list[dict[str, Any]]:
    """What was found at the end, without how it came about."""
    return [{key: value for key, value in asdict(one).items() if key not in NOT_NUMBERS} for one in results]


def with_checkpoints(results: list[Result]) -> tuple[Member, ...]:
    return tuple(replace(one, checkpoint=result.checkpoint) for one, result in zip(FOUR, results, strict=True))


def first_half(folder: Path, mode: Resolved) -> list[Result]:
    job = Job(FOUR, 0, 1, str(folder), keep=True)
    return run_from_checkpoints(job, bench("mlp", mode), lambda _: None)


def second_half(folder: Path, mode: Resolved, found: list[Result], on_epoch: Any = lambda _: None) -> list[Result]:
    return run_from_checkpoints(Job(with_checkpoints(found), 1, 2, str(folder)), bench("mlp", mode), on_epoch)


@pytest.mark.parametrize("mode", MODES)
def test_trained_in_two_jobs_a_trial_gives_the_numbers_of_one(mode: Resolved, tmp_path: Path) -> None:
    whole, _ = run_job(Job(FOUR, 0, 2), bench("mlp", mode))
    found = first_half(tmp_path, mode)
    assert all(result.checkpoint is not None for result in found)
    later = second_half(tmp_path, mode, found)
    assert numbers(later) == numbers(whole)
    assert [one.history[0] for one in later] == [one.history[1] for one in whole]
    assert [one.retrained for one in later] == [0, 0, 0, 0]


@pytest.mark.parametrize("mode", MODES)
def test_a_lost_checkpoint_costs_training_again_and_changes_no_number(mode: Resolved, tmp_path: Path) -> None:
    whole, _ = run_job(Job(FOUR, 0, 2), bench("mlp", mode))
    found = first_half(tmp_path, mode)
    (tmp_path / f"{found[1].member}-0-1.safetensors").unlink()
    (tmp_path / f"{found[2].member}-0-1.safetensors").write_bytes(b"nothing")
    epochs: list[int] = []
    later = second_half(tmp_path, mode, found, epochs.append)
    assert numbers(later) == numbers(whole)
    assert [one.retrained for one in later] == [0, 1, 1, 0]
    assert sum(epochs) == 4


def test_a_checkpoint_of_another_epoch_costs_training_again_and_changes_no_number(tmp_path: Path) -> None:
    whole, _ = run_job(Job(FOUR, 0, 2), bench("mlp", "looped"))
    later = run_from_checkpoints(Job(FOUR, 0, 2, str(tmp_path), keep=True), bench("mlp", "looped"), lambda _: None)
    again = second_half(tmp_path, "looped", later)
    assert [one.retrained for one in again] == [1, 1, 1, 1]
    assert numbers(again) == numbers(whole)


def test_training_again_can_be_stopped_and_moves_no_progress(tmp_path: Path) -> None:
    found = first_half(tmp_path, "looped")
    for file in tmp_path.iterdir():
        file.unlink()

    def stop(epochs: int) -> None:
        raise KeyboardInterrupt(epochs)

    with pytest.raises(KeyboardInterrupt) as caught:
        second_half(tmp_path, "looped", found, stop)
    assert caught.value.args == (0,)


def test_without_being_asked_nothing_is_written(tmp_path: Path) -> None:
    results = run_from_checkpoints(Job(FOUR, 0, 2, str(tmp_path)), bench("mlp", "fused"), lambda _: None)
    assert all(result.checkpoint is None for result in results)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    job = Job(FOUR, 0, 1, str(tmp_path / "file"), keep=True)
    results = run_from_checkpoints(job, bench("mlp", "fused"), lambda _: None)
    assert [result.checkpoint for result in results] == [None] * 4


def test_which_samples_are_right_agrees_with_accuracy(tmp_path: Path) -> None:
    from noise_search.metrics import unpacked

    for result in first_half(tmp_path, "fused"):
        assert list(result.correct) == [1]
        samples = len(bench("mlp", "fused").yardstick.labels)
        assert unpacked(result.correct[1])[:samples].mean() == pytest.approx(result.scores["clean/accuracy"])


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_a_job_goes_on_from_checkpoints_on_another_file_system(kind: str, request: pytest.FixtureRequest) -> None:
    url = f"{request.getfixturevalue('bucket') if kind == 's3' else 'memory://'}/{uuid.uuid4().hex}"
    whole, _ = run_job(Job(FOUR, 0, 2), bench("mlp", "fused"))
    found = run_from_checkpoints(Job(FOUR, 0, 1, url, keep=True), bench("mlp", "fused"), lambda _: None)
    folder = Folder(url)
    assert folder.names() == [f"{one.name}-{one.seed}-1.safetensors" for one in FOUR]
    folder.delete(folder.names()[:1])
    folder.write(folder.names()[0], b"nothing")
    job = Job(with_checkpoints(found), 1, 2, url)
    later = run_from_checkpoints(job, bench("mlp", "fused"), lambda _: None)
    assert numbers(later) == numbers(whole)
    assert [one.retrained for one in later] == [1, 1, 0, 0]


def test_an_object_store_that_does_not_answer_costs_checkpoints_and_no_number(
    bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = run_from_checkpoints(Job(FOUR, 0, 1, f"{bucket}/gone", keep=True), bench("mlp", "fused"), lambda _: None)
    system = fsspec.filesystem("s3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    system.clear_instance_cache()
    job = Job(with_checkpoints(found), 1, 2, f"{bucket}/gone", keep=True)
    later = run_from_checkpoints(job, bench("mlp", "fused"), lambda _: None)
    system.clear_instance_cache()
    assert numbers(later) == numbers(run_job(Job(FOUR, 0, 2), bench("mlp", "fused"))[0])
    assert [(one.checkpoint, one.retrained) for one in later] == [(None, 1)] * 4
    assert caplog.text.count("a trial is trained again from its start: ") == 4
    assert caplog.text.count("no checkpoint, so that the trial may have to be trained again: ") == 4
