"""`pacslite serve`: run the server, and say first where it can be reached."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pacslite.cli.options import ConfigFile, Sets, Verbose, settings
from pacslite.cli.screen import plural
from pacslite.net.access import UnknownCallers
from pacslite.net.tls import ClientCertificates
from pacslite.observe.fan_out import fan_out
from pacslite.observe.lines import HumanFormatter, JSONFormatter
from pacslite.observe.log import LogObserver
from pacslite.observe.metrics import Metrics
from pacslite.observe.output import log_to
from pacslite.server.config_sources import LoadedConfig, Setting
from pacslite.server.outbox_settings import ForwardSettings
from pacslite.server.setting_types import LogFormat

if TYPE_CHECKING:
    from pacslite.server.application import Listening

_EVERY_ADDRESS = ("0.0.0.0", "::", "")


def register(app: typer.Typer) -> None:
    app.command("serve")(serve)


def serve(
    config: ConfigFile = None,
    sets: Sets = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", help="The data folder: storage.folder.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", help="The port of the first listener: listeners.0.port.")
    ] = None,
    ae_title: Annotated[
        str | None, typer.Option("--ae-title", metavar="TITLE", help="Our AE title: server.ae_title.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Run the archive server until SIGTERM or Ctrl-C. SIGHUP reads certificates and the addresses of peers anew."""
    options = {
        "--data": (("storage", "folder"), None if data is None else str(data)),
        "--port": (("listeners", "0", "port"), port),
        "--ae-title": (("server", "ae_title"), ae_title),
        "-v": (("logging", "level"), "debug" if verbose else None),
    }
    loaded = settings(
        config,
        sets,
        [Setting(key=key, value=value, source=name) for name, (key, value) in options.items() if value is not None],
    )
    raise typer.Exit(_run(loaded))


def _run(loaded: LoadedConfig) -> int:
    # Only here: the whole server takes longer to load than an echo takes, and every command passes this module.
    from pacslite.server import application

    # What was loaded stays for good. The garbage collector would look through all of it again and again, and each time
    # everything stands still for some twenty milliseconds.
    gc.collect()
    gc.freeze()
    logs = loaded.config.logging
    formatter = JSONFormatter() if logs.format is LogFormat.JSON else HumanFormatter()
    with log_to(formatter, level=logging.getLevelNamesMapping()[logs.level.upper()]) as output:
        metrics = Metrics()
        metrics.gauge("log_lines_dropped", "Log lines that nobody read in time.", lambda: output.dropped)
        return application.run(
            loaded.config,
            observe=fan_out(LogObserver(mask_phi=logs.mask_phi), metrics),
            announce=lambda server: typer.echo("\n".join(first_lines(loaded, server.listening))),
        )


def first_lines(loaded: LoadedConfig, listening: Sequence[Listening]) -> Iterator[str]:
    """What somebody wants to know who has just started it: where, who, what to type next."""
    config = loaded.config
    places = ", ".join(f"{_host(one.host)}:{one.port}{' (TLS)' if one.certificate else ''}" for one in listening)
    yield f"pacslite {version('pacslite')}"
    yield f"  listening on  {places}"
    yield f"  AE title      {', '.join(config.ae_titles)}"
    yield f"  data folder   {config.storage.folder.resolve()}"
    yield f"  settings      {loaded.file or 'built-in defaults'}"
    yield f"  callers       {_callers(config.access.unknown, len(config.peers))}"
    if config.forward:
        yield f"  forwarding    {_forwarding(config.forward)}"
    yield f"  try           {_storescu(config.server.ae_title, listening)}"


def _callers(unknown: UnknownCallers, peers: int) -> str:
    known = [f"{peers} known {'peer' if peers == 1 else 'peers'}"] if peers else []
    match unknown:
        case UnknownCallers.ALL:
            return " and ".join([*known, "anybody else"] if known else ["anybody"])
        case UnknownCallers.LOOPBACK:
            return " and ".join([*known, "programs on this machine; add others under [[peers]]"])
        case UnknownCallers.NONE:
            return " ".join(known) or "nobody; add some under [[peers]]"


def _forwarding(rules: Sequence[ForwardSettings]) -> str:
    return f"by {plural(len(rules), 'rule')} to {', '.join(sorted({title for rule in rules for title in rule.to}))}"


def _storescu(ae_title: str, listening: Sequence[Listening]) -> str:
    """A line to paste; a plain listener makes the simpler one."""
    one = next((candidate for candidate in listening if candidate.certificate is None), listening[0])
    host = "localhost" if one.host in _EVERY_ADDRESS else one.host
    title = f"'{ae_title}'" if " " in ae_title else ae_title
    return f"storescu {_tls_options(one)}-aec {title} {host} {one.port} FILE.dcm"


def _tls_options(one: Listening) -> str:
    if one.certificate is None:
        return ""
    if one.certificate.client_certificates is ClientCertificates.REQUIRED:
        return "+tls KEY.pem CERTIFICATE.pem -ic "
    return "+tla -ic "


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host or "*"
