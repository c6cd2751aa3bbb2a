"""The exception tree. Every class knows its answer on the wire, so nobody who catches one has to invent a status.

Three families: what breaks a connection (:class:`RemoteProtocolError`), what ends an association
(:class:`AssociationError`) and what fails one operation on it (:class:`DimseError`, answered with a status).
"""

from __future__ import annotations

from typing import ClassVar

ERROR_COMMENT_LENGTH = 64
"""Error Comment (0000,0902) is an LO: at most 64 characters (PS3.7 C)."""


class PacsliteError(Exception):
    """The root of everything this package raises on purpose."""


class ConfigurationError(PacsliteError):
    """A setting is unknown, of the wrong type or impossible; the message names file, key and the nearest valid name."""


class StoreInUseError(PacsliteError):
    """The data folder cannot be opened: locked by another server, from a newer version, or not ours."""


class BadDataSetError(PacsliteError):
    """A data set cannot be read; ``tag`` is the element where it goes wrong, ``offset`` the byte where that begins."""

    def __init__(self, message: str, *, tag: int = 0, offset: int = 0) -> None:
        super().__init__(message)
        self.tag = tag
        self.offset = offset


# --- Connections (PS3.8) ---------------------------------------------------------------------------------------------


class ProtocolError(PacsliteError):
    """The upper layer protocol or the message protocol was broken."""


class LocalProtocolError(ProtocolError):
    """Our own side asked for what the state of the association does not allow: a defect in the caller."""


class RemoteProtocolError(ProtocolError):
    """The peer broke PS3.8 or PS3.7; answered with A-ABORT.

    ``reason`` is the A-ABORT reason of PS3.8 Table 9-26 for source 2: 0 not specified, 1 unrecognized PDU,
    2 unexpected PDU, 4 unrecognized parameter, 5 unexpected parameter, 6 invalid parameter value.
    """

    def __init__(self, message: str, *, reason: int = 0) -> None:
        super().__init__(message)
        self.reason = reason


# --- The archive -----------------------------------------------------------------------------------------------------


class ObjectUnreadable(PacsliteError):
    """The file of an object that the index knows is gone, cut short, or cannot be read."""


class ObjectsProtected(PacsliteError):
    """Objects may not be deleted; the message says how many of them, and why."""


class CannotConvert(PacsliteError):
    """An object cannot be put into another transfer syntax without losing something; the message says why."""


# --- Associations ----------------------------------------------------------------------------------------------------


class AssociationError(PacsliteError):
    """An association could not be made, or ended before its work did."""


class AssociationRejected(AssociationError):
    """The peer answered A-ASSOCIATE-RJ; the three codes are those of PS3.8 Table 9-21."""

    def __init__(self, message: str, *, result: int, source: int, reason: int) -> None:
        super().__init__(message)
        self.result = result
        self.source = source
        self.reason = reason


class AssociationAborted(AssociationError):
    """The peer or the provider aborted; ``source`` and ``reason`` are those of PS3.8 Table 9-26."""

    def __init__(self, message: str, *, source: int = 2, reason: int = 0) -> None:
        super().__init__(message)
        self.source = source
        self.reason = reason


class ConnectionLost(AssociationError):
    """The transport closed, or could not be opened, without a word of DICOM (A-P-ABORT to the user)."""


class Unreachable(ConnectionLost):
    """The transport could not be opened."""


# --- Operations (PS3.7 Annex C and the service classes of PS3.4) -----------------------------------------------------


class DimseError(PacsliteError):
    """An operation failed; ``status`` is its answer, the message its Error Comment, ``offending`` the elements."""

    status: ClassVar[int] = 0x0110

    def __init__(self, comment: str, *, offending: tuple[int, ...] = ()) -> None:
        super().__init__(comment)
        self.offending = offending

    @property
    def comment(self) -> str:
        """The message, cut to what Error Comment (0000,0902) holds."""
        return str(self)[:ERROR_COMMENT_LENGTH]


class ProcessingFailure(DimseError):
    """Something went wrong that the sender did not cause."""

    status = 0x0110


class NoSuchObjectInstance(DimseError):
    """The SOP Instance that the operation is for does not exist."""

    status = 0x0112


class NoSuchEventType(DimseError):
    """The SOP Class does not know this Event Type ID."""

    status = 0x0113


class InvalidArgumentValue(DimseError):
    """A command element has a value outside its range."""

    status = 0x0115


class InvalidObjectInstance(DimseError):
    """The SOP Instance UID breaks the rules for UIDs."""

    status = 0x0117


class ClassInstanceConflict(DimseError):
    """The SOP Instance is not of the SOP Class that the operation names."""

    status = 0x0119


class MissingAttribute(DimseError):
    """A required attribute was not given."""

    status = 0x0120


class SOPClassNotSupported(DimseError):
    """The operation names a SOP Class this context does not serve."""

    status = 0x0122


class NoSuchAction(DimseError):
    """The SOP Class does not know this Action Type ID."""

    status = 0x0123


class NotAuthorized(DimseError):
    """The peer may not do this here."""

    status = 0x0124


class DuplicateInvocation(DimseError):
    """The Message ID is still in use by an outstanding operation (PS3.7 9.1)."""

    status = 0x0210


class UnrecognizedOperation(DimseError):
    """The Command Field is not one this context serves."""

    status = 0x0211


class MistypedArgument(DimseError):
    """A parameter is not agreed for use on this association, or a data set is missing or unexpected."""

    status = 0x0212


class ResourceLimitation(DimseError):
    """A limit of this server is reached for now."""

    status = 0x0213


class OutOfResources(DimseError):
    """C-STORE refused: no room (PS3.4 Table B.2-1, A7xx)."""

    status = 0xA700


class DataSetMismatch(DimseError):
    """C-STORE failed: the data set contradicts the command (PS3.4 Table B.2-1, A9xx)."""

    status = 0xA900


class InvalidKey(DimseError):
    """C-FIND, C-MOVE or C-GET failed: a key breaks the rules of the SOP Class (PS3.4 Table C.4-1, A900)."""

    status = 0xA900


class CannotUnderstand(DimseError):
    """C-STORE failed: the data set cannot be identified (PS3.4 Table B.2-1, Cxxx)."""

    status = 0xC000


# --- Retrievals (PS3.4 C.4.2, C.4.3) ---------------------------------------------------------------------------------


class CannotCountMatches(DimseError):
    """C-MOVE or C-GET refused: how many objects match cannot be found out (PS3.4 Table C.4-2, A701)."""

    status = 0xA701


class CannotPerformSubOperations(DimseError):
    """C-MOVE or C-GET refused: not one sub-operation could be performed (PS3.4 Table C.4-2, A702)."""

    status = 0xA702


class UnknownDestination(DimseError):
    """C-MOVE refused: the Move Destination is no peer that we may call (PS3.4 Table C.4-2, A801)."""

    status = 0xA801


class UnableToProcess(DimseError):
    """C-FIND, C-MOVE or C-GET failed: the identifier cannot be decoded (PS3.4 Tables C.4-1 and C.4-2, Cxxx)."""

    status = 0xC001
