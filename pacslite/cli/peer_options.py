"""The options of the commands that call a peer, declared once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pacslite.cli.calling import PASSCODE_VARIABLE, TLSOptions, calling_ae_title, find_remote, user_identity
from pacslite.cli.options import ConfigFile, Sets, Verbose, settings
from pacslite.net.requestor import Remote
from pacslite.ul.items import UserIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What these options come to: whom to call, as whom, and how."""

    remote: Remote
    calling_ae: str
    user_identity: UserIdentity | None
    connect_s: float
    verbose: bool


def with_peer_options(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with a PEER argument in front and the options of calling behind its own; they reach it as a
    :class:`Call`, its first argument."""
    peer, *options = inspect.signature(_call, eval_str=True).parameters.values()
    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (peer, *own, *options)]

    @functools.wraps(command)
    def call_and_run(**given: object) -> None:
        call = _call(**{one.name: given.pop(one.name) for one in (peer, *options)})  # type: ignore[arg-type] # Typer's
        command(call, **given)

    # What Typer reads: it makes arguments and options of a function's signature.
    call_and_run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # any object may have one
    call_and_run.__annotations__ = {one.name: one.annotation for one in parameters}
    return call_and_run


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


def _call(
    peer: PeerArgument,
    called: Called = "",
    calling: Calling = "",
    tls: TLS = False,
    ca: CA = None,
    certificate: Certificate = None,
    key: Key = None,
    no_host_check: NoHostCheck = False,
    user: User = "",
    passcode: Passcode = False,
    connect_timeout: ConnectSeconds = 10.0,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> Call:
    loaded = settings(config, sets).config
    options = TLSOptions(wanted=tls, ca=ca, certificate=certificate, key=key, check_host_name=not no_host_check)
    return Call(
        remote=find_remote(peer, loaded, called=called, tls=options),
        calling_ae=calling_ae_title(loaded, calling),
        user_identity=user_identity(user, _ask_passcode(passcode)),
        connect_s=connect_timeout,
        verbose=verbose,
    )


def _ask_passcode(wanted: bool) -> str:
    """The passcode from the terminal, not shown while it is typed; empty if it is not wanted."""
    return str(typer.prompt("Passcode", hide_input=True, err=True)) if wanted else ""
