from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel of the checkout, unpacked into an empty folder."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_every_configuration_file(installed: Path) -> None:
    shipped = {path.relative_to(CHECKOUT / "conf") for path in (CHECKOUT / "conf").rglob("*.yaml")}
    packed = {path.relative_to(installed / "noise_search/conf") for path in installed.rglob("conf/**/*.yaml")}
    assert packed == shipped
    assert Path("sweep.yaml") in packed


def test_an_installed_wheel_runs_a_sweep_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from noise_search.cli import entry_point; entry_point()"
    overrides = ["model=mlp", "budget.trials=1", "train.epochs=1", "controls.constants=0", "controls.random=0"]
    command = [sys.executable, "-c", code, str(installed), "sweep", "--json", *overrides, "tracking.enabled=false"]
    finished = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    outcome = json.loads(finished.stdout)
    assert outcome["state"] == "complete"
    assert Path(outcome["files"]["card"]).is_relative_to(tmp_path)
