"""The data dictionary (PS3.6) and the registry of UIDs, as pydicom ships them: the tables alone.

Importing any part of pydicom runs the whole package, and that brings numpy along: a third of a second and 35 MB that
nothing but the conversion of pixel data has a use for. So the two modules, which are nothing but tables, are loaded
from where they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import MappingProxyType, ModuleType
from typing import Final


def _load(name: str) -> ModuleType:
    package = find_spec("pydicom")
    spec = PathFinder.find_spec(name, package.submodule_search_locations) if package else None
    if spec is None or spec.loader is None:
        raise ImportError(f"pydicom has no {name}", name=name)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_ATTRIBUTES: Final = _load("_dicom_dict")

DICTIONARY: Final[Mapping[int, tuple[str, str, str, str, str]]] = MappingProxyType(_ATTRIBUTES.DicomDictionary)
"""By tag: VR (with its alternatives: ``US or SS``), VM, name, ``Retired`` or nothing, keyword."""

UID_REGISTRY: Final[Mapping[str, tuple[str, str, str, str, str]]] = MappingProxyType(_load("_uid_dict").UID_dictionary)
"""By UID: name, kind, remark, ``Retired`` or nothing, keyword."""


def _repeaters() -> Iterator[tuple[int, int, tuple[str, str, str, str, str]]]:
    """Repeating groups and elements: which bits of a tag count, what they are, the entry."""
    for pattern, entry in _ATTRIBUTES.RepeatersDictionary.items():
        mask = int("".join("0" if digit == "x" else "F" for digit in pattern), 16)
        yield mask, int(pattern.replace("x", "0"), 16), entry


_REPEATERS: Final = tuple(_repeaters())


def dictionary_VR(tag: int) -> str:  # noqa: N802 # the name it has everywhere else
    """The VR that PS3.6 gives, with its alternatives; KeyError for what it does not know."""
    return _entry(tag)[0]


def dictionary_keyword(tag: int) -> str:
    """The keyword that PS3.6 gives; KeyError for what it does not know."""
    return _entry(tag)[4]


@lru_cache(maxsize=8192)
def known_vr(tag: int) -> str:
    """The VR that PS3.6 gives, with its alternatives; empty for what it does not know."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def _entry(tag: int) -> tuple[str, str, str, str, str]:
    return DICTIONARY.get(tag) or _repeating(tag)


@lru_cache(maxsize=1024)
def _repeating(tag: int) -> tuple[str, str, str, str, str]:
    if not tag >> 16 & 1:  # odd groups are private, also among the repeating ones (PS3.5 7.6)
        for mask, value, entry in _REPEATERS:
            if tag & mask == value:
                return entry
    raise KeyError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is not in the data dictionary")
