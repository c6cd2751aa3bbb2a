"""`pacslite peers`: the systems that are known."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from pacslite.cli.options import ConfigFile, Sets, Verbose, settings
from pacslite.server.settings import PeerSettings

_COLUMNS = ("AE title", "address", "port", "may", "TLS", "user")


def register(app: typer.Typer) -> None:
    app.command("peers")(peers)


def peers(config: ConfigFile = None, sets: Sets = None, verbose: Verbose = False) -> None:
    """List the known peers and what they may do here."""
    loaded = settings(config, sets)
    known = loaded.config.peers
    if not known:
        typer.echo(
            f"no peers in {loaded.file or 'the built-in defaults'}; unknown callers: {loaded.config.access.unknown}"
        )
        return
    table = Table(*_COLUMNS, box=None, pad_edge=False, header_style="bold")
    for peer in known:
        table.add_row(*_row(peer))
    Console(soft_wrap=True, markup=False, highlight=False).print(table)


def _row(peer: PeerSettings) -> tuple[str, ...]:
    port = "" if peer.port is None else str(peer.port)
    return peer.ae_title, peer.address, port, ", ".join(peer.permissions), "yes" if peer.tls else "", peer.user
