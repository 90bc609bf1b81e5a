"""What makes two sweeps the same search: everything that changes numbers, nothing that does not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from noise_search.data import Dataset
from noise_search.errors import CallerError
from noise_search.spec import SweepSpec
from noise_search.store import REMOVED, SweepRecord
from noise_search.training import resolve_device

_SHOWN_DIFFERENCES = 8
_MODES = ("train.mode", "train.score_mode")


def identity_of(spec: SweepSpec, data: Dataset, warm_start: Sequence[Mapping[str, object]] = ()) -> dict[str, object]:
    """Flat mapping from configuration keys to plain values.

    Args:
        spec: Of the sweep.
        data: Loaded.
        warm_start: Parameters of the trials that are tried first: these count, not the files they come from.

    Left out: name, budget, driver, controls, store, executor, tracking and threads, which change no trial, and
    where data come from: their digest says what they are.
    """
    train = spec.train
    searched = {name: spec.raw[name] for name in ("model", "optimizer", "space")}
    return {
        **_flat(searched, ""),
        **_given({name: spec.raw[name] for name in ("objective", "sampler", "stopping")}),
        **({"sampler.warm_start": [dict(one) for one in warm_start]} if warm_start else {}),
        **({} if spec.budget.seeds == 1 else {"budget.seeds": spec.budget.seeds}),
        "data.name": spec.data.name,
        "data.split_seed": spec.data.split_seed,
        **({} if spec.data.limit is None else {"data.limit": spec.data.limit}),
        "data.digest": data.digest,
        "data.modality": data.modality,
        "data.input_range": None if data.input_range is None else list(data.input_range),
        "suite.digest": spec.suite.digest,
        "train.epochs": train.epochs,
        "train.batch_size": train.batch_size,
        "train.clip": train.clip,
        "train.mode": train.mode,
        "train.score_mode": train.score_mode,
        "train.device": resolve_device(train.device).type,
        "seed": spec.seed,
    }


def digest_of(identity: Mapping[str, object]) -> str:
    """SHA-256 of an identity as canonical JSON."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def default_name(spec: SweepSpec, digest: str) -> str:
    """experiment-data-model and six digits of the identity."""
    return f"{spec.experiment}-{spec.data.name}-{spec.model.name}-{digest[:6]}"


def refuse_another(stored: SweepRecord, identity: Mapping[str, object]) -> None:
    """Compare with the sweep of that name in the store.

    Modes left to us ("auto") fit whatever mode the sweep was started in.

    Raises:
        CallerError: With a line for each key that differs, or because that sweep is being removed.
    """
    if REMOVED in stored.identity:
        raise CallerError(
            f"name: expected a whole sweep, but {stored.name} is being removed; "
            f"finish with: noise-search rm {stored.name} --yes"
        )
    keys = sorted(stored.identity.keys() | identity.keys())
    modes = {"train.mode": stored.train_mode, "train.score_mode": stored.score_mode}
    settled = {**stored.identity, **{key: mode for key, mode in modes.items() if mode is not None}}
    different = [
        f"{key}: sweep {stored.name} has {_shown(settled, key)}, got {_shown(identity, key)}"
        for key in keys
        if stored.identity.get(key) != identity.get(key) and not _fits_mode(settled, identity, key)
    ]
    if not different:
        return
    more = len(different) - _SHOWN_DIFFERENCES
    raise CallerError(
        *different[:_SHOWN_DIFFERENCES],
        *([f"... and {more} more"] if more > 0 else []),
        f"name: {stored.name} is another search; choose another name, or give the values it has",
    )


def _fits_mode(settled: Mapping[str, object], identity: Mapping[str, object], key: str) -> bool:
    return key in _MODES and identity[key] in ("auto", settled[key])


def _shown(identity: Mapping[str, object], key: str) -> str:
    return repr(identity[key]) if key in identity else "nothing"


def _given(node: Mapping[str, object]) -> dict[str, Any]:
    """Keys that say something: one that is not set is as good as none, also in sweeps of versions without it."""
    return {key: value for key, value in _flat(node, "").items() if value not in (None, [])}


def _flat(node: object, path: str) -> dict[str, Any]:
    if not isinstance(node, Mapping) or not node:
        return {path: node}
    return {
        key: value
        for name, child in node.items()
        for key, value in _flat(child, f"{path}.{name}" if path else str(name)).items()
    }
