"""What Optuna is told of a trial, from how it stands."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import TrialState

from noise_search.search.asking import Outcome
from noise_search.search.board import Seat
from noise_search.search.opening import OpenSweep
from noise_search.store import FINAL_STATES

_STATES = {
    "complete": TrialState.COMPLETE,
    "infeasible": TrialState.COMPLETE,  # at the finite worst, with a constraint that is violated: never NaN
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
_WORST = 0.0  # accuracy above chance


def tell_finished(opened: OpenSweep, seats: Sequence[Seat]) -> None:
    """Tell Optuna the outcome of those that have ended and of which it does not know, in trial order."""
    untold = sorted(
        (seat for seat in seats if seat.number is not None and seat.state in FINAL_STATES and not seat.told),
        key=lambda seat: seat.number or 0,
    )
    if not untold:
        return
    opened.writer.renew()  # Optuna knows no lease: make sure of ours before writing there
    opened.study.tell_all({seat.number: _outcome(opened, seat) for seat in untold if seat.number is not None})
    opened.writer.mark_told([seat.id for seat in untold])
    for seat in untold:
        seat.told = True


def show_waiting(opened: OpenSweep, seats: Sequence[Seat]) -> None:
    """Let samplers see how trials stand that wait at a rung, in trial order."""
    for seat in sorted(seats, key=lambda seat: seat.number or 0):
        if seat.number is not None and seat.state not in FINAL_STATES and seat.reached:
            opened.study.pause(seat.number, seat.reached, seat.scores[seat.reached]["score"], seat.constraints)


def _outcome(opened: OpenSweep, seat: Seat) -> Outcome:
    state = _STATES[seat.state]
    if state is TrialState.FAIL or not seat.scores:
        return Outcome(TrialState.FAIL)
    scores = seat.scores[seat.reached]
    keys = ("clean", "robust") if opened.spec.objective.name == "pareto" else ("score",)
    # Of one that diverged with some of its seeds too: what the others have found is no value of it.
    values = tuple(_WORST if seat.state == "infeasible" else scores[key] for key in keys)
    return Outcome(state, values, seat.reached, seat.constraints)
