"""`pacslite commitment`: what we have promised to whom, and what others have promised to us."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pacslite.cli.exits import Exit
from pacslite.cli.local_archive import DataFolder, load, open_archive
from pacslite.cli.options import ConfigFile, Sets, Verbose
from pacslite.cli.running import run
from pacslite.cli.screen import printable, time_words
from pacslite.cli.tables import print_table
from pacslite.cli.words import failure_words
from pacslite.dicom.uids import name_of
from pacslite.server.config import Config

if TYPE_CHECKING:
    from pacslite.archive.archive import Archive
    from pacslite.archive.commitment import AskedSummary, DeliverySummary, Promise, RequestSummary
    from pacslite.archive.model import StoredObject

_MOST_IN_A_TABLE: Final = 500
_REQUESTS: Final = (
    *("request", "received", "from", "called", "objects", "committed", "failed"),
    *("state", "transaction UID"),
)
_PROMISES: Final = ("request", "received", "from", "called", "SOP class", "result", "report", "transaction UID")
_FAILURES: Final = ("no", "SOP class", "reason", "SOP instance UID")
_DELIVERIES: Final = ("destination", "rule", "delivered", "commitment", "sent again", "transaction UID")

Limit = Annotated[
    int | None,
    typer.Option("-n", "--limit", metavar="N", min=0, help="No more than so many; 0: all. A table stops at 500."),
]
AsJSON = Annotated[bool, typer.Option("--json", help="Everything that is known, one JSON object a line.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="See what was promised to those who asked for storage commitment, and what others promised to us.",
        no_args_is_help=True,
    )
    group.command("ls")(ls)
    group.command("show")(show)
    app.add_typer(group, name="commitment")


def ls(
    requester: Annotated[str, typer.Option(metavar="AE", help="Of this AE title.")] = "",
    unreported: Annotated[
        bool, typer.Option("--unreported", help="Those whose requester has not taken the result yet.")
    ] = False,
    limit: Limit = None,
    as_json: AsJSON = False,
    data: DataFolder = None,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """List requests for storage commitment that we were sent, newest first. A server may be running meanwhile."""
    if limit is None:
        limit = 0 if as_json else _MOST_IN_A_TABLE
    run(_list(load(config, sets, data), requester, unreported=unreported, limit=limit, as_json=as_json))


def show(
    what: Annotated[
        str, typer.Argument(metavar="UID", help="UID of an object, or of a transaction; or a request's number.")
    ],
    limit: Limit = None,
    as_json: AsJSON = False,
    data: DataFolder = None,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Show the history of an object or of a request. A server may be running meanwhile.

    Of an object: to whom we promised to keep it, or why not, and who else has it and promised the same. Of a request:
    what became of it, and each object that was not committed. Exit code 1 if nothing is known.
    """
    if limit is None:
        limit = 0 if as_json else _MOST_IN_A_TABLE
    if not run(_show(load(config, sets, data), what, limit=limit, as_json=as_json)):
        typer.echo(f"nothing is known of {printable(what)}", err=True)
        raise typer.Exit(Exit.FAILED)


# --- Requests --------------------------------------------------------------------------------------------------------


async def _list(config: Config, requester: str, *, unreported: bool, limit: int, as_json: bool) -> None:
    async with open_archive(config) as archive:
        found = await archive.commitments.requests(
            calling_ae=requester, unreported=unreported, limit=limit + 1 if limit else 0
        )
    shown = found[:limit] if limit else found
    if as_json:
        for request in shown:
            typer.echo(json.dumps(asdict(request)))
    else:
        print_table(_REQUESTS, map(_request, shown))
    _say_more(limit, is_more=len(found) > len(shown))


def _request(request: RequestSummary) -> Sequence[str]:
    return (
        str(request.id),
        time_words(request.received_at),
        request.calling_ae,
        request.called_ae,
        str(request.instances),
        str(request.committed),
        str(request.failed),
        _state(request),
        request.transaction_uid,
    )


def _state(request: RequestSummary) -> str:
    from pacslite.archive.commitment import RequestState

    match request.state:
        case RequestState.RECEIVED:
            return f"being verified, {request.checked} done"
        case RequestState.VERIFIED:
            return "to be reported"
        case RequestState.REPORTED:
            return f"reported {_when(request.reported_at)}, {request.reported_over}"


def _say_more(limit: int, *, is_more: bool) -> None:
    if is_more:
        typer.echo(f"only the first {limit}; see more with --limit", err=True)


# --- One thing -------------------------------------------------------------------------------------------------------


async def _show(config: Config, what: str, *, limit: int, as_json: bool) -> bool:
    """Whether anything is known of it."""
    async with open_archive(config) as archive:
        commitments = archive.commitments
        requests = [*await commitments.requests(transaction_uid=what)]
        if what.isdecimal() and len(what) < 19 and (request := await commitments.request(int(what))):
            requests.append(request)
        for request in requests:
            await _show_request(archive, request, limit=limit, as_json=as_json)
        asked = await commitments.asked(what)
        if asked is not None:
            typer.echo(json.dumps(asdict(asked)) if as_json else _asked(asked))
        is_object = await _show_object(archive, what, as_json=as_json)
        return bool(requests) or asked is not None or is_object


async def _show_request(archive: Archive, request: RequestSummary, *, limit: int, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(request)))
    else:
        typer.echo("\n".join(_request_lines(request)))
    failures: list[Promise] = []
    is_more = False
    async with aclosing(archive.commitments.items(request.id, failed_only=True)) as items:
        async for item in items:
            if limit and len(failures) == limit:
                is_more = True
                break
            failures.append(item)
    if as_json:
        for item in failures:
            typer.echo(json.dumps(_item(item)))
    elif failures:
        print_table(_FAILURES, map(_failure, failures))
    _say_more(limit, is_more=is_more)


def _request_lines(request: RequestSummary) -> Iterator[str]:
    yield f"request      {request.id}, from {printable(request.calling_ae)} at {printable(request.address)}"
    yield f"transaction  {printable(request.transaction_uid)}"
    yield f"called       {printable(request.called_ae)}"
    yield f"received     {time_words(request.received_at)}"
    yield f"objects      {request.instances}: {request.committed} committed, {request.failed} not"
    if request.is_duplicate:
        yield "refused      the Transaction UID was in use for something else"
    yield f"state        {_state(request)}"


def _failure(item: Promise) -> Sequence[str]:
    sop_class, sop_instance = item.reference
    return str(item.number + 1), name_of(sop_class), failure_words(item.failure_reason), sop_instance


def _item(item: Promise) -> dict[str, object]:
    return {
        "request": item.request.id,
        "number": item.number,
        "sop_class_uid": item.reference.sop_class_uid,
        "sop_instance_uid": item.reference.sop_instance_uid,
        "failure_reason": item.failure_reason,
    }


def _asked(asked: AskedSummary) -> str:
    if asked.answered_at is None:
        answer = "has not answered" if asked.accepted_at is not None else "may not have got it"
    else:
        answer = f"answered {time_words(asked.answered_at)}: {asked.committed} committed, {asked.failed} not"
    return f"asked of {printable(asked.destination)} {time_words(asked.asked_at)}, which {answer}"


async def _show_object(archive: Archive, uid: str, *, as_json: bool) -> bool:
    stored = await archive.read(uid)
    promises = await archive.commitments.promises(uid)
    deliveries = await archive.commitments.deliveries(uid)
    if stored is None and not promises and not deliveries:
        return False
    if as_json:
        known = {
            "sop_instance_uid": uid,
            "stored_at": None if stored is None else stored.stored_at,
            "promises": [{**_item(promise), **asdict(promise.request)} for promise in promises],
            "deliveries": [asdict(delivery) for delivery in deliveries],
        }
        typer.echo(json.dumps(known))
        return True
    typer.echo(_object(uid, stored))
    if promises:
        typer.echo("\nstorage commitment that was asked of us")
        print_table(_PROMISES, map(_promise, promises))
    if deliveries:
        typer.echo("\nothers that have taken it from us")
        print_table(_DELIVERIES, map(_delivery, deliveries))
    if not promises and not deliveries:
        typer.echo("nobody has asked us for storage commitment, and nobody has taken it from us")
    return True


def _object(uid: str, stored: StoredObject | None) -> str:
    if stored is None:
        return f"object {printable(uid)}, not in the archive"
    return f"object {uid}, {name_of(stored.sop_class_uid)}, stored {time_words(stored.stored_at)}"


def _promise(promise: Promise) -> Sequence[str]:
    request = promise.request
    return (
        str(request.id),
        time_words(request.received_at),
        request.calling_ae,
        request.called_ae,
        name_of(promise.reference.sop_class_uid),
        failure_words(promise.failure_reason) if promise.failure_reason else "committed",
        _state(request),
        request.transaction_uid,
    )


def _delivery(delivery: DeliverySummary) -> Sequence[str]:
    return (
        delivery.destination,
        delivery.rule,
        time_words(delivery.delivered_at),
        _commitment(delivery),
        str(delivery.resent) if delivery.resent else "",
        delivery.transaction_uid,
    )


def _commitment(delivery: DeliverySummary) -> str:
    if delivery.committed_at is not None:
        return f"committed {time_words(delivery.committed_at)}"
    if delivery.failure_reason is not None:
        return f"refused: {failure_words(delivery.failure_reason)}"
    if delivery.asked_at is not None:
        return f"asked {time_words(delivery.asked_at)}"
    return "to be asked" if delivery.wants_commitment else "not asked"


def _when(at: float | None) -> str:
    return "" if at is None else time_words(at)
