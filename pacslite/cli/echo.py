"""`pacslite echo`: whether a peer answers, and how fast (C-ECHO, PS3.4 Annex A)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from pacslite.cli.exits import Exit
from pacslite.cli.peer_options import Call, with_peer_options
from pacslite.cli.running import run
from pacslite.cli.sending_plan import ContextKey
from pacslite.cli.words import refusal_words, status_meaning
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from pacslite.dicom.uids import VERIFICATION
from pacslite.dimse.status import SUCCESS
from pacslite.net.requestor import Proposal, Requested, associate
from pacslite.services.verification import echo as c_echo
from pacslite.ul.items import PresentationContext

# Implicit VR Little Endian is what every peer has to take (PS3.5 10.1).
_CONTEXT = PresentationContext(1, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN))


def register(app: typer.Typer) -> None:
    app.command("echo")(echo)


@with_peer_options
def echo(
    call: Call,
    count: Annotated[int, typer.Option("-n", "--count", metavar="N", min=1, help="How many times to ask.")] = 1,
) -> None:
    """Ask a peer whether it is there, and show how long its answer takes.

    Exit codes: 0 it answered; 1 it answered that it does not do that; 3 it could not be reached or refused us.
    """
    proposal = Proposal(calling_ae=call.calling_ae, contexts=(_CONTEXT,), user_identity=call.user_identity)
    if not run(_ask(call, proposal, count=count)):
        raise typer.Exit(Exit.FAILED)


async def _ask(call: Call, proposal: Proposal, *, count: int) -> bool:
    remote = call.remote
    started = time.perf_counter()
    seconds: list[float] = []
    succeeded = 0
    async with associate(remote, proposal, connect_s=call.connect_s) as requested:
        if call.verbose:
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
