"""Who an object is: what its data set says, against what the command said (PS3.4 B.2.3, ST-03)."""

from __future__ import annotations

from dataclasses import dataclass

from pacslite.archive.model import Origin
from pacslite.dicom import tags
from pacslite.dicom.header import Header
from pacslite.dicom.uids import NON_PATIENT_STORAGE
from pacslite.errors import CannotUnderstand, DataSetMismatch


@dataclass(frozen=True, slots=True)
class Identity:
    """Where an object belongs. ``study_uid`` and ``series_uid`` are empty for what has no patient."""

    study_uid: str
    series_uid: str
    warning: str


def identify(origin: Origin, header: Header) -> Identity:
    """Check the data set against the command; raises the answer if it cannot be stored under this identity."""
    sop_class, sop_instance = header.uid(tags.SOP_CLASS_UID), header.uid(tags.SOP_INSTANCE_UID)
    offending = tuple(
        tag
        for tag, told, found in (
            (tags.SOP_CLASS_UID, origin.sop_class_uid, sop_class),
            (tags.SOP_INSTANCE_UID, origin.sop_instance_uid, sop_instance),
        )
        if found and found != told
    )
    if offending:
        words = " and ".join(_WORDS[tag] for tag in offending)
        raise DataSetMismatch(f"{words} differs between command and data set", offending=offending)
    study, series = header.uid(tags.STUDY_INSTANCE_UID), header.uid(tags.SERIES_INSTANCE_UID)
    if not (study and series):
        if origin.sop_class_uid not in NON_PATIENT_STORAGE:
            raise _unidentified(header, study, series)
        study = series = ""
    missing = [
        _WORDS[tag]
        for tag, found in ((tags.SOP_CLASS_UID, sop_class), (tags.SOP_INSTANCE_UID, sop_instance))
        if not found
    ]
    return Identity(study, series, f"{' and '.join(missing)} missing in the data set" if missing else "")


_WORDS = {
    tags.SOP_CLASS_UID: "SOP Class UID",
    tags.SOP_INSTANCE_UID: "SOP Instance UID",
    tags.STUDY_INSTANCE_UID: "Study Instance UID",
    tags.SERIES_INSTANCE_UID: "Series Instance UID",
}


def _unidentified(header: Header, study: str, series: str) -> CannotUnderstand:
    absent = tuple(
        tag for tag, found in ((tags.STUDY_INSTANCE_UID, study), (tags.SERIES_INSTANCE_UID, series)) if not found
    )
    if header.problem and not header.complete:
        return CannotUnderstand(header.problem, offending=absent)
    return CannotUnderstand(f"{' and '.join(_WORDS[tag] for tag in absent)} missing", offending=absent)
