"""What stands between the fences of the README: commands, files and Python."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
_BLOCK = re.compile(r"(?:^`([^`\n]+)`:\n\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Args:
        language: The word behind the fence; empty for what is printed.
        file: Path that a line of its own before the fence names, as in "`my_conf/space/mine.yaml`:"; else None.
        text: What stands inside.
    """

    language: str
    file: str | None
    text: str


def blocks(text: str) -> list[Block]:
    """Every fenced block, in order.

    >>> blocks("`a.py`:\\n\\n```python\\nx = 1\\n```\\n")
    [Block(language='python', file='a.py', text='x = 1\\n')]
    """
    return [Block(language, file or None, inside) for file, language, inside in _BLOCK.findall(text)]


def commands(block: Block) -> list[tuple[str, ...]]:
    """Words of every command of a bash block, comments left out; none of another block.

    >>> commands(Block("bash", None, "noise-search list noises  # all\\n\\n# no more\\n"))
    [('noise-search', 'list', 'noises')]
    """
    if block.language != "bash":
        return []
    lines = [tuple(shlex.split(line, comments=True)) for line in block.text.splitlines()]
    return [words for words in lines if words]


def inline(text: str) -> Iterator[str]:
    """Every piece of code inside a line."""
    yield from re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text))


def links(text: str) -> list[str]:
    """Targets of links and pictures that lie in the repository."""
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
