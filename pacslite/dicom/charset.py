"""Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1): bytes of text values to Unicode, whatever the bytes are.

Decoding never fails. Where a sender breaks the rules we read what it most likely meant:

- high bytes with no, an empty or an ASCII character set are UTF-8 if they are valid UTF-8, else Latin-1;
- a misspelt term (`ISO-IR 100`, `ISO_2022_IR_87`, `UTF-8`, `ISO 8859-1` …) counts as the term it resembles;
- escape sequences are obeyed even where Specific Character Set does not announce them;
- what remains undecodable becomes U+FFFD.

The ISO 2022 part is a small machine: G0 (bytes 20–7F) and G1 (bytes A0–FF) each hold a character set, an escape
sequence designates another, and a delimiter returns both to those of value 1 (PS3.5 6.1.2.5.3). Only the code pages
come from Python's codecs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

_ESC: Final = b"\x1b"
_YEN: Final = "\xa5"
_REPLACE: Final = "replace"


class _CodeSet(NamedTuple):
    """One registered set in G0 or G1. `shift` is what turns its bytes into those of the codec `codec`."""

    codec: str
    double: bool = False  # two bytes a character
    prefix: bytes = b""  # goes before each character (EUC code set 3)
    yen: bool = False  # JIS X 0201: 5CH is the yen sign


_ASCII: Final = _CodeSet("latin_1")
_ROMAJI: Final = _CodeSet("latin_1", yen=True)
_KATAKANA: Final = _CodeSet("shift_jis")
_JIS_X_0208: Final = _CodeSet("euc_jp", double=True)
_JIS_X_0212: Final = _CodeSet("euc_jp", double=True, prefix=b"\x8f")
_KS_X_1001: Final = _CodeSet("cp949", double=True)
_GB_2312: Final = _CodeSet("gb18030", double=True)

# The single-byte sets of PS3.3 Table C.12-2 by the number of their registration: the codec and the final byte of the
# escape sequence that designates them to G1 (Table C.12-3).
SINGLE_BYTE: Final = {
    100: ("latin_1", b"A"),
    101: ("iso8859_2", b"B"),
    109: ("iso8859_3", b"C"),
    110: ("iso8859_4", b"D"),
    126: ("iso8859_7", b"F"),
    127: ("iso8859_6", b"G"),
    138: ("iso8859_8", b"H"),
    144: ("iso8859_5", b"L"),
    148: ("iso8859_9", b"M"),
    166: ("iso8859_11", b"T"),
    203: ("iso8859_15", b"b"),
}
_ISO_8859: Final = {1: 100, 2: 101, 3: 109, 4: 110, 5: 144, 6: 127, 7: 126, 8: 138, 9: 148, 11: 166, 15: 203}

# Escape sequences of Tables C.12-3 and C.12-4, and older forms of them that ISO 2022 knows: to G0 or G1, and what.
_TO_G0: Final = {
    b"(B": _ASCII,
    b"(J": _ROMAJI,
    b"$B": _JIS_X_0208,
    b"$@": _JIS_X_0208,
    b"$(B": _JIS_X_0208,
    b"$(@": _JIS_X_0208,
    b"$(D": _JIS_X_0212,
}
_TO_G1: Final = {
    b")I": _KATAKANA,
    b"$)C": _KS_X_1001,
    b"$)A": _GB_2312,
    **{b"-" + final: _CodeSet(codec) for codec, final in SINGLE_BYTE.values()},
}
_ESCAPE: Final = re.compile(rb"\x1b(\$[()]?[@-~]|[()*+\-./][@-~]|.?)", re.DOTALL)
# What returns G0 and G1 to value 1 (PS3.5 6.1.2.5.3), by (person name, several values).
_DELIMITER: Final = {
    (False, False): re.compile(rb"[\t\n\f\r]"),
    (False, True): re.compile(rb"[\t\n\f\r\\]"),
    (True, False): re.compile(rb"[\t\n\f\r^=]"),
    (True, True): re.compile(rb"[\t\n\f\r\\^=]"),
}
_CONTROL: Final = _DELIMITER[False, False]
_RUN: Final = re.compile(rb"[\x80-\xff]+|[^\x80-\xff]+")

# Sets that are not used with code extensions (PS3.5 6.1.2.5.4), and names that are no DICOM terms but are met as such.
_WHOLE: Final = {
    "GB18030": "gb18030",
    "GBK": "gbk",
    "ISO2022GBK": "gbk",
    "GB2312": "gb18030",
    "UTF8": "utf_8",
    "UNICODE": "utf_8",
    "LATIN1": "latin_1",
    "SHIFTJIS": "shift_jis",
    "SJIS": "shift_jis",
    "EUCJP": "euc_jp",
    "EUCKR": "euc_kr",
    "BIG5": "big5",
    "KOI8R": "koi8_r",
    **{f"{maker}125{page}": f"cp125{page}" for page in range(9) for maker in ("WINDOWS", "CP")},
}
_TERM: Final = re.compile(r"(?:ISO)?(?:2022)?(?:IR)?(\d{1,3})")
_ISO_8859_TERM: Final = re.compile(r"ISO8859(\d{1,2})")


class _Repertoire(NamedTuple):
    """What a Specific Character Set comes to: either one codec for everything, or the initial G0 and G1.

    `fallback` decodes high bytes while nothing is designated to G1; None stands for "guess".
    """

    whole: str = ""
    g0: _CodeSet = _ASCII
    g1: _CodeSet | None = None
    fallback: _CodeSet | None = None


def decode_text(raw: bytes, character_sets: Sequence[str], *, person_name: bool, multi_valued: bool = True) -> str:
    """The text of a whole Value Field; padding stays. `character_sets` are the values of (0008,0005).

    Split into values *after* this: bytes 5CH may be half a character in GBK, GB18030 and Shift JIS. In JIS X 0201 the
    byte 5CH is printed as a yen sign; it is the value delimiter all the same and comes out as a backslash, except
    where `multi_valued` is false (LT, ST, UT), where it can only be the yen sign.
    """
    if raw.isascii() and _ESC not in raw and (multi_valued or b"\\" not in raw):
        return raw.decode("ascii")
    repertoire = _repertoire(tuple(character_sets))
    if repertoire.whole:
        return raw.decode(repertoire.whole, _REPLACE)
    if repertoire.g0.yen and _ESC not in raw:
        # Equal to JIS X 0201 for what that has; the kanji many senders of ISO_IR 13 add are Shift JIS.
        text = raw.decode("shift_jis", _REPLACE)
        return text if multi_valued else text.replace("\\", _YEN)
    if _ESC not in raw and not (repertoire.fallback and repertoire.g1 is None):  # one set throughout
        text = raw.decode((repertoire.g1 or _ASCII).codec, _REPLACE)
    else:
        reset = _DELIMITER[person_name, multi_valued]
        text = "".join(_decoded_runs(raw, repertoire, reset, yen=not multi_valued))
    return text if raw.isascii() or repertoire.g1 or repertoire.fallback else _guessed(text)


def _guessed(text: str) -> str:
    """High bytes that no character set explains came through as Latin-1; as UTF-8 they may make more sense."""
    try:
        return text.encode("latin_1").decode("utf_8")
    except UnicodeError:
        return text


def _decoded_runs(raw: bytes, start: _Repertoire, reset: re.Pattern[bytes], *, yen: bool) -> Iterator[str]:
    g0, g1 = start.g0, start.g1
    position = 0
    while position < len(raw):
        escape = raw.find(_ESC, position)
        stop = escape if escape >= 0 else len(raw)
        while position < stop:
            # In a two-byte G0 the delimiters' codes are halves of characters; only control characters reset there.
            delimiter = (_CONTROL if g0.double else reset).search(raw, position, stop)
            end = delimiter.end() if delimiter else stop
            for run in _RUN.findall(raw, position, end):
                yield _decoded(run, g0, g1 or start.fallback, yen=yen)
            if delimiter:
                g0, g1 = start.g0, start.g1
            position = end
        if escape >= 0:
            match = _ESCAPE.match(raw, position)
            designation = match.group(1) if match else b""
            position += 1 + len(designation)
            if designation in _TO_G0:
                g0 = _TO_G0[designation]
            elif designation in _TO_G1:
                g1 = _TO_G1[designation]
            elif len(designation) == 1:
                position -= 1  # not an escape sequence at all: drop the ESC, keep what follows


def _decoded(run: bytes, g0: _CodeSet, g1: _CodeSet | None, *, yen: bool) -> str:
    """One run of bytes that are all in G0 (and C0) or all in G1 (and C1)."""
    if run[0] >= 0x80:
        return run.decode((g1 or _ASCII).codec, _REPLACE)
    if g0.double:
        return "".join(_double_byte(run, g0))
    text = run.decode("latin_1")
    return text.replace("\\", _YEN) if g0.yen and yen else text


def _double_byte(run: bytes, code_set: _CodeSet) -> Iterator[str]:
    """Characters of a two-byte set in G0. Space and control characters keep their single byte."""
    position = 0
    while position < len(run):
        pair = run[position : position + 2]
        if pair[0] <= 0x20 or pair[0] == 0x7F:
            yield chr(pair[0])
            position += 1
        else:
            high = bytes(byte | 0x80 for byte in pair)
            yield (code_set.prefix + high).decode(code_set.codec, _REPLACE)
            position += 2


@lru_cache(maxsize=256)
def _repertoire(character_sets: tuple[str, ...]) -> _Repertoire:
    """The few distinct values a site's equipment sends are worked out once; the cache is bounded, as senders invent."""
    known = [_of_term(term) for term in character_sets[:16]]
    if not known:
        return _Repertoire()
    first = known[0]
    if first.whole:
        return first
    others = known[1:]
    if first == _Repertoire() and (whole := next((other for other in others if other.whole), None)):
        return whole  # "\ISO_IR 192": not allowed, but it can mean one thing only
    # A sender that forgets to designate its set again after a delimiter means the one set it has announced.
    fallback = next((other.g1 or other.fallback for other in others if other.g1 or other.fallback), None)
    return first._replace(fallback=first.fallback or fallback)


def recognize_term(term: str) -> tuple[str, int]:
    """What one defined term means, spelt in any of the ways senders spell it.

    Either the codec of a set that is used without code extensions, or the number of an ISO registration; ``("", 0)``
    where it means nothing.
    """
    key = re.sub(r"[^A-Z0-9]", "", term.upper())
    if codec := _WHOLE.get(key):
        return codec, 0
    if iso_8859 := _ISO_8859_TERM.fullmatch(key):
        return "", _ISO_8859.get(int(iso_8859.group(1)), 0)
    match = _TERM.fullmatch(key)
    number = int(match.group(1)) if match else 0
    return ("utf_8", 0) if number == 192 else ("", number)


def _of_term(term: str) -> _Repertoire:
    codec, number = recognize_term(term)
    if codec:
        return _Repertoire(whole=codec)
    if number in SINGLE_BYTE:
        return _Repertoire(g1=_CodeSet(SINGLE_BYTE[number][0]))
    match number:
        case 13:
            return _Repertoire(g0=_ROMAJI, g1=_KATAKANA)
        case 149:
            return _Repertoire(fallback=_KS_X_1001)
        case 58:
            return _Repertoire(fallback=_GB_2312)
        case _:
            return _Repertoire()
