"""Train once with a policy card, and score what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from noise_search.config import build, card_base, compose
from noise_search.data import Dataset, forget_loaded
from noise_search.errors import CallerError
from noise_search.files import refuse_unwritable, write_whole
from noise_search.metrics import combined
from noise_search.policy import Card, Policy, load_card, policy_from_list, policy_to_list
from noise_search.search.board import NO_NOISE_CONTROL
from noise_search.search.driver import Reporter
from noise_search.search.reporting import Silent
from noise_search.spec import SweepSpec
from noise_search.training import Job, Member, Result, Workbench, load_dataset, provisional_workbench, run_job
from noise_search.training.modes import resolve_modes
from noise_search.training.threads import cpu_threads
from noise_search.training.weights import weights_file

CARD, CONTROL = "card", NO_NOISE_CONTROL
SHOWN = ("clean", "robust", "worst_family", "score", "robust_weights")


@dataclass(frozen=True, slots=True)
class Trained:
    """Numbers of one training, accuracy above chance on the validation split.

    Args:
        scores: clean, robust, worst_family, score and robust_weights.
        kinds: Kind of corruption -> mean over its severities.
        diverged: Whether loss or gradient stopped being finite; scores are then the worst there are.
    """

    scores: Mapping[str, float]
    kinds: Mapping[str, float]
    diverged: bool


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """What one training with a card gave.

    Args:
        card: With the card's policy.
        control: Without noise, with the same initial weights and batches; None where it was not asked for.
        seed, epochs, data, model, suite: What was trained and scored on what.
        mode: fused or looped.
        output: File of the weights; None where none was asked for.
        notes: What to know before the numbers are compared with others.
    """

    card: Trained
    control: Trained | None
    seed: int
    epochs: int
    data: str
    model: str
    suite: str
    mode: str
    seconds: float = 0.0
    output: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def difference(self) -> dict[str, float] | None:
        """Card minus control, score by score; None without a control."""
        if self.control is None:
            return None
        return {name: value - self.control.scores[name] for name, value in self.card.scores.items()}


def train(
    card: str | Path | Card,
    overrides: Sequence[str] = (),
    *,
    config_dir: str | Path | None = None,
    control: bool = False,
    output: str | Path | None = None,
    reporter: Reporter | None = None,
) -> TrainOutcome:
    """Train once with a card's policy, in the context that it was tuned in, and score it on the validation split.

    Args:
        card: File of a card, or a card.
        overrides: Hydra overrides, as on the command line, that go before the card's context.
        config_dir: Folder with configuration groups of your own.
        control: Train without noise beside it, with the same seed.
        output: File for the weights, in safetensors' format, written whole or not at all.
        reporter: Told of progress; None shows nothing.

    Raises:
        CallerError: For every mistake in the card and in the configuration, and a file that cannot be written.
        RuntimeError: Training diverged; nothing is written.
    """
    loaded, where = (card, "card") if isinstance(card, Card) else (load_card(card), str(card))
    base = card_base(loaded, overrides, where)
    with base.named():
        config = compose(overrides, config_dir=config_dir, primary=base.content)
        forget_loaded()  # data of one's own may have changed since
        return run_training(config, loaded, where=where, control=control, output=output, reporter=reporter)


def run_training(
    config: Mapping[str, Any],
    card: Card,
    *,
    where: str = "card",
    control: bool = False,
    output: str | Path | None = None,
    reporter: Reporter | None = None,
) -> TrainOutcome:
    """Train with a card from a composed configuration; see `train`."""
    spec, started = build(config), time.monotonic()
    if output is not None:
        refuse_unwritable(output, "weights")
    dataset = load_dataset(spec.data)
    policies = {CARD: _suited(card, dataset, where)} | ({CONTROL: Policy()} if control else {})
    with cpu_threads(spec.train.threads):
        workbench = _workbench(spec, dataset, width=len(policies))
        results, states = _run(workbench, policies, spec, reporter or Silent())
    if results[0].diverged:
        raise RuntimeError("training diverged: loss or gradient was not finite; no weights were written")
    if output is not None:
        write_whole(output, weights_file(workbench, states[0], card.policy, spec), "weights")
    outcome = _outcome(spec, workbench, results, _notes(card, spec, dataset))
    seconds = round(time.monotonic() - started, 1)
    return replace(outcome, seconds=seconds, output=None if output is None else Path(output))


def _outcome(spec: SweepSpec, workbench: Workbench, results: Sequence[Result], notes: tuple[str, ...]) -> TrainOutcome:
    trained = [_trained(result, spec) for result in results]
    return TrainOutcome(
        card=trained[0],
        control=trained[1] if len(trained) > 1 else None,
        seed=spec.seed,
        epochs=spec.train.epochs,
        data=spec.data.name,
        model=spec.model.name,
        suite=spec.suite.name,
        mode=workbench.setup.mode,
        notes=notes,
    )


def _suited(card: Card, dataset: Dataset, where: str) -> Policy:
    """The card's policy, if its noises suit the data.

    Raises:
        CallerError: They do not, or the card is for another kind of data.
    """
    modality = card.context.get("modality", dataset.modality)
    if modality != dataset.modality:
        raise CallerError(
            f"{where}: context.modality: expected {dataset.modality!r}, the kind of data that {dataset.name} is, "
            f"got {modality!r}; name other data with data=..."
        )
    return policy_from_list(policy_to_list(card.policy), f"{where}: terms", modality=dataset.modality)


def _workbench(spec: SweepSpec, dataset: Dataset, *, width: int) -> Workbench:
    bench = provisional_workbench(spec, dataset=dataset)
    mode, score_mode = resolve_modes(bench, spec.train.mode, spec.train.score_mode, width=width)
    return replace(bench, setup=replace(bench.setup, mode=mode, score_mode=score_mode))


def _run(
    workbench: Workbench, policies: Mapping[str, Policy], spec: SweepSpec, reporter: Reporter
) -> tuple[list[Result], list[dict[str, torch.Tensor]]]:
    members = tuple(Member(name, policy, spec.seed) for name, policy in policies.items())
    reporter.begin(len(members) * spec.train.epochs, 0)
    reporter.message(" and ".join(policies))
    return run_job(Job(members, 0, spec.train.epochs), workbench, on_epoch=reporter.advance)


def _trained(result: Result, spec: SweepSpec) -> Trained:
    score = combined(result.scores["clean"], result.scores["robust"], spec.objective.weight)
    named = {**result.scores, "score": score}
    kinds = {kind.name: result.scores[f"kind/{kind.name}"] for kind in spec.suite.kinds}
    return Trained({name: named[name] for name in SHOWN}, kinds, result.diverged)


def _notes(card: Card, spec: SweepSpec, dataset: Dataset) -> tuple[str, ...]:
    context = card.context
    absent = [key for key in ("data", "model", "optimizer", "epochs") if key not in context]
    suite = context.get("suite")
    digest = suite.get("digest") if isinstance(suite, Mapping) else suite
    notes = [f"the card names no {', '.join(absent)}: ours were taken"] if absent else []
    if context.get("data_digest") not in (None, dataset.digest):
        notes.append("these are not the data that the card was tuned on")
    if digest not in (None, spec.suite.digest):
        notes.append("this is not the suite that the card was tuned on: scores cannot be compared with the card's")
    if not notes and spec.seed in context.get("seeds", ()):
        notes.append(f"the search trained with seed {spec.seed}, too: optimistic; seed=N trains with another")
    return tuple(notes)
