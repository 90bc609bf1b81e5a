"""Every command of the README runs, every file it shows is used, every number it quotes was measured."""

from __future__ import annotations

import doctest
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import readme_blocks
import torch
from readme_blocks import README, Block, blocks, commands, inline, links
from sweep_examples import command as in_a_new_interpreter
from sweep_examples import environment

import noise_search
from noise_search import cli
from noise_search.listing import LISTINGS
from noise_search.policy import Card, Policy, Term, save_card
from noise_search.schedules import SCHEDULES

CHECKOUT = README.parent
TEXT = README.read_text(encoding="utf-8")
BLOCKS = blocks(TEXT)
# Set-up: not run from here, but there.
SET_UP = {"scripts/quickstart": "tests/test_fresh_clone.py", "scripts/test": ".ci/run"}
# How long commands are shrunk: overrides of the same keys are replaced, others added.
SMALL = {
    "budget.trials": "2",
    "train.epochs": "2",
    "train.batch_size": "50",
    "controls.constants": "0",
    "controls.random": "0",
}
# Two trials of two epochs have no front at all near what the README asks for.
PLAIN = {"min-clean=0.97": "min-clean=0"}
PYTHON = {'["model=mlp", "budget.trials=64"]': repr([f"{key}={value}" for key, value in SMALL.items()] + ["model=mlp"])}
FILES = [block for block in BLOCKS if block.file]
FASHION = "experiment=fashion_mnist"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_template: Path) -> Iterator[Path]:
    """Working folder with every file that the README shows, and a store with an empty MLflow database."""
    for block in FILES:
        assert block.file is not None
        path = tmp_path / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
    (tmp_path / "noise_search_runs").mkdir()
    shutil.copyfile(mlflow_template, tmp_path / "noise_search_runs" / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISE_SEARCH_STORE", raising=False)
    yield tmp_path
    for block in FILES:
        sys.modules.pop(Path(block.file or "").stem, None)


def shrunk(words: tuple[str, ...]) -> list[str]:
    """A command without the name of the program, made small where it would train for long."""
    plain = [PLAIN.get(word, word) for word in words[1:]]
    if plain[0] not in ("sweep", "train"):
        return plain
    small = {key: value for key, value in SMALL.items() if plain[0] == "sweep" or key.startswith("train.")}
    kept = [word for word in plain if word.partition("=")[0] not in small]
    return [*kept, *(f"{key}={value}" for key, value in small.items())]


def run(words: tuple[str, ...], name: str | None) -> None:
    """Run one command of the README and see it end well."""
    if words[0] in SET_UP:
        return
    assert words[0] == "noise-search", f"{' '.join(words)}: nothing here runs this; run it, or name who does in SET_UP"
    arguments = [name if word == "NAME" and name else word for word in shrunk(words)]
    if arguments[0] == "ui":
        look_at_the_ui(arguments)
    else:
        assert cli.main(arguments) == 0, f"{' '.join(arguments)}: did not end with 0"


def look_at_the_ui(arguments: list[str]) -> None:
    """Start the UI, wait until it answers, and end it as Ctrl-C does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    call = in_a_new_interpreter(*arguments, "--port", str(port))
    process = subprocess.Popen(call, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert answers(f"http://127.0.0.1:{port}", process, seconds=120)
    finally:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)
    assert process.returncode in (0, 130), said


def answers(url: str, process: subprocess.Popen[str], *, seconds: float) -> bool:
    """Whether a server answers before the time is over, its process alive."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    return False


def execute(block: Block, **names: Any) -> dict[str, Any]:
    """Run a Python block; its names afterwards."""
    text = block.text
    for long, small in PYTHON.items():
        text = text.replace(long, small)
    space: dict[str, Any] = {"__name__": "readme", **names}
    exec(compile(text, "README.md", "exec"), space)
    return space


def a_loop() -> dict[str, Any]:
    """What the README's loop takes for granted: a model, its optimiser, batches in raw units, how many steps."""
    batches = [(torch.full((16, 1, 8, 8), 0.5), torch.zeros(16, dtype=torch.long)) for _ in range(4)]
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {"torch": torch, "model": model, "optimizer": optimizer, "total_steps": 4, "batches": batches}


@pytest.mark.slow
def test_every_command_and_python_block_of_the_readme_runs_one_after_another(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name: str | None = None
    for block in BLOCKS:
        if block.language == "python" and block.file is None:
            execute(block, **a_loop())
        for words in commands(block):
            if FASHION not in words:
                run(words, name)
                capsys.readouterr()
            if words[:2] == ("noise-search", "sweep") and name is None:
                name = noise_search.statuses(store=folder / "noise_search_runs")[0]["name"]
    assert name is not None


@pytest.mark.slow
def test_the_sweep_on_real_images_runs(folder: Path, real_data: Path) -> None:
    (words,) = (words for block in BLOCKS for words in commands(block) if FASHION in words)
    images = {"data.root=FOLDER": f"data.root={real_data / 'fashion-mnist'}", "data.limit=10000": "data.limit=400"}
    run(tuple(images.get(word, word) for word in words), None)
    (one,) = noise_search.statuses(store=folder / "noise_search_runs")
    assert (one["state"], one["trials"]["complete"]) == ("complete", 2)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language], ids=lambda block: block.text[:20])
def test_every_block_is_a_command_a_file_or_python_that_runs(block: Block) -> None:
    assert block.language in ("bash", "python", "yaml")
    assert block.language != "yaml" or block.file is not None


@pytest.mark.parametrize("command", SET_UP)
def test_a_set_up_command_is_run_elsewhere(command: str) -> None:
    assert command in (CHECKOUT / SET_UP[command]).read_text(encoding="utf-8")
    assert os.access(CHECKOUT / command, os.X_OK)


def test_the_loop_adds_the_noise_of_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    context = {"modality": "images", "input_range": [0, 1]}
    save_card(Card(Policy((Term("inputs", "gaussian", 0.1, fraction=1.0),)), context), "card.yaml")
    (block,) = (block for block in BLOCKS if "load_card" in block.text)
    torch.manual_seed(0)
    noisy = execute(block, **a_loop())["inputs"]
    assert noisy.mean().item() == pytest.approx(0.5, abs=4 * 0.1 / 32)  # 1,024 values
    assert noisy.std().item() == pytest.approx(0.1, rel=0.1)


def result(name: str) -> Any:
    return json.loads((CHECKOUT / f"docs/results/0.1.0/{name}--cpu.json").read_text(encoding="utf-8"))


def section(title: str) -> str:
    return TEXT.partition(f"### {title}\n")[2].partition("\n#")[0]


@pytest.mark.parametrize(
    ("name", "title", "scores"),
    [
        ("digits", "Digits", ("robust", "clean")),
        (
            "fashion_mnist",
            "Fashion-MNIST, 10,000 images",
            ("robust", *(f"family/{family}" for family in ("noise", "blur", "tone", "digital", "shape")), "clean"),
        ),
    ],
)
def test_the_gains_quoted_are_those_of_the_results(name: str, title: str, scores: tuple[str, ...]) -> None:
    for arm, line in (("no_noise", "no noise"), ("best_constant_control", "the best constant control")):
        found = result(name)["gain_in_points"][f"pick_over_{arm}"]
        cells = [f"{found[score]['mean']:+.1f} (SD {found[score]['sd']:.1f})" for score in scores]
        assert f"| pick over {line} | {' | '.join(cells)} |" in section(title)


def points(found: Mapping[str, float]) -> str:
    """A difference with its interval, in points."""
    return f"{100 * found['mean']:+.1f} [{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"


def test_what_is_said_to_be_confirmed_is_what_was_measured() -> None:
    found, text = result("evidence_digits"), section("Confirmed on digits")
    evidence = found["confirmed"]["evidence"]
    for one in evidence["against"]:
        cells = [points(one[part]) for part in ("robust", "seen", "unseen", "clean")]
        assert f"| {one['arm']} | {' | '.join(cells)} |" in text
    over = {one["arm"]: points(one["robust"]) for one in evidence["against"]}
    assert f"{over['best random']} over the best of three random policies" in text
    assert f"{points(evidence['scheduling'])} against constant noise" in text
    assert evidence["scheduling_against"] == "best constant"
    assert f"stays {points(found['confirmed']['learning_rates']['difference'])} points behind" in text
    assert found["confirmed"]["learning_rates"]["best"] == "no noise, lr x2"
    assert found["confirmed"]["choice"]["chosen"]["winner"] == "trial 23"
    assert f"{found['aims']['minutes']['found']:.1f} minutes" in text
    examples = [found["examples"][name]["robust"]["difference_in_points"] for name in ("plain PyTorch", "Lightning")]
    assert f"by {examples[0]:+.1f} and {examples[1]:+.1f} points of robust accuracy" in text


@pytest.mark.parametrize("name", ["evidence_digits_again", "evidence_digits_processes"])
def test_what_is_said_of_the_same_way_on_another_machine_is_what_was_measured(name: str) -> None:
    found, text = result(name), " ".join(section("Confirmed on digits").split())
    over = {one["arm"]: points(one["robust"]) for one in found["confirmed"]["evidence"]["against"]}
    assert found["confirmed"]["choice"]["chosen"]["winner"] in text
    assert [gain in text for gain in (over["no noise"], over["best random"], over["best constant"])] == [True] * 3
    assert f"{found['aims']['minutes']['found']:.1f}" in text.partition("That machine is faster")[2]


def test_what_is_said_to_be_confirmed_on_fashion_mnist_is_what_was_measured() -> None:
    found, text = result("evidence_fashion_mnist"), section("Confirmed on Fashion-MNIST")
    confirmed = found["confirmed"]
    over = {one["arm"]: one for one in confirmed["evidence"]["against"]}
    for arm, one in over.items():
        cells = [points(one[part]) for part in ("robust", "seen", "unseen", "clean")]
        assert f"| {arm} | {' | '.join(cells)} |" in text
    assert f"worth it here, too**, {points(over['no noise']['robust'])}, most of all against the family" in text
    assert f"worse: {points(over['no noise']['clean'])}" in text
    random, constant = over["best random"], over["best constant"]
    assert f"{points(random['robust'])} over the best of three random policies, at {points(random['clean'])}" in text
    assert f"alone found is as robust, {points(constant['robust'])}, and more" in text
    assert f"own family, {points(constant['seen'])}" in text
    assert f"stays {points(confirmed['learning_rates']['difference'])} points behind" in text
    assert (confirmed["evidence"]["scheduling"], confirmed["learning_rates"]["best"]) == (None, "no noise, lr x2")
    (winner,) = confirmed["choice"]["policies"]["winner"]
    assert (winner["noise"], winner["schedule"]) == ("gaussian", {"kind": "constant"})
    assert f"Gaussian noise of {winner['magnitude']:.2f} on {100 * winner['fraction']:.0f} % of the samples" in text
    assert f"trial {confirmed['choice']['chosen']['winner'].split()[1]}, is a constant" in text
    assert f"{found['trials']} trials of {found['epochs']} epochs" in text


def test_the_errors_of_the_statistics_quoted_are_those_that_were_measured() -> None:
    text = section("Confirmed on digits")
    assert f"in {100 * result('intervals')['aims']['coverage']['found']:.1f} % of simulations or more" in text
    simulated = result("confirm_null")
    assert f"in {100 * simulated['aims']['winner_beats_no_noise']['found']:.1f} % of 1,000" in text
    large, small = simulated["cells"].values()
    both = [cell["null"] for cell in (large, small)]
    assert f"by {100 * both[0]['searched_gain']['mean']:.1f} points on average" in text
    assert f"and by {100 * both[1]['searched_gain']['mean']:.1f} with 360" in text
    assert "ahead by {:.1f} and {:.1f}".format(*(abs(100 * one["gain"]["mean"]) for one in both)) in " ".join(
        text.split()
    )
    said = {
        name: [f"{100 * cell[name]['said']['winner_beats_no_noise']['share']:.0f}" for cell in (large, small)]
        for name in ("null, seeds and split of stage 1 reused", "gain of 4 points", "gain of 2 points")
    }
    for one, other in said.values():
        assert f"{one} and {other} %" in text


def test_the_seconds_quoted_are_those_of_the_results() -> None:
    seconds = result("digits")["seconds"]
    assert f"The command took {seconds['sweep']['median']:.0f} s" in section("Digits")
    assert f"and {seconds['same_command_again']['median']:.1f} s when run again" in section("Digits")
    assert f"The sweep took {result('fashion_mnist')['seconds']['sweep']['median']:.0f} s" in section(
        "Fashion-MNIST, 10,000 images"
    )


@pytest.mark.parametrize(("name", "data"), [("digits", "digits"), ("fashion", "10,000 Fashion-MNIST images")])
def test_the_speed_quoted_is_that_of_the_results(name: str, data: str) -> None:
    found = result("search")[name]
    cells = [
        f"{found['seconds']['noise_search']['median']:.0f} s",
        f"{found['seconds']['handwritten_2']['median']:.0f} s",
        f"{found['times_faster_than']['handwritten_2']['median']:.2f}",
        f"{100 * found['overhead_share_of_cpu']['noise_search']['median']:.1f} %",
    ]
    assert f"| {data} | {' | '.join(cells)} |" in section("Speed")


def test_what_is_said_of_executors_is_what_was_measured() -> None:
    found = result("executors")
    assert f"{found['summary']['two_processes_over_two_threads']:.2f} times as many trials" in section("Speed")
    told = (CHECKOUT / "docs" / "executors.md").read_text(encoding="utf-8")
    for name, rate in found["trials_a_second"].items():
        assert f"| {name} | {rate['median']:.2f} |" in told
    for name, more in found["summary"]["milliseconds_more_than_inline"].items():
        assert f"| {more:.1f} ms | {found['overhead'][name]['seconds_to_the_first']:.1f} s |" in told


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("2000_none_files", "folder, 2,000 trials"),
        ("2000_halving_files", "folder, 2,000 trials, `stopping=halving`"),
        ("20000_none_files", "folder, 20,000 trials"),
        ("2000_none_postgresql", "PostgreSQL on the same machine, 2,000 trials"),
    ],
)
def test_what_is_said_of_a_drivers_workers_is_what_was_measured(name: str, words: str) -> None:
    own = {key: one["median"] for key, one in result("workers")["by_sweep"][name].items()}
    cells = [
        f"{own['jobs_a_second_by_the_clock']:.1f}",
        f"{own['milliseconds_of_cpu_a_trial']:.1f} ms",
        f"{own['statements_a_trial']:.1f}",
        f"{own['mebibytes_after']:.0f} MiB",
    ]
    told = (CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"| {words} | {' | '.join(cells)} |" in told


def test_what_is_said_of_auto_is_what_was_found() -> None:
    summary = result("training")["summary"]
    right, worst = (summary["aims"][name]["found"] for name in ("auto_is_right", "auto_over_other"))
    assert f"the faster way in {100 * right:.0f} % of {summary['cells']} cells" in section("Speed")
    assert f"at worst {worst:.2f} times as long" in section("Speed")


def test_code_inside_lines_names_commands_scripts_and_files_that_are_there() -> None:
    known = commands_there_are()
    for code in inline(TEXT):
        if code.startswith("noise-search "):
            assert code.split()[1] in known, code
        if code.startswith(("scripts/", "docs/", "tests/")):
            assert (CHECKOUT / code.split()[0]).exists(), code
    assert [target for target in links(TEXT) if not (CHECKOUT / target.partition("#")[0]).exists()] == []


def commands_there_are() -> list[str]:
    text = (CHECKOUT / "docs" / "command-line.md").read_text(encoding="utf-8")
    return [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]


def test_every_noise_and_schedule_is_named_and_none_that_is_not_there() -> None:
    section = TEXT.partition("## Noises and schedules\n")[2].partition("\n## ")[0]
    for site in {row["site"] for row in LISTINGS["noises"]()}:
        (line,) = (line for line in section.splitlines() if line.startswith(f"| {site} |"))
        noises = {row["noise"] for row in LISTINGS["noises"]() if row["site"] == site}
        assert words_of(line.split("|")[2]) == noises
    listed = section.partition("Schedules: ")[2].partition(";")[0]
    assert words_of(listed) == set(SCHEDULES)


def words_of(text: str) -> set[str]:
    return {word.strip() for word in text.split(",")}


def test_a_command_that_nothing_runs_is_found_out() -> None:
    with pytest.raises(AssertionError, match="make all: nothing here runs this"):
        run(("make", "all"), None)


def test_blocks_and_commands_are_read_as_the_examples_say() -> None:
    assert doctest.testmod(readme_blocks).failed == 0
