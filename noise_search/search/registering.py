"""The model of a picked trial: trained once more, and left with its card for the mirror's registry of models.

A version there is a folder of three files, which lie with the files of the sweep until and after they are mirrored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from noise_search.data import Dataset
from noise_search.files import write_whole
from noise_search.models import InputStatistics
from noise_search.policy import Policy
from noise_search.search.mirroring import milliseconds
from noise_search.search.opening import modes_of
from noise_search.spec import SweepSpec
from noise_search.store import CardRecord, Location, OutboxEntry, SweepRecord
from noise_search.tracking.messages import Artifact, ModelRegistered
from noise_search.training import Job, Member, Result, Setup, make_workbench, run_job
from noise_search.training.threads import cpu_threads
from noise_search.training.weights import weights_file

WEIGHTS, CARD, README = "model.safetensors", "card.yaml", "README.md"


def card_folder(location: Location, name: str, version: int) -> Path:
    """Where the files of a version of a sweep's model lie."""
    return (location.sweep_folder(name) / "cards" / str(version)).resolve()


def trained_again(
    spec: SweepSpec, sweep: SweepRecord, dataset: Dataset, policy: Policy, on_epoch: Callable[[int], None]
) -> tuple[Result, bytes]:
    """Train a trial once more as the sweep did, with its first seed: scores on validation, and the weights as a file.

    Checkpoints of last epochs are not kept, and training is deterministic.
    """
    train, epochs = replace(spec.train, score_every=spec.train.epochs), spec.train.epochs
    setup = Setup(spec.data, spec.model, spec.optimizer, train, spec.suite, *modes_of(sweep))
    with cpu_threads(train.threads):
        bench = make_workbench(setup, dataset=dataset)
        (result,), (state,) = run_job(Job((Member("picked", policy, spec.seed),), 0, epochs), bench, on_epoch=on_epoch)
        return result, weights_file(bench, state, policy, spec)


def write_model(folder: Path, card: CardRecord, weights: bytes, spec: SweepSpec, statistics: InputStatistics) -> None:
    """Write the three files of a version, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / WEIGHTS, weights, "weights")
    write_whole(folder / CARD, card.content.encode(), "card")
    write_whole(folder / README, _readme(card, spec, statistics).encode(), "readme")


def model_key(card: CardRecord) -> str:
    """Key of `model_entry` in the outbox."""
    return f"card {card.version}"


def model_entry(spec: SweepSpec, sweep: SweepRecord, card: CardRecord, folder: Path) -> OutboxEntry:
    """A version of the registered model that is called as the sweep, logged under the trial's run.

    Args:
        spec, sweep: Of the sweep.
        card: Registered.
        folder: Of its files.
    """
    message = ModelRegistered(
        sweep=sweep.name,
        experiment=spec.tracking.experiment,
        member=card.name,
        model=sweep.name,
        version=card.version,
        tags={
            **({} if card.trial is None else {"noise_search.trial": str(card.trial)}),
            "noise_search.rule": card.rule,
            "noise_search.kind": card.kind,
            "noise_search.card": card.digest,
        },
        at_ms=milliseconds(card.created_at),
        artifacts=tuple(Artifact(str(folder / file), f"cards/{card.version}") for file in (WEIGHTS, CARD, README)),
    )
    return OutboxEntry(model_key(card), message.kind, message.to_payload())


def _readme(card: CardRecord, spec: SweepSpec, statistics: InputStatistics) -> str:
    """How to load a model and its card."""
    model, target = spec.model, spec.model.target
    made = f"{model.name!r}, {_parameters(spec)}, statistics, seed=0"
    made += "" if target is None else f", target={target!r}"
    made += "" if model.normalise else ", normalise=False"
    names = ["InputStatistics", *([] if target else [type(model.parameters).__name__]), "build_model"]
    return f"""# {card.name.capitalize()} of {spec.name}, version {card.version}

`{WEIGHTS}` is {model.name}, trained on {spec.data.name} for {spec.train.epochs} epochs with seed {spec.seed}
and the noise of `{CARD}`, picked by {card.rule}; the card's numbers are {card.kind}.

```python
from safetensors.torch import load_file

import noise_search
from noise_search.models import {", ".join(names)}

statistics = {statistics!r}
model = build_model({made})
model.load_state_dict(load_file("{WEIGHTS}"))
model.eval()  # takes inputs in raw units and normalises them itself

card = noise_search.load_card("{CARD}")  # card.bind(...) trains another model with the same noise
```
"""


def _parameters(spec: SweepSpec) -> str:
    return repr(spec.model.parameters if spec.model.target is None else dict(spec.model.parameters))
