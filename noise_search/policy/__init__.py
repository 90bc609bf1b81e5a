"""Policies and the cards that carry them; needs torch, NumPy and PyYAML only."""

from __future__ import annotations

from noise_search.policy.cards import (
    CARD_LIMIT_BYTES,
    CARD_SCHEMA,
    CARD_VERSION,
    Card,
    card_text,
    card_to_mapping,
    load_card,
    save_card,
)
from noise_search.policy.checks import LEVELS
from noise_search.policy.terms import Policy, Term, cohort_terms, policy_from_list, policy_to_list

__all__ = [
    "CARD_LIMIT_BYTES",
    "CARD_SCHEMA",
    "CARD_VERSION",
    "LEVELS",
    "Card",
    "Policy",
    "Term",
    "card_text",
    "card_to_mapping",
    "cohort_terms",
    "load_card",
    "policy_from_list",
    "policy_to_list",
    "save_card",
]
