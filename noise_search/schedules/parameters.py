"""What a parameter of a schedule can be: a number, a word, or numbers. One entry serves cards, spaces and lists."""

from __future__ import annotations

from dataclasses import dataclass

Setting = float | str | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Number:
    """One number in [low, high].

    Args:
        default: What a schedule has that does not say.
        search: (low, high) of a search space that does not say, or None where the default is kept fixed.
        low, high: What is allowed.
        integer: Whole numbers only.
        positive: Without `low` itself, which is 0.
        log: Whether `search` is on a log scale.
    """

    default: float
    search: tuple[float, float] | None
    low: float = 0.0
    high: float = 1.0
    integer: bool = False
    positive: bool = False
    log: bool = False

    @property
    def expected(self) -> str:
        """What is allowed, as messages have it: `a number in [0, 1]`."""
        kind, bracket = "a whole number" if self.integer else "a number", "(" if self.positive else "["
        return f"{kind} in {bracket}{self.low:g}, {self.high:g}]"


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a few. A search space that does not say picks among all of them."""

    default: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Numbers:
    """A list of `shortest` to `longest` numbers in [0, 1], which a schedule has to give.

    `search` says whether a search space may leave it out: it then searches how many there are and each of them.
    """

    shortest: int
    longest: int | None
    search: bool

    @property
    def expected(self) -> str:
        """What is allowed, as messages have it: `a list of 3 to 6 numbers in [0, 1]`."""
        count = f"at least {self.shortest}" if self.longest is None else f"{self.shortest} to {self.longest}"
        return f"a list of {count} numbers in [0, 1]"


Parameter = Number | Word | Numbers
