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
from noise_search.noises import NOISES
from noise_search.policy import advice
from noise_search.policy.context import context_mistakes
from noise_search.policy.evidence import evidence_mistakes
from noise_search.policy.rules import SENTENCES, shown
from noise_search.policy.terms import Policy, Term, policy_from_list, policy_to_list
from noise_search.schedules.checks import is_number

if TYPE_CHECKING:
    from noise_search.apply import BoundNoise, Normalize

CARD_VERSION = 1
CARD_LIMIT_BYTES = 1_000_000
CARD_SCHEMA = Path(__file__).with_name("card.schema.json")  # written by scripts/card_schema
_CARD_KEYS = ("version", "terms", "context", "evidence", "rescale", "not_for")
_MEND = "mend the file, or write the card anew: noise-search pick NAME -o CARD.yaml"


@dataclass(frozen=True, slots=True)
class Card:
    """A policy with the context it was tuned in and what it was measured to gain there.

    Args:
        policy: What to train with.
        context: Data, model, epochs, seeds, suite hash and more, as `context.CONTEXT_FIELDS` has them.
        evidence: Clean and robust accuracy by arm, in the form of `evidence.EVIDENCE`; None where nobody measured it.

    >>> from noise_search.policy import Term
    >>> Card(Policy((Term("weights", "relative", 0.1),)), {}).tabulate(1)["weights.relative"].tolist()
    [0.1]
    """

    policy: Policy
    context: Mapping[str, Any]
    evidence: Mapping[str, Any] | None = None

    @property
    def rescale(self) -> tuple[str, ...]:
        """How to take it to a training of another length, batch size or learning rate, in sentences."""
        return advice.rescale(self.policy, self.context)

    @property
    def not_for(self) -> tuple[str, ...]:
        """When not to use it, in sentences."""
        return advice.not_for(self.policy, self.context)

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
    terms = zip(card.policy.terms, policy_to_list(card.policy), strict=True)
    return {
        "version": CARD_VERSION,
        "terms": [_with_unit(term, mapping) for term, mapping in terms],
        "context": dict(card.context),
        **({} if card.evidence is None else {"evidence": dict(card.evidence)}),
        "rescale": list(card.rescale),
        "not_for": list(card.not_for),
    }


def _with_unit(term: Term, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A term as a card has it: its magnitude with the unit behind it."""
    unit = {"unit": NOISES[term.site][term.noise].unit}
    return {"site": term.site, "noise": term.noise, "magnitude": term.magnitude, **unit, **mapping}


def save_card(card: Card, path: str | Path) -> None:
    """Write a card as YAML, whole or not at all.

    Raises:
        CallerError: When the folder is missing or cannot be written, context or evidence is not what a card may hold,
            or the card would be too large to be loaded again.
    """
    write_whole(path, card_text(card, str(path)), "card")


def card_text(card: Card, where: str = "card") -> bytes:
    """The file of a card.

    Args:
        card: Of it.
        where: Begins each message.

    Raises:
        CallerError: When context or evidence is not what a card may hold, or the card would be too large to be loaded.
    """
    raise_if_any(_mistakes({"context": card.context, "evidence": card.evidence}, where))
    text = _yaml_text(card_to_mapping(card), f"{where}: context")
    if len(text) > CARD_LIMIT_BYTES:
        expected = f"expected a card of at most {CARD_LIMIT_BYTES} bytes, got {len(text)}"
        raise CallerError(f"{where}: {expected}; give its tables fewer values, or its context less")
    return text


def load_card(path: str | Path) -> Card:
    """Read a card.

    Raises:
        CallerError: For a missing or unreadable file, YAML tags and aliases, an unknown version, and every wrong or
            unknown field.
    """
    where = str(path)
    content = _yaml_content(Path(path), where)
    if not isinstance(content, dict):
        raise CallerError(f"{where}: expected a card with {list(_CARD_KEYS)}, got {shown(content)}; {_MEND}")
    version: Any = content.get("version")
    if version is None:
        how = "noise-search pick NAME -o CARD.yaml writes one"
        raise CallerError(f"{where}: expected a policy card, got a file without a 'version', so it is none; {how}")
    if not is_number(version) or version != CARD_VERSION:
        following = "upgrade noise-search" if is_number(version) and version > CARD_VERSION else _MEND
        raise CallerError(f"{where}: version: expected {CARD_VERSION}, got {shown(version)}; {following}")
    mistakes = [expected_one_of(where, _CARD_KEYS, key) for key in content if key not in _CARD_KEYS]
    mistakes += _mistakes(content, where)
    context = content.get("context") or {}
    try:
        modality = None if mistakes else context.get("modality")
        policy = policy_from_list(content.get("terms"), f"{where}: terms", modality=modality)
    except CallerError as error:
        raise CallerError(*mistakes, *error.mistakes) from error
    raise_if_any(mistakes)
    return Card(policy, context, content.get("evidence"))


def _mistakes(content: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with the parts of a card beside its terms; a part that is null is as good as none."""
    checks = {
        "context": context_mistakes,
        "evidence": evidence_mistakes,
        "rescale": SENTENCES.mistakes,
        "not_for": SENTENCES.mistakes,
    }
    given = {key: content[key] for key in checks if content.get(key) is not None}
    try:
        return [mistake for key, part in given.items() for mistake in checks[key](f"{where}: {key}", part)]
    except RecursionError:
        return [f"{where}: expected lists and mappings a few levels deep, got some without an end"]


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
    """Safe dumper that writes an object twice where it occurs twice, not as an alias, and numbers in a row."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def represent_sequence(
        self, tag: str, sequence: Iterable[Any], flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        entries = list(sequence)
        return super().represent_sequence(tag, entries, flow_style=_are_numbers(entries) or flow_style)

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        return super().represent_mapping(tag, mapping, flow_style=_are_numbers(mapping.values()) or flow_style)


def _are_numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)


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
        raise CallerError(f"{where}: expected a YAML card, got {_first_line(error)}; {_MEND}") from error
    return content


def _first_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f" at line {mark.line + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error)
    return f"{str(problem).splitlines()[0]}{place}"
