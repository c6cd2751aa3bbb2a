"""From the attributes of a request to matching keys (PS3.4 C.2.2.2).

:func:`key_of` reads one attribute, :func:`combine` joins the dates and times among the keys; :func:`matches` is what
they mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final

from pacslite.dicom import tags
from pacslite.dicom.dictionary import DICTIONARY
from pacslite.dicom.elements import Element
from pacslite.dicom.evaluation import all_match, data_set_matcher, matches, value_matcher
from pacslite.dicom.matching import (
    AllOf,
    EmptyValue,
    Key,
    Match,
    NameMatch,
    Range,
    SequenceMatch,
    SingleValue,
    ValueList,
    Wildcard,
)
from pacslite.dicom.moments import combined as joined
from pacslite.dicom.moments import date_match, date_time_match, goes_past_midnight, time_match
from pacslite.dicom.names import name_match
from pacslite.dicom.normal_forms import MULTIPLE_VALUE_VRS, WILDCARD_VRS, normal_form, texts_of
from pacslite.dicom.tags import keyword_of
from pacslite.dicom.vrs import TEXT_VRS
from pacslite.dicom.wildcard import is_pattern
from pacslite.errors import InvalidKey

__all__ = [
    "MAX_PATTERN",
    "MAX_VALUES",
    "NEVER_KEYS",
    "TIME_OF",
    "all_match",
    "combine",
    "data_set_matcher",
    "key_of",
    "matches",
    "value_matcher",
]

NEVER_KEYS: Final = frozenset({tags.SPECIFIC_CHARACTER_SET, tags.TIMEZONE_OFFSET_FROM_UTC, tags.QUERY_RETRIEVE_LEVEL})
"""They say how to read the request and are not matched (PS3.4 C.2.2.2)."""

TIME_OF: Final[Mapping[int, int]] = MappingProxyType(
    {
        tags.STUDY_DATE: tags.STUDY_TIME,
        tags.SERIES_DATE: tags.SERIES_TIME,
        tags.ACQUISITION_DATE: tags.ACQUISITION_TIME,
        tags.CONTENT_DATE: tags.CONTENT_TIME,
        tags.INSTANCE_CREATION_DATE: tags.INSTANCE_CREATION_TIME,
        tags.PATIENT_BIRTH_DATE: tags.PATIENT_BIRTH_TIME,
        tags.PERFORMED_PROCEDURE_STEP_START_DATE: tags.PERFORMED_PROCEDURE_STEP_START_TIME,
        tags.PRESENTATION_CREATION_DATE: tags.PRESENTATION_CREATION_TIME,
        0x00400002: 0x00400003,  # Scheduled Procedure Step Start
        0x00400004: 0x00400005,  # Scheduled Procedure Step End
        0x00400250: 0x00400251,  # Performed Procedure Step End
        0x00181012: 0x00181014,  # Date, Time of Secondary Capture
    }
)
"""The time attribute of each date attribute that has one, for combined matching (PS3.4 C.2.2.2.5.4)."""

MAX_PATTERN: Final = 1024
"""Characters of a key with wild cards, and of a person name: more than any value of a sensible length needs."""


MAX_VALUES: Final = 256
"""Values of a key that all have to match: more than any attribute has."""


def key_of(
    tag: int,
    element: Element,
    *,
    fuzzy: bool = False,
    empty_value: bool = False,
    multiple_values: bool = False,
    combined: bool = False,
) -> Key | None:
    """The matching key that an attribute of a request is; None for universal matching, which is no matching at all.

    The flags are what was negotiated: fuzzy semantic matching of names, Empty Value Matching, Multiple Value Matching,
    combined date-time matching. With ``combined`` a range of times may go past midnight, and the keys have to go
    through :func:`combine`. Raises :class:`InvalidKey`.
    """
    return _agreed(fuzzy, empty_value, multiple_values, combined).key_of(tag, element)


def combine(keys: Iterable[Key]) -> tuple[Key, ...]:
    """The same keys, dates and times that make one interval joined (PS3.4 C.2.2.2.5.4), inside sequences as well."""
    by_tag = {key.tag: key for key in keys}
    for date_tag, time_tag in TIME_OF.items():
        if date_tag in by_tag and time_tag in by_tag:
            interval = _interval(by_tag[date_tag], by_tag[time_tag])
            if interval is not None:
                by_tag[date_tag] = interval
                del by_tag[time_tag]
    return tuple(map(_combined_inside, by_tag.values()))


@dataclass(frozen=True, slots=True)
class _Agreed:
    """Reads keys by what was negotiated."""

    fuzzy: bool
    empty_value: bool
    multiple_values: bool
    combined: bool

    def key_of(self, tag: int, element: Element) -> Key | None:
        if tag in NEVER_KEYS:
            return None
        vr = _vr(tag, element)
        match = self._of_sequence(tag, element) if vr == "SQ" else self._of_values(tag, vr, texts_of(vr, element.value))
        return None if match is None else Key(tag, vr, match)

    def _of_sequence(self, tag: int, element: Element) -> Match | None:
        value = element.value if isinstance(element.value, tuple) else ()
        items = [item for item in value if isinstance(item, Mapping)]
        if len(items) > 1:
            raise _invalid(tag, "a sequence key has one item")
        found = [self.key_of(inner, element) for item in items for inner, element in item.items()]
        keys = tuple(key for key in found if key is not None)
        return SequenceMatch(keys) if keys else None

    def _of_values(self, tag: int, vr: str, texts: tuple[str, ...]) -> Match | None:
        asked = tuple(dict.fromkeys(stripped for text in texts if (stripped := text.strip(" \0"))))
        if not asked:
            if len(texts) > 1:
                raise _invalid(tag, "only delimiters, no value")
            return None
        if len(texts) > 1:
            return self._of_several(tag, vr, asked)
        if self.empty_value and asked == ('""',) and vr in TEXT_VRS:
            return EmptyValue()
        return self._of_one(tag, vr, texts[0])

    def _of_one(self, tag: int, vr: str, text: str) -> Match | None:
        found: Match | None
        match vr:
            case "PN":
                _check_length(tag, text)
                return name_match(text, fuzzy=self.fuzzy)
            case "DA":
                found = date_match(text)
            case "TM":
                found = self._of_time(tag, text)
            case "DT":
                found = date_time_match(text)
            case _ if vr in WILDCARD_VRS and is_pattern(text):
                _check_length(tag, text)
                pattern = normal_form(vr, text)
                return Wildcard(pattern) if pattern.strip("*") else None
            case _ if vr in TEXT_VRS and is_pattern(text):
                raise _invalid(tag, f"no wild cards in {vr}; leave it empty for all")
            case _:
                normal = normal_form(vr, text)
                found = SingleValue(normal) if normal else None
        if found is None:
            raise _invalid(tag, _EXPECTED.get(vr, "no value"))
        return found

    def _of_time(self, tag: int, text: str) -> Match | None:
        found = time_match(text)
        if found is not None and goes_past_midnight(found) and not self.combined:
            raise _invalid(tag, "a range of times cannot go past midnight")
        return found

    def _of_several(self, tag: int, vr: str, texts: tuple[str, ...]) -> Match | None:
        # A list of modalities was understood as a choice long before Multiple Value Matching made it a conjunction.
        is_choice = vr == "UI" or (tag == tags.MODALITIES_IN_STUDY and not self.multiple_values)
        if any(map(is_pattern, texts)) and (is_choice or self.multiple_values):
            raise _invalid(tag, "no wild cards in a list of values")
        if is_choice:
            return ValueList(texts) if len(texts) > 1 else SingleValue(texts[0])
        if not self.multiple_values:
            raise _invalid(tag, "several values were not negotiated; ask for one")
        if vr not in MULTIPLE_VALUE_VRS or DICTIONARY.get(tag, _ANY_VM)[1] == "1":
            raise _invalid(tag, "has one value only; ask for one")
        if len(texts) > MAX_VALUES:
            raise _invalid(tag, f"more than {MAX_VALUES} values")
        found = [self._of_one(tag, vr, text) for text in texts]
        wanted = tuple(match for match in found if isinstance(match, SingleValue | NameMatch))
        return AllOf(wanted) if wanted else None


_agreed = cache(_Agreed)  # sixteen of them at most

_ANY_VM: Final = ("UN", "1-n")

_EXPECTED: Final = {
    "DA": "not YYYYMMDD or a range of it",
    "TM": "not HHMMSS or a range of it",
    "DT": "not YYYYMMDDHHMMSS or a range",
    "DS": "not a number",
    "IS": "not an integer",
}
"""What a value should be. It is not repeated: comments are logged, and it may be a birth date."""


def _vr(tag: int, element: Element) -> str:
    """The VR of the dictionary where the value could be of it: requesters write a wrong one now and then."""
    known = DICTIONARY[tag][0] if tag in DICTIONARY else element.vr
    is_of_it = isinstance(element.value, str) and known in TEXT_VRS
    return known if is_of_it else element.vr


def _interval(date: Key, time: Key) -> Key | None:
    if not isinstance(date.match, SingleValue | Range) or not isinstance(time.match, SingleValue | Range):
        return None
    interval = joined(date.match, time.match, time_tag=time.tag)
    if interval is None:
        return None
    if interval.last and interval.first > interval.last:
        comment = f"{keyword_of(time.tag)}: the range ends before it begins"
        raise InvalidKey(comment, offending=(date.tag, time.tag))
    return Key(date.tag, date.vr, interval)


def _combined_inside(key: Key) -> Key:
    match key.match:
        case SequenceMatch(keys):
            return Key(key.tag, key.vr, SequenceMatch(combine(keys)))
        case Range() if key.vr == "TM" and goes_past_midnight(key.match):
            raise _invalid(key.tag, "past midnight only with a range of dates")
    return key


def _check_length(tag: int, text: str) -> None:
    if len(text) > MAX_PATTERN:
        raise _invalid(tag, f"longer than {MAX_PATTERN} characters")


def _invalid(tag: int, problem: str) -> InvalidKey:
    return InvalidKey(f"{keyword_of(tag)}: {problem}", offending=(tag,))
