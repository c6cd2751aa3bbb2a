"""Group commit: changes to the index, as many as are waiting in one transaction.

Theory of operation
-------------------
Changes are functions of the :class:`IndexWriter`. Whoever submits one puts it into the queue and tries to become the
leader. The leader takes what waits, applies it, commits, answers all of it with one wake-up of the event loop, and
looks again; everybody else goes back to work at once, because the leader takes their changes along. What arrives during
a commit waits for the next: under load the groups grow by themselves, and alone a change waits for nothing, not even
for another thread to wake up. No timer, nothing to tune.

If anything in a group fails, the whole is rolled back and each change gets a transaction of its own: a bad row fails
alone. A failing commit (no room, an I/O error) therefore fails everyone in the group, with the disk's own words.

The write-ahead log is copied into the index (checkpointed) by a connection of its own while commits go on, since that
takes tens of milliseconds. It can only start again at its beginning when a checkpoint has caught up with the last
commit, so a short one by the writer follows; when nothing is to be done, the writer does it alone. Readers that
overlap without a gap keep it from starting again all the same. Once it has become long, the writer therefore waits a
moment for those that read it: their cursors do not rest for longer than a second, and new ones do not need it then.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pacslite.archive.index.sqlite import connect
from pacslite.archive.index.writer import IndexWriter

T = TypeVar("T")


_GROUP = 256
_CHECKPOINT_COMMITS = 500  # some 12 MB of log
LONG_LOG_BYTES = 64 << 20
_LONG_WAIT_MS = 1500
_IDLE_S = 0.5

# A future is of the type its change returns, which differs from job to job.
_Job = tuple[Callable[[IndexWriter], object], "asyncio.Future[Any]"]
_Answer = tuple["asyncio.Future[Any]", object, BaseException | None]


class GroupCommit:
    """The index's writer and who may use it. :meth:`close` finishes what was submitted."""

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_s: float,
        loop: asyncio.AbstractEventLoop,
        long_log_bytes: int = LONG_LOG_BYTES,
    ) -> None:
        self._loop = loop
        self._waiting: collections.deque[_Job] = collections.deque()
        self._leading = threading.Lock()
        self._writer = IndexWriter(connect(path, busy_timeout_s=busy_timeout_s))
        self._checkpoints = _Checkpoints(connect(path, busy_timeout_s=busy_timeout_s), long_log_bytes)
        self._bell: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="index-writer")
        self._thread.start()

    def submit(self, change: Callable[[IndexWriter], T], reply: asyncio.Future[T]) -> None:
        """From a thread that may wait: have ``change`` applied; ``reply``, a future of the event loop, gets its result
        once that is committed. The calling thread may find itself committing for others."""
        self._waiting.append((change, reply))
        self._lead()

    async def run(self, change: Callable[[IndexWriter], T]) -> T:
        """Apply ``change`` and wait for the commit. It happens even if the caller stops waiting."""
        reply: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append((change, reply))
        self._bell.put(True)
        return await asyncio.shield(reply)

    def close(self) -> None:
        """Blocks until the last change is committed."""
        self._bell.put(False)
        self._thread.join()
        with self._leading:
            self._checkpoints.close()
            self._writer.connection.close()

    # --- Leading ---

    def _lead(self) -> None:
        """Commit what waits, unless somebody is at it: whoever leads looks again once it has stopped leading."""
        while self._waiting and self._leading.acquire(blocking=False):
            try:
                group = [self._waiting.popleft() for _ in range(min(len(self._waiting), _GROUP))]
                if group:
                    self._answer(self._apply(group))
                    self._checkpoints.committed(self._writer.connection)
            finally:
                self._leading.release()

    def _run(self) -> None:
        """The thread that leads for the event loop, which may not wait, and tidies up when nothing is to be done."""
        seen = 0
        while True:
            try:
                going_on = self._bell.get(timeout=_IDLE_S)
            except queue.Empty:
                going_on = True
                if self._checkpoints.commits == seen:  # nobody has committed since it last looked
                    self._tidy_up()
                seen = self._checkpoints.commits
            self._lead()  # also for those who found the lock taken while the log was copied
            if not going_on:
                return

    def _tidy_up(self) -> None:
        with self._leading:
            if self._checkpoints.due:
                self._checkpoints.catch_up(self._writer.connection)

    def _apply(self, group: list[_Job]) -> list[_Answer]:
        writer = self._writer
        try:
            writer.begin()
        except sqlite3.Error as error:  # another process is writing and does not end: nobody's fault in this group
            with contextlib.suppress(sqlite3.Error):
                writer.rollback()
            return [(reply, None, error) for _, reply in group]
        try:
            answers: list[_Answer] = [(reply, change(writer), None) for change, reply in group]
            writer.commit()
        except Exception as error:  # whatever a change raises belongs to whoever submitted it
            with contextlib.suppress(sqlite3.Error):
                writer.rollback()
            if len(group) == 1:
                return [(group[0][1], None, error)]
            return [answer for job in group for answer in self._apply([job])]
        return answers

    def _answer(self, answers: list[_Answer]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it everybody who waited
            self._loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: list[_Answer]) -> None:
    for reply, result, error in answers:
        if reply.done():
            continue
        if error is None:
            reply.set_result(result)
        else:
            reply.set_exception(error)


class _Checkpoints:
    """When the write-ahead log is copied into the index, and by whom."""

    def __init__(self, connection: sqlite3.Connection, long_log_bytes: int) -> None:
        self._connection = connection
        self._long_bytes = self._restart_at_bytes = long_log_bytes
        self.commits = 0
        self._thread: threading.Thread | None = None

    @property
    def due(self) -> bool:
        """Whether there is anything to copy."""
        return self.commits > 0

    def committed(self, writer: sqlite3.Connection) -> None:
        self.commits += 1
        if self._thread is not None:
            if not self._thread.is_alive():
                self.catch_up(writer)
        elif self.commits >= _CHECKPOINT_COMMITS:
            self._thread = threading.Thread(target=_checkpoint, args=(self._connection,), name="index-checkpoint")
            self._thread.start()

    def catch_up(self, writer: sqlite3.Connection) -> None:
        """By the writer itself, between its transactions: short, or nobody is waiting."""
        self._join()
        log_bytes = _checkpoint(writer)
        if log_bytes >= self._restart_at_bytes:
            # A search that runs for longer keeps the log; commits must not wait for it again and again.
            self._restart_at_bytes = self._long_bytes if _restart(writer) else 2 * log_bytes
        self.commits = 0

    def close(self) -> None:
        self._join()
        self._connection.close()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def _checkpoint(connection: sqlite3.Connection) -> int:
    """Copy what can be copied; answers how long the log is."""
    with contextlib.suppress(sqlite3.Error):  # no room, or busy: the log stays as long as it is, nothing is lost
        _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return int(pages) * int(connection.execute("PRAGMA page_size").fetchone()[0])
    return 0


def _restart(connection: sqlite3.Connection) -> bool:
    """Have the log start again at its beginning; False if somebody reads it for too long."""
    (usual_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
    try:
        connection.execute(f"PRAGMA busy_timeout={_LONG_WAIT_MS}").fetchall()
        with contextlib.suppress(sqlite3.Error):
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            return not busy
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout={usual_ms}").fetchall()
