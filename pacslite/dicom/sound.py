"""How a name sounds, for fuzzy matching (PS3.4 C.2.2.2.1.1): a code for words in Latin script, equal for alike ones.

In the manner of Soundex, and of no one language: letters that are confused share a code, vowels count only at the
beginning, doubles count once. Unlike Soundex the first letter is coded as well (Karl, Carl) and the code is as long as
the word, so that long names stay apart. Words of fewer than three letters and of other scripts have no code.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_MIN_LENGTH: Final = 3

# What several letters sound like. Where two fit at one place, the longer stands first.
_SPELLINGS: Final = (
    (re.compile(r"tsch|tch|sch|sh|cz|sz|zh"), "s"),
    (re.compile(r"ph|pf"), "f"),
    (re.compile(r"ck|cq|qu|kh|gh|ch"), "k"),
    (re.compile(r"th|dt"), "t"),
    (re.compile(r"tz|ts"), "s"),
    (re.compile(r"x"), "ks"),
    (re.compile(r"c(?=[eiy])"), "s"),
    (re.compile(r"^h(?=[aeiouy])"), ""),
)
_SOUNDS: Final = str.maketrans(
    {
        **dict.fromkeys("bp", "p"),
        **dict.fromkeys("fvw", "f"),
        **dict.fromkeys("dt", "t"),
        **dict.fromkeys("cgkq", "k"),
        **dict.fromkeys("sz", "s"),
        **dict.fromkeys("mn", "n"),
        **dict.fromkeys("eijy", "i"),
        **dict.fromkeys("ou", "o"),
        "h": "",
    }
)
_VOWELS: Final = str.maketrans("", "", "aio")
_DOUBLES: Final = re.compile(r"(.)\1+")


@lru_cache(maxsize=8192)
def sound_of(word: str) -> str:
    """The code of a folded word; ``""`` if it has none."""
    if len(word) < _MIN_LENGTH or not (word.isascii() and word.isalpha()):
        return ""
    for spelling, letters in _SPELLINGS:
        word = spelling.sub(letters, word)
    code = _DOUBLES.sub(r"\1", word.translate(_SOUNDS))
    return code[:1] + code[1:].translate(_VOWELS)
