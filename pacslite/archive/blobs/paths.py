"""Names of blobs: from UIDs to relative paths, whatever a peer put into the UIDs.

A conformant component is used as it is, so that an administrator finds a study by its UID. Anything else is escaped to
``%`` and hexadecimal digits, and if that is too long for a file name, to ``%h`` and a digest: no component can be
empty, hidden, ``.``, ``..`` or contain a separator, and names never differ in case alone.
"""

from __future__ import annotations

import re
from functools import lru_cache

from blake3 import blake3

BLOBS = "blobs"
NON_PATIENT = "non-patient"
CONFLICTS = "conflicts"
SUFFIX = ".dcm"

_COMPONENT_LENGTH = 64
_plain = re.compile(r"[0-9][0-9.]{0,63}").fullmatch
_version = re.compile(r"(.*?)(?:~(\d{1,9}))?\.dcm").fullmatch
_escape = re.compile(r"%([0-9a-f]{2})")


def component(uid: str) -> str:
    """A file name for a UID, at most 64 characters, different for different UIDs."""
    if _plain(uid):
        return uid
    raw = uid.encode("utf-8", "surrogatepass")
    escaped = "".join(chr(b) if 0x30 <= b <= 0x39 or (b == 0x2E and i) else f"%{b:02x}" for i, b in enumerate(raw))
    if uid and len(escaped) <= _COMPONENT_LENGTH:
        return escaped
    return f"%h{blake3(raw).hexdigest(16)}"


def uid_of(name: str) -> str | None:
    """The UID that :func:`component` made ``name`` from, or None if the name does not tell."""
    if _plain(name):
        return name
    if name.startswith("%h"):
        return None
    try:
        raw = b"".join(
            bytes.fromhex(part) if index % 2 else part.encode("ascii") for index, part in enumerate(_escape.split(name))
        )
        uid = raw.decode("utf-8", "surrogatepass")
    except ValueError:
        return None
    return uid if component(uid) == name else None


def _bucket(uid: str) -> str:
    return blake3(uid.encode("utf-8", "surrogatepass")).hexdigest(1)


def blob_path(*, study_uid: str, series_uid: str, sop_class_uid: str, sop_instance_uid: str) -> str:
    """The usual place of an object, relative to the data folder."""
    name = component(sop_instance_uid) + SUFFIX
    if not study_uid or not series_uid:  # what has no patient: hanging protocols, colour palettes, implant templates
        return f"{BLOBS}/{NON_PATIENT}/{_bucket(sop_instance_uid)}/{component(sop_class_uid)}/{name}"
    return f"{_series_folder(study_uid, series_uid)}/{name}"


@lru_cache(maxsize=1024)
def _series_folder(study_uid: str, series_uid: str) -> str:
    return f"{BLOBS}/{_bucket(study_uid)}/{component(study_uid)}/{component(series_uid)}"


def versioned(path: str, version: int) -> str:
    """Another name in the same folder, for when the usual one is occupied."""
    return f"{path.removesuffix(SUFFIX)}~{version}{SUFFIX}"


def stem_of(name: str) -> str | None:
    """The component in a blob's file name, without version and suffix; None if it is not a blob's name."""
    match = _version(name)
    return match.group(1) if match else None


def conflict_path(*, sop_instance_uid: str, digest: bytes, transfer_syntax_uid: str) -> str:
    """Where an object is kept aside: the name tells its content, so the same one arriving again finds itself."""
    return f"{CONFLICTS}/{component(sop_instance_uid)}/{digest.hex()}-{component(transfer_syntax_uid)}{SUFFIX}"


def encode_destination(path: str) -> str:
    """A relative path as one file name; the longest that the functions above make fits into 255 bytes."""
    return path.replace("/", ",")


def decode_destination(name: str) -> str:
    return name.replace(",", "/")
