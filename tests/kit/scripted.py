"""A peer of ours that answers as the test says: any service behind a real acceptor on loopback."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from pacslite.dicom.levels import STUDY_ROOT
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from pacslite.dimse.command import CommandField
from pacslite.dimse.permission import Permission
from pacslite.dimse.registry import Registration, ServiceRegistry
from pacslite.dimse.service import Request, Response
from pacslite.facts import ignore
from pacslite.net.acceptor import Acceptor, AcceptorLimits
from pacslite.net.access import AccessPolicy, UnknownCallers
from pacslite.net.dispatch import Dispatcher
from pacslite.net.limits import ConnectionLimits
from pacslite.net.requestor import Remote
from pacslite.ul.negotiation import Order

SYNTAXES = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
Serve = Callable[[Request], AsyncGenerator[Response, None]]


@dataclass(slots=True)
class Scripted:
    """A service that does what ``script`` does, and keeps the requests."""

    script: Serve
    requests: list[Request] = field(default_factory=list)

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        self.requests.append(request)
        async for response in self.script(request):
            yield response


@asynccontextmanager
async def scripted(
    find: Serve | None = None,
    *,
    move: Serve | None = None,
    get: Serve | None = None,
    sends: Sequence[str] = (),
    extended: Callable[[bytes], bytes | None] | None = None,
) -> AsyncIterator[tuple[Remote, dict[str, Scripted]]]:
    """Study Root only; for C-GET it may send objects of the SOP classes ``sends``."""
    services = {
        name: Scripted(script) for name, script in (("find", find), ("move", move), ("get", get)) if script is not None
    }
    fields = {"find": CommandField.C_FIND_RQ, "move": CommandField.C_MOVE_RQ, "get": CommandField.C_GET_RQ}
    uids = {"find": STUDY_ROOT.find, "move": STUDY_ROOT.move, "get": STUDY_ROOT.get}
    registrations = [
        Registration(
            name=name,
            abstract_syntaxes=(uids[name],),
            serves=_only(uids[name]),
            transfer_syntaxes=SYNTAXES,
            permission=Permission.QUERY,
            operations={fields[name]: service},
            extended=extended,
        )
        for name, service in services.items()
    ]
    registrations.append(
        Registration(
            name="Storage",
            abstract_syntaxes=tuple(sends),
            serves=lambda uid, _: uid in sends,
            transfer_syntaxes=SYNTAXES,
            permission=Permission.STORE,
            operations={},
            sends_to=Permission.RETRIEVE,
            produces=SYNTAXES,
        )
    )
    registry = ServiceRegistry(registrations)
    acceptor = Acceptor(
        registry=registry,
        perform=Dispatcher(registry, ignore).perform,
        access=AccessPolicy((), ae_titles=["PEER", "ANY-SCP"], unknown=UnknownCallers.ALL),
        limits=AcceptorLimits(async_window=8),
        connection_limits=ConnectionLimits(),
        order=Order.SENDER,
        observe=ignore,
    )
    port = await acceptor.listen("127.0.0.1", 0)
    try:
        yield Remote(host="127.0.0.1", port=port, ae_title="PEER"), services
    finally:
        await acceptor.close(0)


@contextmanager
def scripted_in_thread(
    *, find: Serve | None = None, move: Serve | None = None, get: Serve | None = None, sends: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, Scripted]]]:
    """The same for commands, which have the event loop of their thread to themselves; the address to call it by."""
    ready: queue.Queue[tuple[Remote, dict[str, Scripted]]] = queue.Queue()
    stopping: list[Callable[[], object]] = []

    async def run() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        stopping.append(lambda: loop.call_soon_threadsafe(stop.set))
        async with scripted(find, move=move, get=get, sends=sends) as running:
            ready.put(running)
            await stop.wait()

    with ThreadPoolExecutor(1) as thread:
        ended = thread.submit(asyncio.run, run())
        remote, services = ready.get(timeout=10)
        try:
            yield f"{remote.host}:{remote.port}", services
        finally:
            stopping[0]()
            ended.result(timeout=10)


def _only(own: str) -> Callable[[str, tuple[str, ...]], bool]:
    return lambda uid, _: uid == own
