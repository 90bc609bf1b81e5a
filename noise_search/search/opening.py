"""Open a sweep: find or create it, take its lease, build what it trains on, start its mirror."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import cast

from noise_search.data import Dataset
from noise_search.errors import CallerError
from noise_search.execute import Executor, make_executor, refuse_unready
from noise_search.search.asking import Study
from noise_search.search.identity import default_name, digest_of, identity_of, refuse_another
from noise_search.search.mirroring import member_name, opened_entry
from noise_search.search.observing import Observer, observer_of
from noise_search.search.sending import sending, start_mirror
from noise_search.search.space import Picked, has_branches, searched
from noise_search.search.warm_start import warm_starts
from noise_search.spec import SweepSpec
from noise_search.store import FINAL_STATES, Location, MemberRecord, Store, SweepRecord, Writer, is_current, open_store
from noise_search.tracking.mirror import Mirror
from noise_search.tracking.mlflow_sink import create_schema as create_tracking_schema
from noise_search.tracking.places import tracking_uri
from noise_search.training import Resolved, Workbench, provisional_workbench
from noise_search.training.fusability import refuse_unfusable
from noise_search.training.modes import resolve_modes, slots_are_bitwise
from noise_search.training.threads import cpu_threads

_log = logging.getLogger(__name__)
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
    checkpoint_folder: str
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
    if not is_current(location, patient=True):  # none yet, half made, or older: opening it for the sweep sees to that
        return None
    with open_store(location, create=False, patient=True) as store:
        sweep = _found(store, plan)
        if sweep is None:
            return None
        trials = [member for member in store.members(sweep.id) if member.number is not None]
        ended = all(member.state in FINAL_STATES for member in trials)  # not where time was up first
        reached = sweep.state == "complete" and len(trials) >= plan.spec.budget.trials and ended
        return sweep if reached and not (plan.spec.tracking.enabled and _is_behind(store, sweep, plan.spec)) else None


@contextmanager
def open_sweep(plan: Plan, location: Location) -> Iterator[OpenSweep]:
    """Create or continue a sweep; on leaving, its mirror is drained and its lease given back.

    Raises:
        CallerError: The store cannot be used, the name is another search's, or somebody else drives the sweep.
    """
    spec = plan.spec
    refuse_unready(spec.executor)
    with cpu_threads(spec.train.threads):
        workbench = provisional_workbench(plan.spec, dataset=plan.dataset)
        refuse_unfusable(workbench, spec.train.mode, spec.train.score_mode)
        with open_store(location, create=True, patient=True) as store:
            if spec.tracking.enabled and spec.tracking.uri is None:
                create_tracking_schema(location.tracking_url)
            found = store.find_sweep(plan.name)
            sweep = found or _create(store, plan)
            refuse_another(sweep, plan.identity)
            with store.take_lease(sweep.id) as writer, _gone_if_refused(store, writer, is_new=found is None):
                sweep = _settled(store, writer, sweep, plan, workbench)
                with closing(make_executor(spec.executor, workbench, *modes_of(sweep))) as executor:
                    sweep = _begun(store, writer, sweep, spec)
                    with observer_of(store, sweep, location, spec.log, writer.generation) as observer:
                        study = _study(store, writer, sweep, plan)
                        mirror = _open_mirror(store, writer, sweep, spec)
                        folder = checkpoint_folder(location, sweep)
                        with sending(mirror, store, sweep), closing(executor):  # first: who waits trains nothing
                            yield OpenSweep(spec, sweep, store, writer, study, executor, mirror, folder, observer)


@contextmanager
def _gone_if_refused(store: Store, writer: Writer, *, is_new: bool) -> Iterator[None]:
    """Leave nothing of a new sweep that is refused before it has begun, as where its workers cannot be had."""
    try:
        yield
    except CallerError:
        if is_new and not store.members(writer.sweep_id) and not store.outbox_keys(writer.sweep_id):
            writer.remove_sweep()
        raise


def checkpoint_folder(location: Location, sweep: SweepRecord) -> str:
    """Where a sweep's checkpoints lie, a path or a URL: with its other files, or where its last run put them.

    In a place that stores share the name of a sweep has the moment of its making behind it, as there may be others of
    that name.
    """
    shared = _shared_checkpoints(sweep)
    if shared is None:
        return str(location.sweep_folder(sweep.name) / "checkpoints")
    return f"{shared.rstrip('/')}/{sweep.name}-{sweep.created_at:%Y%m%d%H%M%S%f}"


def _shared_checkpoints(sweep: SweepRecord) -> str | None:
    store = cast(Mapping[str, str | None], sweep.config.get("store", {}))
    return store.get("checkpoints")  # sweeps of earlier versions have none


def unmirrored(store: Store, sweep_id: int) -> list[MemberRecord]:
    """Finished members that were never left for the mirror: those of runs without tracking."""
    keys = store.outbox_keys(sweep_id)
    return [m for m in store.members(sweep_id) if m.state in FINAL_STATES and member_name(m) not in keys]


def _study(store: Store, writer: Writer, sweep: SweepRecord, plan: Plan) -> Study:
    spec, storage = plan.spec, store.optuna_storage()
    storage.patience.before_again = writer.renew  # Optuna knows no lease, and its database may have been away for long
    return Study(storage, sweep.name, spec.space, spec.objective, spec.sampler, spec.seed, plan.warm_start)


def _create(store: Store, plan: Plan) -> SweepRecord:
    return store.create_sweep(
        name=plan.name,
        digest=plan.digest,
        identity=plan.identity,
        config=dict(plan.spec.raw),
        budget_trials=plan.spec.budget.trials,
    )


def _settled(store: Store, writer: Writer, sweep: SweepRecord, plan: Plan, workbench: Workbench) -> SweepRecord:
    """The sweep with its modes, which are settled once for all."""
    writer.update_sweep(stop_requested=False)  # from here on somebody may ask for it
    if sweep.train_mode is None:
        train = plan.spec.train
        mode, score_mode = resolve_modes(workbench, train.mode, train.score_mode, width=widest_job(plan.spec))
        bitwise = mode == "looped" or slots_are_bitwise(workbench)
        writer.update_sweep(train_mode=mode, score_mode=score_mode, bitwise=bitwise)
    return store.sweep(sweep.name)


def _begun(store: Store, writer: Writer, sweep: SweepRecord, spec: SweepSpec) -> SweepRecord:
    """The sweep with the budget that this run goes for, and where what it makes is: from now on it has begun."""
    if _is_moved(spec, sweep):
        if store.outbox_keys(sweep.id):
            _tell_of_move(spec, sweep)
        writer.send_again()
    writer.update_sweep(
        state="running",
        budget_trials=spec.budget.trials,
        config={**sweep.config, "budget": spec.raw["budget"], **_places(spec, sweep)},
        finished_at=None,
    )
    return store.sweep(sweep.name)


def _tell_of_move(spec: SweepSpec, sweep: SweepRecord) -> None:
    own = "the store's own database"
    now, before = spec.tracking.uri or own, tracking_uri(sweep.config) or own
    _log.warning("runs of %s: from now on in %s, which gets all of them; were in %s", sweep.name, now, before)


def _places(spec: SweepSpec, sweep: SweepRecord) -> dict[str, object]:
    """Nodes of the configuration that say where this run trains, and keeps its runs in MLflow and its checkpoints."""
    before, now = _shared_checkpoints(sweep), spec.store.checkpoints
    if before != now:
        _log.warning("checkpoints of %s: from now on in %s, was %s, where they stay", sweep.name, now, before)
    tracking = {"tracking": spec.raw["tracking"]} if spec.tracking.enabled else {}
    kept = {**cast(Mapping[str, object], sweep.config.get("store", {})), "checkpoints": now}
    return {"store": kept, "executor": spec.raw["executor"], **tracking}


def widest_job(spec: SweepSpec) -> int:
    """Slots of the widest job of a sweep: what its modes are chosen for."""
    members = max(spec.sampler.batch, 1 + spec.controls.constants + spec.controls.random)
    return min(spec.driver.cohort, members * spec.budget.seeds)


def modes_of(sweep: SweepRecord) -> tuple[Resolved, Resolved]:
    """Modes that a sweep has settled on."""
    return cast(Resolved, sweep.train_mode), cast(Resolved, sweep.score_mode)


def _is_behind(store: Store, sweep: SweepRecord, spec: SweepSpec) -> bool:
    return _is_moved(spec, sweep) or store.unsent_count(sweep.id) > 0 or bool(unmirrored(store, sweep.id))


def _is_moved(spec: SweepSpec, sweep: SweepRecord) -> bool:
    """Whether runs go to another place than before, which then is to have all of them."""
    return spec.tracking.enabled and tracking_uri(sweep.config) != spec.tracking.uri


def _open_mirror(store: Store, writer: Writer, sweep: SweepRecord, spec: SweepSpec) -> Mirror | None:
    if not spec.tracking.enabled:
        return None
    writer.enqueue([opened_entry(spec, sweep, writer.generation)])
    return start_mirror(store, sweep)
