"""Storage commitment as data sets (PS3.4 J.3.2, J.3.3): what is to be committed, and what became of it.

Theory of operation. A request may name a hundred thousand objects in fifteen megabytes, nearly always in one shape:
items of a SOP Class UID and a SOP Instance UID. That shape is read where it lies, heads compared as bytes
(:mod:`pacslite.services.commitment_items`); at the first thing that is different everything is read again from the
beginning by a :class:`~pacslite.dicom.walk.Walker`, which takes whatever senders do. Both go on in slices, so that an
event loop lives meanwhile: the functions named ``…_in_slices``.

An item may lack a UID, or have one that is none. It is an item all the same and has to be answered: what is no UID is
kept as text that can be none by mistake.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from pacslite.archive.commitment import FailureReason, Reference
from pacslite.dicom.heads import MalformedDataSet
from pacslite.dicom.inflate import Inflater
from pacslite.dicom.transfer_syntax import TransferSyntax
from pacslite.errors import BadDataSetError, InvalidArgumentValue, MissingAttribute, ResourceLimitation
from pacslite.services.commitment_items import (
    FAILED_SOP_SEQUENCE,
    REFERENCED_SOP_SEQUENCE,
    TRANSACTION_UID,
    Found,
    ItemWriter,
    is_usable_uid,
    read_slices,
    uid_text,
)

__all__ = [
    "CommitmentRequest",
    "CommitmentResult",
    "Reference",
    "read_request",
    "read_request_in_slices",
    "read_result",
    "read_result_in_slices",
    "write_request",
    "write_request_in_slices",
    "write_result",
    "write_result_in_slices",
]

T = TypeVar("T")

_WRITTEN_AT_A_TIME: Final = 1000
_INFLATED_AT_A_TIME: Final = 64 * 1024
_NO_LIMIT: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """The Action Information of an N-ACTION: references in the order of the request, each as often as it is there."""

    transaction_uid: str
    references: Sequence[Reference]


@dataclass(frozen=True, slots=True)
class CommitmentResult:
    """The Event Information of an N-EVENT-REPORT: what is committed to, and what is not with its Failure Reason."""

    transaction_uid: str
    committed: Sequence[Reference]
    failed: Sequence[tuple[Reference, int]]


def read_request(
    data: bytes, syntax: TransferSyntax, *, most: int = _NO_LIMIT, max_bytes: int = _NO_LIMIT
) -> CommitmentRequest:
    """The request in a data set, with ``most`` references in ``max_bytes`` (inflated) at most.

    Raises BadDataSetError, MissingAttribute, InvalidArgumentValue for no references, ResourceLimitation.
    """
    return _at_once(_request(data, syntax, most, max_bytes))


async def read_request_in_slices(
    data: bytes, syntax: TransferSyntax, *, most: int = _NO_LIMIT, max_bytes: int = _NO_LIMIT
) -> CommitmentRequest:
    """The same as :func:`read_request`."""
    return await _in_slices(_request(data, syntax, most, max_bytes))


def read_result(
    data: bytes, syntax: TransferSyntax, *, most: int = _NO_LIMIT, max_bytes: int = _NO_LIMIT
) -> CommitmentResult:
    """The result in a data set, with ``most`` references in each sequence.

    Raises BadDataSetError, MissingAttribute, ResourceLimitation.
    """
    return _at_once(_result(data, syntax, most, max_bytes))


async def read_result_in_slices(
    data: bytes, syntax: TransferSyntax, *, most: int = _NO_LIMIT, max_bytes: int = _NO_LIMIT
) -> CommitmentResult:
    """The same as :func:`read_result`."""
    return await _in_slices(_result(data, syntax, most, max_bytes))


def write_request(request: CommitmentRequest, syntax: TransferSyntax) -> bytes:
    return _at_once(_written_request(request, syntax))


async def write_request_in_slices(request: CommitmentRequest, syntax: TransferSyntax) -> bytes:
    return await _in_slices(_written_request(request, syntax))


def write_result(result: CommitmentResult, syntax: TransferSyntax, *, retrieve_ae: str) -> bytes:
    """``retrieve_ae``: where what is committed to can be retrieved; empty leaves that out."""
    return _at_once(_written_result(result, syntax, retrieve_ae))


async def write_result_in_slices(result: CommitmentResult, syntax: TransferSyntax, *, retrieve_ae: str) -> bytes:
    """The same as :func:`write_result`."""
    return await _in_slices(_written_result(result, syntax, retrieve_ae))


# --- Slices ----------------------------------------------------------------------------------------------------------

_Slices = Generator[None, None, T]
"""Some work, with a pause every few milliseconds, and its result."""


def _at_once(slices: _Slices[T]) -> T:
    while True:
        try:
            next(slices)
        except StopIteration as end:
            result: T = end.value
            return result


async def _in_slices(slices: _Slices[T]) -> T:
    while True:
        try:
            next(slices)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(0)


# --- Reading ---------------------------------------------------------------------------------------------------------


def _request(data: bytes, syntax: TransferSyntax, most: int, max_bytes: int) -> _Slices[CommitmentRequest]:
    found = yield from _found(data, syntax, most, max_bytes)
    transaction = _transaction(found)
    references = found.items.get(REFERENCED_SOP_SEQUENCE)
    if references is None:
        raise MissingAttribute("no Referenced SOP Sequence", offending=(REFERENCED_SOP_SEQUENCE,))
    if not references:
        raise InvalidArgumentValue("the Referenced SOP Sequence is empty", offending=(REFERENCED_SOP_SEQUENCE,))
    return CommitmentRequest(transaction, references)


def _result(data: bytes, syntax: TransferSyntax, most: int, max_bytes: int) -> _Slices[CommitmentResult]:
    found = yield from _found(data, syntax, most, max_bytes)
    failed = found.items.get(FAILED_SOP_SEQUENCE, [])
    reasons = (found.reasons.get(number, FailureReason.PROCESSING_FAILURE) for number in range(len(failed)))
    return CommitmentResult(
        _transaction(found),
        found.items.get(REFERENCED_SOP_SEQUENCE, []),
        list(zip(failed, reasons, strict=True)),
    )


def _transaction(found: Found) -> str:
    uid = uid_text(found.values.get(TRANSACTION_UID, b""))
    if not uid:
        raise MissingAttribute("no Transaction UID", offending=(TRANSACTION_UID,))
    if not is_usable_uid(uid):
        raise InvalidArgumentValue("the Transaction UID is not a UID", offending=(TRANSACTION_UID,))
    return uid


def _found(data: bytes, syntax: TransferSyntax, most: int, max_bytes: int) -> _Slices[Found]:
    if syntax.deflated:
        data = yield from _inflated(data, max_bytes)
    if len(data) > max_bytes:
        raise ResourceLimitation(f"more than {max_bytes} bytes in one request")
    try:
        return (yield from read_slices(data, syntax, most))
    except MalformedDataSet as error:
        raise BadDataSetError(str(error)) from error


def _inflated(data: bytes, max_bytes: int) -> _Slices[bytes]:
    inflater = Inflater(max_bytes)
    pieces: list[bytes | memoryview] = []
    for start in range(0, len(data), _INFLATED_AT_A_TIME):
        pieces += inflater.feed(data[start : start + _INFLATED_AT_A_TIME])
        yield
    pieces += inflater.finish()
    inflated = b"".join(pieces)
    if inflater.problem and len(inflated) >= max_bytes:
        raise ResourceLimitation(f"more than {max_bytes} bytes in one request")
    if inflater.problem:
        raise BadDataSetError(inflater.problem, offset=len(inflated))
    return inflated


# --- Writing ---------------------------------------------------------------------------------------------------------


def _written_request(request: CommitmentRequest, syntax: TransferSyntax) -> _Slices[bytes]:
    writer = ItemWriter(implicit=syntax.implicit_vr, big_endian=syntax.big_endian)
    pieces = [writer.transaction(request.transaction_uid)]
    pieces += yield from _sequence(writer, REFERENCED_SOP_SEQUENCE, map(writer.item, request.references))
    return (yield from _finished(pieces, syntax))


def _written_result(result: CommitmentResult, syntax: TransferSyntax, retrieve_ae: str) -> _Slices[bytes]:
    writer = ItemWriter(implicit=syntax.implicit_vr, big_endian=syntax.big_endian)
    pieces = [writer.retrieve_ae(retrieve_ae)] if retrieve_ae else []
    pieces.append(writer.transaction(result.transaction_uid))
    if result.failed:
        items = (writer.item(reference, reason) for reference, reason in result.failed)
        pieces += yield from _sequence(writer, FAILED_SOP_SEQUENCE, items)
    if result.committed:
        pieces += yield from _sequence(writer, REFERENCED_SOP_SEQUENCE, map(writer.item, result.committed))
    return (yield from _finished(pieces, syntax))


def _sequence(writer: ItemWriter, tag: int, items: Iterator[bytes]) -> _Slices[list[bytes]]:
    """With its length: some who read this know no other kind of sequence."""
    pieces: list[bytes] = [b""]
    size = 0
    for number, item in enumerate(items, 1):
        pieces.append(item)
        size += len(item)
        if number % _WRITTEN_AT_A_TIME == 0:
            yield
    pieces[0] = writer.sequence_head(tag, size)
    return pieces


def _finished(pieces: Sequence[bytes], syntax: TransferSyntax) -> _Slices[bytes]:
    if not syntax.deflated:
        return b"".join(pieces)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = []
    for start in range(0, len(pieces), _WRITTEN_AT_A_TIME):
        packed.append(packer.compress(b"".join(pieces[start : start + _WRITTEN_AT_A_TIME])))
        yield
    packed.append(packer.flush())
    whole = b"".join(packed)
    return whole + b"\0" * (len(whole) % 2)  # PS3.5 A.5
