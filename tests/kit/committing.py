"""A modality that asks for storage commitment, made of pynetdicom: it asks, listens, and keeps what it is told."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association

from kit.server import HOST
from kit.wait import eventually
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE

Reference = tuple[str, str]
"""SOP Class UID, SOP Instance UID."""
SAME, NEW = "same", "new"
ALL_SUCCESSFUL, FAILURES_EXIST = 1, 2


class Abort(Exception):
    """The modality aborts instead of answering."""


@dataclass(frozen=True, slots=True)
class Told:
    """One N-EVENT-REPORT: over which association, by whom, and what it says."""

    over: str
    by: str
    to: str
    role: tuple[bool, bool] | None
    """What the caller proposed to be, SCU and SCP."""
    event_type: int
    instance: str
    transaction: str
    retrieve_ae: str
    committed: list[Reference]
    failed: list[tuple[Reference, int]]


@dataclass
class Modality:
    """``answers`` is given the number of the report, from 1 on, and returns the status to answer, or raises
    :class:`Abort`. ``role`` is whether it agrees to the SCP role of who calls it; None: it does not know role
    selection, and does not answer it."""

    title: str = "MODALITY"
    answers: Callable[[int], int] = lambda number: 0x0000
    role: bool | None = True
    port: int = 0
    tls: ssl.SSLContext | None = None
    told: list[Told] = field(default_factory=list)
    received: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    answering: list[threading.Thread] = field(default_factory=list)

    # --- Asking -----------------------------------------------------------------------------------------------------

    @contextmanager
    def calling(
        self, port: int, *, called: str = "PACSLITE", syntax: str = ExplicitVRLittleEndian, tls: Any = None
    ) -> Iterator[Association]:
        """An association on which it may ask, released at the end; what it is told on that, it answers."""
        ae = self._ae()
        handlers = [(evt.EVT_N_EVENT_REPORT, self._take, [SAME])]
        context = [_context(syntax)]
        association = ae.associate(HOST, port, context, called, evt_handlers=handlers, tls_args=tls)
        assert association.is_established
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def ask(self, association: Association, references: Iterable[Reference], *, transaction: str = "") -> str:
        """N-ACTION, which has to be answered with success; returns the Transaction UID."""
        transaction = transaction or generate_uid()
        status = self.try_to_ask(association, request(transaction, references))
        assert status.Status == 0x0000, status
        return transaction

    def try_to_ask(self, association: Association, data_set: Dataset) -> Dataset:
        """N-ACTION; returns the response's command set."""
        status: Dataset
        status, _ = association.send_n_action(
            data_set, 1, STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
        )
        return status

    def ask_and_leave(
        self, port: int, references: Iterable[Reference], *, called: str = "PACSLITE", transaction: str = ""
    ) -> str:
        """Ask, and release as soon as that is answered. Nothing may come on that association: see :meth:`wait`."""
        with self.calling(port, called=called) as association:
            return self.ask(association, references, transaction=transaction)

    # --- Listening --------------------------------------------------------------------------------------------------

    @contextmanager
    def listening(self) -> Iterator[None]:
        """It may be called, on the port it had if it had one."""
        ae = self._ae()
        roles = {} if self.role is None else {"scu_role": False, "scp_role": self.role}
        ae.add_supported_context(
            STORAGE_COMMITMENT_PUSH_MODEL, [ExplicitVRLittleEndian, ImplicitVRLittleEndian], **roles
        )
        server = ae.start_server(
            (HOST, self.port),
            block=False,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take, [NEW])],
            ssl_context=self.tls,
        )
        self.port = server.socket.getsockname()[1] if server.socket is not None else self.port
        try:
            yield
        finally:
            server.shutdown()

    def wait(self, count: int = 1, *, within_s: float = 20.0) -> Sequence[Told]:
        """What it was told and has answered, as soon as it is so many."""
        eventually(lambda: len(self.told) >= count, f"{count} reports", within_s=within_s)
        for thread in self.answering:  # pynetdicom hangs if it is to release while one answers
            thread.join(within_s)
        return self.told

    def only(self) -> Told:
        """The one thing that it is told."""
        (told,) = self.wait()
        return told

    # --- Inside -----------------------------------------------------------------------------------------------------

    def _ae(self) -> AE:
        ae = AE(ae_title=self.title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
        return ae

    def _take(self, event: Any, over: str) -> tuple[int, None]:
        with self.lock:
            self.received += 1
            number = self.received
            self.answering.append(threading.current_thread())
        try:
            status = self.answers(number)
        except Abort:
            event.assoc.abort()
            return 0x0110, None
        if status == 0x0000 or status >> 12 == 0xB:
            self.told.append(_told(event, over))
        return status, None


def request(transaction: str | None, references: Iterable[Reference]) -> Dataset:
    """The Action Information; without a Transaction UID if that is None."""
    data_set = Dataset()
    if transaction is not None:
        data_set.TransactionUID = transaction
    data_set.ReferencedSOPSequence = [_item(*reference) for reference in references]
    return data_set


def _item(sop_class: str, sop_instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return item


def _context(syntax: str) -> Any:
    from pynetdicom import build_context

    return build_context(STORAGE_COMMITMENT_PUSH_MODEL, UID(syntax))


def _told(event: Any, over: str) -> Told:
    information: Dataset = event.event_information
    association: Association = event.assoc
    requestor, acceptor = association.requestor, association.acceptor
    role = requestor.role_selection.get(UID(STORAGE_COMMITMENT_PUSH_MODEL))
    return Told(
        over=over,
        by=requestor.ae_title if over == NEW else acceptor.ae_title,
        to=acceptor.ae_title if over == NEW else requestor.ae_title,
        role=None if role is None else (bool(role.scu_role), bool(role.scp_role)),
        event_type=event.event_type,
        instance=event.request.AffectedSOPInstanceUID,
        transaction=information.TransactionUID,
        retrieve_ae=information.get("RetrieveAETitle", ""),
        committed=[_reference(item) for item in information.get("ReferencedSOPSequence", ())],
        failed=[(_reference(item), item.FailureReason) for item in information.get("FailedSOPSequence", ())],
    )


def _reference(item: Dataset) -> Reference:
    return item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID
