"""The DICOM JSON Model (PS3.18 Annex F) of a data set."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Mapping
from typing import Final, TypeAlias

from pacslite.dicom import tags
from pacslite.dicom.charset_encoding import UTF_8
from pacslite.dicom.elements import Element, Elements, Value
from pacslite.dicom.vrs import SINGLE_VALUED_VRS

JSON: TypeAlias = "str | int | float | list[JSON] | dict[str, JSON] | None"

_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_MOST_EXACT: Final = 2**53  # beyond, readers that know only double precision would read another number


def json_model(elements: Elements) -> dict[str, JSON]:
    """The object of a data set, ready for :func:`json.dumps`. JSON is UTF-8, and so Specific Character Set says."""
    return {f"{tag:08X}": _attribute(tag, element) for tag, element in sorted(elements.items())}


def _attribute(tag: int, element: Element) -> dict[str, JSON]:
    if tag == tags.SPECIFIC_CHARACTER_SET:
        return {"vr": "CS", "Value": [UTF_8]}
    attribute: dict[str, JSON] = {"vr": element.vr}
    if isinstance(element.value, bytes):
        if element.value:
            attribute["InlineBinary"] = b64encode(element.value).decode("ascii")
    elif values := _values(element.vr, element.value):
        attribute["Value"] = values
    return attribute


def _values(vr: str, value: Value) -> list[JSON]:
    if value is None or value == "":
        return []
    if isinstance(value, str):
        parts = [value] if vr in SINGLE_VALUED_VRS or vr == "UR" else value.split("\\")
        return [_text(vr, part) for part in parts]
    parts_of_it = value if isinstance(value, tuple) else (value,)
    return [_one(vr, part) for part in parts_of_it]


def _text(vr: str, text: str) -> JSON:
    if not text:
        return None
    if vr == "PN":
        return {name: group for name, group in zip(_GROUPS, text.split("="), strict=False) if group}
    if vr in ("IS", "DS"):
        return _number(vr, text)
    return text


def _number(vr: str, text: str) -> JSON:
    """What is no number stays a string, which PS3.18 F.2.3 allows for IS and DS."""
    try:
        number = int(text) if vr == "IS" else float(text)
    except ValueError:
        return text
    return number if abs(number) < _MOST_EXACT and "_" not in text else text


def _one(vr: str, part: object) -> JSON:
    if isinstance(part, Mapping):
        return json_model(part)
    if vr == "AT" and isinstance(part, int):
        return f"{part:08X}"
    if isinstance(part, float) and not math.isfinite(part):
        return None
    if isinstance(part, int) and abs(part) >= _MOST_EXACT:
        return str(part)  # PS3.18 F.2.3: SV and UV may be strings
    return part if isinstance(part, int | float) else str(part)
