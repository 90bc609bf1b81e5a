"""`noise-search confirm`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from noise_search.cli.running import DONE, INTERRUPTED, AddCommand, progress, terminated_as_interrupted
from noise_search.cli.show import duration, print_json, print_table

if TYPE_CHECKING:
    from noise_search.commands import ConfirmOutcome, ConfirmPlan
    from noise_search.search.evidence import Comparison
    from noise_search.search.learning_rates import RateCheck
    from noise_search.statistics import PairedDifference

TOO_LARGE_IN_SD = 3.0  # noise rarely gains more
_FEW = "; with so few seeds hardly any gain shows, raise --measure-seeds"
_NUMBERS = {
    "top": "policies of the front, and constant ones, that race (default: 4)",
    "randoms": "policies drawn at random (default: 3)",
    "seeds": "fresh seeds of stage 1, on validation (default: 3)",
    "measure_seeds": "other seeds of stage 2, on test (default: 10 for small data, else 5)",
    "constant_trials": "trials of the search among constant policies (default: as many as the sweep has)",
}


def add_confirm(command: AddCommand) -> None:
    """Add the command to the command line."""
    confirm = command(
        "confirm",
        _confirm,
        "confirm a sweep's front: choose on validation with fresh seeds, measure on test with others",
        "executor=... and executor.KEY=... train elsewhere than the sweep did, such as executor=processes.",
    )
    confirm.add_argument("name", metavar="NAME")
    confirm.add_argument("--rule", default="best", metavar="RULE", help="that picks the winner, as of pick")
    for name, what in _NUMBERS.items():
        confirm.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=what)
    confirm.add_argument(
        "--no-lr-check",
        action="store_false",
        dest="lr_check",
        help="do not train the winner and no noise at half and double the learning rate",
    )
    confirm.add_argument("--preview", action="store_true", help="say what it would do and cost, and write nothing")


def _confirm(options: argparse.Namespace, executor: Sequence[str]) -> int:
    from noise_search import commands

    given = {name: value for name in _NUMBERS if (value := getattr(options, name)) is not None}
    plan = commands.plan_confirmation(
        options.name, rule=options.rule, store=options.store, lr_check=options.lr_check, executor=executor, **given
    )
    before = commands.confirmed_before(plan)
    if before is None:
        commands.refuse_unready(plan)
    if options.preview:
        _preview(plan, is_finished=before is not None, as_json=options.json)
        return DONE
    outcome = before or _run(plan, shlex.join(_command(options, executor, given)))
    if outcome is None:
        return INTERRUPTED
    print_json(asdict(outcome)) if options.json else _print(outcome)
    return DONE


def _run(plan: ConfirmPlan, command: str) -> ConfirmOutcome | None:
    """Say what it costs, and do it; None where it was interrupted, and then the command that goes on is said."""
    from noise_search import commands

    print(_plan_text(plan), file=sys.stderr)
    try:
        with terminated_as_interrupted(), progress() as bar:
            return commands.run_confirmation(plan, reporter=bar, on_choice=lambda choice: bar.say(_shows(choice)))
    except KeyboardInterrupt:
        print("interrupted; continue with:", command, file=sys.stderr)
        return None


def _preview(plan: ConfirmPlan, *, is_finished: bool, as_json: bool) -> None:
    if as_json:
        print_json(_plan_json(plan) | {"finished": is_finished})
        return
    print(_plan_text(plan))
    if is_finished:
        print("finished:  it has all been done before; the command shows what it found")


def _command(options: argparse.Namespace, executor: Sequence[str], given: Mapping[str, int]) -> list[str]:
    """The command that goes on."""
    store = [] if options.store is None else ["--store", options.store]
    numbers = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    rates = [] if options.lr_check else ["--no-lr-check"]
    return ["noise-search", "confirm", options.name, "--rule", options.rule, *numbers, *rates, *store, *executor]


def _plan_json(plan: ConfirmPlan) -> dict[str, Any]:
    return {
        "name": plan.sweep.name,
        "settings": plan.settings.stored(),
        "epochs_at_most": dict(plan.epochs),
        "seconds": plan.seconds,
        "executor": plan.spec.executor.name,
        "paced_on": plan.paced_on,
        "smallest_gain_in_sd_between_seeds": plan.smallest_gain_in_sd,
        "smallest_gain": plan.smallest_gain,
    }


def _plan_text(plan: ConfirmPlan) -> str:
    """What it costs and what it can show, before anything is written."""
    settings, epochs = plan.settings, plan.epochs
    lines = [
        f"constants: {settings.constants[1]} trials without schedules ({settings.constants[0]}), at most "
        f"{epochs['constants']:,} epochs",
        f"stage 1:   {settings.seeds} fresh seeds on validation, at most {epochs['choose']:,} epochs",
        f"stage 2:   {settings.measure_seeds} other seeds on test, suite {settings.held_out[0]}, at most "
        f"{epochs['measure']:,} epochs",
        f"shows:     a gain of {plan.smallest_gain_in_sd:.2f} SDs between seeds or more, in 4 of 5 cases; "
        f"stage 1 says how many points that is{_FEW if plan.smallest_gain_in_sd > TOO_LARGE_IN_SD else ''}",
    ]
    if plan.lr_check:
        rates = f"lr check:  winner and no noise at other rates, on validation, {epochs['learning_rates']:,} epochs"
        lines.insert(2, rates)
    if plan.smallest_gain is not None:
        lines.append(_shows({"smallest_gain": plan.smallest_gain}))
    if plan.seconds is not None:
        lines.append(f"time:      about {duration(plan.seconds)} at most, at the pace of the sweep{_trained_by(plan)}")
    return "\n".join(lines)


def _trained_by(plan: ConfirmPlan) -> str:
    own = plan.spec.executor.name
    return "" if own == plan.paced_on else f", which trained with executor={plan.paced_on} and not {own}"


def _shows(choice: Mapping[str, Any]) -> str:
    """What stage 2 can show, as far as stage 1 can tell.

    >>> _shows({"smallest_gain": 0.0184})
    'shows:     a gain of 1.8 points of robust accuracy or more, in 4 of 5 cases, by the spread in stage 1'
    >>> _shows({"smallest_gain": None})
    'shows:     stage 1 cannot tell how small a gain is found'
    """
    found = choice["smallest_gain"]
    if found is None:
        return "shows:     stage 1 cannot tell how small a gain is found"
    gain = f"{100 * found:.1f} points of robust accuracy"
    return f"shows:     a gain of {gain} or more, in 4 of 5 cases, by the spread in stage 1"


def _print(outcome: ConfirmOutcome) -> None:
    from noise_search.policy.words import policy_text

    found, chosen = outcome.evidence, outcome.choice["chosen"]
    if not outcome.changed:
        print(f"sweep {outcome.name}: confirmed before, nothing to do")
    print_table(
        [
            {"arm": _named(arm, chosen)} | {key: f"{value:.3f}" for key, value in means.items()}
            for arm, means in found.means.items()
        ]
    )
    print_table([{"winner minus": _named(one.arm, chosen), **_cells(one)} for one in found.against])
    if outcome.learning_rates is not None:
        _print_rates(outcome.learning_rates)
    winner = outcome.choice["policies"]["winner"]
    print(f"winner:     {chosen['winner']}, {policy_text(winner).replace(chr(10), ', ')}")
    print(f"clean:      {_points(found.clean.difference)} against no noise, {_kept(found.clean.holds)}")
    if found.scheduling is None:
        print("scheduling: the winner has no schedule")
    else:
        print(f"scheduling: {_points(found.scheduling)} over {found.scheduling_against}")
    if outcome.learning_rates is not None:
        print(f"lr check:   {_rates_sentence(outcome.learning_rates)}")
    seeds = found.clean.difference.n_seeds
    print(f"measured:   test, suite {outcome.held_out}, {seeds} seeds, confirmation {outcome.number} of {outcome.name}")
    print("            points of accuracy above chance with 95 % intervals, p by Holm over all arms")


def _print_rates(found: RateCheck) -> None:
    rows = found.means.items()
    print_table([{"on validation": arm} | {key: f"{value:.3f}" for key, value in means.items()} for arm, means in rows])


def _rates_sentence(found: RateCheck) -> str:
    """Whether no noise comes up to the winner at another learning rate."""
    what = "stays behind the winner" if found.holds else "may come up to the winner"
    seeds = found.difference.n_seeds
    minus = f"the winner minus it: {_points(found.difference)} points"
    return f"{found.best} {what}; {minus} (validation, {seeds} seeds)"


def _named(arm: str, chosen: dict[str, str]) -> str:
    return f"{arm} ({chosen[arm]})" if arm in chosen else arm


def _cells(one: Comparison) -> dict[str, str]:
    from noise_search.statistics import p_text

    parts = {"robust": one.robust, "seen": one.seen, "unseen": one.unseen, "clean": one.clean}
    texts = {name: "" if part is None else _points(part) for name, part in parts.items()}
    return {"robust": texts.pop("robust"), "p": p_text(one.p_adjusted), **texts}


def _points(found: PairedDifference) -> str:
    from noise_search.statistics import points_text

    return points_text(found.mean, found.low, found.high)


def _kept(holds: bool) -> str:
    return "less than a point is lost" if holds else "a loss of a point is not excluded"
