"""The part of the conformance statement about storage commitment (PS3.4 Annex J), as SCP and as SCU."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pacslite.errors import (
    ClassInstanceConflict,
    DimseError,
    InvalidArgumentValue,
    MissingAttribute,
    MistypedArgument,
    NoSuchAction,
    NoSuchEventType,
    NoSuchObjectInstance,
    NotAuthorized,
    ProcessingFailure,
    ResourceLimitation,
)
from pacslite.server.config import Config
from pacslite.server.outbox_settings import DAY_S, Verification
from pacslite.server.settings import PeerSettings

_WIDTH = 118

_REQUEST = (
    "0000 means that the request is on stable storage, not that anything is committed.",
    "Transaction UID and Referenced SOP Sequence are read. Storage Media File-Set ID and UID, Retrieve AE Title and "
    "all else are passed over.",
    "The same request again from the same AE is verified and reported anew. Its Transaction UID with other references "
    "is a request of its own, all of which fails with 0131.",
)
_VERIFIED = {
    Verification.PRESENCE: "An object is committed if it is in the index under the SOP Class that is named, and its "
    "file is there with its full size.",
    Verification.DIGEST: "An object is committed if it is in the index under the SOP Class that is named, and its "
    "file, read again, is what was received.",
}
_REFUSALS: tuple[tuple[type[DimseError], str], ...] = (
    (ProcessingFailure, "The data set cannot be decoded, or the index cannot be written."),
    (NoSuchObjectInstance, "The SOP Instance is not the well-known one of the Push Model."),
    (InvalidArgumentValue, "Referenced SOP Sequence has no item, or Transaction UID is no UID."),
    (ClassInstanceConflict, "The SOP Class is not that of the Push Model."),
    (MissingAttribute, "There is no Transaction UID, or no Referenced SOP Sequence."),
    (NoSuchAction, "The Action Type ID is not 1."),
    (NotAuthorized, "The requester has the SCP role alone."),
    (MistypedArgument, "There is no data set."),
    (
        ResourceLimitation,
        "The request is longer, or names more instances, than is taken; or too many long ones are on their way.",
    ),
)
_RESULT_REFUSALS: tuple[tuple[type[DimseError], str], ...] = (
    (ProcessingFailure, "The data set cannot be decoded, or the index cannot be written."),
    (NoSuchObjectInstance, "The SOP Instance is not the well-known one of the Push Model."),
    (NoSuchEventType, "The Event Type ID is neither 1 nor 2."),
    (InvalidArgumentValue, "The Transaction UID is no UID."),
    (ClassInstanceConflict, "The SOP Class is not that of the Push Model."),
    (MissingAttribute, "There is no Transaction UID."),
    (NotAuthorized, "Another AE was asked."),
    (MistypedArgument, "There is no data set."),
    (
        ResourceLimitation,
        "The result is longer, or names more instances, than is taken; or too many long ones are on their way.",
    ),
)
_REASONS = (
    (0x0110, "The file is missing, cut short, or not what was received."),
    (0x0112, "There is no such object."),
    (0x0119, "The object is of another SOP Class."),
    (0x0122, "Objects of this SOP Class are not stored."),
    (0x0131, "The Transaction UID was in use for another request."),
)


def commitment_behaviour(config: Config) -> Iterator[str]:
    """Markdown."""
    yield from _as_scp(config)
    yield from _as_scu(config)


def _as_scp(config: Config) -> Iterator[str]:
    settings = config.commitment
    yield "## Storage commitment behaviour: SCP"
    yield ""
    yield "Requests (N-ACTION, Action Type ID 1):"
    yield ""
    yield from _points(
        (*_REQUEST, f"At most {settings.max_instances} instances and {settings.max_request_bytes} bytes are taken.")
    )
    yield "| status | when |"
    yield "|---|---|"
    yield "| 0000 | The request has been received. |"
    for error, when in _REFUSALS:
        yield f"| {error.status:04X} | {when} |"
    yield ""
    yield "Verification begins at once and takes milliseconds for thousands of objects unless files are read again."
    yield from textwrap.wrap(_VERIFIED[settings.verify], _WIDTH)
    yield "It is then kept until somebody deletes it against the warning that it is committed."
    yield ""
    yield "| Failure Reason | when |"
    yield "|---|---|"
    for reason, when in _REASONS:
        yield f"| {reason:04X} | {when} |"
    yield ""
    yield "Results (N-EVENT-REPORT):"
    yield ""
    yield from _points(tuple(_results(config)))


def _results(config: Config) -> Iterator[str]:
    outbox = config.outbox
    wait_s = PeerSettings.model_fields["commitment_wait_s"].default
    yield (
        "Event Type ID 1 if nothing failed, else 2. Both sequences together are what was asked for, each item once "
        "for each time it was named. Retrieve AE Title is the title that was called."
    )
    yield (
        f"On the association of the request, if the result is there within {wait_s:g} s (set for each peer: "
        "`commitment_wait_s`; however late for a requester without a configured port) and the association still is. "
        "It is used after the N-ACTION response, never during "
        "release, and whatever roles were agreed."
    )
    yield (
        "Otherwise on a new association to the address that is configured for the requester, with the AE title that it "
        "had called as calling AE title. One presentation context with Explicit and Implicit VR Little Endian is "
        "proposed, with SCP/SCU Role Selection for the SCP role alone; if it is refused, once more without. An "
        "answer without that item is as good. If the association is rejected, aborted or lost, the next one is "
        "proposed without, the one after that with it again, until one is good for a result. Results for one "
        "requester share an association."
    )
    yield (
        "Success and warnings (0000, Bxxx, 0001, 0107, 0116) are the end of it. After any other answer, and after "
        f"none, the result is sent again: {outbox.retry_first_s:g} s later, then after twice as long each time, at "
        f"most {outbox.retry_most_s:g} s{_for(outbox.retry_for_s)}. Restarts make no difference."
    )


def _for(seconds: float) -> str:
    return f", for {seconds / DAY_S:g} days" if seconds else ", for ever"


def _as_scu(config: Config) -> Iterator[str]:
    settings = config.commitment
    yield "## Storage commitment behaviour: SCU"
    yield ""
    yield "Destinations of forwarding rules that say `commit = true` are asked to commit to what they have taken:"
    yield ""
    yield from _points(
        (
            f"{settings.ask_after_s:g} s after the last object was sent. The association is kept open for the result "
            f"for {settings.answer_wait_s:g} s; afterwards the destination has to call us, and may propose to be SCP.",
            f"Without a result it is asked anew after {settings.ask_again_s:g} s, with a new Transaction UID"
            f"{_for(config.outbox.retry_for_s)}. A result of the earlier transaction is taken however late it comes, "
            "for objects that have not been sent again since.",
            f"An object that it does not commit to is sent again, at most {settings.max_resends} times. An object that "
            "is in neither sequence of the result is asked about again with those that have none.",
            "A question that is answered with anything but success is put again as forwards are, and so it is if the "
            "presentation context is refused.",
        )
    )
    yield "Results (N-EVENT-REPORT) are taken from the AE that was asked, or from its address, on any association,"
    yield "whatever roles were agreed. Of the Event Type ID and the two sequences, the sequences are believed."
    yield ""
    yield "| status | when |"
    yield "|---|---|"
    yield "| 0000 | What follows from the result is on stable storage; or it is of no transaction that we know. |"
    for error, when in _RESULT_REFUSALS:
        yield f"| {error.status:04X} | {when} |"
    yield ""


def _points(points: tuple[str, ...]) -> Iterator[str]:
    for point in points:
        yield from textwrap.wrap(f"- {point}", _WIDTH, subsequent_indent="  ")
    yield ""
