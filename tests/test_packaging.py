from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import noise_search
from noise_search.policy import CARD_SCHEMA

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel of the checkout, installed by pip into an empty folder, without what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    offline = ["--no-deps", "--no-index", "--disable-pip-version-check"]
    install = [sys.executable, "-m", "pip", "install", *offline, "--target", str(folder / "site"), str(wheel)]
    subprocess.run(install, cwd=folder, check=True, capture_output=True)
    return folder / "site"


def run(installed: Path, program: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """A program that finds the installed package first, in a working folder outside the checkout."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NOISE_SEARCH")}
    environment |= {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    return subprocess.run(program, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_holds_every_configuration_file(installed: Path) -> None:
    shipped = {path.relative_to(CHECKOUT / "conf") for path in (CHECKOUT / "conf").rglob("*.yaml")}
    packed = {path.relative_to(installed / "noise_search/conf") for path in installed.rglob("conf/**/*.yaml")}
    assert packed == shipped
    assert Path("sweep.yaml") in packed


def test_the_wheel_holds_every_module_and_migration(installed: Path) -> None:
    ours = {path.relative_to(CHECKOUT) for path in (CHECKOUT / "noise_search").rglob("*.py")}
    assert {path.relative_to(installed) for path in (installed / "noise_search").rglob("*.py")} == ours
    assert (installed / "noise_search/store/migrations/script.py.mako").is_file()


def test_the_wheel_holds_the_schema_of_cards(installed: Path) -> None:
    (packed,) = installed.rglob("card.schema.json")
    assert packed.relative_to(installed) == CARD_SCHEMA.relative_to(CHECKOUT)
    assert packed.read_bytes() == CARD_SCHEMA.read_bytes()


def test_the_wheel_holds_the_style_and_the_script_of_reports(installed: Path) -> None:
    for name in ("page.css", "page.js"):
        own = Path("noise_search") / "reports" / name
        assert (installed / own).read_bytes() == (CHECKOUT / own).read_bytes()


def test_the_installed_program_tells_its_version(installed: Path, tmp_path: Path) -> None:
    ran = run(installed, [str(installed / "bin/noise-search"), "--version"], tmp_path)
    assert (ran.returncode, ran.stdout) == (0, f"noise-search {noise_search.__version__}\n")
    told = run(installed, [sys.executable, "-c", "import noise_search; print(noise_search.__file__)"], tmp_path)
    assert Path(told.stdout.strip()).is_relative_to(installed)


@pytest.mark.slow
def test_an_installed_wheel_runs_the_default_sweep_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    program = [str(installed / "bin/noise-search"), "sweep", "--json", "budget.trials=2", "train.epochs=2"]
    ran = run(installed, program, tmp_path)
    assert ran.returncode == 0, ran.stderr
    outcome = json.loads(ran.stdout)
    assert outcome["state"] == "complete"
    assert sum(row["control"] is not None for row in outcome["front"]) == 9  # no noise, six constants, two at random
    assert Path(outcome["files"]["card"]).is_relative_to(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["noise_search_runs"]
    assert {"search.db", "optuna.db", "mlflow.db"} <= {path.name for path in (tmp_path / "noise_search_runs").iterdir()}
