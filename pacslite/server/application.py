"""The server: the one place that knows everyone and wires the parts together."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import ssl
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import uvloop

from pacslite.archive.archive import Archive
from pacslite.archive.job import JobKind
from pacslite.errors import ConfigurationError
from pacslite.facts import CertificatesReloaded, Observe, TaskFailed
from pacslite.net.acceptor import Acceptor, AcceptorLimits
from pacslite.net.dispatch import Dispatcher
from pacslite.net.tls import ServerCertificate
from pacslite.server.config import Config
from pacslite.server.parts import (
    access_policy,
    archive_settings,
    asking_of,
    callees,
    connection_limits,
    open_lines,
    outbox_manner,
    performers,
    server_certificate,
    service_registry,
    transcoder,
)
from pacslite.server.retaining import retaining
from pacslite.server.settings import ListenerSettings
from pacslite.services.destinations import Callee
from pacslite.services.outbox import OutboxWorker
from pacslite.ul.negotiation import Order


@dataclass(frozen=True, slots=True)
class Listening:
    """A listener that is open: where, and its certificate if it speaks TLS."""

    host: str
    port: int
    certificate: ServerCertificate | None
    context: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. :meth:`reload` reads certificates and peers' addresses anew."""

    config: Config
    acceptor: Acceptor
    listening: tuple[Listening, ...]
    callees: dict[str, Callee]
    worker: OutboxWorker
    observe: Observe

    async def reload(self) -> None:
        """What SIGHUP asks for; what cannot be read leaves everything as it was, and is told."""
        secured = [one for one in self.listening if one.certificate is not None and one.context is not None]
        try:
            access, called = await access_policy(self.config), callees(self.config)
            for one in secured:
                assert one.certificate is not None
                assert one.context is not None
                one.certificate.context()  # proves that the files fit before the live context is touched
                one.certificate.load_into(one.context)
        except ConfigurationError as error:
            self.observe(CertificatesReloaded(listeners=0, error=str(error)))
            return
        self.acceptor.access = access
        self.callees.update(called)
        self.worker.retry_now()
        self.observe(CertificatesReloaded(listeners=len(secured)))

    async def close(self, grace_s: float) -> None:
        """Begin nothing more, and give what is open so many seconds to come to its end."""
        await asyncio.gather(self.acceptor.close(grace_s), self.worker.stop(grace_s))


def run(config: Config, *, observe: Observe, announce: Callable[[Server], None]) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code. ``announce`` is called when everything listens.

    Raises :class:`ConfigurationError` or :class:`StoreInUseError` before anything is opened.
    """
    code: int = uvloop.run(_run(config, observe, announce))
    return code


async def _run(config: Config, observe: Observe, announce: Callable[[Server], None]) -> int:
    loop = asyncio.get_running_loop()
    stop, hang_up = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hang_up.set)
    loop.set_exception_handler(lambda _, context: _supervise(context, observe))
    async with start(config, observe=observe) as server:
        announce(server)
        reloading = asyncio.create_task(_reload_on(hang_up, server))
        await stop.wait()
        reloading.cancel()
        await server.close(config.server.shutdown_grace_s)
    return 0


async def _reload_on(hang_up: asyncio.Event, server: Server) -> None:
    while True:
        await hang_up.wait()
        hang_up.clear()
        try:
            await server.reload()
        except Exception as error:  # a defect here must not make the next SIGHUP deaf
            _supervise({"message": "reload", "exception": error}, server.observe)


def _supervise(context: dict[str, object], observe: Observe) -> None:
    """What asyncio caught for us is a defect of ours; it is told, and the server goes on."""
    error = context.get("exception")
    trace = "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
    observe(TaskFailed(where=str(context.get("message", "event loop")), error=repr(error), trace=trace))


@asynccontextmanager
async def start(config: Config, *, observe: Observe) -> AsyncIterator[Server]:
    """Open the archive, then the listeners; everything is closed again when the block ends."""
    _allow_many_files()
    access, called = await access_policy(config), callees(config)
    certificates = [server_certificate(listener) for listener in config.listeners]
    contexts = [None if one is None else one.context() for one in certificates]
    async with AsyncExitStack() as stack:
        archive = await stack.enter_async_context(Archive.open(archive_settings(config), observe=observe))
        converter = transcoder(config)
        if converter is not None:
            await stack.enter_async_context(converter)
        asking, lines = asking_of(config, archive), open_lines(config)
        registry = service_registry(
            config, archive, callees=called, converter=converter, lines=lines, asking=asking, observe=observe
        )
        perform = Dispatcher(registry, observe).perform
        acceptor = Acceptor(
            registry=registry,
            perform=perform,
            access=access,
            limits=AcceptorLimits(
                max_associations=config.limits.max_associations,
                max_associations_per_peer=config.limits.max_associations_per_peer,
                max_connections=config.limits.max_connections,
                async_window=config.negotiation.async_window,
            ),
            connection_limits=connection_limits(config),
            order=Order(config.negotiation.prefer),
            observe=observe,
        )
        stack.push_async_callback(acceptor.close, 0.0)
        listening = [
            Listening(listener.host, await _listen(acceptor, listener, context), certificate, context)
            for listener, certificate, context in zip(config.listeners, certificates, contexts, strict=True)
        ]
        await archive.outbox.release_all()  # of a server that was killed: there is no other one, the folder is locked
        worker = OutboxWorker(
            archive.outbox,
            performers(
                config,
                archive,
                callees=called,
                converter=converter,
                lines=lines,
                asking=asking,
                perform=perform,
                observe=observe,
            ),
            manner=outbox_manner(config),
            places=lambda ae_title: called[ae_title].associations if ae_title in called else 0,
            urgent=lambda lane: lane.kind is JobKind.REPORT and lines.any_to(lane.destination),
            observe=observe,
        )
        await stack.enter_async_context(worker)
        await stack.enter_async_context(retaining(config.retention, archive, observe=observe))
        yield Server(config, acceptor, tuple(listening), called, worker, observe)


async def _listen(acceptor: Acceptor, listener: ListenerSettings, context: ssl.SSLContext | None) -> int:
    try:
        return await acceptor.listen(listener.host, listener.port, context)
    except OSError as error:
        # asyncio's own text repeats the address in its way; a name that cannot be resolved has no errno of the system.
        words = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise ConfigurationError(f"cannot listen on {listener.host}:{listener.port}: {words}") from None


def _allow_many_files() -> None:
    """Each connection and each object in flight is a descriptor; the usual soft limit of 1024 is soon reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, 65536)
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
