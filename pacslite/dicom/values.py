"""Values of VRs (PS3.5 6.2) in one normal form each, so that they compare by meaning; folded text for matching names.

Every function takes what senders really write. What has no meaning becomes the empty string or None, never an error.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from typing import Final

MAX_AE_TITLE_LENGTH: Final = 16
_INT64: Final = 1 << 63
_MAX_NUMBER_LENGTH: Final = 64  # an IS has 12 characters, a DS 16; Python's int() is quadratic in what is longer

_DATE: Final = re.compile(r"([0-9]{4})([-./]?)([0-9]{2})\2([0-9]{2})")
_TIME: Final = re.compile(r"([0-9]{2})(?:(:?)([0-9]{2})(?:\2([0-9]{2})(?:[.,]([0-9]{1,6})[0-9]*)?)?)?")
_DATE_TIME: Final = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?)?)?)?"
    r"([+-][0-9]{4})?"
)
_OFFSET: Final = re.compile(r"[+-][0-9]{4}")
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_AE_TITLE: Final = re.compile(r"(?=.*[^ ])[ -\[\]-~]{1,16}")


# --- Application entity titles ---------------------------------------------------------------------------------------


def normalise_ae_title(title: str | bytes) -> str:
    """An AE title without its padding: spaces on either side are not significant (PS3.8 9.3.2, PS3.5 6.2 AE)."""
    text = title.decode("latin-1") if isinstance(title, bytes) else title
    return text.strip(" \0")


def is_valid_ae_title(title: str) -> bool:
    """1 to 16 characters of the default repertoire without backslash and control characters, not all of them spaces."""
    return _AE_TITLE.fullmatch(title) is not None


# --- Dates and times -------------------------------------------------------------------------------------------------


def normalise_date(text: str) -> str:
    """A DA as `YYYYMMDD`; the old `1997.04.24` and its like are understood. No real date: an empty string."""
    match = _DATE.fullmatch(text.strip(" \0"))
    if match is None:
        return ""
    year, month, day = match.group(1, 3, 4)
    return year + month + day if _is_date(year, month, day) else ""


def normalise_time(text: str) -> str:
    """A TM as `HHMMSS.FFFFFF`, missing parts as zeros; the old `10:20:30` is understood. No real time: ""."""
    match = _TIME.fullmatch(text.strip(" \0"))
    if match is None:
        return ""
    hour, minute, second, fraction = match.group(1, 3, 4, 5)
    return _clock(hour, minute or "00", second or "00", fraction or "")


def normalise_date_time(text: str) -> str:
    """A DT as `YYYYMMDDHHMMSS.FFFFFF`, missing parts at their least value, and its offset from UTC if it has one.

    Two with different offsets do not compare by these strings. No real date and time: an empty string.
    """
    match = _DATE_TIME.fullmatch(text.strip(" \0"))
    if match is None:
        return ""
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    month, day = month or "01", day or "01"
    clock = _clock(hour or "00", minute or "00", second or "00", fraction or "")
    if not clock or not _is_date(year, month, day) or not _is_offset(offset or ""):
        return ""
    return f"{year}{month}{day}{clock}{offset or ''}"


def utc_offset_minutes(text: str) -> int | None:
    """A Timezone Offset From UTC (0008,0201), `+HHMM` or `-HHMM`, in minutes; None if it is none."""
    text = text.strip(" \0")
    if _OFFSET.fullmatch(text) is None or not _is_offset(text):
        return None
    minutes = int(text[1:3]) * 60 + int(text[3:5])
    return -minutes if text[0] == "-" else minutes


def _is_date(year: str, month: str, day: str) -> bool:
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return False
    return True


def _clock(hour: str, minute: str, second: str, fraction: str) -> str:
    """60 seconds are a leap second and legal (PS3.5 6.2 TM)."""
    if hour > "23" or minute > "59" or second > "60":
        return ""
    return f"{hour}{minute}{second}.{fraction:0<6}"


def _is_offset(offset: str) -> bool:
    """PS3.5 6.2 DT: -1200 to +1400, and -0000 is not used; nobody is served by refusing that one."""
    return not offset or (offset[3:] <= "59" and -1200 <= int(offset) <= 1400)


# --- Numbers ---------------------------------------------------------------------------------------------------------


def to_integer(text: str) -> int | None:
    """An IS, or the integer that a careless `12.0` means; None if it is none or needs more than 64 bits."""
    text = text.strip(" \0")
    if len(text) > _MAX_NUMBER_LENGTH:
        return None
    if _INTEGER.fullmatch(text):
        value = int(text)
    else:
        number = to_float(text)
        if number is None or not number.is_integer():
            return None
        value = int(number)
    return value if -_INT64 <= value < _INT64 else None


def to_float(text: str) -> float | None:
    """A DS as a finite number, else None."""
    text = text.strip(" \0")
    if len(text) > _MAX_NUMBER_LENGTH or not text.isascii() or "_" in text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


# --- Person names ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NameGroup:
    """One component group of a person name (PS3.5 6.2.1)."""

    family: str = ""
    given: str = ""
    middle: str = ""
    prefix: str = ""
    suffix: str = ""

    def __str__(self) -> str:
        return "^".join((self.family, self.given, self.middle, self.prefix, self.suffix)).rstrip("^")


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonName:
    """A person name in up to three writings; its string form has no trailing delimiters, as those mean nothing."""

    alphabetic: NameGroup = NameGroup()
    ideographic: NameGroup = NameGroup()
    phonetic: NameGroup = NameGroup()

    def __str__(self) -> str:
        return "=".join((str(self.alphabetic), str(self.ideographic), str(self.phonetic))).rstrip("=")

    def folded(self) -> str:
        """The name as matching sees it, its groups and components still apart."""
        return "=".join(
            "^".join(fold(component) for component in str(group).split("^")).rstrip("^")
            for group in (self.alphabetic, self.ideographic, self.phonetic)
        ).rstrip("=")


def parse_person_name(text: str) -> PersonName:
    """One value of a PN. Groups beyond three and components beyond five are joined to the last, so nothing is lost."""
    groups = [_name_group(group) for group in text.split("=", 2)]
    return PersonName(**dict(zip(("alphabetic", "ideographic", "phonetic"), groups, strict=False)))


def _name_group(text: str) -> NameGroup:
    components = (component.strip(" \0") for component in text.split("^", 4))
    return NameGroup(**dict(zip(("family", "given", "middle", "prefix", "suffix"), components, strict=False)))


# --- Folding ---------------------------------------------------------------------------------------------------------

# Letters with a stroke, ligatures and the dotless i have no decomposition in Unicode, yet are typed without.
_PLAIN_LETTERS: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)
_TO_HIRAGANA: Final = {code: code - 0x60 for code in (*range(0x30A1, 0x30F7), 0x30FD, 0x30FE)}


def fold(text: str) -> str:
    """`text` as matching sees it: no case, no accents, one width, one kana, single spaces. Apply to both sides.

    Fold the parts of a person name, not the whole: a full-width `＝` would become a delimiter.
    """
    if text.isascii():
        return " ".join(text.lower().replace("\0", " ").split())
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold()).translate(_PLAIN_LETTERS)
    bare = "".join(char for char in plain if not _is_accent(char))
    return " ".join(unicodedata.normalize("NFC", bare).translate(_TO_HIRAGANA).replace("\0", " ").split())


def _is_accent(char: str) -> bool:
    """By combining class: accents above and below letters, Hebrew points and Arabic vowel signs can be left out in
    writing; the marks of kana and the vowels of Thai and Indian scripts make another syllable and stay."""
    combining = unicodedata.combining(char)
    return combining >= 200 or 10 <= combining <= 36
