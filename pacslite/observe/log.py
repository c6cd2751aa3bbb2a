"""The log: what happened, one line each, for the people who run the server.

An association is one line when it ends, with all that a call about "the scanner does not send" needs: who, what was
agreed and refused and why, how much, how long. An object is a line only if it failed, or at level debug.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

from pacslite import facts
from pacslite.dicom.uids import name_of
from pacslite.dimse.status import Kind, kind_of
from pacslite.facts import ContextAnswer, Fact, Peer
from pacslite.observe.lines import EVENT, FIELDS, clean
from pacslite.observe.masking import keep, mask_text, mask_uid
from pacslite.observe.outbox_words import OUTBOX_WORDS, Words

LOGGER = logging.getLogger("pacslite")

NAMED_CONTEXTS = 4
"""So many refused abstract syntaxes are named for each reason; a sender may propose 128."""
NAMED_KEYS = 6
SLOW_QUERY_S = 1.0
"""A query that takes longer is worth a line at level info: a person has waited for it."""

_REFUSALS = {
    1: "not permitted to this peer",
    2: "refused without reason",
    3: "abstract syntax not supported",
    4: "no transfer syntax supported",
}
"""PS3.8 Table 9-18, as we use it."""

_UIDS_OF_PATIENTS = ("sop_instance", "study", "series", "subject")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


class LogObserver:
    """Subscribes to facts and logs them; with ``mask_phi`` no UID of a patient's object is written."""

    def __init__(self, *, mask_phi: bool = True, logger: logging.Logger = LOGGER) -> None:
        self._logger = logger
        self._uid = mask_uid if mask_phi else keep
        self._text = mask_text if mask_phi else keep
        self._contexts: dict[int, tuple[ContextAnswer, ...]] = {}
        # By exact type: one dictionary look-up for each fact, however many kinds there are.
        self._tell: dict[type[Fact], Callable[[Any], None]] = {
            facts.ListenerOpened: self._listener_opened,
            facts.ShutdownStarted: self._shutdown_started,
            facts.CertificatesReloaded: self._certificates_reloaded,
            facts.HandshakeFailed: self._handshake_failed,
            facts.TaskFailed: self._task_failed,
            facts.AssociationAccepted: self._accepted,
            facts.AssociationRefused: self._refused,
            facts.AssociationEnded: self._ended,
            facts.OperationServed: self._served,
            facts.QueryServed: self._query_served,
            facts.RetrievalServed: self._retrieval_served,
            facts.SubOperationFailed: self._sub_operation_failed,
            facts.CommitmentRequested: self._commitment_requested,
            facts.CommitmentVerified: self._commitment_verified,
            facts.CommitmentReported: self._commitment_reported,
            facts.CommitmentAsked: self._commitment_asked,
            facts.CommitmentOverdue: self._commitment_overdue,
            facts.CommitmentAnswered: self._commitment_answered,
            facts.CommitmentRefused: self._commitment_refused,
            facts.CommitmentUnexpected: self._commitment_unexpected,
            facts.ObjectsForwarded: self._objects_forwarded,
            facts.ForwardUnreadable: self._forward_unreadable,
            facts.ForwardNotNeeded: self._forward_not_needed,
            facts.InstanceStored: self._stored,
            facts.ObjectsDeleted: self._deleted,
            facts.RetentionEnded: self._retention_ended,
            **{kind: partial(self._say, words) for kind, words in OUTBOX_WORDS.items()},
        }

    def __call__(self, fact: Fact) -> None:
        self._tell.get(type(fact), self._anything)(fact)

    # --- The server --------------------------------------------------------------------------------------------------

    def _listener_opened(self, fact: facts.ListenerOpened) -> None:
        self._log(logging.INFO, fact, f"listening on {fact.host}:{fact.port}{' (TLS)' if fact.tls else ''}")

    def _shutdown_started(self, fact: facts.ShutdownStarted) -> None:
        wait = f"; waiting up to {fact.grace_s:g} s for them" if fact.associations else ""
        self._log(logging.INFO, fact, f"stopping, {_counted(fact.associations, 'association')} open{wait}")

    def _certificates_reloaded(self, fact: facts.CertificatesReloaded) -> None:
        if fact.error:
            self._log(logging.ERROR, fact, f"nothing reloaded, all stays as it was: {fact.error}")
        else:
            self._log(logging.INFO, fact, f"reloaded: addresses of peers, certificates of {fact.listeners} listeners")

    def _handshake_failed(self, fact: facts.HandshakeFailed) -> None:
        self._log(logging.WARNING, fact, f"{fact.address}:{fact.port} no TLS connection: {fact.why}")

    def _task_failed(self, fact: facts.TaskFailed) -> None:
        message = f"defect in {fact.where}: {self._text(fact.error)}\n{self._text(fact.trace)}"
        self._log(logging.ERROR, fact, message)

    # --- Associations ------------------------------------------------------------------------------------------------

    def _accepted(self, fact: facts.AssociationAccepted) -> None:
        self._contexts[fact.peer.association] = fact.contexts
        if self._logger.isEnabledFor(logging.DEBUG):
            window = f", window {fact.async_window}" if fact.async_window != 1 else ""
            message = f"{_who(fact.peer)} accepted, {clean(fact.implementation)}{window}; {_contexts(fact.contexts)}"
            self._log(logging.DEBUG, fact, message)

    def _refused(self, fact: facts.AssociationRefused) -> None:
        advice = f"; {fact.advice}" if fact.advice else ""
        codes = f"result {fact.result}, source {fact.source}, reason {fact.reason}"
        self._log(logging.WARNING, fact, f"{_who(fact.peer)} refused ({codes}): {fact.why}{advice}")

    def _ended(self, fact: facts.AssociationEnded) -> None:
        contexts = self._contexts.pop(fact.peer.association, ())
        how = self._text(clean(fact.how))
        if not fact.established:
            # A port scan or a load balancer's probe; a refused association has had its line. One that spoke, but not
            # DICOM, may be a modality with a wrong setting.
            level = logging.WARNING if "unrecognized PDU" in fact.how else logging.DEBUG
            self._log(level, fact, f"{_who(fact.peer)} {how} after {fact.seconds:.1f} s, never associated")
            return
        message = (
            f"{_who(fact.peer)} {how} after {fact.seconds:.1f} s: {fact.stored} stored, {fact.failed} failed, "
            f"{_counted(fact.operations, 'operation')}, {_size(fact.bytes_received)} in, {_size(fact.bytes_sent)} out; "
            f"{_contexts(contexts)}"
        )
        level = logging.INFO if fact.how == "released" and not fact.failed else logging.WARNING
        self._log(level, fact, message, contexts=contexts)

    def _served(self, fact: facts.OperationServed) -> None:
        kind = kind_of(fact.status)
        if kind is Kind.SUCCESS:
            if not self._logger.isEnabledFor(logging.DEBUG):
                return
            level = logging.DEBUG
        else:
            level = logging.WARNING if kind is Kind.FAILURE else logging.INFO
        of = f" of {name_of(fact.sop_class)}" if fact.sop_class else ""
        instance = f" {self._uid(fact.sop_instance)}" if fact.sop_instance else ""
        comment = f" ({self._text(clean(fact.comment))})" if fact.comment else ""
        message = (
            f"{_who(fact.peer)} {fact.command}{clean(of + instance)}: "
            f"{kind.value} {fact.status:04X}{comment} in {fact.seconds * 1000:.1f} ms"
        )
        self._log(level, fact, message)

    def _query_served(self, fact: facts.QueryServed) -> None:
        level = logging.INFO if fact.seconds >= SLOW_QUERY_S else logging.DEBUG
        if not self._logger.isEnabledFor(level):
            return
        by = f" by {', '.join(fact.keys[:NAMED_KEYS])}" if fact.keys else " without a key"
        more = f" and {len(fact.keys) - NAMED_KEYS} more" if len(fact.keys) > NAMED_KEYS else ""
        outcome = "" if fact.outcome == "complete" else f", {fact.outcome}"
        message = (
            f"{_who(fact.peer)} query, {fact.model}, {fact.level} level{by}{more}: "
            f"{_counted(fact.answers, 'answer')}{outcome}, the first found after {fact.first_s * 1000:.1f} ms, "
            f"all in {fact.seconds * 1000:.1f} ms"
        )
        self._log(level, fact, message)

    def _retrieval_served(self, fact: facts.RetrievalServed) -> None:
        level = logging.WARNING if fact.failed else logging.INFO
        outcome = "" if fact.outcome == "complete" else f", {fact.outcome}"
        warned = f", {fact.warning} with a warning" if fact.warning else ""
        failed = f", {fact.failed} failed ({self._text(clean(fact.reason))})" if fact.failed else ""
        converted = f", {fact.converted} of them converted" if fact.converted else ""
        message = (
            f"{_who(fact.peer)} {fact.command.removesuffix('-RQ')}, {fact.model}, {fact.level} level, to "
            f"{clean(fact.destination)}: {fact.completed} of {_counted(fact.objects, 'object')} sent{converted}{warned}"
            f"{failed}{outcome}, {_size(fact.bytes)} in {fact.seconds:.1f} s"
        )
        self._log(level, fact, message)

    def _sub_operation_failed(self, fact: facts.SubOperationFailed) -> None:
        """The retrieval's own line has the reasons of all; a line each is for what the archive is to blame for."""
        level = logging.ERROR if fact.damaged else logging.DEBUG
        why = self._text(clean(fact.reason))
        what = f"{self._uid(fact.sop_instance)} not sent to {clean(fact.destination)}: {why}"
        advice = "; see pacslite fsck" if fact.damaged else ""
        self._log(level, fact, f"{_who(fact.peer)} {what}{advice}")

    # --- Forwarding --------------------------------------------------------------------------------------------------

    def _objects_forwarded(self, fact: facts.ObjectsForwarded) -> None:
        level = logging.WARNING if fact.failed else logging.INFO
        warned = f", {fact.warning} with a warning" if fact.warning else ""
        failed = f", {fact.failed} failed ({self._text(clean(fact.reason))})" if fact.failed else ""
        converted = f", {fact.converted} of them converted" if fact.converted else ""
        outcome = "" if fact.outcome == "complete" else f", then {self._text(clean(fact.outcome))}"
        sent = _counted(fact.completed + fact.warning, "object")
        message = (
            f"{_lane(fact)}: {sent} forwarded{converted}{warned}{failed}{outcome}, {_size(fact.bytes)} "
            f"in {fact.seconds:.1f} s"
        )
        self._log(level, fact, message)

    def _forward_unreadable(self, fact: facts.ForwardUnreadable) -> None:
        why = f"{self._uid(fact.sop_instance)} not forwarded: {self._text(clean(fact.reason))}; see pacslite fsck"
        self._log(logging.ERROR, fact, f"{_lane(fact)}: {why}")

    def _forward_not_needed(self, fact: facts.ForwardNotNeeded) -> None:
        what = f"{self._uid(fact.sop_instance)} not forwarded: it was removed from the archive meanwhile"
        self._log(logging.INFO, fact, f"{_lane(fact)}: {what}")

    # --- Storage commitment ------------------------------------------------------------------------------------------

    def _commitment_requested(self, fact: facts.CommitmentRequested) -> None:
        what = f"commitment request {fact.request} for {_counted(fact.instances, 'instance')}"
        self._log(logging.INFO, fact, f"{_who(fact.peer)} {what}, transaction {self._text(clean(fact.transaction))}")

    def _commitment_verified(self, fact: facts.CommitmentVerified) -> None:
        failed = f", {fact.failed} cannot be committed" if fact.failed else ""
        message = (
            f"commitment request {fact.request} of {clean(fact.requester)} verified {fact.seconds:.1f} s after it "
            f"came: {_counted(fact.committed, 'instance')} committed{failed}"
        )
        self._log(logging.INFO, fact, message)

    def _commitment_reported(self, fact: facts.CommitmentReported) -> None:
        failed = f", not to {fact.failed} (see pacslite commitment show {fact.request})" if fact.failed else ""
        message = (
            f"commitment request {fact.request} of {clean(fact.destination)} reported over the {fact.over} "
            f"{fact.seconds:.1f} s after it came: committed to {_counted(fact.committed, 'instance')}{failed}"
        )
        self._log(logging.WARNING if fact.failed else logging.INFO, fact, message)

    def _commitment_asked(self, fact: facts.CommitmentAsked) -> None:
        what = f"asked to commit to {_counted(fact.instances, 'object')} of rule {fact.rule}"
        transaction = self._text(clean(fact.transaction))
        self._log(logging.INFO, fact, f"{clean(fact.destination)} {what}, transaction {transaction}")

    def _commitment_overdue(self, fact: facts.CommitmentOverdue) -> None:
        what = f"has not told whether it commits to {_counted(fact.instances, 'object')} of rule {fact.rule}"
        then = "given up; see pacslite jobs" if fact.given_up else "asked anew"
        level = logging.ERROR if fact.given_up else logging.WARNING
        self._log(level, fact, f"{clean(fact.destination)} {what}: {then}")

    def _commitment_answered(self, fact: facts.CommitmentAnswered) -> None:
        resent = f", not to {fact.resent} that will be sent again" if fact.resent else ""
        refused = f", not to {fact.refused} that will not" if fact.refused else ""
        transaction = self._text(clean(fact.transaction))
        message = (
            f"{_who(fact.peer)} result of transaction {transaction} after {fact.seconds:.1f} s: "
            f"{clean(fact.destination)} has committed to {_counted(fact.committed, 'object')}{resent}{refused}"
        )
        self._log(logging.WARNING if fact.resent or fact.refused else logging.INFO, fact, message)

    def _commitment_refused(self, fact: facts.CommitmentRefused) -> None:
        """Nobody will do anything more about it: a person has to."""
        message = (
            f"{clean(fact.destination)} does not commit to {self._uid(fact.sop_instance)} "
            f"(Failure Reason {fact.failure_reason:04X}), sent again {_counted(fact.resent, 'time')}; see pacslite jobs"
        )
        self._log(logging.ERROR, fact, message)

    def _commitment_unexpected(self, fact: facts.CommitmentUnexpected) -> None:
        transaction = self._text(clean(fact.transaction))
        self._log(logging.WARNING, fact, f"{_who(fact.peer)} result of transaction {transaction}: {fact.why}")

    # --- The archive -------------------------------------------------------------------------------------------------

    def _stored(self, fact: facts.InstanceStored) -> None:
        if fact.outcome == "kept_aside":
            level, what = logging.WARNING, "is there with other content; the new one was kept aside"
        elif fact.outcome == "replaced":
            level, what = logging.INFO, "replaced the one that was there"
        elif not self._logger.isEnabledFor(logging.DEBUG):
            return
        else:
            level, what = logging.DEBUG, fact.outcome
        message = (
            f"{clean(fact.source_ae)}: {name_of(fact.sop_class)} {self._uid(fact.sop_instance)} {what}, "
            f"{_size(fact.size)} in {fact.seconds * 1000:.1f} ms"
        )
        self._log(level, fact, message)

    def _deleted(self, fact: facts.ObjectsDeleted) -> None:
        uid = self._uid(fact.sop_instance or fact.series or fact.study)
        aside = f", {fact.conflicts} kept aside" if fact.conflicts else ""
        forced = f", by force; {_counted(fact.forwards, 'forward')} given up" if fact.forced else ""
        outcome = "" if fact.completed else "; broken off, what is left is as it was"
        message = (
            f"{clean(fact.deleted_by)} deleted {fact.level} {uid}: {_counted(fact.instances, 'object')}{aside}, "
            f"{_size(fact.bytes)} in {fact.seconds:.1f} s{forced}{outcome}"
        )
        self._log(logging.INFO if fact.completed and not fact.forced else logging.WARNING, fact, message)

    def _retention_ended(self, fact: facts.RetentionEnded) -> None:
        if fact.error:
            self._log(logging.ERROR, fact, f"retention broken off: {self._text(clean(fact.error))}")
            return
        done = "would delete" if fact.dry_run else "deleted"
        kept = "".join(f"; {_counted(count, 'study')} kept, {why}" for why, count in fact.kept)
        above = f"; still {_size(fact.above_bytes)} above the high water mark" if fact.above_bytes else ""
        message = (
            f"retention {done} {_counted(fact.studies, 'study')} with {_counted(fact.instances, 'object')}, "
            f"{_size(fact.bytes)}, in {fact.seconds:.1f} s{kept}{above}"
        )
        # What changes nothing and is as it should be is no news every hour.
        level = logging.INFO if fact.studies or fact.kept else logging.DEBUG
        self._log(logging.WARNING if fact.above_bytes else level, fact, message)

    def _anything(self, fact: Fact) -> None:
        """A fact without words of its own: its name and its fields."""
        words = " ".join(_WORDS.split(type(fact).__name__)).lower()
        values = ", ".join(f"{name} {value}" for name, value in self._fields(fact).items() if value not in ("", None))
        self._log(logging.INFO, fact, f"{words}: {values}")

    def _say(self, words: Words, fact: Fact) -> None:
        level, message = words(fact, self._text)
        self._log(level, fact, message)

    # --- Writing -----------------------------------------------------------------------------------------------------

    def _log(self, level: int, fact: Fact, message: str, **more: tuple[ContextAnswer, ...]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        values = self._fields(fact) | {name: _answers(answers) for name, answers in more.items()}
        event = "_".join(_WORDS.split(type(fact).__name__)).lower()
        # The message goes as an argument: a per cent sign in it must not be taken for a format.
        self._logger.log(level, "%s", message, extra={EVENT: event, FIELDS: values})

    def _fields(self, fact: Fact) -> dict[str, object]:
        """The fact's fields, masked, the peer's among them."""
        values: dict[str, object] = {}
        for field in fields(fact):
            value = getattr(fact, field.name)
            match value:
                case Peer():
                    values.update((part.name, getattr(value, part.name)) for part in fields(value))
                case str() if field.name in _UIDS_OF_PATIENTS:
                    values[field.name] = self._uid(value)
                case str():
                    values[field.name] = self._text(value)
                case tuple():
                    values[field.name] = _answers(value)
                case _:
                    values[field.name] = value
        return values


def _who(peer: Peer) -> str:
    """``CT1@10.1.2.3:50123 > PACSLITE [17]``: caller, called title, and the number that ties lines together."""
    caller = (
        f"{clean(peer.calling_ae)}@{peer.address}:{peer.port}" if peer.calling_ae else f"{peer.address}:{peer.port}"
    )
    called = f" > {clean(peer.called_ae)}" if peer.called_ae else ""
    return f"{caller}{called}{' TLS' if peer.tls else ''} [{peer.association}]"


def _lane(fact: facts.ObjectsForwarded | facts.ForwardUnreadable | facts.ForwardNotNeeded) -> str:
    """``ct-to-archive > ARCHIVE``: rule and destination."""
    return f"{clean(fact.rule)} > {clean(fact.destination)}"


def _contexts(answers: tuple[ContextAnswer, ...]) -> str:
    accepted = sum(answer.result == 0 for answer in answers)
    words = [f"contexts: {accepted} accepted"]
    refusals = Counter(answer.result for answer in answers if answer.result)
    for result, number in refusals.items():
        names = list(dict.fromkeys(name_of(one.abstract_syntax) for one in answers if one.result == result))
        more = f" and {len(names) - NAMED_CONTEXTS} more" if len(names) > NAMED_CONTEXTS else ""
        why = _REFUSALS.get(result, f"result {result}")
        lacked = sorted({one.lacks for one in answers if one.result == result and one.lacks})
        if lacked:
            why += f": add {', '.join(map(json.dumps, lacked))} to its permissions"
        words.append(f"{number} refused, {why} ({clean(', '.join(names[:NAMED_CONTEXTS]))}{more})")
    return "; ".join(words)


def _answers(answers: tuple[Any, ...]) -> list[object]:
    return [
        {field.name: getattr(answer, field.name) for field in fields(answer)}
        if isinstance(answer, ContextAnswer)
        else answer
        for answer in answers
    ]


def _size(size: int) -> str:
    """Decimal units, one digit: 512 B, 1.5 kB, 268.4 MB."""
    if size < 1000:
        return f"{size} B"
    number = float(size)
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 1000:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:.1f} TB"


def _counted(number: int, noun: str) -> str:
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{number} {noun}s"
