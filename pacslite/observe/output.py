"""Log lines on their way to standard error, without ever making the server wait.

Theory of operation. Whoever logs puts a record into a bounded queue and goes on. One thread takes them out, makes
lines of them and writes. If nobody reads standard error (a stopped terminal, a full pipe) that thread blocks alone: the
queue fills, further records are counted and dropped, and the count is the first thing written when reading goes on.
The thread writes to the file descriptor itself, past Python's buffers, whose locks it would otherwise hold when the
process wants to exit.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

STANDARD_ERROR = 2
CAPACITY_RECORDS = 4096
CLOSE_S = 2.0

Write = Callable[[bytes], None]


class LogOutput(logging.Handler):
    """A logging handler that hands records to a thread of its own; ``close`` waits for the rest, but not for ever."""

    def __init__(self, formatter: logging.Formatter, write: Write, *, capacity: int = CAPACITY_RECORDS) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.dropped = 0
        self._records: queue.Queue[logging.LogRecord | None] = queue.Queue(capacity)
        self._write = write
        self._reported = 0
        self._closed_once = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._records.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def close(self, timeout_s: float = CLOSE_S) -> None:
        if self._closed_once:
            return  # logging closes all handlers once more at exit
        self._closed_once = True
        with suppress(queue.Full):
            self._records.put(None, timeout=timeout_s)
            self._thread.join(timeout_s)
        super().close()

    def _run(self) -> None:
        while (record := self._records.get()) is not None:
            self._write_line(record)
            self._report_drops()
        self._report_drops()

    def _report_drops(self) -> None:
        if self.dropped == self._reported:
            return
        number, self._reported = self.dropped - self._reported, self.dropped
        message = f"{number} log lines were dropped: standard error is read too slowly"
        fields = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "msg": message}
        self._write_line(logging.makeLogRecord(fields))

    def _write_line(self, record: logging.LogRecord) -> None:
        try:
            self._write(f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except OSError:
            self.dropped += 1  # standard error is closed; there is nobody left to tell
        except Exception:
            self.handleError(record)


def writer(descriptor: int) -> Write:
    """Writes all bytes to ``descriptor``, waiting even if somebody made it non-blocking (terminals are shared)."""

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:
                select.select([], [descriptor], [])

    return write


@contextmanager
def log_to(formatter: logging.Formatter, *, level: int, descriptor: int = STANDARD_ERROR) -> Iterator[LogOutput]:
    """Send everything that is logged in this process to ``descriptor``: ours from ``level`` on, others' warnings."""
    output = LogOutput(formatter, writer(descriptor))
    root, ours = logging.getLogger(), logging.getLogger("pacslite")
    before = ours.level
    root.addHandler(output)
    ours.setLevel(level)
    try:
        yield output
    finally:
        ours.setLevel(before)
        root.removeHandler(output)
        output.close()
