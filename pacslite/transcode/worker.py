"""The worker process: ``python -m pacslite.transcode.worker DESCRIPTOR``. Started by :mod:`pacslite.transcode.workers`.

A request is a line of JSON with the descriptors of two open files, the stored one and the one for the result; the
answer is a line of JSON. A thread waits for requests, so that the process ends at once when the server has closed its
end or is gone, whatever a codec is busy with.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Any, Final

from pacslite.errors import CannotConvert, PacsliteError

MAX_MESSAGE_BYTES: Final = 1 << 16

_Request = tuple[dict[str, Any], list[int]]


def main() -> None:
    """Convert what is asked for, until there is nobody left who asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, who ends us
    connection = socket.socket(fileno=int(sys.argv[1]))
    requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, requests), daemon=True).start()
    while True:
        request, descriptors = requests.get()
        answer = _answer(request, *descriptors)
        for descriptor in descriptors:
            with suppress(OSError):
                os.close(descriptor)
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _listen(connection: socket.socket, requests: queue.SimpleQueue[_Request]) -> None:
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, MAX_MESSAGE_BYTES, 2)
        if not message:
            os._exit(0)
        requests.put((json.loads(message), descriptors))


def _answer(request: dict[str, Any], source: int, result: int) -> dict[str, Any]:
    from pacslite.transcode.conversion import Job, convert  # all that is heavy, and only now

    try:
        _bound_memory(request.pop("memory_bytes"))
        with os.fdopen(os.dup(result), "wb") as output:
            convert(Job(descriptor=source, **request), output)
    except CannotConvert as error:
        return {"problem": str(error)}
    except PacsliteError as error:
        return {"problem": f"it is damaged: {error}"}
    except MemoryError:
        return {"problem": "decoding it takes more memory than is allowed"}
    except OSError as error:
        return {"problem": f"converting it failed: {error.strerror or error}"}
    return {"size": os.fstat(result).st_size}


def _bound_memory(more: int) -> None:
    """Let this process have at most so much more address space than now: a codec believes what its stream says."""
    try:
        import resource

        with open("/proc/self/statm", "rb") as file:
            pages = int(file.read().split()[0])
    except (ImportError, OSError):
        return  # not on this system
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, hard))


if __name__ == "__main__":
    main()
