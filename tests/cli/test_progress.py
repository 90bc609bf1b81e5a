"""What stands in for the bar where standard error is no terminal."""

from __future__ import annotations

import pytest

from noise_search.cli.progress import Bar


def _told(bar: Bar, capsys: pytest.CaptureFixture[str], *advances: int) -> list[str]:
    for epochs in advances:
        bar.advance(epochs)
    bar.stop()
    return capsys.readouterr().err.splitlines()


def test_without_a_terminal_a_line_is_left_at_each_tenth_of_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Bar()
    bar.begin(2_000, 0)
    bar.message("stage 1")
    lines = _told(bar, capsys, *[20] * 100)
    assert [line.partition(" epochs")[0] for line in lines] == [
        f"{tenth:,} of 2,000" for tenth in range(200, 2_001, 200)
    ]
    assert lines[0].endswith(" s after the start: stage 1")


def test_what_an_earlier_run_has_done_is_not_told_again_nor_is_what_a_failed_job_takes_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bar = Bar()
    bar.begin(10, 8)
    assert [line[:7] for line in _told(bar, capsys, 1, -1, 1, 1)] == ["9 of 10", "10 of 1"]


def test_several_tenths_at_once_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Bar()
    bar.begin(10, 0)
    assert len(_told(bar, capsys, 7)) == 1


def test_on_a_terminal_there_is_the_bar_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    bar = Bar()
    bar.begin(10, 0)
    assert "epochs of trials in" not in "".join(_told(bar, capsys, 5, 5))
