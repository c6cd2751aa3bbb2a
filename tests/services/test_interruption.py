"""Waiting until the requester cancels; STANDARD QF-24."""

from __future__ import annotations

import asyncio

import pytest

from pacslite.net.cancellation import Cancellation
from pacslite.services.interruption import Interrupted, Interruptible


async def wait_for_ever(cancellation: Cancellation) -> None:
    async with Interruptible(cancellation):
        await asyncio.Event().wait()


async def started(cancellation: Cancellation) -> asyncio.Task[None]:
    task = asyncio.create_task(wait_for_ever(cancellation))
    await asyncio.sleep(0)
    return task


async def test_qf_24_a_cancellation_ends_the_waiting() -> None:
    cancellation = Cancellation()
    task = await started(cancellation)
    cancellation.request()
    with pytest.raises(Interrupted):
        await task
    assert task.cancelling() == 0


async def test_one_that_came_before_ends_it_at_once() -> None:
    cancellation = Cancellation()
    cancellation.request()
    with pytest.raises(Interrupted):
        await wait_for_ever(cancellation)


async def test_one_that_comes_later_changes_nothing() -> None:
    cancellation = Cancellation()
    async with Interruptible(cancellation):
        await asyncio.sleep(0)
    cancellation.request()
    await asyncio.sleep(0)
    assert cancellation.requested


async def test_a_cancelled_task_stays_cancelled() -> None:
    cancellation = Cancellation()
    task = await started(cancellation)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_that_is_cancelled_both_ways_stays_cancelled() -> None:
    cancellation = Cancellation()
    task = await started(cancellation)
    cancellation.request()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_that_comes_first_passes_through() -> None:
    cancellation = Cancellation()
    with pytest.raises(LookupError):
        async with Interruptible(cancellation):
            raise LookupError
    cancellation.request()
    await asyncio.sleep(0)


async def test_it_is_requested_once_however_often_it_is_said() -> None:
    cancellation, calls = Cancellation(), []
    cancellation.when_requested(lambda: calls.append(1))
    cancellation.request()
    cancellation.request()
    assert calls == [1]
