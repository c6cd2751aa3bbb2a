"""Status codes (PS3.7 Annex C) and what kind of answer each is."""

from __future__ import annotations

from enum import Enum
from typing import Final

SUCCESS: Final = 0x0000
CANCEL: Final = 0xFE00
PENDING: Final = 0xFF00
PENDING_WITH_WARNING: Final = 0xFF01
PENDINGS: Final = frozenset({PENDING, PENDING_WITH_WARNING})
COERCION_OF_DATA_ELEMENTS: Final = 0xB000
SUB_OPERATIONS_WITH_FAILURES: Final = 0xB000
ELEMENTS_DISCARDED: Final = 0xB006
DATA_SET_DOES_NOT_MATCH_SOP_CLASS: Final = 0xB007


class Kind(Enum):
    """The five kinds of PS3.7 C.1 to C.5."""

    SUCCESS = "success"
    PENDING = "pending"
    WARNING = "warning"
    CANCEL = "cancel"
    FAILURE = "failure"


_GENERAL_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})


def kind_of(status: int) -> Kind:
    """The kind of ``status``; what the standard does not know counts as a failure."""
    if status == SUCCESS:
        return Kind.SUCCESS
    if status in PENDINGS:
        return Kind.PENDING
    if status == CANCEL:
        return Kind.CANCEL
    if status in _GENERAL_WARNINGS or status >> 12 == 0xB:
        return Kind.WARNING
    return Kind.FAILURE
