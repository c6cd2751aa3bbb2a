"""Unicode to bytes in a Specific Character Set (PS3.5 6.1): the inverse of :mod:`pacslite.dicom.charset`.

Only the sets that Specific Character Set announces are used, by their defined terms (PS3.3 C.12.1.1.2), and only where
all of a text is representable in them. Code extensions are written as strictly as they are read loosely: the sets of
value 1 are designated again before each delimiter and at the end (PS3.5 6.1.2.5.3), so that a reader that keeps no
state at delimiters and one that does read the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from pacslite.dicom.charset import SINGLE_BYTE, recognize_term

UTF_8: Final = "ISO_IR 192"

_YEN: Final = "\xa5"
_WHOLE_TERMS: Final = {"utf_8": UTF_8, "gb18030": "GB18030", "gbk": "GBK"}
_UNSAFE: Final = re.compile(rb"[\x1b\x80-\x9f]")  # ESC and C1 controls are no characters of a single-byte set
_CONTROLS: Final = frozenset("\t\n\f\r")
_RESETS: Final = {
    (person_name, multi_valued): _CONTROLS | set("^=" if person_name else "") | set("\\" if multi_valued else "")
    for person_name in (False, True)
    for multi_valued in (False, True)
}


class _CodeSet(NamedTuple):
    """One set: the escape sequence that designates it, whether to G1, and the code of a character, if it has one."""

    escape: bytes
    in_g1: bool
    code: Callable[[str], bytes]


def _ascii(character: str) -> bytes:
    return character.encode("ascii") if character <= "\x7f" else b""


def _romaji(character: str) -> bytes:
    """JIS X 0201 where 5CH separates values. 7EH is read as a tilde, although printed as an overline."""
    return character.encode("ascii") if character <= "\x7f" and character != "\\" else b""


def _romaji_with_yen(character: str) -> bytes:
    return b"\\" if character == _YEN else _romaji(character)


def _encoded(character: str, codec: str) -> bytes:
    try:
        return character.encode(codec)
    except UnicodeEncodeError:
        return b""


def _in_g1(codec: str) -> Callable[[str], bytes]:
    @lru_cache(maxsize=1024)
    def code(character: str) -> bytes:
        raw = _encoded(character, codec)
        return raw if len(raw) == 1 and raw >= b"\xa0" else b""

    return code


def _is_pair(raw: bytes) -> bool:
    """Both bytes within the 94 × 94 of a set in G1: what else a codec has is no part of the registered set."""
    return len(raw) == 2 and min(raw) >= 0xA1 and max(raw) <= 0xFE


@lru_cache(maxsize=8192)
def _jis_x_0208(character: str) -> bytes:
    raw = _encoded(character, "euc_jp")
    return bytes(byte & 0x7F for byte in raw) if _is_pair(raw) else b""


@lru_cache(maxsize=1024)
def _jis_x_0212(character: str) -> bytes:
    raw = _encoded(character, "euc_jp")
    return bytes(byte & 0x7F for byte in raw[1:]) if raw[:1] == b"\x8f" and _is_pair(raw[1:]) else b""


@lru_cache(maxsize=8192)
def _ks_x_1001(character: str) -> bytes:
    raw = _encoded(character, "cp949")
    return raw if _is_pair(raw) else b""


@lru_cache(maxsize=8192)
def _gb_2312(character: str) -> bytes:
    raw = _encoded(character, "gb18030")
    try:
        raw.decode("gb2312")
    except UnicodeDecodeError:
        return b""
    return raw if _is_pair(raw) else b""


_ASCII: Final = _CodeSet(b"\x1b(B", False, _ascii)
_ROMAJI: Final = _CodeSet(b"\x1b(J", False, _romaji)
_ROMAJI_WITH_YEN: Final = _CodeSet(b"\x1b(J", False, _romaji_with_yen)
_SETS: Final = {
    13: (_ROMAJI, _CodeSet(b"\x1b)I", True, _in_g1("shift_jis"))),
    87: (_CodeSet(b"\x1b$B", False, _jis_x_0208),),
    159: (_CodeSet(b"\x1b$(D", False, _jis_x_0212),),
    149: (_CodeSet(b"\x1b$)C", True, _ks_x_1001),),
    58: (_CodeSet(b"\x1b$)A", True, _gb_2312),),
    6: (_ASCII,),
    **{
        number: (_ASCII, _CodeSet(b"\x1b-" + final, True, _in_g1(codec)))
        for number, (codec, final) in SINGLE_BYTE.items()
    },
}

_EXTENSIONS_ONLY: Final = frozenset({58, 87, 149, 159})  # never value 1 (PS3.3 C.12.1.1.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoder:
    """Text to bytes in the character sets `terms`, the defined terms that label what it makes.

    Without terms only ASCII is representable, and needs no label. `codec` encodes what needs no code extensions, and
    with `whole` that is everything. `g0` and `g1` are the sets of value 1, `others` those of the other values.
    """

    terms: tuple[str, ...] = ()
    codec: str = ""
    whole: bool = False
    g0: _CodeSet = _ASCII
    g1: _CodeSet | None = None
    others: tuple[_CodeSet, ...] = ()

    def encode(self, text: str, *, person_name: bool = False, multi_valued: bool = True) -> bytes | None:
        """The bytes of a whole value, unpadded. None: not representable."""
        if self.whole:
            return (_encoded(text, self.codec) or None) if text else b""
        if "\x1b" in text:
            return None
        if text.isascii() and (multi_valued or self.g0 is _ASCII or "\\" not in text):
            return text.encode("ascii")
        if self.codec:
            raw = _encoded(text, self.codec)
            if raw and not _UNSAFE.search(raw):
                return raw
        return self._extended(text, _RESETS[person_name, multi_valued], yen=not multi_valued) if self.terms else None

    def _extended(self, text: str, resets: frozenset[str], *, yen: bool) -> bytes | None:
        """Character by character, each in the set that is designated if it is there, else in the first that has it."""
        first_g0, first_g1, *others = (
            _ROMAJI_WITH_YEN if yen and one is _ROMAJI else one for one in (self.g0, self.g1, *self.others)
        )
        g0, g1 = first_g0, first_g1
        output = bytearray()
        for character in (*text, ""):
            if character in resets or not character:
                if first_g0 and g0 is not first_g0:
                    output += first_g0.escape
                if first_g1 and g1 is not first_g1:
                    output += first_g1.escape
                g0, g1 = first_g0, first_g1
                output += character.encode("ascii")
                continue
            for one in (g0, g1, first_g0, first_g1, *others):
                if one and (code := one.code(character)):
                    break
            else:
                return None
            if one is not g0 and one is not g1:
                g0, g1 = (g0, one) if one.in_g1 else (one, g1)
                output += one.escape
            output += code
        return bytes(output)


@lru_cache(maxsize=256)
def text_encoder(character_sets: tuple[str, ...]) -> TextEncoder:
    """The encoder for a Specific Character Set as its sender has spelt it; what is no defined term is left out."""
    known = [recognize_term(term) for term in character_sets[:16]]
    candidates = known if known and known[0][1] in (0, 6) else known[:1]  # as they are read: the first one counts
    for codec, _ in candidates:
        if codec in _WHOLE_TERMS:
            return TextEncoder(terms=(_WHOLE_TERMS[codec],), codec=codec, whole=True)
    numbers = [number for _, number in known]
    if not any(number in _SETS and number != 6 for number in numbers):
        return TextEncoder()
    if numbers[0] not in _SETS:
        numbers[0] = 6
    elif numbers[0] in _EXTENSIONS_ONLY:
        numbers.insert(0, 6)
    first, *others = (number for number in numbers if number in _SETS)
    g0, *g1 = _SETS[first]
    return TextEncoder(
        terms=_terms(first, others, character_sets[0]),
        codec=SINGLE_BYTE[first][0] if first in SINGLE_BYTE else "",
        g0=g0,
        g1=g1[0] if g1 else None,
        others=tuple(dict.fromkeys(one for number in others for one in _SETS[number])),
    )


def _terms(first: int, others: Sequence[int], spelling: str) -> tuple[str, ...]:
    if others or spelling.strip() == f"ISO 2022 IR {first}":
        return ("" if first == 6 else f"ISO 2022 IR {first}", *(f"ISO 2022 IR {number}" for number in others))
    return (f"ISO_IR {first}",)
