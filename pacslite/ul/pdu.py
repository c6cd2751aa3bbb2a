"""The seven protocol data units of PS3.8 9.3 as values, and the words for their codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from pacslite.dicom.uids import APPLICATION_CONTEXT
from pacslite.ul.items import PresentationContext, PresentationContextAnswer, UnknownItem, UserInformation

AE_TITLE_LENGTH = 16
PROTOCOL_VERSION = 0x0001
NO_RESERVED = bytes(32)


class PDUType(IntEnum):
    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


def ae_title_field(title: str) -> bytes:
    """An AE title as the sixteen bytes of its field; what is longer is cut."""
    return title.encode("latin-1", "replace")[:AE_TITLE_LENGTH].ljust(AE_TITLE_LENGTH)


def ae_title(field: bytes) -> str:
    """The AE title in a sixteen-byte field: spaces around it are not significant (UL-12), some devices pad with NUL."""
    return field.decode("latin-1").strip(" \0")


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateRQ:
    """A-ASSOCIATE-RQ. Titles and reserved bytes are kept as they came, because the answer echoes them (UL-12)."""

    called_ae_title: bytes
    calling_ae_title: bytes
    contexts: tuple[PresentationContext, ...]
    user_information: UserInformation
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = PROTOCOL_VERSION
    reserved: bytes = NO_RESERVED
    unknown: tuple[UnknownItem, ...] = ()

    @property
    def called_ae(self) -> str:
        return ae_title(self.called_ae_title)

    @property
    def calling_ae(self) -> str:
        return ae_title(self.calling_ae_title)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateAC:
    """A-ASSOCIATE-AC. Its titles and reserved bytes are an echo that the requestor does not test (UL-12)."""

    called_ae_title: bytes
    calling_ae_title: bytes
    contexts: tuple[PresentationContextAnswer, ...]
    user_information: UserInformation
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = PROTOCOL_VERSION
    reserved: bytes = NO_RESERVED
    unknown: tuple[UnknownItem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateRJ:
    """A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

    result: int
    source: int
    reason: int

    @property
    def description(self) -> str:
        """The three codes in words."""
        result = _REJECT_RESULTS.get(self.result, f"result {self.result}")
        source = _REJECT_SOURCES.get(self.source, f"source {self.source}")
        reason = _REJECT_REASONS.get((self.source, self.reason), f"reason {self.reason}")
        return f"{reason} ({result}, {source})"


@dataclass(frozen=True, slots=True)
class PresentationDataValue:
    """One PDV item: a piece of the command set or the data set of a message."""

    context_id: int
    data: bytes
    command: bool
    last: bool


@dataclass(frozen=True, slots=True)
class PDataTF:
    """P-DATA-TF, whole. Connections do not build these: they stream PDVs (see :mod:`pacslite.ul.framing`)."""

    pdvs: tuple[PresentationDataValue, ...]


@dataclass(frozen=True, slots=True)
class ReleaseRQ:
    """A-RELEASE-RQ."""


@dataclass(frozen=True, slots=True)
class ReleaseRP:
    """A-RELEASE-RP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """A-ABORT (PS3.8 Table 9-26); ``reason`` has a meaning only if ``source`` is 2, the service provider (UL-06)."""

    source: int
    reason: int

    @property
    def description(self) -> str:
        """The two codes in words."""
        if self.source == ABORT_BY_USER:
            return "no reason given (service-user)"
        source = "service-provider" if self.source == ABORT_BY_PROVIDER else f"source {self.source}"
        return f"{_ABORT_REASONS.get(self.reason, f'reason {self.reason}')} ({source})"


PDU = AssociateRQ | AssociateAC | AssociateRJ | PDataTF | ReleaseRQ | ReleaseRP | Abort

ABORT_BY_USER = 0
ABORT_BY_PROVIDER = 2


class AbortReason(IntEnum):
    """Reasons of an abort by the service provider."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


_ABORT_REASONS: Mapping[int, str] = {
    AbortReason.NOT_SPECIFIED: "reason not specified",
    AbortReason.UNRECOGNIZED_PDU: "unrecognized PDU",
    AbortReason.UNEXPECTED_PDU: "unexpected PDU",
    AbortReason.UNRECOGNIZED_PARAMETER: "unrecognized PDU parameter",
    AbortReason.UNEXPECTED_PARAMETER: "unexpected PDU parameter",
    AbortReason.INVALID_PARAMETER: "invalid PDU parameter value",
}
_REJECT_RESULTS = {1: "rejected permanently", 2: "rejected for now"}
_REJECT_SOURCES = {1: "service-user", 2: "service-provider, ACSE", 3: "service-provider, presentation"}
_REJECT_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
