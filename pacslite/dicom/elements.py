"""Data elements as values, for data sets that are small enough to hold: identifiers, answers, action information."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Value = str | bytes | int | tuple[int | float, ...] | tuple[Mapping[int, "Element"], ...] | None
"""A value by its VR (PS3.5 6.2). Text VRs: the text, several values joined by ``\\``; no value is the empty string.
Binary numbers and AT: a tuple, or one plain integer. OB, OW, UN and their like: the bytes, little endian. SQ: a tuple
of items. None is an attribute that the answerer does not have."""


@dataclass(frozen=True, slots=True)
class Element:
    """One data element (PS3.5 7.1); its tag is its key in :data:`Elements`."""

    vr: str
    value: Value


Elements = Mapping[int, Element]
"""A data set, or an item of a sequence, by tag."""
