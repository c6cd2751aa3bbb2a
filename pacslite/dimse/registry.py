"""What this server supports, declared once: negotiation, dispatch and documentation all read it here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from pacslite.dimse.command import CommandField
from pacslite.dimse.permission import Permission
from pacslite.dimse.service import Service
from pacslite.errors import SOPClassNotSupported, UnrecognizedOperation


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One service class: which abstract syntaxes it serves, which operations, and who may ask.

    ``serves`` is given an abstract syntax and the Related General SOP Classes that the requester names for it
    (PS3.7 D.3.3.6). ``abstract_syntaxes`` are those of them that have a name, for the conformance statement.

    ``extended`` is given the Service-class-application-information that a requester offers by SOP Class Extended
    Negotiation, and returns the answer, or None for none (PS3.7 D.3.3.5; DM-04); the agreed bytes are the context's
    ``extended``. ``sends_to`` is the permission whose holders may take the SCP role, so that we may invoke these
    operations on them (C-GET; DM-03, QR-07); ``produces`` are the transfer syntaxes that whatever we send then can be
    converted to.
    """

    name: str
    abstract_syntaxes: tuple[str, ...]
    serves: Callable[[str, tuple[str, ...]], bool]
    transfer_syntaxes: tuple[str, ...]
    permission: Permission
    operations: Mapping[CommandField, Service]
    extended: Callable[[bytes], bytes | None] | None = None
    sends_to: Permission | None = None
    produces: tuple[str, ...] = ()


class ServiceRegistry:
    """All registrations, in order; the first that serves an abstract syntax has it."""

    def __init__(self, registrations: Iterable[Registration]) -> None:
        self.registrations = tuple(registrations)
        self._registered = lru_cache(maxsize=256)(self.find)  # each operation asks anew

    def find(self, abstract_syntax: str, related_general: tuple[str, ...] = ()) -> Registration | None:
        """The registration that serves ``abstract_syntax``, or None."""
        for registration in self.registrations:
            if registration.serves(abstract_syntax, related_general):
                return registration
        return None

    def service(self, abstract_syntax: str, related_general: tuple[str, ...], field: int) -> Service:
        """Who performs Command Field ``field`` on a context of ``abstract_syntax``.

        Raises :class:`SOPClassNotSupported` or :class:`UnrecognizedOperation` (PS3.7 Annex C.5).
        """
        registration = self._registered(abstract_syntax, related_general)
        if registration is None:
            raise SOPClassNotSupported("this SOP class is not supported")
        try:
            return registration.operations[CommandField(field)]
        except (KeyError, ValueError):
            raise UnrecognizedOperation(f"command {field:04X}H is not served for {registration.name}") from None
