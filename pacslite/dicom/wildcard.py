"""Wild card matching (PS3.4 C.2.2.2.4): ``*`` is any number of characters, none included, ``?`` exactly one.

Theory of operation. A pattern is cut at its stars. The first piece has to begin the text and the last has to end it;
of each piece between, the leftmost occurrence after the one before is as good as any other, so nothing is ever tried
twice and stars cost nothing. A piece without ``?`` is found by ``str.find``, a short one with ``?`` by a regular
expression that has nothing to repeat, a long one bit by bit (:func:`_long_piece`). Whatever the pattern, the work is
in proportion to the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

Matcher = Callable[[str], bool]
_Find = Callable[[str, int], int]

_SHORT: Final = 64
"""Characters of a piece that may be compared anew at every place of the text."""


def is_pattern(text: str) -> bool:
    """Whether ``text`` has a wild card."""
    return "*" in text or "?" in text


@lru_cache(maxsize=128)
def matcher(pattern: str) -> Matcher:
    """What tells whether a text matches the whole of ``pattern``; case counts."""
    if not is_pattern(pattern):
        return pattern.__eq__
    pieces = pattern.split("*")
    if len(pieces) == 1:
        return _same_length(pattern)
    first, *between, last = pieces
    between = [piece for piece in between if piece]
    if "?" not in pattern:
        if not between:
            return _ends(first, last)
        if len(between) == 1 and not first and not last:
            return _holds(between[0])
    return _pieces(first, tuple(between), last)


def literal_prefix(pattern: str) -> str:
    """What every match begins with."""
    return re.split(r"[*?]", pattern, maxsplit=1)[0]


def longest_literal(pattern: str) -> str:
    """The longest text that every match contains, for an index of substrings to begin with."""
    return max(re.split(r"[*?]", pattern), key=len)


def _same_length(pattern: str) -> Matcher:
    begins = _begins(pattern)
    length = len(pattern)
    return lambda text: len(text) == length and begins(text, 0)


def _ends(first: str, last: str) -> Matcher:
    if not last:
        return lambda text: text.startswith(first)
    length = len(first) + len(last)
    return lambda text: len(text) >= length and text.startswith(first) and text.endswith(last)


def _holds(piece: str) -> Matcher:
    return lambda text: piece in text


def _pieces(first: str, between: tuple[str, ...], last: str) -> Matcher:
    begins, ends = _begins(first), _begins(last)
    finds = tuple((_find(piece), len(piece)) for piece in between)
    length = len(first) + sum(map(len, between)) + len(last)
    start, tail = len(first), len(last)

    def matches(text: str) -> bool:
        if len(text) < length or not begins(text, 0):
            return False
        end = len(text) - tail
        if not ends(text, end):
            return False
        place = start
        for find, size in finds:
            place = find(text, place)
            if place < 0:
                return False
            place += size
        return place <= end

    return matches


def _begins(piece: str) -> Callable[[str, int], bool]:
    """Whether ``piece`` stands at a place of the text; where the text ends is for the caller to know."""
    if "?" not in piece:
        return lambda text, place: text.startswith(piece, place)
    compiled = _expression(piece)
    return lambda text, place: compiled.match(text, place) is not None


def _find(piece: str) -> _Find:
    """Where ``piece`` stands first from a place of the text on, or -1."""
    if "?" not in piece:
        return lambda text, place: text.find(piece, place)
    if len(piece) > _SHORT:
        return _long_piece(piece)
    compiled = _expression(piece)

    def find(text: str, place: int) -> int:
        found = compiled.search(text, place)
        return -1 if found is None else found.start()

    return find


def _expression(piece: str) -> re.Pattern[str]:
    return re.compile("".join("." if char == "?" else re.escape(char) for char in piece), re.DOTALL)


def _long_piece(piece: str) -> _Find:
    """Shift-and: bit n of ``state`` says that what is read of the text ends with n + 1 characters of the piece."""
    anywhere = sum(1 << number for number, char in enumerate(piece) if char == "?")
    masks = dict.fromkeys(piece, anywhere)
    for number, char in enumerate(piece):
        if char != "?":
            masks[char] |= 1 << number
    masks["?"] = anywhere
    whole = 1 << (len(piece) - 1)

    def find(text: str, place: int) -> int:
        state = 0
        for number in range(place, len(text)):
            state = (state << 1 | 1) & masks.get(text[number], anywhere)
            if state & whole:
                return number - len(piece) + 1
        return -1

    return find
