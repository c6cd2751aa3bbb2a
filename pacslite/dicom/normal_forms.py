"""Values by VR as matching compares them (PS3.4 C.2.2.2.1): padding is gone, dates and numbers are what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pacslite.dicom.elements import Value
from pacslite.dicom.values import normalise_date, normalise_date_time, normalise_time, to_float, to_integer
from pacslite.dicom.vrs import LEADING_SPACE_VRS, SINGLE_VALUED_VRS

WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
"""The VRs in which ``*`` and ``?`` are wild cards (PS3.4 C.2.2.2.4)."""

MULTIPLE_VALUE_VRS: Final = frozenset({"AE", "AS", "AT", "CS", "LO", "PN", "SH", "UC"})
"""The VRs of Multiple Value Matching (PS3.4 C.2.2.2.8)."""


def normal_form(vr: str, text: str) -> str:
    """One value as :class:`~pacslite.dicom.matching.SingleValue` holds it. What has no meaning in its VR is ``""``."""
    match vr:
        case "DA":
            return normalise_date(text)
        case "TM":
            return normalise_time(text)
        case "DT":
            return normalise_date_time(text)
        case "IS":
            integer = to_integer(text)
            return "" if integer is None else str(integer)
        case "DS":
            number = to_float(text)
            return "" if number is None else number_text(number)
        case _:
            return text.rstrip(" \0") if vr in LEADING_SPACE_VRS else text.strip(" \0")


def number_text(number: int | float) -> str:
    """A number so that equal ones are equal text: ``7.0`` is ``7``, and there is no ``-0``."""
    if isinstance(number, float):
        return str(int(number)) if number.is_integer() and abs(number) < _EXACT else repr(number)
    return str(number)


_EXACT: Final = 2.0**53


def texts_of(vr: str, value: Value) -> tuple[str, ...]:
    """The values of an attribute one by one, as text; none where there is no value. Sequences have no text."""
    match value:
        case str():
            if not value:
                return ()
            return (value,) if "\\" not in value or vr in SINGLE_VALUED_VRS else tuple(value.split("\\"))
        case None:
            return ()
        case int():
            return (_binary_text(vr, value),)
        case bytes():
            return (value.decode("latin-1"),) if value else ()
        case tuple():
            return tuple(_binary_text(vr, number) for number in value if not isinstance(number, Mapping))


def _binary_text(vr: str, number: int | float) -> str:
    return f"{number:08X}" if vr == "AT" and isinstance(number, int) else number_text(number)
