"""The options of the commands that call a peer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pacslite.cli.calling import PASSCODE_VARIABLE

PeerArgument = Annotated[
    str,
    typer.Argument(
        metavar="PEER", show_default=False, help="An AE title of [[peers]] that has a port there, or HOST:PORT."
    ),
]
Called = Annotated[
    str, typer.Option("--called", metavar="AE", help="Call it by this AE title. Default: the peer's own, or ANY-SCP.")
]
Calling = Annotated[
    str, typer.Option("--calling", metavar="AE", help="Call as this AE title. Default: server.ae_title.")
]
TLS = Annotated[bool, typer.Option("--tls", help="Call over TLS; so does every other option about certificates.")]
CA = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="PEM file: who signed the peer's certificate. Default: whom the system trusts.",
    ),
]
Certificate = Annotated[
    Path | None,
    typer.Option("--cert", metavar="FILE", exists=True, dir_okay=False, help="PEM file: our own certificate."),
]
Key = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", exists=True, dir_okay=False, help="PEM file: the key of --cert."),
]
NoHostCheck = Annotated[
    bool, typer.Option("--no-host-check", help="Take a certificate that was issued for another host name.")
]
User = Annotated[str, typer.Option("--user", metavar="NAME", help="The user name to present to the peer.")]
Passcode = Annotated[
    bool,
    typer.Option("--passcode", help=f"Ask for the user's passcode. Without it, {PASSCODE_VARIABLE} is used if set."),
]
ConnectSeconds = Annotated[
    float,
    typer.Option("--connect-timeout", metavar="SECONDS", min=0.1, help="How long the peer has to take the connection."),
]


def ask_passcode(wanted: bool) -> str:
    """The passcode from the terminal, not shown while it is typed; empty if it is not wanted."""
    return str(typer.prompt("Passcode", hide_input=True, err=True)) if wanted else ""
