"""The Storage SOP Classes to propose where nobody has named any: an association has room for 128 contexts."""

from __future__ import annotations

from typing import Final

from pacslite.dicom.dictionary import UID_REGISTRY
from pacslite.dicom.uids import NON_PATIENT_STORAGE, STORAGE_SOP_CLASSES

_IMAGES: Final = "1.2.840.10008.5.1.4.1.1."
_MOST_USUAL: Final = tuple(
    _IMAGES + suffix
    for suffix in (
        *("2", "4", "1", "1.1", "1.2", "6.1", "3.1", "7", "12.1", "12.2", "20", "128"),
        *("2.1", "4.1", "4.3", "130", "6.2", "12.1.1", "12.2.1", "13.1.3", "7.2", "7.4", "1.1.1", "1.2.1", "1.3"),
        *("88.11", "88.22", "88.33", "88.34", "88.50", "88.59", "88.65", "88.67", "11.1", "11.2", "104.1", "104.2"),
        *("66.4", "66.1", "66", "481.1", "481.2", "481.3", "481.5", "481.4", "481.8"),
        *("77.1.1", "77.1.2", "77.1.4", "77.1.5.1", "77.1.5.2", "77.1.5.4", "77.1.6", "9.1.1", "9.1.2", "9.2.1"),
        *("6", "3", "5"),  # retired ultrasound and nuclear medicine, which old archives are full of
    )
)
_RARE: Final = (
    _IMAGES + "501.",
    _IMAGES + "601.",
    "1.2.840.10008.5.1.4.34.",
)  # security, material testing, RT delivery


def _order(uid: str) -> tuple[int, list[int]]:
    usual = _MOST_USUAL.index(uid) if uid in _MOST_USUAL else len(_MOST_USUAL)
    return usual, [int(part) for part in uid.split(".")]


USUAL_STORAGE: Final = tuple(
    sorted(
        (
            uid
            for uid in STORAGE_SOP_CLASSES - NON_PATIENT_STORAGE
            if uid in _MOST_USUAL or not (uid.startswith(_RARE) or UID_REGISTRY[uid][3])
        ),
        key=_order,
    )
)
"""The usual ones first."""
