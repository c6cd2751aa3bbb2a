"""Writing down what became of jobs: as many at a time as have gathered, while the last ones are being written."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pacslite.archive.job import Job, Lane
from pacslite.archive.jobs import ChangesFailed, Failure, Outbox, Settled
from pacslite.facts import JobFailed, JobGivenUp, JobsGivenUp, Observe, TaskFailed

_GROUP: Final = 256
_GATHER_S: Final = 0.2
"""Between two writings, unless a whole group has gathered: each is a transaction that objects being received wait for.
A crash has what was not written done again, which is harmless."""
_AGAIN_S: Final = 1.0
"""The index could not be written: how long to wait. What is to be written is kept until then."""

Entry = Settled | Failure | Job
"""Done, failed, or given back."""


class Settling:
    """Takes what became of jobs and has it written soon, in order. ``wrote`` is called when jobs are waiting again."""

    def __init__(
        self, outbox: Outbox, *, decide: Callable[[Job, str], Failure], observe: Observe, wrote: Callable[[], None]
    ) -> None:
        self._outbox = outbox
        self._decide = decide
        self._observe = observe
        self._wrote = wrote
        self._entries: list[Entry] = []
        self._arrived = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._hurry = asyncio.Event()
        self._is_ending = False

    def put(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._arrived.set()
        self._empty.clear()
        if len(self._entries) >= _GROUP:
            self._hurry.set()

    @property
    def jobs(self) -> Iterator[Job]:
        """Of what is not written yet: they are still ours."""
        return (entry if isinstance(entry, Job) else entry.job for entry in self._entries)

    async def run(self) -> None:
        """Write, until cancelled."""
        told = False
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            try:
                await self._write()
                told = False
            except Exception as error:  # no room, an I/O error: it goes on when that is over
                if not told:
                    self._tell_defect("writing what became of jobs", error)
                told = True
                self._arrived.set()
                await asyncio.sleep(_AGAIN_S)
            else:
                await self._gather()

    async def _gather(self) -> None:
        """After a writing: wait for the next one to be worth it."""
        if self._entries:
            self._arrived.set()
        else:
            self._empty.set()
        if not self._is_ending and len(self._entries) < _GROUP:
            self._hurry.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GATHER_S):
                    await self._hurry.wait()

    async def flush(self, within_s: float) -> None:
        """Wait until everything is written, but not for ever. Nothing is waited for to gather from now on."""
        self._is_ending = True
        self._hurry.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._empty.wait()

    async def _write(self) -> None:
        group = self._entries[:_GROUP]
        done = [entry for entry in group if isinstance(entry, Settled)]
        failures = [entry for entry in group if isinstance(entry, Failure)]
        if done:
            failures += await self._settle(done)
        lost = await self._outbox.fail_all(failures) if failures else ()
        await self._outbox.give_back(entry for entry in group if isinstance(entry, Job))
        del self._entries[: len(group)]  # only now: until it is written they are ours, and their leases are renewed
        self._tell(failures, lost)
        if len(done) < len(group):
            self._wrote()

    async def _settle(self, done: Sequence[Settled]) -> list[Failure]:
        """Those whose change failed: they have been done, and are done again."""
        try:
            await self._outbox.settle(done)
        except ChangesFailed as failed:
            self._tell_defect("settling a job", failed.failed[0][1])
            return [self._decide(job, f"defect: {error!r}") for job, error in failed.failed]
        return []

    def _tell(self, failures: Sequence[Failure], lost: Sequence[Job]) -> None:
        no_longer_ours = {job.id for job in lost}
        given_up: dict[tuple[Lane, str], list[Failure]] = defaultdict(list)
        for failure in failures:
            if failure.job.id in no_longer_ours:
                continue
            if failure.give_up:
                given_up[failure.job.lane, failure.reason].append(failure)
            else:
                self._tell_failed(failure)
        # A destination that is gone has thousands given up at once, all for the same reason.
        for (lane, reason), some in given_up.items():
            if len(some) == 1:
                self._tell_given_up(some[0])
            else:
                self._observe(
                    JobsGivenUp(
                        kind=lane.kind.value,
                        destination=lane.destination,
                        rule=lane.rule,
                        jobs=len(some),
                        reason=reason,
                    )
                )

    def _tell_failed(self, failure: Failure) -> None:
        job = failure.job
        self._observe(
            JobFailed(
                job=job.id,
                kind=job.lane.kind.value,
                destination=job.lane.destination,
                rule=job.lane.rule,
                subject=job.subject,
                attempts=job.attempts + 1,
                reason=failure.reason,
                due_at=failure.due_at,
                with_others=failure.with_others,
            )
        )

    def _tell_given_up(self, failure: Failure) -> None:
        job = failure.job
        self._observe(
            JobGivenUp(
                job=job.id,
                kind=job.lane.kind.value,
                destination=job.lane.destination,
                rule=job.lane.rule,
                subject=job.subject,
                attempts=job.attempts + 1,
                reason=failure.reason,
                due_at=failure.due_at,
            )
        )

    def _tell_defect(self, where: str, error: BaseException) -> None:
        self._observe(TaskFailed(where=where, error=repr(error), trace="".join(traceback.format_exception(error))))
