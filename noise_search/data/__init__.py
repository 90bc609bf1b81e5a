"""Data sets: those shipped, by name, and those of one's own."""

from __future__ import annotations

from noise_search.data.dataset import Dataset, Split, stratified_sample, stratified_split
from noise_search.data.loading import forget_loaded, load
from noise_search.data.own import cut_dataset, dataset_of
from noise_search.data.registry import DATASETS, Source

__all__ = [
    "DATASETS",
    "Dataset",
    "Source",
    "Split",
    "cut_dataset",
    "dataset_of",
    "forget_loaded",
    "load",
    "stratified_sample",
    "stratified_split",
]
