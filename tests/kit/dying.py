"""A program that is killed at a chosen step: ``python -m kit.dying``, which :mod:`kit.mortal` runs.

Theory of operation. It loads all of pacslite once, then makes a process by fork for each order that it reads, one after
the other: to start Python anew would be most of a test's time. In the new process the functions of the steps are
wrapped, and the command line runs as ever. A wrapper counts its calls, and sends SIGKILL to its own process right
before or right after the n-th of them. pacslite itself knows nothing of it.

An order is a line of JSON: ``command``, the arguments of ``pacslite``; ``steps``; ``log``, the file that its output is
appended to; ``folder``, where it runs. It is answered with the process id, and when the process has ended, with what
``waitpid`` says.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Final, Literal, NoReturn, ParamSpec, TypedDict, TypeVar, cast

import pacslite.server.application  # noqa: F401  otherwise each process would load it for itself
from pacslite.cli import main as command_line
from pacslite.dimse.command import CommandSet, Tag

P = ParamSpec("P")
R = TypeVar("R")

LAST_WORDS: Final = "dying on purpose:"


class Step(TypedDict):
    """``at`` is a function, as ``module:Class.name``; ``fields`` are the Command Fields of which a call must carry one
    to count, in a command set or its elements; empty: every call counts."""

    at: str
    moment: Literal["before", "after"]
    nth: int
    fields: list[int]


class Order(TypedDict):
    command: list[str]
    steps: list[Step]
    log: str
    folder: str


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _live(cast(Order, json.loads(line)))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _live(order: Order) -> NoReturn:
    code: object = 1
    try:
        _settle_in(Path(order["log"]), Path(order["folder"]))
        for step in order["steps"]:
            _wrap(step)
        sys.argv = ["pacslite", *order["command"]]
        command_line.main()
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)


def _settle_in(log: Path, folder: Path) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115  it lives as long as the process
    os.chdir(folder)
    warnings.simplefilter("default")


# --- Steps -----------------------------------------------------------------------------------------------------------


def _wrap(step: Step) -> None:
    module, _, path = step["at"].partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, cast(object, importlib.import_module(module)))
    function = inspect.getattr_static(owner, name)
    assert isinstance(function, FunctionType), f"{step['at']} is no function"
    setattr(owner, name, _dying(function, step))


def _dying(function: Callable[P, R], step: Step) -> Callable[P, R]:
    numbers = itertools.count(1)  # its next() is one step of the interpreter, whatever thread calls

    def is_last(arguments: tuple[object, ...]) -> bool:
        return (not step["fields"] or _field(arguments) in step["fields"]) and next(numbers) == step["nth"]

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def operation(*args: P.args, **kwargs: P.kwargs) -> object:
            last = is_last(args)
            if last and step["moment"] == "before":
                _die(step)
            result: object = await function(*args, **kwargs)
            if last:
                _die(step)
            return result

        return cast(Callable[P, R], operation)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        last = is_last(args)
        if last and step["moment"] == "before":
            _die(step)
        result = function(*args, **kwargs)
        if last:
            _die(step)
        return result

    return call


def _field(arguments: tuple[object, ...]) -> int | None:
    """The Command Field of the message that a function was given."""
    for argument in arguments:
        if isinstance(argument, CommandSet):
            return argument.field
        if isinstance(argument, Mapping) and isinstance(field := argument.get(Tag.COMMAND_FIELD), int):
            return field
    return None


def _die(step: Step) -> NoReturn:
    os.write(2, f"{LAST_WORDS} {step['moment']} {step['at']} number {step['nth']}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL cannot be survived")


if __name__ == "__main__":
    main()
