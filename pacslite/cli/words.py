"""What a peer's codes mean, in words for the person at the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pacslite.cli.sending_plan import ContextKey
from pacslite.dicom.uids import name_of
from pacslite.dimse.command import CommandSet, Tag
from pacslite.dimse.status import CANCEL
from pacslite.ul.items import ContextResult

_REFUSALS: Final = {
    ContextResult.USER_REJECTION: "user-rejection, mostly for want of a permission",
    ContextResult.NO_REASON: "no reason given",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: "SOP class not supported",
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: "transfer syntax not supported",
}

# PS3.7 Annex C and PS3.4 Table B.2-1; those of C-STORE go by their first digits.
_GENERAL: Final = {
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "attribute list error",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such SOP instance",
    0x0115: "invalid argument value",
    0x0116: "attribute value out of range",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class-instance conflict",
    0x0120: "missing attribute",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xB000: "data elements were coerced",
    0xB006: "data elements were discarded",
    0xB007: "data set does not match SOP class",
}


_DUPLICATE_TRANSACTION_UID: Final = 0x0131


def refusal_words(key: ContextKey, result: int) -> str:
    """Why no file of this kind can be sent to the peer; ``result`` as in PS3.8 Table 9-18."""
    kind = f"{name_of(key.sop_class_uid)} in {name_of(key.transfer_syntax_uid)}"
    if result == ContextResult.ACCEPTANCE:
        return f"the peer did not answer for {kind}"
    why = next((words for code, words in _REFUSALS.items() if code == result), f"result {result}")
    return f"the peer refuses {kind}: {why}"


def status_words(response: CommandSet, meanings: Mapping[int, str] = MappingProxyType({})) -> str:
    """The status of a response, what it means, and what the peer had to add; ``meanings`` are those of a service."""
    status = response.status
    comment = response.text(Tag.ERROR_COMMENT)
    meaning = meanings.get(status) or status_meaning(status)
    return f"status {status:04X}H, {meaning}" + (f": {comment}" if comment else "")


def failure_words(reason: int) -> str:
    """A Failure Reason (0008,1197) of storage commitment (PS3.3 C.14.1.1)."""
    meaning = "duplicate Transaction UID" if reason == _DUPLICATE_TRANSACTION_UID else status_meaning(reason)
    return f"{meaning} ({reason:04X}H)"


def status_meaning(status: int) -> str:
    """What a status that is not Success says (PS3.7 Annex C)."""
    if status in _GENERAL:
        return _GENERAL[status]
    if status >> 8 == 0xA7:
        return "out of resources"
    if status >> 8 == 0xA9:
        return "data set does not match SOP class"
    if status == CANCEL:
        return "cancelled"
    if status >> 12 == 0xC:
        return "cannot understand"
    return "unknown status"
