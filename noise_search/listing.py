"""What the registries hold, as rows for people and programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from noise_search.corruptions import CORRUPTIONS, Corruption
from noise_search.corruptions.suites import TUNE_KINDS
from noise_search.data import DATASETS
from noise_search.models import MODELS
from noise_search.noises import NOISES
from noise_search.schedules import SCHEDULES, Number, Parameter, Word

Row = dict[str, Any]


def noises() -> list[Row]:
    """Every noise with its unit, searched range and knobs."""
    return [
        {
            "site": site,
            "noise": name,
            "unit": noise.unit,
            "range": _range(*noise.search, log=noise.log),
            "knobs": ", ".join(sorted(noise.knobs)),
            "data": ", ".join(sorted(noise.modalities)),
            "summary": noise.summary,
            "source": noise.source,
        }
        for site, entries in NOISES.items()
        for name, noise in entries.items()
    ]


def schedules() -> list[Row]:
    """Every schedule with its parameters, how they are searched, and its factor at progress t."""
    return [
        {
            "schedule": name,
            "parameters": ", ".join(_parameter(*item) for item in curve.parameters.items()) or "none",
            "formula": curve.formula,
            "summary": curve.summary,
        }
        for name, curve in SCHEDULES.items()
    ]


def corruptions() -> list[Row]:
    """Every corruption with its family, what it is read for, its unit and published strengths."""
    return [
        {
            "corruption": name,
            "family": kind.family,
            "use": "search" if name in TUNE_KINDS[kind.modality] else "held out",
            "data": _data(kind),
            "unit": kind.unit,
            "published strengths": ", ".join(f"{strength:g}" for strength in kind.literature),
            "source": kind.source,
        }
        for name, kind in CORRUPTIONS.items()
    ]


def _data(kind: Corruption) -> str:
    return kind.modality if kind.channels is None else f"{kind.modality}, channels: {kind.channels}"


def data() -> list[Row]:
    """Every shipped data set, and the files it is read from."""
    return [
        {
            "data": name,
            "modality": source.modality,
            "summary": source.summary,
            "files in data.root": ", ".join(source.files) or "none: comes with a package",
        }
        for name, source in DATASETS.items()
    ]


def models() -> list[Row]:
    """Every model with its parameters and what they are by default."""
    return [
        {
            "model": name,
            "parameters": ", ".join(f"{field.name} = {_default(field.default)}" for field in fields(model.parameters)),
            "summary": model.summary,
        }
        for name, model in MODELS.items()
    ]


LISTINGS: dict[str, Callable[[], list[Row]]] = {
    "noises": noises,
    "schedules": schedules,
    "corruptions": corruptions,
    "data": data,
    "models": models,
}


def _default(value: object) -> str:
    """As a configuration file has it: a list for a tuple."""
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _range(low: float, high: float, *, log: bool) -> str:
    return f"{low:g} to {high:g}{' log' if log else ''}"


def _parameter(name: str, parameter: Parameter) -> str:
    if isinstance(parameter, Word):
        return f"{name} of {', '.join(parameter.choices)}"
    if isinstance(parameter, Number):
        return f"{name} {_searched(parameter)}"
    searched = ", each in 0 to 1" if parameter.search else ", given"
    count = (
        f"at least {parameter.shortest}"
        if parameter.longest is None
        else f"{parameter.shortest} to {parameter.longest}"
    )
    return f"{count} {name}{searched}"


def _searched(number: Number) -> str:
    if number.search is None:
        return f"= {number.default:g}"
    return f"in {_range(*number.search, log=number.log)}{' whole' if number.integer else ''}"
