"""Suites that measure what a search has found; no configuration can name them."""

from __future__ import annotations

import yaml

from noise_search.config.compose import config_folder
from noise_search.corruptions.suites import HELD_OUT, Suite, suite_from_mapping
from noise_search.errors import CallerError

LITERATURE = f"literature{HELD_OUT}"


def held_out_suite(data: str, modality: str) -> Suite:
    """Held-out suite of a data set: its own where there is one, else that of published strengths.

    Raises:
        CallerError: There is none for this kind of data.
    """
    folder = config_folder() / "suite"
    names = [f"{data}{HELD_OUT}", LITERATURE]
    found = next((name for name in names if (folder / f"{name}.yaml").is_file()), None)
    if found is None:
        raise CallerError(f"suite: expected a held-out suite for {data}, got none of {names}")
    suite = suite_from_mapping(yaml.safe_load((folder / f"{found}.yaml").read_text(encoding="utf-8")), f"suite {found}")
    if suite.modality != modality:
        raise CallerError(
            f"suite: expected a held-out suite for {modality}, got {found}, which is for {suite.modality}"
        )
    return suite
