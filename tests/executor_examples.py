"""Jobs for executors, and the means to compare and to watch them."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from noise_search.config import build, compose
from noise_search.execute.contract import Executor, Finished
from noise_search.execute.inline import InlineExecutor
from noise_search.execute.processes import ProcessesExecutor
from noise_search.execute.workers import Sizes, make_kit
from noise_search.executor_specs import RaySpec
from noise_search.policy import Policy, Term
from noise_search.spec import DataSpec, ModelSpec
from noise_search.training import Job, Member, Result, Setup, Workbench, make_workbench

POLICIES = (
    Policy((Term("inputs", "gaussian", 0.3),)),
    Policy((Term("weights", "relative", 0.1), Term("inputs", "mixup", 0.4))),
    Policy(),
)
EPOCHS = 2000  # of a whole training: nobody waits for it
TINY = (
    "model=mlp",
    "model.hidden=[8]",
    "train.batch_size=256",
    "train.device=cpu",
    f"train.epochs={EPOCHS}",
    f"train.score_every={EPOCHS}",
)
BESIDE_ME = """
import torch
from noise_search.data import DATASETS

def net(statistics, width):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.Linear(width, 10))

def data(limit):
    with open("loads.txt", "a") as file:
        file.write("loaded\\n")
    return DATASETS["digits"].load(limit=limit)
"""
PATIENCE_SECONDS = 300.0  # machines of tests are busy


def setup(*overrides: str) -> Setup:
    """A tiny model on digits, with a training that does not end by itself."""
    one = build(compose([*TINY, *overrides]))
    return Setup(one.data, one.model, one.optimizer, one.train, one.suite, "fused", "looped")


def own_setup(folder: Path) -> Setup:
    """A model and data of one's own, in a file of a folder that is to be the working folder; loading leaves a mark."""
    (folder / "trained_beside.py").write_text(BESIDE_ME)
    one = setup()
    data = DataSpec("mine", limit=400, target="trained_beside.data")
    return replace(one, data=data, model=ModelSpec("net", {"width": 6}, "trained_beside.net"))


@cache
def workbench() -> Workbench:
    """The driver's own."""
    return make_workbench(setup())


def processes(count: int = 2, *, silent_seconds: float = PATIENCE_SECONDS, own: Setup | None = None) -> Executor:
    """Workers of one thread each, that train what `workbench` would or a set-up of one's own."""
    bench = workbench() if own is None else make_workbench(own)
    kit = make_kit(bench, bench.setup, 1)
    return ProcessesExecutor(kit, sizes_of(bench), [{}] * count, silent_seconds=silent_seconds)


def inline() -> Executor:
    """In this process."""
    return InlineExecutor(workbench(), "fused", "looped")


def on_ray(own: Setup | None = None, **keys: Any) -> Executor:
    """On the cluster that this process is connected to."""
    from noise_search.execute.ray_cluster import RayExecutor

    bench = workbench() if own is None else make_workbench(own)
    keys = {"silent_seconds": PATIENCE_SECONDS} | keys
    return RayExecutor(make_kit(bench, bench.setup, 1), sizes_of(bench), RaySpec(**keys))


def sizes_of(bench: Workbench) -> Sizes:
    """Those of a workbench."""
    return Sizes(len(bench.yardstick.labels), bench.steps_per_epoch)


def job(policies: Sequence[Policy] = POLICIES, *, epochs: int = 2, **more: Any) -> Job:
    """A job from the start, one slot a policy."""
    members = tuple(Member(f"slot {slot}", policy, 0) for slot, policy in enumerate(policies))
    return Job(members, 0, epochs, **more)


def long_job() -> Job:
    """A job that is not done before a test ends."""
    return job(POLICIES[:1], epochs=EPOCHS)


def failing_job() -> Job:
    """A job whose training raises an AttributeError: one of its slots has no policy."""
    return job((cast(Policy, None),))


def numbers(results: Sequence[Result] | None) -> list[dict[str, object]]:
    """Results without the time they took."""
    return [{**asdict(result), "seconds": None} for result in results or ()]


def nobody(_ticket: int, _epochs: int) -> None:
    """Told of epochs, does nothing."""


def finish(executor: Executor, count: int, on_epoch: Callable[[int, int], None] = nobody) -> dict[int, Finished]:
    """The next jobs that end, by ticket."""
    found = [executor.next(on_epoch) for _ in range(count)]
    return {one.ticket: one for one in found}


def when_trained(action: Callable[[], object]) -> Callable[[int, int], None]:
    """Does something once, as soon as an epoch is finished: the next one has begun then."""
    return Told(action)


class Told:
    """Adds up epochs, and does something once, as soon as one is finished."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.epochs, self.acted, self._action = 0, False, action

    def __call__(self, _ticket: int, epochs: int) -> None:
        self.epochs += epochs
        if epochs and not self.acted:
            self.acted = True
            self._action()


# --- processes ---


def workers_of(parent: int) -> list[int]:
    """Processes of workers that a process has started."""
    return [pid for pid in _pids() if _status(pid)[1] == parent and b"noise-search worker" in _command(pid)]


def ray_workers() -> list[int]:
    """Processes in which Ray trains jobs."""
    return [pid for pid in descendants() if _command(pid).startswith(b"ray::_work")]


def descendants() -> list[int]:
    """Processes that this one has started, or those have."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        children.setdefault(_status(pid)[1], []).append(pid)
    found = list(children.get(os.getpid(), []))
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def listening(pids: Sequence[int]) -> set[str]:
    """Addresses at which processes listen."""
    owned = set()
    for pid in pids:
        with suppress(OSError):
            owned |= {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    found = set()
    for family, width in (("tcp", 4), ("tcp6", 16)):
        for line in Path(f"/proc/net/{family}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in owned:
                words = bytes.fromhex(fields[1].partition(":")[0])
                packed = b"".join(words[first : first + 4][::-1] for first in range(0, width, 4))
                address = ipaddress.ip_address(packed)
                found.add(str(getattr(address, "ipv4_mapped", None) or address))
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    return _status(pid)[0] not in ("", "Z")


def wait_until(is_so: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> bool:
    """Whether it came to be so in time."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _status(pid: int) -> tuple[str, int]:
    """State and parent; nothing where there is no such process."""
    with suppress(OSError):
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        return state, int(parent)
    return "", 0
