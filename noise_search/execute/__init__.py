"""Executors: they train jobs and know nothing of databases."""

from __future__ import annotations

from noise_search.execute.contract import Executor, Finished, LostWorkerError, OnEpoch, trained
from noise_search.execute.inline import InlineExecutor
from noise_search.execute.making import make_executor, refuse_not_installed, refuse_unready
from noise_search.execute.one_by_one import OneByOne
from noise_search.execute.simulated import RecordedExecutor, Recording, SimulatedExecutor
from noise_search.execute.simulated_places import SimulatedPlaces

__all__ = [
    "Executor",
    "Finished",
    "InlineExecutor",
    "LostWorkerError",
    "OnEpoch",
    "OneByOne",
    "RecordedExecutor",
    "Recording",
    "SimulatedExecutor",
    "SimulatedPlaces",
    "make_executor",
    "refuse_not_installed",
    "refuse_unready",
    "trained",
]
