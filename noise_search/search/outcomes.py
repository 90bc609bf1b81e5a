"""From what a job has found to what is stored of each trial: scores, constraints, overuse, state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from noise_search.errors import CallerError
from noise_search.metrics import combined, relative_corruption_error
from noise_search.search.board import NO_NOISE_CONTROL, Board, Seat
from noise_search.search.overuse import overuse
from noise_search.search.results import Row, constraints_of, correct_by_epoch, joined_history, mean_scores
from noise_search.spec import SweepSpec
from noise_search.store import NewResult, Store
from noise_search.training import Result

DIVERGED = "diverged: loss or gradient was not finite"
Cells = Mapping[str, Sequence[float]]


class Reference:
    """The no-noise control: what trials are compared with, at the same epoch and seed.

    Args:
        epochs: Of the whole training.
        samples: Of the validation split.
    """

    def __init__(self, epochs: int, samples: int) -> None:
        self._epochs, self._samples = epochs, samples
        self._rows: dict[tuple[int, int], Row] = {}
        self._correct: dict[int, list[str]] = {}

    def load(self, store: Store, sweep_id: int, board: Board) -> None:
        """Take over what the store holds."""
        self.note(store.results(sweep_id, member_ids=[board.control().id]))

    def note(self, rows: Sequence[Row]) -> None:
        """Take over rows of the control, all seeds of an epoch together."""
        for row in rows:
            self._rows[row.epoch, row.seed] = row
        self._correct |= correct_by_epoch(rows)

    def rows(self, epoch: int) -> list[Row]:
        """Of the control after an epoch, one a seed."""
        return [row for (at, _), row in self._rows.items() if at == epoch]

    def cells(self, epoch: int, seed: int) -> Cells:
        """Accuracies of the control, by kind of corruption."""
        return self._rows[epoch, seed].cells

    def overuse(self, correct: Mapping[int, Sequence[str]], history: Sequence[Mapping[str, float]]) -> str | None:
        """Why a trial's noise is called overused."""
        return overuse(correct, self._correct, history, samples=self._samples, epochs=self._epochs)

    def scores(self, epoch: int) -> dict[str, float]:
        """Of the control after an epoch, means over seeds."""
        return mean_scores(self.rows(epoch))


def refuse_diverged(spec: SweepSpec, control: Seat) -> None:
    """Refuse to search where there is nothing to compare with.

    Raises:
        CallerError: The control without noise diverged.
    """
    if control.state == "infeasible":
        raise CallerError(
            f"optimizer.lr: the control without noise diverged at epoch {control.reached} with {spec.optimizer.lr:g}, "
            "so that nothing can be compared with it; lower optimizer.lr or train.clip"
        )


def first_rows(spec: SweepSpec, seats: Sequence[Seat], results: Sequence[Result]) -> list[NewResult]:
    """Results as they came, one a slot, each with its score."""
    by_name = {str(seat.id): seat for seat in seats}
    return [
        NewResult(
            member_id=by_name[result.member].id,
            epoch=result.epoch,
            seed=result.seed,
            state="waiting",
            reason=None,
            scores={
                **result.scores,
                "score": combined(result.scores["clean"], result.scores["robust"], spec.objective.weight),
            },
            cells=dict(result.cells),
            history=[dict(row) for row in result.history],
            seconds=result.seconds,
            checkpoint=None if result.checkpoint is None else dict(result.checkpoint),
            correct={str(epoch): text for epoch, text in result.correct.items()},
        )
        for result in results
    ]


def with_comparisons(spec: SweepSpec, rows: Sequence[NewResult], reference: Reference) -> list[NewResult]:
    """Rows with what needs the control: relative mCE."""
    kinds = {kind.name for kind in spec.suite.kinds}

    def compared(row: NewResult) -> NewResult:
        control = reference.cells(row.epoch, row.seed)
        own, theirs = ({kind: cells[kind] for kind in cells if kind in kinds} for cells in (row.cells, control))
        error = relative_corruption_error(own, row.cells["clean"][0], theirs, control["clean"][0])
        return replace(row, scores={**row.scores, "relative_mce": error})

    return [compared(row) for row in rows]


def settled(
    spec: SweepSpec,
    seat: Seat,
    rows: Sequence[NewResult],
    earlier: Sequence[Row],
    reference: Reference,
    *,
    diverged: bool,
    silent: bool,
) -> list[NewResult]:
    """Rows of one member, one a seed, with the state they leave it in, its constraints and overuse.

    Args:
        spec: Of the sweep.
        seat: Of the member.
        rows: New ones, all of one epoch.
        earlier: Those of earlier rungs.
        reference: The control.
        diverged: Whether it diverged with any seed.
        silent: Whether nothing of its noise has acted yet, so that none can be overused.
    """
    epoch, last = rows[0].epoch, rows[0].epoch == spec.train.epochs
    state = "infeasible" if diverged else "complete" if last else "waiting"
    constraints = constraints_of(spec.objective, mean_scores(rows), reference.scores(epoch), diverged=diverged)
    reason = DIVERGED if diverged else seat.overuse
    is_control = seat.control == NO_NOISE_CONTROL
    if seat.overuse is None and not diverged and not is_control and not silent:
        history = joined_history([*earlier, *rows])
        reason = reference.overuse(correct_by_epoch(rows), history)
    return [
        replace(
            row,
            state=state,
            reason=DIVERGED if diverged else None,
            overuse=None if diverged else reason,
            constraints=constraints,
            correct=row.correct if is_control else {},
        )
        for row in rows
    ]


def taken_from_control(spec: SweepSpec, rows: Sequence[Row], seat: Seat) -> list[NewResult]:
    """What a trial would have found whose noise has not begun: what the control has."""
    scores = mean_scores(rows)
    silent = {f"magnitude/{term.key}": 0.0 for term in seat.policy.terms}
    return [
        NewResult(
            member_id=seat.id,
            epoch=row.epoch,
            seed=row.seed,
            state="waiting",
            reason=None,
            scores=dict(row.scores),
            cells=dict(row.cells),
            history=[_with_magnitudes(entry, silent) for entry in row.history],
            seconds=0.0,
            constraints=constraints_of(spec.objective, scores, scores, diverged=False),
            shared=True,
            checkpoint=row.checkpoint,
        )
        for row in rows
    ]


def _with_magnitudes(entry: Mapping[str, float], magnitudes: Mapping[str, float]) -> dict[str, float]:
    """An epoch's row with magnitudes where training puts them: after the loss, before the scores."""
    first = {key: entry[key] for key in ("epoch", "lr", "train/loss")}
    return {**first, **magnitudes, **{key: value for key, value in entry.items() if key not in first}}
