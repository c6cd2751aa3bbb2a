"""From the keys on the command line to the identifier of a C-FIND."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pacslite.cli.dictionary_words import tag_of
from pacslite.dicom import tags
from pacslite.dicom.elements import Element, Elements, Value
from pacslite.dicom.levels import Level, Model
from pacslite.dicom.tags import keyword_of
from pacslite.dicom.vrs import NUMBER_FORMATS, TEXT_VRS, vr_of
from pacslite.errors import ConfigurationError

DEFAULTS: Final[Mapping[Level, tuple[int, ...]]] = {
    Level.PATIENT: (
        tags.PATIENT_NAME,
        tags.PATIENT_ID,
        tags.PATIENT_BIRTH_DATE,
        tags.PATIENT_SEX,
        tags.NUMBER_OF_PATIENT_RELATED_STUDIES,
    ),
    Level.STUDY: (
        tags.PATIENT_NAME,
        tags.PATIENT_ID,
        tags.STUDY_DATE,
        tags.STUDY_TIME,
        tags.MODALITIES_IN_STUDY,
        tags.STUDY_DESCRIPTION,
        tags.ACCESSION_NUMBER,
        tags.NUMBER_OF_STUDY_RELATED_INSTANCES,
        tags.STUDY_INSTANCE_UID,
    ),
    Level.SERIES: (
        tags.SERIES_NUMBER,
        tags.MODALITY,
        tags.SERIES_DESCRIPTION,
        tags.NUMBER_OF_SERIES_RELATED_INSTANCES,
        tags.SERIES_INSTANCE_UID,
    ),
    Level.IMAGE: (
        tags.INSTANCE_NUMBER,
        tags.SOP_CLASS_UID,
        tags.NUMBER_OF_FRAMES,
        tags.SOP_INSTANCE_UID,
    ),
}
"""What is asked for at each level besides the keys that are given: what every archive has, and people look for."""

_NOT_KEYS: Final = {
    tags.QUERY_RETRIEVE_LEVEL: "--level says that",
    tags.SPECIFIC_CHARACTER_SET: "--charset says that",
}


@dataclass(slots=True)
class _Node:
    """A key, or a sequence and the keys in its one item (PS3.4 C.2.2.2.6)."""

    value: str | None = None
    inner: dict[int, _Node] = field(default_factory=dict)


def identifier(words: Iterable[str], level: Level, model: Model, *, defaults: bool = True) -> dict[int, Element]:
    """The keys in the order in which they were given, then those that are asked for without being given.

    A key is ``ATTRIBUTE`` (to be returned), ``ATTRIBUTE=VALUE`` (to be matched), or the same behind the name of a
    sequence and a dot. Raises :class:`ConfigurationError`.
    """
    root: dict[int, _Node] = {}
    for word in words:
        _add(root, word)
    elements = {tag: _element(tag, node) for tag, node in root.items()}
    asked = [tag for tag in DEFAULTS[level] if model.level_of(tag) is level] if defaults else []
    for tag in (*asked, level.unique_key):
        elements.setdefault(tag, Element(vr_of(tag), _nothing(vr_of(tag))))
    return elements


def missing_unique_keys(elements: Elements, level: Level, model: Model) -> list[str]:
    """Without relational queries a request says where to look from the top down (PS3.4 C.4.1.2.1)."""
    return [
        keyword_of(higher.unique_key)
        for higher in model.higher_levels(level)
        if higher.unique_key not in elements or not elements[higher.unique_key].value
    ]


def _add(root: dict[int, _Node], word: str) -> None:
    path, _, value = word.partition("=")
    names = path.strip().split(".")
    place = root
    for number, name in enumerate(names):
        tag = tag_of(name.strip())
        if tag in _NOT_KEYS:
            raise ConfigurationError(f"-k {word}: {_NOT_KEYS[tag]}")
        if tag >> 16 < 8 or not tag & 0xFFFF:
            raise ConfigurationError(f"-k {word}: {name} is no key")
        is_last = number == len(names) - 1
        if not is_last and vr_of(tag) != "SQ":
            raise ConfigurationError(f"-k {word}: {keyword_of(tag)} is no sequence")
        if is_last and tag in place and not (vr_of(tag) == "SQ" and not value):
            raise ConfigurationError(f"-k {word}: {keyword_of(tag)} is given twice")
        node = place.setdefault(tag, _Node())
        place = node.inner
    node.value = value if "=" in word else None
    _value(tag, vr_of(tag), node.value or "", word)


def _element(tag: int, node: _Node) -> Element:
    vr = vr_of(tag)
    if vr == "SQ":
        return Element(vr, ({inner: _element(inner, one) for inner, one in sorted(node.inner.items())},))
    return Element(vr, _value(tag, vr, node.value or "", ""))


def _value(tag: int, vr: str, text: str, word: str) -> Value:
    if not text:
        return _nothing(vr)
    if vr in TEXT_VRS:
        return text
    try:
        if vr == "AT":
            return tuple(tag_of(part) for part in text.split("\\"))
        if vr in NUMBER_FORMATS:
            return tuple(float(part) if vr in ("FL", "FD") else int(part) for part in text.split("\\"))
    except ValueError:
        raise ConfigurationError(f"-k {word}: {keyword_of(tag)} is a number") from None
    kind = "is a sequence: name an attribute in it" if vr == "SQ" else "has no value that can be written here"
    raise ConfigurationError(f"-k {word}: {keyword_of(tag)} {kind}")


def _nothing(vr: str) -> Value:
    """No value: the key is to be returned; of a sequence, an item that asks for all there is."""
    if vr == "SQ":
        return ({},)
    return "" if vr in TEXT_VRS else () if vr in NUMBER_FORMATS else b""
