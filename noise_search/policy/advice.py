"""What a card says to people who take it elsewhere, in sentences made from its policy and its context.

They are written into the file and never read from it: what a card is good for follows from what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from noise_search.policy.terms import Policy

_BY_BATCH = ("weights", "gradients")  # drawn once a batch
_COMPARE = "compare it with no noise first: noise-search train CARD --control"


def rescale(policy: Policy, context: Mapping[str, Any]) -> tuple[str, ...]:
    """How to take the policy to a training of another length, batch size or learning rate.

    Args:
        policy: Of the card.
        context: It was tuned in, sound; what it does not say is left out.
    """
    return (*_length(policy, context), *_batches(policy, context), *_optimiser(policy, context))


def not_for(policy: Policy, context: Mapping[str, Any]) -> tuple[str, ...]:
    """When not to use the policy; arguments as for `rescale`."""
    return (
        "Fine-tuning: it was tuned for training from initial weights, which is where its schedules begin.",
        *_inputs(policy, context),
        *_data(context),
    )


def _length(policy: Policy, context: Mapping[str, Any]) -> Iterator[str]:
    tuned = f"; it was tuned at {context['epochs']:g} epochs" if "epochs" in context else ""
    yield f"Schedules are fractions of training: with other numbers of epochs or steps nothing has to change{tuned}."
    for term in policy.terms:
        gate = term.schedule.every
        if gate is not None and gate.opens:
            yield (
                f"The gate of {term.key} is on for {gate.on:g} of each of {gate.cycles:g} equal intervals, however "
                f"long training is: in fewer than {math.ceil(gate.cycles / gate.on) + 1} steps some may have no noise."
            )


def _batches(policy: Policy, context: Mapping[str, Any]) -> Iterator[str]:
    tuned = f", tuned at batches of {context['batch_size']:g}" if "batch_size" in context else ""
    for site in _BY_BATCH:
        if keys := [term.key for term in policy.terms if term.site == site]:
            yield (
                f"{' and '.join(keys)}: one draw for each batch{tuned}; at another batch size an epoch has another "
                "number of draws: keep the magnitude, and check it on validation."
            )
    if keys := [term.key for term in policy.terms if term.site not in _BY_BATCH]:
        yield f"{' and '.join(keys)}: drawn for each sample, so the batch size does not matter to the magnitude."


def _optimiser(policy: Policy, context: Mapping[str, Any]) -> Iterator[str]:
    if any(term.site == "gradients" for term in policy.terms):
        yield (
            "Noise of gradients adds up over steps: with many times the steps, or another learning rate, its magnitude "
            "has to be tuned again."
        )
    tuned = f" than {_name(context['optimizer'])} as it was tuned with" if "optimizer" in context else ""
    yield f"With another optimiser or learning rate{tuned}, {_COMPARE}."


def _inputs(policy: Policy, context: Mapping[str, Any]) -> Iterator[str]:
    keys = [term.key for term in policy.terms if term.site == "inputs"]
    if not keys:
        return
    bounds = context.get("input_range")
    units = f"another range than [{bounds[0]:g}, {bounds[1]:g}]" if bounds else "other units than those it was tuned in"
    yield (
        f"Inputs in {units}, or normalised before the noise: magnitudes of {' and '.join(keys)} are in raw units, "
        "before normalisation."
    )


def _data(context: Mapping[str, Any]) -> Iterator[str]:
    if "modality" in context:
        yield f"Data other than {context['modality']}."
    known = [_name(context[what]) for what in ("data", "model") if what in context]
    yield f"Data or models other than {' and '.join(known) or 'those it was tuned with'}, unchecked: {_COMPARE}."


def _name(node: Any) -> str:
    """Name of a choice that is a word, or a mapping with its name or that of the caller's code."""
    return str(node.get("name", node.get("_target_", "its own"))) if isinstance(node, Mapping) else str(node)
