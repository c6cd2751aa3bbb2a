"""Storage commitment that others ask of us: requests are kept, their objects verified, and what was promised is known.

Theory of operation. A request is a row with all its references, written together with the job to verify it. It is
verified a chunk of instances at a time (:class:`Verification`): what the index has of them is looked up, their files
are looked at, and then, in a transaction, the items are written down, unless the index has something else by then: a
deletion or replacement in between makes those instances be looked at again. From that commit on an object counts as
committed and is protected. The row says how far its verification has come, so a crash repeats one chunk at most.

When all are verified the references are dropped, as the items have them, and their digest stays: the requester asking
the same again is known by it, and is verified and told anew, while the items of last time stand until they are
overwritten. History is never removed: what happens to an object later changes nothing of what was promised.

An object is known by its SOP Instance UID. What was kept aside because it contradicted the object with that UID does
not count: what we commit to is what is found and sent.
"""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from blake3 import blake3

from pacslite.archive import commitment_history as history
from pacslite.archive.commitment import (
    AskedSummary,
    DeliverySummary,
    FailureReason,
    Promise,
    RequestSummary,
    Verdict,
)
from pacslite.archive.file_checks import FileChecks, Indexed
from pacslite.archive.index import commitment_rows as rows
from pacslite.archive.index.commit import GroupCommit
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.jobs import Change
from pacslite.archive.threads import FileThreads

CHUNK_INSTANCES: Final = 500
"""Verified in one transaction, which takes a few milliseconds."""
CHUNK_BYTES: Final = 1 << 30
"""Read for one of them."""
_ATTEMPTS: Final = 3
"""How often an instance is looked at that is always another one when it is to be written down."""

_PACKED_AT_A_TIME: Final = 1000

StoresClass = Callable[[str], bool]
"""Whether objects of a SOP class are taken for storage at all."""


class Commitments:
    """The storage commitment of an archive; ``clock`` is seconds since 1970-01-01 UTC."""

    def __init__(
        self,
        index: GroupCommit,
        reader: IndexReader,
        threads: FileThreads,
        folder: Path,
        *,
        added: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._index = index
        self._reader = reader
        self._threads = threads
        self._files = FileChecks(reader, threads, folder)
        self._added = added
        self._clock = clock

    # --- As the one who is asked ---

    async def receive(
        self,
        *,
        transaction_uid: str,
        calling_ae: str,
        called_ae: str,
        address: str,
        references: Sequence[tuple[str, str]],
        now: float,
    ) -> int:
        """Keep a request, durably, with its verification owed; answers its number.

        The same once more from the same requester is the same request, verified and reported anew; while it is being
        verified that changes nothing. A Transaction UID that is in use for something else makes a request of its own,
        all of which fails.
        """
        objects, digest = await self._threads.run(_packed, references)
        new = rows.NewRequest(
            transaction_uid=transaction_uid,
            calling_ae=calling_ae,
            called_ae=called_ae,
            address=address,
            instances=len(references),
            objects=objects,
            digest=digest,
        )
        request = await self._index.run(partial(rows.receive, new=new, now=now))
        self._added()
        return request

    async def verification(self, request_id: int, *, digest: bool, stores: StoresClass) -> Verification | None:
        """What is left to verify of a request, to be done step by step; None if nothing is."""
        found = await self._reader.run(partial(history.unverified, request=request_id))
        if found is None:
            return None
        summary, objects = found
        references = await self._threads.run(_unpacked, objects, summary.checked)
        return Verification(summary, references, self._index, self._files, digest=digest, stores=stores)

    async def verify(self, request_id: int, *, digest: bool, stores: StoresClass) -> None:
        """Verify what is left to verify of a request."""
        verification = await self.verification(request_id, digest=digest, stores=stores)
        while verification is not None and await verification.step():
            pass

    def verified(self, request_id: int) -> Change:
        """For the settlement of the job: if all of it is verified, it has a result, and the report is owed."""
        return partial(rows.verified, request=request_id, now=self._clock())

    async def result(self, request_id: int) -> Verdict | None:
        """The result of a request; None if it has none (yet, or again)."""
        return await self._reader.run(partial(history.verdict, request=request_id))

    def reported(self, request_id: int, over: str) -> Change:
        """For the settlement of the job: the requester has taken the result over that association."""
        return partial(rows.reported, request=request_id, now=self._clock(), over=over)

    # --- For people ---

    async def request(self, request_id: int) -> RequestSummary | None:
        return await self._reader.run(partial(history.request, request=request_id))

    async def requests(
        self, *, transaction_uid: str = "", calling_ae: str = "", unreported: bool = False, limit: int = 0
    ) -> Sequence[RequestSummary]:
        """Newest first; ``limit`` 0 is all of them."""
        function = partial(
            history.requests,
            transaction_uid=transaction_uid,
            calling_ae=calling_ae,
            unreported=unreported,
            limit=limit,
        )
        return await self._reader.run(function)

    async def promises(self, sop_instance_uid: str) -> Sequence[Promise]:
        """What became of an object in every request that named it, in their order."""
        return await self._reader.run(partial(history.promises, sop_instance_uid=sop_instance_uid))

    async def deliveries(self, sop_instance_uid: str) -> Sequence[DeliverySummary]:
        """Who has taken the object from us, and is committed to it."""
        return await self._reader.run(partial(history.deliveries, sop_instance_uid=sop_instance_uid))

    async def asked(self, transaction_uid: str) -> AskedSummary | None:
        """A transaction of ours: what we asked a destination to commit to."""
        return await self._reader.run(partial(history.asked, transaction_uid=transaction_uid))

    async def items(self, request_id: int, *, failed_only: bool = False) -> AsyncGenerator[Promise, None]:
        """What became of each instance of a request so far."""
        if (request := await self.request(request_id)) is None:
            return
        first = 0
        while page := await self._reader.run(
            partial(history.items, request=request, first=first, failed_only=failed_only)
        ):
            for item in page:
                yield item
            first = page[-1].number + 1


class Verification:
    """A request that is being verified. Made by :meth:`Commitments.verification`."""

    def __init__(
        self,
        request: RequestSummary,
        references: Iterator[tuple[str, str]],
        index: GroupCommit,
        files: FileChecks,
        *,
        digest: bool,
        stores: StoresClass,
    ) -> None:
        """``references`` are those that are left."""
        self.request = request
        self._references = references
        self._next: list[tuple[str, str]] = []
        self._position = request.checked
        self._index = index
        self._files = files
        self._digest = digest
        self._stores = stores

    @property
    def done(self) -> int:
        """How many instances are verified."""
        return self._position

    async def step(self) -> bool:
        """Verify the next instances; whether there are more."""
        self._next += islice(self._references, CHUNK_INSTANCES - len(self._next))
        try:
            done = await self._verify(self._next)
        except rows.Overtaken:  # whoever it was, all that is left to do is theirs
            return False
        self._position += done
        del self._next[:done]
        return self._position < self.request.instances

    async def _verify(self, chunk: Sequence[tuple[str, str]]) -> int:
        """How many of them were verified: as many as could be read in a moment."""
        if self.request.is_duplicate:
            decisions = [rows.Decision(one, FailureReason.DUPLICATE_TRANSACTION_UID) for one in chunk]
            await self._write(decisions, {}, is_last_try=True)
            return len(chunk)
        found = await self._files.find({uid for _, uid in chunk})
        if self._digest:
            chunk = _at_once(chunk, found)
        uids = {uid for _, uid in chunk}
        unsound = await self._files.unsound([found[uid] for uid in uids & found.keys()], digest=self._digest)
        for attempts_left in reversed(range(_ATTEMPTS)):
            decisions = [rows.Decision(one, self._reason(one, found, unsound)) for one in chunk]
            seen = {uid: _seen(found.get(uid)) for uid in uids}
            changed = await self._write(decisions, seen, is_last_try=not attempts_left)
            if not changed:
                break
            again = await self._files.find(changed)
            found = {uid: stored for uid, stored in found.items() if uid not in changed} | again
            unsound = (unsound - changed) | await self._files.unsound(list(again.values()), digest=self._digest)
        return len(chunk)

    async def _write(
        self, decisions: Sequence[rows.Decision], seen: Mapping[str, rows.Seen | None], *, is_last_try: bool
    ) -> set[str]:
        return await self._index.run(
            partial(
                _conclude,
                request=self.request.id,
                first=self._position,
                decisions=decisions,
                seen=seen,
                is_last_try=is_last_try,
            )
        )

    def _reason(
        self, reference: tuple[str, str], found: Mapping[str, Indexed], unsound: Collection[str]
    ) -> FailureReason:
        sop_class, uid = reference
        stored = found.get(uid)
        if stored is None:
            is_known_class = not sop_class or self._stores(sop_class)
            return FailureReason.NO_SUCH_OBJECT_INSTANCE if is_known_class else FailureReason.SOP_CLASS_NOT_SUPPORTED
        if stored.sop_class_uid != sop_class:
            return FailureReason.CLASS_INSTANCE_CONFLICT
        return FailureReason.PROCESSING_FAILURE if uid in unsound else FailureReason.NONE


def _at_once(chunk: Sequence[tuple[str, str]], found: Mapping[str, Indexed]) -> Sequence[tuple[str, str]]:
    """The first ones, at least one, that can be read in a moment: what a crash would make be read again."""
    size = 0
    for number, (_, uid) in enumerate(chunk):
        stored = found.get(uid)
        size += stored.size if stored is not None else 0
        if size > CHUNK_BYTES and number:
            return chunk[:number]
    return chunk


def _seen(stored: Indexed | None) -> rows.Seen | None:
    return None if stored is None else rows.Seen(stored.sop_class_uid, stored.digest)


def _conclude(
    writer: IndexWriter,
    *,
    request: int,
    first: int,
    decisions: Sequence[rows.Decision],
    seen: Mapping[str, rows.Seen | None],
    is_last_try: bool,
) -> set[str]:
    """Write the decisions down, unless the index has changed since: then which objects are to be looked at again. With
    ``is_last_try`` these fail instead."""
    changed = rows.changed_since(writer, seen)
    if changed and not is_last_try:
        return changed
    rows.decide(
        writer,
        request,
        first,
        [
            rows.Decision(reference, FailureReason.PROCESSING_FAILURE if reference[1] in changed else reason)
            for reference, reason in decisions
        ],
    )
    return set()


# --- In a file thread ------------------------------------------------------------------------------------------------


def _packed(references: Sequence[tuple[str, str]]) -> tuple[bytes, bytes]:
    """As the index keeps them, and their digest. They have much in common and deflate to a tenth: a row of megabytes
    would keep the index's writer from everybody else."""
    packer, digest = zlib.compressobj(1), blake3()
    packed = []
    for start in range(0, len(references), _PACKED_AT_A_TIME):  # one call for all would not let the event loop run
        lines = "".join([f"{sop_class} {uid}\n" for sop_class, uid in references[start : start + _PACKED_AT_A_TIME]])
        packed.append(packer.compress(lines.encode()))
        digest.update(lines.encode())
    return b"".join((*packed, packer.flush())), digest.digest()


def _unpacked(objects: bytes, done: int) -> Iterator[tuple[str, str]]:
    """Those that are left when so many are done. They stay text until they are needed."""
    lines = io.BytesIO(zlib.decompress(objects))
    for _ in range(done):
        lines.readline()
    return (_reference(line) for line in lines)


def _reference(line: bytes) -> tuple[str, str]:
    sop_class, _, uid = line.decode()[:-1].partition(" ")
    return sop_class, uid
