"""The items inside A-ASSOCIATE PDUs (PS3.8 9.3.2, 9.3.3 and Annex D; PS3.7 Annex D.3.3) as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ItemType(IntEnum):
    """The types of items (PS3.8 9.3.2) and of the sub-items in User Information (Annex D, PS3.7 D.3.3)."""

    APPLICATION_CONTEXT = 0x10
    PRESENTATION_CONTEXT_RQ = 0x20
    PRESENTATION_CONTEXT_AC = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS_UID = 0x52
    ASYNC_OPERATIONS_WINDOW = 0x53
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION_NAME = 0x55
    SOP_CLASS_EXTENDED = 0x56
    SOP_CLASS_COMMON_EXTENDED = 0x57
    USER_IDENTITY_RQ = 0x58
    USER_IDENTITY_AC = 0x59


class ContextResult(IntEnum):
    """What became of a proposed presentation context (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class UnknownItem:
    """An item or sub-item of a type this edition does not know: skipped (UL-16), kept so that it can be logged."""

    item_type: int
    data: bytes


@dataclass(frozen=True, slots=True)
class PresentationContext:
    """One proposal: an abstract syntax and the transfer syntaxes it could travel in, in the sender's order."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PresentationContextAnswer:
    """The answer to one proposal; ``transfer_syntax`` means something only if ``result`` is acceptance (UL-14).

    ``result`` is a plain integer because a peer may send any; compare it with :class:`ContextResult`.
    """

    context_id: int
    result: int
    transfer_syntax: str

    @property
    def accepted(self) -> bool:
        return self.result == ContextResult.ACCEPTANCE


@dataclass(frozen=True, slots=True)
class AsyncOperationsWindow:
    """Sub-item 53H, both numbers as the requestor sees them: it may have ``invoked`` outstanding, and performs
    ``performed`` at once. 0 is unlimited; no item at all means 1 and 1 (DM-02)."""

    invoked: int
    performed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSelection:
    """Sub-item 54H: the roles the association requestor would play, or may play, for one SOP class (DM-03)."""

    sop_class: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class SOPClassExtendedNegotiation:
    """Sub-item 56H: bytes whose meaning the service class of the SOP class defines (DM-04)."""

    sop_class: str
    information: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SOPClassCommonExtendedNegotiation:
    """Sub-item 57H: which service class a SOP class belongs to and which general ones it can be treated as."""

    sop_class: str
    service_class: str
    related_general: tuple[str, ...] = ()


class UserIdentityType(IntEnum):
    """How a user shows who it is (PS3.7 Table D.3-14)."""

    USERNAME = 1
    USERNAME_AND_PASSCODE = 2
    KERBEROS = 3
    SAML = 4
    JWT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class UserIdentity:
    """Sub-item 58H. ``kind`` is a plain integer, compare it with :class:`UserIdentityType`: a peer may send any."""

    kind: int
    primary: bytes
    secondary: bytes = b""
    positive_response_requested: bool = False

    def __repr__(self) -> str:
        # Both fields may be credentials, and a repr ends up in logs.
        return f"UserIdentity(kind={self.kind}, positive_response_requested={self.positive_response_requested})"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserInformation:
    """The User Information item (50H) with its sub-items.

    ``max_length`` 0 is no limit, which is also what a missing sub-item is taken for: old modalities leave it out.
    ``user_identity`` belongs in a request; ``user_identity_answer``, the server response, in an acceptance.
    """

    max_length: int
    implementation_class_uid: str
    implementation_version_name: str = ""
    async_window: AsyncOperationsWindow | None = None
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[SOPClassExtendedNegotiation, ...] = ()
    common_extended: tuple[SOPClassCommonExtendedNegotiation, ...] = ()
    user_identity: UserIdentity | None = None
    user_identity_answer: bytes | None = None
    unknown: tuple[UnknownItem, ...] = ()
