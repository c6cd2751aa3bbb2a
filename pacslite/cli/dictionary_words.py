"""What people write for an attribute, a SOP class or a transfer syntax: its keyword or its number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Final

from pacslite.dicom.dictionary import DICTIONARY, UID_REGISTRY
from pacslite.dicom.uids import is_conformant_uid
from pacslite.errors import ConfigurationError

_TAG: Final = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")


def tag_of(word: str) -> int:
    """The tag for a keyword, in whatever case, or for ``ggggeeee``, ``gggg,eeee``, ``(gggg,eeee)``.

    Raises :class:`ConfigurationError` with the nearest keyword.
    """
    if match := _TAG.fullmatch(word):
        return int(match[1] + match[2], 16)
    tag = _tags().get(word.lower())
    if tag is None:
        raise ConfigurationError(
            f'"{word}" is no attribute{_nearest(word, (entry[4] for entry in DICTIONARY.values()))}'
        )
    return tag


def uid_of(word: str, kind: str) -> str:
    """The UID for a keyword of PS3.6 Annex A, in whatever case, or the UID itself, known or not.

    ``kind`` is "SOP Class" or "Transfer Syntax". Raises :class:`ConfigurationError` with the nearest keyword.
    """
    if is_conformant_uid(word) and "." in word:
        return word
    uid = _uids(kind).get(word.lower())
    if uid is None:
        keywords = (entry[4] for entry in UID_REGISTRY.values() if entry[1] == kind)
        raise ConfigurationError(f'"{word}" is no {kind.lower()}{_nearest(word, keywords)}')
    return uid


@cache
def _tags() -> Mapping[str, int]:
    return {entry[4].lower(): tag for tag, entry in DICTIONARY.items() if entry[4]}


@cache
def _uids(kind: str) -> Mapping[str, str]:
    return {entry[4].lower(): uid for uid, entry in UID_REGISTRY.items() if entry[1] == kind and entry[4]}


def _nearest(word: str, keywords: Iterable[str]) -> str:
    by_lower = {keyword.lower(): keyword for keyword in keywords if keyword}
    near = get_close_matches(word.lower(), by_lower, n=1)
    return f"; the nearest is {by_lower[near[0]]}" if near else "; write a keyword of PS3.6 or a number"
