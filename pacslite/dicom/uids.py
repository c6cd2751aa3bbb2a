"""Unique identifiers (PS3.5 section 9, PS3.6 Annex A): the ones we name, the sets we serve, and how to read them."""

from __future__ import annotations

import re
import uuid
from typing import Final

from pacslite.dicom.dictionary import UID_REGISTRY

IMPLEMENTATION_CLASS_UID: Final = "2.25.291536659104024609775000532986822547806"
IMPLEMENTATION_VERSION_NAME: Final = "PACSLITE_0_1"

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
VERIFICATION: Final = "1.2.840.10008.1.1"
STORAGE_COMMITMENT_PUSH_MODEL: Final = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
PATIENT_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_STUDY_ONLY_FIND: Final = "1.2.840.10008.5.1.4.1.2.3.1"
PATIENT_STUDY_ONLY_MOVE: Final = "1.2.840.10008.5.1.4.1.2.3.2"
PATIENT_STUDY_ONLY_GET: Final = "1.2.840.10008.5.1.4.1.2.3.3"
MODALITY_WORKLIST_FIND: Final = "1.2.840.10008.5.1.4.31"
MODALITY_PERFORMED_PROCEDURE_STEP: Final = "1.2.840.10008.3.1.2.3.3"

MAX_UID_LENGTH: Final = 64

_CONFORMANT = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_NOT_STORAGE = ("1.2.840.10008.1.20.", MEDIA_STORAGE_DIRECTORY)

STORAGE_SOP_CLASSES: Final[frozenset[str]] = frozenset(
    uid
    for uid, (name, kind, *_) in UID_REGISTRY.items()
    if kind == "SOP Class" and "Storage" in name and not uid.startswith(_NOT_STORAGE)
)
"""Every Storage SOP Class in pydicom's dictionary, retired ones included: old archives still send them."""

NON_PATIENT_STORAGE: Final[frozenset[str]] = frozenset(
    {
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
        "1.2.840.10008.5.1.4.39.1",  # Color Palette
        "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template
        "1.2.840.10008.5.1.4.44.1",  # Implant Assembly Template
        "1.2.840.10008.5.1.4.45.1",  # Implant Template Group
        "1.2.840.10008.5.1.4.1.1.200.1",  # CT Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.200.3",  # Protocol Approval
        "1.2.840.10008.5.1.4.1.1.200.7",  # XA Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.201.1",  # Inventory
    }
)
"""Non-Patient Object Storage (PS3.4 GG.3): these instances belong to no patient, study or series."""


def is_conformant_uid(uid: str) -> bool:
    """Whether `uid` keeps the rules of PS3.5 section 9.1: digits and dots, no leading zeros, at most 64 characters."""
    return len(uid) <= MAX_UID_LENGTH and _CONFORMANT.fullmatch(uid) is not None


def clean_uid(raw: bytes) -> str:
    """A UID as the wire has it, without its padding. Whatever the bytes are, this answers a string.

    The standard pads with one NUL; spaces, several NULs and padding in front are seen often enough to take them off.
    """
    return raw.decode("latin-1").strip("\0 ")


def new_uid() -> str:
    """A fresh UID below the UUID root 2.25 (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def name_of(uid: str) -> str:
    """The name PS3.6 gives to `uid`, or the UID itself."""
    entry = UID_REGISTRY.get(uid)
    return entry[0] or uid if entry else uid
