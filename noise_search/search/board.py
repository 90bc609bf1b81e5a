"""How every trial and control of a sweep stands, in memory: what the driver decides from.

The store is read once, when a driver starts; from then on whatever is stored is noted here too. A driver that died
leaves nothing that its successor does not find.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from noise_search.policy import Policy, policy_from_list
from noise_search.search.results import constraints_of, means
from noise_search.search.stopping import Ranking, Standing, exposures, is_protected, ranked, silent_steps
from noise_search.spec import SweepSpec
from noise_search.store import FINAL_STATES, MemberRecord, NewResult, RungScores, Store

NO_NOISE_CONTROL = "no_noise"
_KEPT = ("clean", "robust", "worst_family", "score")


@dataclass(slots=True)
class Seat:
    """One trial or control.

    Args:
        id, number, control: As in the store.
        policy: What it trains with.
        target: Epoch up to which it may train so far.
        state: As in the store, but `running` is `waiting`: only the driver that runs a job knows of it.
        exposure: Share of its noise that has acted, at every rung.
        silent: Steps before its noise begins.
        told: Whether Optuna knows how it ended.
        constraints: By name, violated where positive.
        scores: Epoch -> clean, robust, worst_family and score, means over seeds.
        checkpoints: Epoch -> seed -> where its state lies.
        reached: Epochs it has trained, the last of `scores`: asked far more often than it changes.
        busy: Whether it is in a job under way.
    """

    id: int
    number: int | None
    control: str | None
    policy: Policy
    target: int
    state: str
    attempts: dict[str, int]
    overuse: str | None
    exposure: tuple[float, ...]
    silent: int
    told: bool
    constraints: dict[str, float]
    scores: dict[int, dict[str, float]] = field(default_factory=dict)
    checkpoints: dict[int, dict[int, dict[str, str]]] = field(default_factory=dict)
    reached: int = 0
    busy: bool = False

    @property
    def name(self) -> str:
        """As people see it."""
        return f"trial {self.number}" if self.control is None else f"control {self.control}"


class Board:
    """All seats of a sweep.

    Args:
        spec: Of the sweep.
        rungs: Epochs at which trials are judged, the last of training among them.
        steps_per_epoch: Batches of an epoch.
    """

    def __init__(self, spec: SweepSpec, rungs: Sequence[int], steps_per_epoch: int) -> None:
        self.rungs = tuple(rungs)
        self.steps_per_epoch = steps_per_epoch
        self._spec = spec
        self._seats: dict[int, Seat] = {}
        self._trials: dict[int, Seat] = {}
        self._controls: list[Seat] = []
        self._live: dict[int, Seat] = {}
        self._best: Seat | None = None
        self._standings: dict[int, dict[int, Standing]] = {epoch: {} for epoch in self.rungs[:-1]}
        self._rankings: dict[int, Ranking] = {}

    def load(self, store: Store, sweep_id: int) -> None:
        """Take over what the store holds."""
        self.add(store.members(sweep_id))
        results: dict[tuple[int, int], list[RungScores]] = {}
        for found in store.rung_scores(sweep_id):
            results.setdefault((found.member_id, found.epoch), []).append(found)
        for (member_id, epoch), rows in results.items():
            self._note(self._seats[member_id], epoch, [row.scores for row in rows])
            kept = {row.seed: row.checkpoint for row in rows if row.checkpoint is not None}
            self._seats[member_id].checkpoints[epoch] = kept
        for seat in self._trials.values():
            self._note_best(seat)
            self._note_standings(seat)

    def add(self, members: Iterable[MemberRecord]) -> None:
        """Give members a seat; those that have one keep it."""
        for member in members:
            if member.id not in self._seats:
                self._take(self._seat(member))

    def store_results(self, results: Sequence[NewResult]) -> None:
        """Note results that were stored."""
        grouped: dict[tuple[int, int], list[NewResult]] = {}
        for result in results:
            grouped.setdefault((result.member_id, result.epoch), []).append(result)
        for (member_id, epoch), rows in grouped.items():
            seat = self._seats[member_id]
            self._note(seat, epoch, [row.scores for row in rows])
            seat.checkpoints[epoch] = {row.seed: row.checkpoint for row in rows if row.checkpoint is not None}
            seat.overuse = rows[0].overuse or seat.overuse
            seat.constraints = dict(rows[0].constraints)
            self.set_state(seat, rows[0].state)

    def set_state(self, seat: Seat, state: str) -> None:
        """Note a state that was stored."""
        seat.state = state
        if state in FINAL_STATES:
            self._live.pop(seat.id, None)
        self._note_best(seat)
        self._note_standings(seat)

    def due(self) -> list[Seat]:
        """Who may train and does not: controls first, then trials in order."""
        due = [seat for seat in self._live.values() if seat.reached < seat.target and not seat.busy]
        return sorted(due, key=lambda seat: (seat.control is None, seat.number or 0, seat.id))

    def waiting(self, rung: int) -> list[Seat]:
        """Trials that stand at a rung, neither due nor ended."""
        return [
            seat
            for seat in self._live.values()
            if seat.control is None and seat.reached == rung and seat.target <= rung
        ]

    def ranking(self, rung: int) -> Ranking:
        """Of all trials that have reached a rung, which is not the last; found anew where any of them has changed."""
        if rung not in self._rankings:
            self._rankings[rung] = ranked(list(self._standings[rung].values()), self._spec.stopping)
        return self._rankings[rung]

    def judged_first(self) -> int:
        """Trials that have reached the first rung and not diverged there."""
        return sum(not one.diverged for one in self._standings[self.rungs[0]].values())

    def after(self, epoch: int) -> int:
        """Next rung after an epoch."""
        return next(rung for rung in self.rungs if rung > epoch)

    @property
    def best(self) -> Seat | None:
        """Complete trial within its limits with the highest score, the later of two alike; None before there is one."""
        return self._best

    @property
    def has_trials(self) -> bool:
        """Whether there are others than controls."""
        return bool(self._trials)

    def trial(self, number: int) -> Seat:
        """Seat of a trial."""
        return self._trials[number]

    def seat(self, member_id: int) -> Seat:
        """Seat of a member."""
        return self._seats[member_id]

    def seats(self) -> Iterable[Seat]:
        """All of them."""
        return self._seats.values()

    def controls(self) -> Sequence[Seat]:
        """Seats of the controls."""
        return self._controls

    def control(self) -> Seat:
        """Seat of the control without noise."""
        return next(seat for seat in self._controls if seat.control == NO_NOISE_CONTROL)

    def is_silent_until(self, seat: Seat, epoch: int) -> bool:
        """Whether nothing of a trial's noise acts before the end of an epoch."""
        return seat.silent >= epoch * self.steps_per_epoch

    def _seat(self, member: MemberRecord) -> Seat:
        policy, steps = policy_from_list(member.policy), self.rungs[-1] * self.steps_per_epoch
        last = self.rungs[-1] if member.control is not None else self.rungs[0]
        judged = len(self.rungs) > 1 and member.control is None
        tables = policy.tabulate(steps)
        return Seat(
            id=member.id,
            number=member.number,
            control=member.control,
            policy=policy,
            target=max(member.target_epoch, last),
            state="waiting" if member.state == "running" else member.state,
            attempts=dict(member.attempts),
            overuse=member.overuse,
            exposure=exposures(tables, [rung * self.steps_per_epoch for rung in self.rungs]) if judged else (),
            silent=silent_steps(tables, steps),
            told=member.told,
            constraints=dict(member.constraints),
        )

    def _take(self, seat: Seat) -> None:
        self._seats[seat.id] = seat
        if seat.number is None:
            self._controls.append(seat)
        else:
            self._trials[seat.number] = seat
        if seat.state not in FINAL_STATES:
            self._live[seat.id] = seat

    def _note(self, seat: Seat, epoch: int, found: Sequence[Mapping[str, float]]) -> None:
        seat.scores[epoch] = means([{key: one[key] for key in _KEPT} for one in found])
        seat.reached = max(seat.reached, epoch)

    def _note_best(self, seat: Seat) -> None:
        within = all(value <= 0.0 for value in seat.constraints.values())
        if seat.number is not None and seat.state == "complete" and within:
            last = self.rungs[-1]
            both = [seat] if self._best is None else [seat, self._best]
            self._best = max(both, key=lambda one: (one.scores[last]["score"], one.number or 0))

    def _note_standings(self, seat: Seat) -> None:
        """How a trial stands at the rungs that it has reached, whenever anything of it has changed."""
        if seat.number is None:
            return
        for index, rung in enumerate(self.rungs[:-1]):
            if rung not in seat.scores:
                continue
            standing = self._standing(seat, index)
            if standing != self._standings[rung].get(seat.number):
                self._standings[rung][seat.number] = standing
                self._rankings.pop(rung, None)

    def _standing(self, seat: Seat, index: int) -> Standing:
        rung = self.rungs[index]
        scores, stands_here = seat.scores[rung], seat.reached == rung
        return Standing(
            number=seat.number or 0,
            score=scores["score"],
            point=(scores["clean"], scores["robust"]),
            # What came later is no reason to let another go on from here in its place.
            diverged=seat.state == "infeasible" and stands_here,
            protected=self._spec.stopping.protect and is_protected(seat.exposure, index),
            overuse=seat.overuse if stands_here else None,
            over=self._over(scores, rung),
        )

    def _over(self, scores: Mapping[str, float], rung: int) -> float:
        """By how much a trial is over its limits at a rung."""
        objective = self._spec.objective
        if objective.clean_drop is None and objective.family_drop is None:
            return 0.0  # a board may then do without the control
        found = constraints_of(objective, scores, self.control().scores[rung], diverged=False)
        return sum(max(value, 0.0) for value in found.values())
