"""Matching of person names (PS3.4 C.2.2.2.1.1, C.2.2.2.4): by folded component groups, literally or by sound.

Theory of operation. A key is cut into groups (``=``) and components (``^``) and its wild cards are found before it is
folded, because folding makes ASCII of full-width characters: a ``＊`` becomes a ``?`` of the pattern, which finds it.
The result is one pattern per group, in the form in which the index keeps folded groups: components joined by ``^``,
without delimiters at the end. Since these mean nothing, a stored group is looked at as if it had as many ``^`` as the
pattern: ``smith^*`` finds ``smith``, but not ``smithson``.

Fuzzy matching looks at words: each word of the key has to begin some word of one group, or to sound like it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from pacslite.dicom.matching import NameMatch
from pacslite.dicom.sound import sound_of
from pacslite.dicom.values import fold
from pacslite.dicom.wildcard import is_pattern, matcher

Groups = tuple[str, str, str]
NameMatcher = Callable[[Sequence[str]], bool]

# Code points for private use stand for the wild cards while the rest is folded.
_HIDE_WILDCARDS: Final = str.maketrans({"*": "\ue000", "?": "\ue001"})
_SHOW_WILDCARDS: Final = str.maketrans({"*": "?", "\ue000": "*", "\ue001": "?"})
_STARS: Final = re.compile(r"\*+")
_SPLIT_WORDS: Final = re.compile(r"[\s^=,.\-]+")
_APOSTROPHES: Final = str.maketrans("", "", "'’`´")


def name_match(text: str, *, fuzzy: bool = False) -> NameMatch | None:
    """What a PN key asks for; None if that is nothing."""
    groups = [_pattern(group) for group in text.split("=", 2)]
    while groups and not groups[-1]:
        groups.pop()
    any_group = len(groups) == 1
    first, second, third = (group if group.strip("*^") else "" for group in (*groups, "", "", "")[:3])
    if not (first or second or third):
        return None
    return NameMatch(groups=(first, second, third), any_group=any_group, fuzzy=fuzzy)


@lru_cache(maxsize=1024)
def folded_groups(name: str) -> Groups:
    """One stored name as :func:`name_matcher` wants it: folded, alphabetic, ideographic, phonetic."""
    alphabetic, _, others = name.partition("=")
    if not others:
        return folded_group(alphabetic), "", ""
    ideographic, _, phonetic = others.partition("=")
    return folded_group(alphabetic), folded_group(ideographic), folded_group(phonetic)


def folded_group(group: str) -> str:
    """One component group, its components folded each for itself and still apart."""
    if group.isascii() and group.isprintable() and " " not in group:
        return group.lower().rstrip("^")
    return "^".join([fold(component) for component in group.split("^")]).rstrip("^")


@lru_cache(maxsize=128)
def name_matcher(match: NameMatch) -> NameMatcher:
    """What tells whether a name, given as its folded groups, matches."""
    literal = _of_groups(match, [_group_matcher(pattern) if pattern else None for pattern in match.groups])
    if not match.fuzzy:
        return literal
    fuzzy = _of_groups(match, [_words_matcher(pattern) if pattern else None for pattern in match.groups])
    return lambda groups: literal(groups) or fuzzy(groups)


def _of_groups(match: NameMatch, wanted: list[Callable[[str], bool] | None]) -> NameMatcher:
    one = wanted[0]
    if match.any_group and one is not None:

        def any_of_them(groups: Sequence[str]) -> bool:
            first, second, third = groups
            return one(first) or (second != "" and one(second)) or (third != "" and one(third))

        return any_of_them
    asked = tuple((number, matches) for number, matches in enumerate(wanted) if matches is not None)
    return lambda groups: all(matches(groups[number]) for number, matches in asked)


def _pattern(group: str) -> str:
    components = [fold(part.translate(_HIDE_WILDCARDS)).translate(_SHOW_WILDCARDS) for part in group.split("^")]
    return _STARS.sub("*", "^".join(components).rstrip("^"))


def _group_matcher(pattern: str) -> Callable[[str], bool]:
    matches = matcher(pattern)
    delimiters = pattern.count("^")
    if not delimiters or not pattern.endswith(("*", "^")):
        return matches

    def matches_padded(group: str) -> bool:
        return matches(group) or ((missing := delimiters - group.count("^")) > 0 and matches(group + "^" * missing))

    return matches_padded


# --- Words -----------------------------------------------------------------------------------------------------------


def _words(group: str) -> list[str]:
    return [word for word in _SPLIT_WORDS.split(group.translate(_APOSTROPHES)) if word]


def _words_matcher(pattern: str) -> Callable[[str], bool]:
    wanted = [_word_matcher(word) for word in _words(pattern) if word.strip("*")]

    def matches(group: str) -> bool:
        words = _words(group)
        return all(any(map(matches_word, words)) for matches_word in wanted)

    return matches


def _word_matcher(word: str) -> Callable[[str], bool]:
    if is_pattern(word):
        return matcher(word)
    sound = sound_of(word)
    if not sound:
        return lambda other: other.startswith(word)
    return lambda other: other.startswith(word) or sound_of(other) == sound
