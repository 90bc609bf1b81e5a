"""Policy cards: the file that carries a policy and the context it was tuned in.

Loading a card needs torch, NumPy and PyYAML only. A card is data from outside: YAML tags and aliases are refused,
and so is a file too large to be one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from torch import Tensor, nn
from torch.optim import Optimizer

from noise_search.errors import CallerError, expected_one_of, raise_if_any
from noise_search.files import write_whole
from noise_search.policy.terms import Policy, policy_from_list, policy_to_list

if TYPE_CHECKING:
    from noise_search.apply import BoundNoise, Normalize

CARD_VERSION = 1
CARD_LIMIT_BYTES = 1_000_000
_CARD_KEYS = ("version", "terms", "context")


@dataclass(frozen=True, slots=True)
class Card:
    """A policy with the context it was tuned in: data, model, epochs, seeds, suite hash, scores.

    >>> from noise_search.policy import Term
    >>> Card(Policy((Term("weights", "relative", 0.1),)), {}).tabulate(1)["weights.relative"].tolist()
    [0.1]
    """

    policy: Policy
    context: Mapping[str, Any]

    def tabulate(self, steps: int) -> dict[str, Tensor]:
        """Magnitude of each term at each of `steps` steps of your training: `site.noise` -> (steps,)."""
        return self.policy.tabulate(steps)

    def bind(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        total_steps: int,
        seed: int,
        normalize: Normalize | None = None,
        classes: int | None = None,
    ) -> BoundNoise:
        """Bind the card to a training of your own; see `noise_search.apply.bind`."""
        from noise_search.apply import bind

        return bind(self, model, optimizer, total_steps=total_steps, seed=seed, normalize=normalize, classes=classes)


def card_to_mapping(card: Card) -> dict[str, Any]:
    """Plain data of a card, as its file holds it."""
    return {"version": CARD_VERSION, "terms": policy_to_list(card.policy), "context": dict(card.context)}


def save_card(card: Card, path: str | Path) -> None:
    """Write a card as YAML, whole or not at all.

    Raises:
        CallerError: When the folder is missing or cannot be written, the context is no plain data, or the card would be
            too large to be loaded again.
    """
    text = _yaml_text(card_to_mapping(card), f"{path}: context")
    if len(text) > CARD_LIMIT_BYTES:
        expected = f"expected a card of at most {CARD_LIMIT_BYTES} bytes, got {len(text)}"
        raise CallerError(f"{path}: {expected}; give its tables fewer values, or its context less")
    write_whole(path, text, "card")


def load_card(path: str | Path) -> Card:
    """Read a card.

    Raises:
        CallerError: For a missing or unreadable file, YAML tags and aliases, an unknown version, and every wrong key
            and term.
    """
    where = str(path)
    content = _yaml_content(Path(path), where)
    if not isinstance(content, dict):
        raise CallerError(f"{where}: expected a card with {list(_CARD_KEYS)}, got {content!r:.80}")
    version = content.get("version")
    if type(version) is not int or version != CARD_VERSION:
        newer = type(version) is int and version > CARD_VERSION
        hint = "; upgrade noise-search" if newer else ""
        raise CallerError(f"{where}: version: expected {CARD_VERSION}, got {version!r}{hint}")
    mistakes = [expected_one_of(where, _CARD_KEYS, key) for key in content if key not in _CARD_KEYS]
    context = {} if content.get("context") is None else content["context"]
    mistakes += _context_mistakes(where, context)
    modality = None if mistakes else context.get("modality")
    try:
        policy = policy_from_list(content.get("terms"), f"{where}: terms", modality=modality)
    except CallerError as error:
        raise CallerError(*mistakes, *error.mistakes) from error
    raise_if_any(mistakes)
    return Card(policy, context)


class _CardLoader(yaml.SafeLoader):
    """Safe loader that refuses tags, and aliases: a short text full of them stands for a huge one."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, f"the tag {event.tag}, which cards may not have", event.start_mark
            )
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "an alias, which cards may not have", mark)
        return super().compose_node(parent, index)


class _CardDumper(yaml.SafeDumper):
    """Safe dumper that writes an object twice where it occurs twice, not as an alias, and lists of numbers in a row."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def represent_sequence(
        self, tag: str, sequence: Iterable[Any], flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        entries = list(sequence)
        numbers = all(isinstance(entry, int | float) for entry in entries)
        return super().represent_sequence(tag, entries, flow_style=numbers or flow_style)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Text in double quotes where it holds a next-line character, which PyYAML reads as a space elsewhere."""
    style = '"' if "\x85" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_CardDumper.add_representer(str, _represent_text)


def _yaml_text(content: Mapping[str, Any], where: str) -> bytes:
    try:
        return yaml.dump(content, Dumper=_CardDumper, sort_keys=False, allow_unicode=True).encode()
    except (yaml.YAMLError, UnicodeEncodeError, RecursionError) as error:
        expected = "expected numbers, words, and lists and mappings of them"
        raise CallerError(f"{where}: {expected}, got {_first_line(error)}") from error


def _yaml_content(path: Path, where: str) -> object:
    try:
        with path.open("rb") as file:
            data = file.read(CARD_LIMIT_BYTES + 1)
        if len(data) > CARD_LIMIT_BYTES:
            raise CallerError(f"{where}: expected a card of at most {CARD_LIMIT_BYTES} bytes, got a larger file")
        content: object = _CardLoader(data.decode()).get_single_data()
    except OSError as error:
        raise CallerError(f"{where}: cannot read the card: {error.strerror}") from error
    except CallerError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or a date like 2020-13-45
        raise CallerError(f"{where}: expected a YAML card, got {_first_line(error)}") from error
    return content


def _context_mistakes(where: str, context: object) -> list[str]:
    if not isinstance(context, dict):
        return [f"{where}: context: expected a mapping, got {context!r}"]
    modality = context.get("modality")
    if modality is None or isinstance(modality, str):
        return []
    return [f"{where}: context.modality: expected a word, got {modality!r}"]


def _first_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f" at line {mark.line + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error)
    return f"{str(problem).splitlines()[0]}{place}"
