"""Whether a value matches a key (PS3.4 C.2.2.2): what keys mean. An index that finds by other means has to agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pacslite.dicom.elements import Element, Elements, Value
from pacslite.dicom.matching import (
    AllOf,
    CombinedRange,
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
from pacslite.dicom.moments import date_time_in_range, in_combined_range, in_range
from pacslite.dicom.names import folded_groups, name_matcher
from pacslite.dicom.normal_forms import normal_form, texts_of
from pacslite.dicom.values import normalise_date, normalise_date_time, normalise_time
from pacslite.dicom.wildcard import matcher


def matches(key: Key, element: Element | None, *, time: Element | None = None) -> bool:
    """Whether an attribute matches; ``time`` is the time attribute of a :class:`CombinedRange`'s date.

    Of several values one suffices (PS3.4 C.2.2.3). An attribute without a value matches nothing but the empty value.
    """
    if isinstance(key.match, CombinedRange):
        return _in_interval(key.match, element, time)
    return value_matcher(key)(None if element is None else element.value)


def all_match(keys: Iterable[Key], elements: Elements) -> bool:
    """Whether a data set, or an item of a sequence, matches every key."""
    return data_set_matcher(keys)(elements)


def value_matcher(key: Key) -> Callable[[Value], bool]:
    """What tells whether a value matches ``key``, to be asked many times. A combined interval sees its date alone."""
    return _value_matcher(key.match, key.vr)


def data_set_matcher(keys: Iterable[Key]) -> Callable[[Elements], bool]:
    """What tells whether a data set, or an item of a sequence, matches every key, to be asked many times."""
    every = tuple(map(_element_matcher, keys))
    return lambda elements: all(matches_it(elements) for matches_it in every)


def _element_matcher(key: Key) -> Callable[[Elements], bool]:
    match, tag = key.match, key.tag
    if isinstance(match, CombinedRange):
        return lambda elements: _in_interval(match, elements.get(tag), elements.get(match.time_tag))
    fits = value_matcher(key)
    return lambda elements: fits(element.value if (element := elements.get(tag)) is not None else None)


def _value_matcher(match: Match, vr: str) -> Callable[[Value], bool]:
    match match:
        case EmptyValue():
            return lambda value: not value or not any(text.strip(" \0") for text in texts_of(vr, value))
        case AllOf(parts):
            every = [_value_matcher(part, vr) for part in parts]
            return lambda value: all(part(value) for part in every)
        case SequenceMatch(keys):
            return lambda value: (
                isinstance(value, tuple) and any(all_match(keys, item) for item in value if isinstance(item, Mapping))
            )
        case NameMatch():
            same_name = name_matcher(match)
            return lambda value: any(map(same_name, map(folded_groups, texts_of(vr, value))))
        case _:
            same = _text_matcher(match, vr)
            return lambda value: any(map(same, texts_of(vr, value)))


def _text_matcher(match: SingleValue | ValueList | Wildcard | Range | CombinedRange, vr: str) -> Callable[[str], bool]:
    match match:
        case SingleValue(wanted):
            return lambda text: normal_form(vr, text) == wanted
        case ValueList(values):
            every = frozenset(values)
            return lambda text: normal_form(vr, text) in every
        case Wildcard(pattern):
            fits = matcher(pattern)
            return lambda text: fits(normal_form(vr, text))
        case Range() if vr == "DT":
            return lambda text: date_time_in_range(match, normalise_date_time(text))
        case Range():
            normalise = normalise_date if vr == "DA" else normalise_time
            return lambda text: in_range(match, normalise(text))
        case CombinedRange():
            return lambda text: in_combined_range(match, normalise_date(text), "")


def _in_interval(match: CombinedRange, date: Element | None, time: Element | None) -> bool:
    dates = () if date is None else texts_of("DA", date.value)
    times = () if time is None else texts_of("TM", time.value)
    return bool(dates) and in_combined_range(match, normalise_date(dates[0]), normalise_time(times[0] if times else ""))
