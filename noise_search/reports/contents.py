"""Everything that the page of a sweep says, read from the store: no data are read and nothing trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any, cast

from noise_search.policy import Policy, policy_from_list
from noise_search.search.confirm_mirroring import STAGES
from noise_search.search.confirmed import Measured, kinds_of, latest_measured
from noise_search.search.evidence import NO_NOISE, WINNER, seen_families
from noise_search.search.fronts import FrontRow, complete_rows
from noise_search.search.leads import Lead, lead
from noise_search.search.pick import pick_row
from noise_search.search.progress import progress
from noise_search.store import (
    FINAL_STATES,
    ConfirmationRecord,
    Confirmed,
    MemberRecord,
    ResultRecord,
    Store,
    SweepRecord,
)

Scored = ResultRecord | Confirmed
PICKS = ("best", "knee")
STEPS = 201  # at which schedules are drawn
_EVEN = 0.02  # share of the noise by which the halves of training differ at least where one has more


@dataclass(frozen=True, slots=True)
class Life:
    """How far a trial came.

    Args:
        number: Of the trial.
        shape: Of its schedules, see `shape_of`.
        reached: Last epoch that it was scored after; 0 before the first.
        state, reason, overuse: As the store has them.
    """

    number: int
    shape: str
    reached: int
    state: str
    reason: str | None
    overuse: str | None


@dataclass(frozen=True, slots=True)
class Gains:
    """What a policy gains over no noise, by kind of corruption and severity.

    Args:
        who: Whose they are.
        by_kind: Kind -> one difference of accuracy a severity.
        families: Family -> its kinds.
        seen: Families that a noise of the policy belongs to.
    """

    who: str
    by_kind: Mapping[str, Sequence[float]]
    families: Mapping[str, Sequence[str]]
    seen: frozenset[str]


@dataclass(frozen=True, slots=True)
class Part:
    """What a part of the work cost.

    Args:
        name: Of the part.
        epochs: Of single trainings.
        samples: That were scored; None where nobody counted.
        seconds: Of the two stages of a confirmation, of which only the sum is known, in the proportion of their epochs.
    """

    name: str
    epochs: int
    samples: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Contents:
    """What a page says.

    Args:
        sweep: As the store has it.
        state: How it stands.
        numbers: As `progress` gives them.
        rows: Every complete trial and control.
        picks: Rule -> the trial that it picks; none without a front.
        lives: Of every trial.
        searched: Gains of the pick with the best score, on validation; None without it or its control.
        measured: The latest finished confirmation.
        confirmed: Gains of its winner, on test.
        cost: By part.
        saved_by_stopping: Epochs that stopped trials did not train.
        importance: Of the knobs; None where it was not found.
        lead: Of the best trial over the best control; None before both are complete.
    """

    sweep: SweepRecord
    state: str
    numbers: Mapping[str, Any]
    rows: tuple[FrontRow, ...]
    picks: Mapping[str, FrontRow]
    lives: tuple[Life, ...]
    searched: Gains | None
    measured: Measured | None
    confirmed: Gains | None
    cost: tuple[Part, ...]
    saved_by_stopping: int
    importance: Mapping[str, Any] | None
    lead: Lead | None

    @property
    def winner(self) -> str | None:
        """Who won the latest finished confirmation, as in `trial 3`."""
        return None if self.measured is None else self.measured.chosen[WINNER]

    @property
    def epochs(self) -> int:
        """Epochs of a whole training."""
        return epochs_of(self.sweep)

    def to_mapping(self) -> dict[str, Any]:
        """The numbers as plain data."""
        measured = self.measured
        return {
            "name": self.sweep.name,
            "state": self.state,
            **self.numbers,
            "rows": [asdict(row) for row in self.rows],
            "picks": {rule: row.trial for rule, row in self.picks.items()},
            "lives": [asdict(life) for life in self.lives],
            "winner": self.winner,
            "confirmation": None if measured is None else measured.record.number,
            "evidence": None if measured is None else asdict(measured.evidence),
            "gains_searched": _by_kind(self.searched),
            "gains_confirmed": _by_kind(self.confirmed),
            "cost": [asdict(part) for part in self.cost],
            "epochs_saved_by_stopping": self.saved_by_stopping,
            "importance": self.importance,
            "lead": self.lead and asdict(self.lead),
        }


def _by_kind(gains: Gains | None) -> dict[str, list[float]] | None:
    return None if gains is None else {kind: list(row) for kind, row in gains.by_kind.items()}


def read(store: Store, sweep: SweepRecord, state: str) -> Contents:
    """What there is to say of a sweep.

    Args:
        store: Open.
        sweep: Of which.
        state: How it stands, which its driver knows before the store does.
    """
    rows = tuple(complete_rows(store, sweep.id))
    picks = {rule: pick_row(rows, rule) for rule in PICKS} if any(row.on_front for row in rows) else {}
    members = store.members(sweep.id)
    lives = tuple(_lives(store, sweep, members))
    measured = latest_measured(store, sweep.id)
    return Contents(
        sweep=sweep,
        state=state,
        numbers=progress(store, sweep, is_driven=state == "running"),
        rows=rows,
        picks=picks,
        lives=lives,
        searched=_searched(store, sweep, members, picks.get("best")),
        measured=measured,
        confirmed=None if measured is None else confirmed_gains(measured),
        cost=tuple(_cost(store, sweep)),
        saved_by_stopping=sum(epochs_of(sweep) - life.reached for life in lives if life.state == "stopped")
        * seeds_of_trials(sweep),
        importance=sweep.importance,
        lead=lead(store, sweep, rows),
    )


def epochs_of(sweep: SweepRecord) -> int:
    """Epochs of a whole training."""
    return cast(int, cast(Mapping[str, Any], sweep.config["train"])["epochs"])


def seeds_of_trials(sweep: SweepRecord) -> int:
    """Seeds that every trial trains with."""
    return cast(int, sweep.identity.get("budget.seeds", 1))


# --- survival ---


def _lives(store: Store, sweep: SweepRecord, members: Sequence[MemberRecord]) -> Iterable[Life]:
    reached: dict[int, int] = {}
    for row in store.rung_scores(sweep.id):
        reached[row.member_id] = max(row.epoch, reached.get(row.member_id, 0))
    for one in members:
        if one.number is not None:
            shape = shape_of(policy_from_list(one.policy))
            yield Life(one.number, shape, reached.get(one.id, 0), one.state, one.reason, one.overuse)


def shape_of(policy: Policy) -> str:
    """In which half of training a policy has most of its noise: `constant`, `falling`, `rising`, `even` or `no noise`.

    Every term counts as much, whatever its magnitude; `even` are schedules that move and have as much in both.

    >>> shape_of(Policy())
    'no noise'
    """
    tables = [table for table in policy.tabulate(STEPS).values() if float(table.sum()) > 0]
    if not tables:
        return "no noise"
    if all(bool((table == table[0]).all()) for table in tables):
        return "constant"
    half = STEPS // 2  # the step in the middle belongs to neither
    early = fmean(float((table[:half].sum() - table[-half:].sum()) / table.sum()) for table in tables)
    if abs(early) <= _EVEN:
        return "even"
    return "falling" if early > 0 else "rising"


# --- robustness ---


def _searched(store: Store, sweep: SweepRecord, members: Sequence[MemberRecord], best: FrontRow | None) -> Gains | None:
    """Gains of a trial over the control without noise, on validation."""
    control = next((m for m in members if m.control == "no_noise" and m.state == "complete"), None)
    trial = next((m for m in members if best is not None and m.number == best.trial), None)
    if control is None or trial is None:
        return None
    last: dict[int, list[Scored]] = {control.id: [], trial.id: []}
    for row in store.results(sweep.id, member_ids=list(last)):
        if row.epoch == epochs_of(sweep):
            last[row.member_id].append(row)
    policy = policy_from_list(trial.policy)
    return _gains(f"trial {trial.number}", last[trial.id], last[control.id], seen_families(policy))


def confirmed_gains(measured: Measured) -> Gains | None:
    """Gains of the winner over no noise, on test; a training that diverged is at chance, as in the evidence."""
    own, control = ([one for one in measured.arms if one.arm == arm] for arm in (WINNER, NO_NOISE))
    chance = 1.0 / measured.yard.classes
    own, control = ([_at_chance(one, chance) if one.diverged else one for one in some] for some in (own, control))
    return _gains(measured.chosen[WINNER], own, control, measured.yard.seen)


def _at_chance(one: Confirmed, chance: float) -> Confirmed:
    return replace(one, cells={kind: [chance] * len(column) for kind, column in one.cells.items()})


def _gains(who: str, own: Sequence[Scored], control: Sequence[Scored], seen: frozenset[str]) -> Gains | None:
    if not own or not control:
        return None
    families = kinds_of(own[0].cells)
    kinds = [kind for of_family in families.values() for kind in of_family]
    levels = [{kind: _levels(some, kind) for kind in kinds} for some in (own, control)]
    by_kind = {kind: [a - b for a, b in zip(levels[0][kind], levels[1][kind], strict=True)] for kind in kinds}
    return Gains(who, by_kind, families, seen & families.keys())


def _levels(some: Sequence[Scored], kind: str) -> list[float]:
    """Accuracy at every severity, means over trainings."""
    return [fmean(column) for column in zip(*(one.cells[kind] for one in some), strict=True)]


# --- cost ---


def _cost(store: Store, sweep: SweepRecord) -> Iterable[Part]:
    """The sweep, its rivals, and every confirmation: the latest alone would leave out what others cost."""
    yield _of_sweep("sweep", store, sweep)
    confirmations = store.confirmations(sweep.id)
    rivals = [cast(Sequence[Any], one.settings["constants"]) for one in confirmations]
    for name in dict.fromkeys(str(name) for name, trials in rivals if trials):
        if constants := store.find_sweep(name):
            yield _of_sweep("search among constants", store, constants)
    for one in confirmations:
        yield from _of_confirmation(one, store.confirmed(one.id), epochs_of(sweep))


def _of_confirmation(record: ConfirmationRecord, trainings: Sequence[Confirmed], epochs: int) -> Iterable[Part]:
    """Stages of a confirmation, finished or not, that have trained anything."""
    for stage, called in STAGES.items():
        if count := sum(one.stage == stage for one in trainings):
            seconds = record.seconds * count / len(trainings)
            yield Part(f"confirmation {record.number}, {called}", count * epochs, None, round(seconds, 1))


def _of_sweep(name: str, store: Store, sweep: SweepRecord) -> Part:
    jobs = store.jobs(sweep.id)
    epochs, samples = sum(job.epochs_trained for job in jobs), sum(job.samples_scored for job in jobs)
    return Part(name, epochs, samples, round(sweep.seconds, 1))


def ended_early(lives: Iterable[Life]) -> list[Life]:
    """Trials that came to an end before their training did, or to none."""
    return [life for life in lives if life.state in FINAL_STATES - {"complete"}]
