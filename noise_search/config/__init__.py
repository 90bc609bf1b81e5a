"""Configuration: Hydra composes it, `build` checks it and makes it typed."""

from __future__ import annotations

from noise_search.config.addresses import tracking_mistakes
from noise_search.config.cards import CardBase, card_base
from noise_search.config.checks import build, check
from noise_search.config.compose import Collected, collect, compose, config_folder
from noise_search.config.spaces import parse_space

__all__ = [
    "CardBase",
    "Collected",
    "build",
    "card_base",
    "check",
    "collect",
    "compose",
    "config_folder",
    "parse_space",
    "tracking_mistakes",
]
