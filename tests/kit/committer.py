"""An archive that takes objects and commits to them as the test says, made of pynetdicom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association

from kit.odd import SECONDARY_CAPTURE
from kit.server import HOST, free_port
from kit.wait import eventually
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE

NO_SUCH_OBJECT = 0x0112
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


class Over(Enum):
    """How the archive tells its results."""

    SAME = "the association of the question"
    ROLES = "an association of its own, with role selection"
    PLAIN = "an association of its own, without"
    NEVER = "not at all"


class Abort(Exception):
    """The archive aborts instead of answering."""


@dataclass(frozen=True, slots=True)
class Question:
    """One N-ACTION: its number, from 1 on, and what it asks."""

    number: int
    transaction: str
    instances: tuple[str, ...]


@dataclass
class Committer:
    """``answers`` is given each question and returns the status to answer, or raises :class:`Abort`; ``over`` how its
    result is told; ``lacks`` says for which of its objects it fails. ``reports_to`` is the port of whoever asks."""

    title: str = "ARCHIVE"
    port: int = field(default_factory=free_port)
    reports_to: int = 0
    reports_as: str = ""
    answers: Callable[[Question], int] = lambda question: 0x0000
    over: Callable[[Question], Over] = lambda question: Over.SAME
    lacks: Callable[[Question, str], bool] = lambda question, uid: False
    supports: bool = True
    stored: list[str] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    told: list[int] = field(default_factory=list)
    """The statuses that its results were answered with."""
    _asking: list[Association] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[None]:
        ae = self._ae()
        ae.add_supported_context(SECONDARY_CAPTURE, SYNTAXES)
        if self.supports:
            ae.add_supported_context(STORAGE_COMMITMENT_PUSH_MODEL, SYNTAXES)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._asked)]
        server = ae.start_server((HOST, self.port), block=False, evt_handlers=handlers)
        try:
            yield
        finally:
            for thread in self._threads:
                thread.join(20)
            server.shutdown()

    def wait_stored(self, count: int) -> list[str]:
        eventually(lambda: len(self.stored) >= count, f"{count} objects at the archive", within_s=30.0)
        return self.stored

    def wait_told(self, count: int = 1) -> list[int]:
        eventually(lambda: len(self.told) >= count, f"{count} results told", within_s=30.0)
        return self.told

    def wait_asked(self, count: int = 1) -> list[Question]:
        eventually(lambda: len(self.questions) >= count, f"{count} questions", within_s=30.0)
        return self.questions

    def abort(self) -> None:
        """The association on which it was asked last."""
        self._asking[-1].abort()

    def tell_from_elsewhere(self, question: Question, *, title: str, transaction: str = "") -> int:
        """A result that somebody called ``title`` tells."""
        information = self._result(question)
        information.TransactionUID = transaction or question.transaction
        return self._tell_anew(information, title=title, roles=True)

    # --- Inside -----------------------------------------------------------------------------------------------------

    def _ae(self, title: str = "") -> AE:
        ae = AE(ae_title=title or self.title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
        return ae

    def _store(self, event: Any) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def _asked(self, event: Any) -> tuple[int, None]:
        assert event.action_type == 1
        assert event.request.RequestedSOPInstanceUID == STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
        information: Dataset = event.action_information
        instances = tuple(str(item.ReferencedSOPInstanceUID) for item in information.ReferencedSOPSequence)
        question = Question(len(self.questions) + 1, str(information.TransactionUID), instances)
        self.questions.append(question)
        self._asking.append(event.assoc)
        try:
            status = self.answers(question)
        except Abort:
            event.assoc.abort()
            return 0x0110, None
        if status == 0x0000:
            thread = threading.Thread(target=self._tell, args=(question, event.assoc))
            self._threads.append(thread)
            thread.start()
        return status, None

    def _tell(self, question: Question, association: Association) -> None:
        information = self._result(question)
        match self.over(question):
            case Over.SAME:
                status = _send(association, information)
                if status is not None:
                    self.told.append(status)
            case Over.ROLES:
                self.told.append(self._tell_anew(information, title=self.reports_as, roles=True))
            case Over.PLAIN:
                self.told.append(self._tell_anew(information, title=self.reports_as, roles=False))
            case Over.NEVER:
                pass

    def _tell_anew(self, information: Dataset, *, title: str, roles: bool) -> int:
        contexts = [build_context(STORAGE_COMMITMENT_PUSH_MODEL, SYNTAXES)]
        proposed = [build_role(UID(STORAGE_COMMITMENT_PUSH_MODEL), scp_role=True)] if roles else []
        association = self._ae(title).associate(HOST, self.reports_to, contexts, "PACSLITE", ext_neg=proposed)
        assert association.is_established
        try:
            (context,) = association.accepted_contexts
            assert context.as_scp is roles
            context._as_scp = True  # without roles, pynetdicom would not send it
            status = _send(association, information)
            assert status is not None
            return status
        finally:
            association.release()

    def _result(self, question: Question) -> Dataset:
        information = Dataset()
        information.TransactionUID = question.transaction
        failed = {uid for uid in question.instances if self.lacks(question, uid)}
        information.ReferencedSOPSequence = list(_items(uid for uid in question.instances if uid not in failed))
        if failed:
            information.FailedSOPSequence = list(_items(uid for uid in question.instances if uid in failed))
            for item in information.FailedSOPSequence:
                item.FailureReason = NO_SUCH_OBJECT
        return information


def _items(uids: Iterable[str]) -> Iterator[Dataset]:
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = SECONDARY_CAPTURE, uid
        yield item


def _send(association: Association, information: Dataset) -> int | None:
    """The status that it was answered with; None if the association went first."""
    event_type = 2 if "FailedSOPSequence" in information else 1
    answer, _ = association.send_n_event_report(
        information, event_type, STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
    )
    return int(answer.Status) if "Status" in answer else None
