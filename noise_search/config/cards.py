"""From the context of a policy card to the configuration that trains with it.

The context takes the place of choices and numbers in the shipped configuration; the caller's overrides come on top. A
card is data from outside: it names shipped data, models and optimisers, and neither code nor interpolations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from noise_search.config.compose import CONFIG_NAME, config_folder
from noise_search.errors import CallerError, expected_one_of, raise_if_any
from noise_search.policy import Card

_TRAIN_KEYS = ("epochs", "batch_size", "clip", "mode", "score_mode")
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_NODES = ("data", "model", "optimizer")
# Of a search, or of where it goes: one training has none.
_NOT_OF_A_TRAINING = frozenset(
    ("space", "sampler", "budget", "controls", "stopping", "driver", "executor", "tracking", "store", "name")
)
_OF_DATA = ("name", "split_seed", "limit")  # where files lie is not for a card to say


@dataclass(frozen=True, slots=True)
class CardBase:
    """What a card's overrides are applied to.

    Args:
        content: Primary configuration in place of the shipped one, for `compose` and `collect`.
        where: How messages name the card.
        origins: Key of the configuration -> key of the card's context that its value comes from.
    """

    content: dict[str, Any]
    where: str
    origins: Mapping[str, str]

    @contextmanager
    def named(self) -> Iterator[None]:
        """Let mistakes in values that come from the card name the card."""
        try:
            yield
        except CallerError as error:
            raise CallerError(*map(self._named, error.mistakes)) from error

    def _named(self, mistake: str) -> str:
        key = mistake.partition(":")[0]
        known = key in self.origins
        return f"{self.where}: context.{self.origins[key]}{mistake.removeprefix(key)}" if known else mistake


def card_base(card: Card, overrides: Sequence[str], where: str) -> CardBase:
    """Configuration of a card's context, without the nodes that the caller's overrides replace.

    Args:
        card: As it was loaded.
        overrides: Hydra overrides of the caller's, among other words of a command line.
        where: How messages name the card.

    Raises:
        CallerError: For code or interpolations in the context, and overrides that no training has.
    """
    keys = {word.partition("=")[0].lstrip("+~") for word in overrides if "=" in word or word.startswith("~")}
    mistakes = [
        f"{key}: expected a key of training or scoring; a card is one policy, and nothing of it is searched"
        for key in sorted(keys)
        if key.partition(".")[0] in _NOT_OF_A_TRAINING
    ]
    used = {key: card.context[key] for key in (*_NODES, *_TRAIN_KEYS, "seed", "suite") if key in card.context}
    used = {key: node for key, node in used.items() if key not in keys}
    if "data" in keys:
        used.pop("suite", None)  # it was made on other data
    if "model" in keys:
        used |= {"mode": "auto", "score_mode": "auto"}  # another may not fuse
    for key, node in used.items():
        mistakes += [f"{where}: context.{path}" for path in _no_data(node, key)]
        mistakes += [f"{where}: context.{mistake}" for mistake in _shape_mistakes(key, node)]
    raise_if_any(mistakes)
    body = {key: dict(node) for key, node in used.items() if key in _NODES and isinstance(node, Mapping)}
    body |= {"train": train} if (train := {key: used[key] for key in _TRAIN_KEYS if key in used}) else {}
    body |= {"seed": used["seed"]} if "seed" in used else {}
    origins = {**_origins(body, ""), **{name: name for name in (*_NODES, "suite") if name in used}}
    told = {key: value for key, value in origins.items() if not any(_is_under(word, key) for word in keys)}
    return CardBase(_primary(body, _choices(used)), where, told)


def _is_under(key: str, node: str) -> bool:
    return key == node or key.startswith(f"{node}.")


def _shape_mistakes(key: str, node: object) -> Iterator[str]:
    """What is no choice of a group, which names a file, where there should be one."""
    if key not in (*_NODES, "suite"):
        return
    if not isinstance(node, str | Mapping):
        yield f"{key}: expected a word or a mapping, got {node!r}"
        return
    if isinstance(node, Mapping) and "_target_" in node:
        return  # told already
    if key == "data" and isinstance(node, Mapping):
        yield from (expected_one_of("data", _OF_DATA, word) for word in node if word not in _OF_DATA)
    name = node.get("name") if isinstance(node, Mapping) else node
    if not isinstance(name, str) or not _WORD.fullmatch(name):
        yield f"{key}.name: expected letters, digits, '-' and '_', got {name!r}"


def _no_data(node: object, path: str) -> Iterator[str]:
    """What a card may not hold: code by its name, and what Hydra would look up elsewhere."""
    if isinstance(node, str) and "${" in node:
        yield f"{path}: expected a plain value, got {node!r}"
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                group = path.partition(".")[0]
                yield (
                    f"{path}._target_: a card names no code, got {value!r}; "
                    f"name yours as {group}=NAME from a --config-dir"
                )
            else:
                yield from _no_data(value, f"{path}.{key}")
    if isinstance(node, list):
        for index, value in enumerate(node):
            yield from _no_data(value, f"{path}[{index}]")


def _choices(used: Mapping[str, Any]) -> dict[str, str | None]:
    """Choice of each group that the card settles; None for a node that the card holds whole."""
    choices: dict[str, str | None] = {"experiment": None}
    for group in _NODES:
        node = used.get(group)
        if isinstance(node, str):
            choices[group] = node
        elif isinstance(node, Mapping):
            # Where the files of data lie is not in a card; the shipped choice knows.
            choices[group] = str(node.get("name")) if group == "data" else None
    suite = used.get("suite")
    if isinstance(suite, Mapping) and isinstance(suite.get("name"), str):
        choices["suite"] = suite["name"]
    return choices


def _primary(body: dict[str, Any], choices: Mapping[str, str | None]) -> dict[str, Any]:
    text = (config_folder() / f"{CONFIG_NAME}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    defaults = [
        {group: choices.get(group, choice) for group, choice in entry.items()} if isinstance(entry, dict) else entry
        for entry in content.pop("defaults")
    ]
    hydra = content.pop("hydra") | {"searchpath": [f"file://{config_folder()}"]}
    for key, node in body.items():
        content[key] = content.get(key, {}) | node if isinstance(node, dict) else node
    return {"defaults": defaults, **content, "hydra": hydra}


def _origins(body: Mapping[str, Any], path: str) -> dict[str, str]:
    found = {}
    for key, node in body.items():
        here = f"{path}{key}"
        if here != "train":
            found[here] = here.removeprefix("train.")
        if isinstance(node, Mapping):
            found |= _origins(node, f"{here}.")
    return found
