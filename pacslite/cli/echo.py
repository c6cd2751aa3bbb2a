"""`pacslite echo`: whether a peer answers, and how fast (C-ECHO, PS3.4 Annex A)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from pacslite.cli import peer_options as of_peer
from pacslite.cli.calling import TLSOptions, calling_ae_title, find_remote, user_identity
from pacslite.cli.exits import Exit
from pacslite.cli.options import ConfigFile, Sets, Verbose, settings
from pacslite.cli.running import run
from pacslite.cli.sending_plan import ContextKey
from pacslite.cli.words import refusal_words, status_meaning
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from pacslite.dicom.uids import VERIFICATION
from pacslite.dimse.status import SUCCESS
from pacslite.net.requestor import Proposal, Remote, Requested, associate
from pacslite.services.verification import echo as c_echo
from pacslite.ul.items import PresentationContext

# Implicit VR Little Endian is what every peer has to take (PS3.5 10.1).
_CONTEXT = PresentationContext(1, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN))


def register(app: typer.Typer) -> None:
    app.command("echo")(echo)


def echo(
    peer: of_peer.PeerArgument,
    count: Annotated[int, typer.Option("-n", "--count", metavar="N", min=1, help="How many times to ask.")] = 1,
    called: of_peer.Called = "",
    calling: of_peer.Calling = "",
    tls: of_peer.TLS = False,
    ca: of_peer.CA = None,
    certificate: of_peer.Certificate = None,
    key: of_peer.Key = None,
    no_host_check: of_peer.NoHostCheck = False,
    user: of_peer.User = "",
    passcode: of_peer.Passcode = False,
    connect_timeout: of_peer.ConnectSeconds = 10.0,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Ask a peer whether it is there, and show how long its answer takes.

    Exit codes: 0 it answered; 1 it answered that it does not do that; 3 it could not be reached or refused us.
    """
    loaded = settings(config, sets).config
    options = TLSOptions(wanted=tls, ca=ca, certificate=certificate, key=key, check_host_name=not no_host_check)
    remote = find_remote(peer, loaded, called=called, tls=options)
    proposal = Proposal(
        calling_ae=calling_ae_title(loaded, calling),
        contexts=(_CONTEXT,),
        user_identity=user_identity(user, of_peer.ask_passcode(passcode)),
    )
    if not run(_ask(remote, proposal, count=count, connect_s=connect_timeout, verbose=verbose)):
        raise typer.Exit(Exit.FAILED)


async def _ask(remote: Remote, proposal: Proposal, *, count: int, connect_s: float, verbose: bool) -> bool:
    started = time.perf_counter()
    seconds: list[float] = []
    succeeded = 0
    async with associate(remote, proposal, connect_s=connect_s) as requested:
        if verbose:
            typer.echo("\n".join(_agreed(requested, time.perf_counter() - started)))
        contexts = requested.contexts_for(VERIFICATION)
        if not contexts:
            answer = requested.answer.contexts[0] if requested.answer.contexts else None
            key = ContextKey(VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN)
            typer.echo(refusal_words(key, 0 if answer is None else answer.result), err=True)
            return False
        for number in range(1, count + 1):
            asked = time.perf_counter()
            status = await c_echo(requested.association, contexts[0])
            seconds.append(time.perf_counter() - asked)
            succeeded += status == SUCCESS
            words = "answered" if status == SUCCESS else f"status {status:04X}H, {status_meaning(status)}"
            typer.echo(f"{remote.ae_title} at {remote.host}:{remote.port}: {words}, {_ms(seconds[-1])} ms ({number})")
    if count > 1:
        least, mean, most = min(seconds), sum(seconds) / count, max(seconds)
        typer.echo(f"{succeeded} of {count} succeeded, min/mean/max {_ms(least)}/{_ms(mean)}/{_ms(most)} ms")
    return succeeded == count


def _agreed(requested: Requested, seconds: float) -> Iterator[str]:
    information = requested.answer.user_information
    version = information.implementation_version_name or "no version name"
    yield f"associated in {_ms(seconds)} ms{' over TLS' if requested.association.peer.tls else ''}"
    yield f"peer is {version} ({information.implementation_class_uid or 'no implementation class'})"
    yield f"it takes P-DATA-TF of {information.max_length or 'any'} bytes"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"
