"""Log lines reach standard error in order, and a reader that stops reading stops nobody."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from pacslite.observe.lines import HumanFormatter, JSONFormatter
from pacslite.observe.output import LogOutput, log_to, writer

WAIT_S = 10.0


def record(text: str) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "pacslite", "levelno": 20, "levelname": "INFO", "msg": text})


class Gate:
    """A place to write to that blocks until it is opened, and tells when somebody waits before it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.waiting = threading.Event()
        self.open = threading.Event()

    def write(self, data: bytes) -> None:
        self.waiting.set()
        assert self.open.wait(WAIT_S)
        self.lines.append(data.decode())


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def test_lines_arrive_in_order_and_close_waits_for_them(gate: Gate) -> None:
    gate.open.set()
    output = LogOutput(logging.Formatter("%(message)s"), gate.write)
    for number in range(100):
        output.handle(record(str(number)))
    output.close()
    assert gate.lines == [f"{number}\n" for number in range(100)]


def test_a_blocked_reader_costs_lines_not_time_and_the_loss_is_told(gate: Gate) -> None:
    output = LogOutput(HumanFormatter(), gate.write, capacity=4)
    output.handle(record("first"))
    assert gate.waiting.wait(WAIT_S)
    for number in range(10):
        output.handle(record(str(number)))  # would hang here if it waited
    assert output.dropped == 6
    gate.open.set()
    output.close()
    texts = [line.split(" ", 2)[2].strip() for line in gate.lines]
    assert texts == [
        "INFO    first",
        "WARNING 6 log lines were dropped: standard error is read too slowly",
        *(f"INFO    {number}" for number in range(4)),
    ]


def test_closing_does_not_wait_for_a_blocked_reader_for_ever(gate: Gate) -> None:
    output = LogOutput(HumanFormatter(), gate.write, capacity=1)
    output.handle(record("first"))
    assert gate.waiting.wait(WAIT_S)
    output.handle(record("fills the queue"))
    output.close(timeout_s=0.01)


def test_a_closed_standard_error_is_survived() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    output = LogOutput(HumanFormatter(), writer(writing))
    output.handle(record("lost"))
    output.close()
    os.close(writing)
    assert output.dropped >= 1


def test_a_process_whose_standard_error_nobody_reads_still_ends() -> None:
    """The pipe is full, the log thread blocks in write: exit must not wait for a lock that it holds."""
    program = (
        "import logging\n"
        "from pacslite.observe.lines import HumanFormatter\n"
        "from pacslite.observe.output import log_to\n"
        "with log_to(HumanFormatter(), level=logging.INFO) as output:\n"
        "    for _ in range(6000):\n"
        "        logging.getLogger('pacslite').info('x' * 200)\n"
        "    output.close(0.1)\n"
        "print('done')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "done\n"  # standard error is not read before this
        assert process.wait(WAIT_S) == 0


def test_a_descriptor_that_somebody_made_non_blocking_gets_every_byte() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data = b"x" * 500_000
    received = bytearray()

    def read() -> None:
        while len(received) < len(data):
            received.extend(os.read(reading, 65536))

    reader = threading.Thread(target=read)
    reader.start()
    writer(writing)(data)
    reader.join(WAIT_S)
    os.close(reading)
    os.close(writing)
    assert received == data


def test_log_to_takes_ours_from_a_level_on_and_others_warnings_and_puts_all_back() -> None:
    reading, writing = os.pipe()
    with log_to(JSONFormatter(), level=logging.INFO, descriptor=writing):
        logging.getLogger("pacslite.part").debug("too little")
        logging.getLogger("pacslite.part").info("ours")
        logging.getLogger("other").info("theirs")
        logging.getLogger("other").warning("their warning")
    os.close(writing)
    with os.fdopen(reading) as pipe:
        lines = [json.loads(line) for line in pipe]
    assert [(line["level"], line["logger"], line["message"]) for line in lines] == [
        ("info", "pacslite.part", "ours"),
        ("warning", "other", "their warning"),
    ]
    assert not any(isinstance(handler, LogOutput) for handler in logging.getLogger().handlers)
    assert logging.getLogger("pacslite").level == logging.NOTSET


def test_an_exception_is_part_of_the_line() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        failed = logging.makeLogRecord(
            {"name": "other", "levelno": 40, "levelname": "ERROR", "msg": "what", "exc_info": sys.exc_info()}
        )
    human = HumanFormatter().format(failed)
    assert " ERROR   other: what\n    Traceback" in human
    assert human.endswith("\n    ValueError: why")
    assert json.loads(JSONFormatter().format(failed))["trace"].endswith("ValueError: why")
