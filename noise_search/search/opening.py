"""Open a sweep: find or create it, take its lease, build what it trains on, start its mirror."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from noise_search.data import Dataset
from noise_search.errors import CallerError
from noise_search.execute import Executor, make_executor
from noise_search.search.asking import Study
from noise_search.search.identity import default_name, digest_of, identity_of, refuse_another
from noise_search.search.mirroring import member_name, opened_entry
from noise_search.search.observing import Observer, observer_of
from noise_search.search.space import Picked, has_branches, searched
from noise_search.search.warm_start import warm_starts
from noise_search.spec import SweepSpec
from noise_search.store import FINAL_STATES, Location, MemberRecord, Store, SweepRecord, Writer, is_current, open_store
from noise_search.tracking.mirror import Mirror
from noise_search.tracking.mlflow_sink import MlflowSink
from noise_search.tracking.mlflow_sink import create_schema as create_tracking_schema
from noise_search.training import Resolved, Workbench, provisional_workbench
from noise_search.training.fusability import refuse_unfusable
from noise_search.training.modes import resolve_modes, slots_are_bitwise
from noise_search.training.threads import cpu_threads

_log = logging.getLogger(__name__)
MIRROR_SECONDS = 120.0  # how long a sweep that ends waits for its mirror
FAILING_MIRROR_SECONDS = 5.0
SENT, BEHIND, BUSY = "sent", "behind", "busy"  # what became of messages that were left
LARGEST_GP_SPACE = 20  # parameters


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked sweep with its data, identity and name: nothing is written yet."""

    spec: SweepSpec
    dataset: Dataset
    identity: dict[str, object]
    digest: str
    name: str
    warm_start: list[dict[str, Picked]]


@dataclass(frozen=True, slots=True, eq=False)
class OpenSweep:
    """A sweep under our lease, with everything its driver needs."""

    spec: SweepSpec
    sweep: SweepRecord
    store: Store
    writer: Writer
    study: Study
    executor: Executor
    mirror: Mirror | None
    checkpoint_folder: Path
    observer: Observer


def make_plan(spec: SweepSpec, dataset: Dataset) -> Plan:
    """Identity and name of a sweep on loaded data.

    Raises:
        CallerError: For a sampler that does not suit the space, a card to start with that cannot be read, or whose
            policy the space does not hold.
    """
    _refuse_unsuited(spec)
    warm_start = warm_starts(spec.space, spec.sampler.warm_start)
    identity = identity_of(spec, dataset, warm_start)
    digest = digest_of(identity)
    return Plan(spec, dataset, identity, digest, spec.name or default_name(spec, digest), warm_start)


def _refuse_unsuited(spec: SweepSpec) -> None:
    """Refuse a Gaussian process on a space that it cannot model: it takes every parameter to matter in every policy."""
    if spec.sampler.name != "gp":
        return
    if has_branches(spec.space):
        raise CallerError(
            "sampler.name: gp needs a space without branches: one noise a site, one schedule, no choice of gates; "
            "got one with branches; take tpe, or fix these"
        )
    if (count := len(searched(spec.space))) > LARGEST_GP_SPACE:
        raise CallerError(
            f"sampler.name: gp is for up to {LARGEST_GP_SPACE} parameters, got {count}; take tpe, or fix some"
        )


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier runs of a sweep have left: its members, and the epochs that each has trained."""

    sweep: SweepRecord
    members: list[MemberRecord]
    reached: dict[int, int]


def _found(store: Store, plan: Plan) -> SweepRecord | None:
    """The sweep of that name, if there is one; another search's is refused."""
    sweep = store.find_sweep(plan.name)
    if sweep is not None:
        refuse_another(sweep, plan.identity)
    return sweep


def earlier(plan: Plan, location: Location) -> Earlier | None:
    """What there is of a sweep; nothing changes.

    Raises:
        CallerError: When the name is another search's.
    """
    if not is_current(location):
        return None
    with open_store(location, create=False) as store:
        sweep = _found(store, plan)
        if sweep is None:
            return None
        found = sorted((row.epoch, row.member_id) for row in store.rung_scores(sweep.id))
        return Earlier(sweep, store.members(sweep.id), {member_id: epoch for epoch, member_id in found})


def finished(plan: Plan, location: Location) -> SweepRecord | None:
    """The sweep's record when it is there, complete to the total, and all of it is in the mirror.

    Raises:
        CallerError: When the name is another search's.
    """
    if not is_current(location):  # none yet, half made, or older: opening it for the sweep sees to that
        return None
    with open_store(location, create=False) as store:
        sweep = _found(store, plan)
        if sweep is None:
            return None
        trials = [member for member in store.members(sweep.id) if member.number is not None]
        ended = all(member.state in FINAL_STATES for member in trials)  # not where time was up first
        reached = sweep.state == "complete" and len(trials) >= plan.spec.budget.trials and ended
        behind = store.unsent(sweep.id, limit=1) or unmirrored(store, sweep.id)
        return sweep if reached and not (plan.spec.tracking.enabled and behind) else None


@contextmanager
def open_sweep(plan: Plan, location: Location) -> Iterator[OpenSweep]:
    """Create or continue a sweep; on leaving, its mirror is drained and its lease given back.

    Raises:
        CallerError: The store cannot be used, the name is another search's, or somebody else drives the sweep.
    """
    spec = plan.spec
    with cpu_threads(spec.train.threads):
        workbench = provisional_workbench(plan.spec, dataset=plan.dataset)
        refuse_unfusable(workbench, spec.train.mode, spec.train.score_mode)
        with open_store(location, create=True) as store:
            if spec.tracking.enabled:
                create_tracking_schema(location.tracking_url)
            sweep = store.find_sweep(plan.name)
            if sweep is None:
                sweep = _create(store, plan)
            refuse_another(sweep, plan.identity)
            with store.take_lease(sweep.id) as writer:
                sweep = _resolve(store, writer, sweep, plan, workbench)
                study = _study(store, sweep, plan)
                folder = checkpoint_folder(location, sweep.name)
                with (
                    observer_of(store, sweep, location, spec.log, writer.generation) as observer,
                    closing(make_executor(spec.executor, workbench, *modes_of(sweep))) as executor,
                ):
                    mirror = _open_mirror(store, writer, sweep, spec, location)
                    try:
                        yield OpenSweep(spec, sweep, store, writer, study, executor, mirror, folder, observer)
                    finally:
                        executor.close()  # before waiting: nobody wants what still trains
                        drain(mirror)


def checkpoint_folder(location: Location, name: str) -> Path:
    """Where a sweep's checkpoints lie, with the other files of the sweep."""
    return location.folder / "sweeps" / name / "checkpoints"


def unmirrored(store: Store, sweep_id: int) -> list[MemberRecord]:
    """Finished members that were never left for the mirror: those of runs without tracking."""
    keys = store.outbox_keys(sweep_id)
    return [m for m in store.members(sweep_id) if m.state in FINAL_STATES and member_name(m) not in keys]


def drain(mirror: Mirror | None) -> bool:
    """Wait for the mirror, but not for one that fails already, and say whether it has sent everything.

    The next run of the sweep catches up.
    """
    if mirror is None:
        return True
    seconds = MIRROR_SECONDS if mirror.error is None else FAILING_MIRROR_SECONDS
    sent = mirror.close(seconds)
    if not sent:
        _log.warning("MLflow is %d messages behind (%s); the next run catches up", mirror.lag, mirror.error)
    return sent


def leave_and_send(store: Store, sweep_id: int, location: Location, leave: Callable[[Writer], None]) -> str:
    """Leave messages for the mirror of a sweep that nobody drives, and wait until they are sent.

    Args:
        store: Open.
        sweep_id: Whose messages.
        location: Of the store.
        leave: Leaves them; not called where somebody drives the sweep.

    Returns:
        `SENT`; `BEHIND`: MLflow has not taken them in time, and whoever sends next will; `BUSY`: somebody drives it.
    """
    try:
        writer = store.take_lease(sweep_id)
    except CallerError:  # asking first whether it is free would leave a moment for another to take it
        return BUSY
    with writer:
        leave(writer)
        return SENT if drain(start_mirror(store, sweep_id, location)) else BEHIND


def _study(store: Store, sweep: SweepRecord, plan: Plan) -> Study:
    spec = plan.spec
    return Study(
        store.optuna_storage(), sweep.name, spec.space, spec.objective, spec.sampler, spec.seed, plan.warm_start
    )


def _create(store: Store, plan: Plan) -> SweepRecord:
    return store.create_sweep(
        name=plan.name,
        digest=plan.digest,
        identity=plan.identity,
        config=dict(plan.spec.raw),
        budget_trials=plan.spec.budget.trials,
    )


def _resolve(store: Store, writer: Writer, sweep: SweepRecord, plan: Plan, workbench: Workbench) -> SweepRecord:
    """Settle the modes once for all, and note the budget that this run goes for."""
    spec = plan.spec
    writer.update_sweep(
        state="running",
        budget_trials=spec.budget.trials,
        config={**sweep.config, "budget": spec.raw["budget"]},
        finished_at=None,
        stop_requested=False,
    )
    if sweep.train_mode is None:
        train = spec.train
        mode, score_mode = resolve_modes(workbench, train.mode, train.score_mode, width=widest_job(spec))
        writer.update_sweep(
            train_mode=mode, score_mode=score_mode, bitwise=mode == "looped" or slots_are_bitwise(workbench)
        )
    return store.sweep(sweep.name)


def widest_job(spec: SweepSpec) -> int:
    """Slots of the widest job of a sweep: what its modes are chosen for."""
    members = max(spec.sampler.batch, 1 + spec.controls.constants + spec.controls.random)
    return min(spec.driver.cohort, members * spec.budget.seeds)


def modes_of(sweep: SweepRecord) -> tuple[Resolved, Resolved]:
    """Modes that a sweep has settled on."""
    return cast(Resolved, sweep.train_mode), cast(Resolved, sweep.score_mode)


def _open_mirror(
    store: Store, writer: Writer, sweep: SweepRecord, spec: SweepSpec, location: Location
) -> Mirror | None:
    if not spec.tracking.enabled:
        return None
    writer.enqueue([opened_entry(spec, sweep, writer.generation)])
    return start_mirror(store, sweep.id, location)


def start_mirror(store: Store, sweep_id: int, location: Location) -> Mirror:
    """Mirror that sends what is left for it, from now on."""
    mirror = Mirror(store, sweep_id, lambda: MlflowSink(location.tracking_url, location.artifact_folder))
    mirror.start()
    return mirror
