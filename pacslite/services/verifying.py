"""Verifying what storage commitment was asked for: the jobs that a request leaves in the outbox.

Several requests are verified at once, some hundred instances of each in turn: who asks for one image does not wait for
who asks for a hundred thousand, nor for several who do: of large requests a few are begun, the others wait for these,
and small ones pass them. What is not finished when the round ends goes on in another one where it was.

Objects arrive meanwhile, and need the same processors and the same index. A request that takes long therefore takes
twice as long: it rests after each chunk for as long as that took.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from pacslite.archive.archive import Archive
from pacslite.archive.commitment import RequestState
from pacslite.archive.commitments import StoresClass, Verification
from pacslite.archive.job import Job
from pacslite.facts import CommitmentVerified, Observe
from pacslite.services.rounds import Round

_LARGE: Final = 2000
"""Instances that are left: a tenth of a second's work."""
_LARGE_AT_ONCE: Final = 4
"""Each has all of its references in memory: thirty megabytes for a hundred thousand."""
_TAKEN_AT_ONCE: Final = 16
_HELD_AT_MOST: Final = 1000
_IN_ONE_GO: Final = 20_000
"""Instances that are verified without rests: a second's work."""


class VerifyPerformer:
    """Verifies requests in ``archive``; ``stores`` tells which SOP classes are taken for storage at all."""

    def __init__(
        self,
        archive: Archive,
        *,
        digest: bool,
        stores: StoresClass,
        observe: Observe,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._commitments = archive.commitments
        self._digest = digest
        self._stores = stores
        self._observe = observe
        self._clock = clock

    async def perform(self, round: Round) -> None:
        begun: deque[tuple[Job, Verification | None]] = deque()
        waiting: deque[Job] = deque()
        is_more = True
        while not round.is_over:
            if is_more or not begun or (len(begun) + len(waiting) < _HELD_AT_MOST and await round.wait(0.0)):
                jobs = await round.take(_TAKEN_AT_ONCE)
                is_more = len(jobs) == _TAKEN_AT_ONCE and len(begun) + len(waiting) < _HELD_AT_MOST
                begun.extend([(job, None) for job in jobs])
            if waiting and not _is_crowded(begun):
                begun.append((waiting.popleft(), None))
            if not begun:
                return
            job, verification = begun.popleft()
            if not round.has(job):
                continue
            began_at = time.monotonic()
            try:
                if verification is None and _is_crowded(begun) and await self._is_large(job):
                    waiting.append(job)
                    continue
                verification = await self._go_on(round, job, verification)
            except sqlite3.Error as error:
                round.failed(job, f"the index cannot be used: {error}")
                return  # for none of the others either
            except OSError as error:  # no file's fault, but ours: too many open, no memory
                round.failed(job, f"files cannot be read: {error.strerror or error}")
                return
            if verification is not None:
                begun.append((job, verification))
                if len(begun) == 1 and verification.done >= _IN_ONE_GO:
                    is_more = await round.wait(time.monotonic() - began_at) or is_more

    async def _go_on(self, round: Round, job: Job, verification: Verification | None) -> Verification | None:
        """Verify some of a request, begun or not; None if it is done."""
        if verification is None:
            verification = await self._commitments.verification(
                int(job.subject), digest=self._digest, stores=self._stores
            )
        if verification is not None and await verification.step():
            return verification
        await self._conclude(round, job)
        return None

    async def _is_large(self, job: Job) -> bool:
        request = await self._commitments.request(int(job.subject))
        return request is not None and request.instances - request.checked > _LARGE

    async def _conclude(self, round: Round, job: Job) -> None:
        request = await self._commitments.request(int(job.subject))
        round.done(job, self._commitments.verified(int(job.subject)))
        if request is not None and request.state is RequestState.RECEIVED:
            self._observe(
                CommitmentVerified(
                    requester=request.calling_ae,
                    request=request.id,
                    transaction=request.transaction_uid,
                    committed=request.committed,
                    failed=request.failed,
                    seconds=max(0.0, self._clock() - request.received_at),
                )
            )


def _is_crowded(begun: Iterable[tuple[Job, Verification | None]]) -> bool:
    """Whether no further large request may begin."""
    left = [one.request.instances - one.done for _, one in begun if one is not None]
    return sum(instances > _LARGE for instances in left) >= _LARGE_AT_ONCE
