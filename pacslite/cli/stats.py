"""`pacslite stats`: the archive in numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pacslite.cli.local_archive import DataFolder, load, open_archive
from pacslite.cli.options import ConfigFile, Sets, Verbose
from pacslite.cli.running import run
from pacslite.cli.screen import size_words
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.dicom.uids import name_of
from pacslite.server.config import Config

if TYPE_CHECKING:
    from pacslite.archive.breakdown import Breakdown, Share
    from pacslite.archive.model import ConflictSummary, Stats


def register(app: typer.Typer) -> None:
    app.command("stats")(stats)


def stats(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, sizes in bytes.")] = False,
    data: DataFolder = None,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Count what is in the archive, by kind and by sender. A server may be running meanwhile.

    With -v, the objects that were kept aside are listed: their SOP Instance UID was taken by other content.
    """
    run(_show(load(config, sets, data), as_json=as_json, verbose=verbose))


async def _show(config: Config, *, as_json: bool, verbose: bool) -> None:
    from pacslite.archive.breakdown import breakdown
    from pacslite.archive.index.reader import IndexReader

    async with open_archive(config) as archive:
        numbers = await archive.stats()
        reader = IndexReader(archive.layout.index, count=1, busy_timeout_s=archive.settings.busy_timeout_s)
        try:
            kinds = await breakdown(reader)
        finally:
            await reader.close()
        folder = archive.layout.folder.resolve()
        if as_json:
            typer.echo(json.dumps({"folder": str(folder), **asdict(numbers), **asdict(kinds)}, indent=2))
            return
        typer.echo("\n".join((f"data folder     {folder}", *_lines(numbers, kinds))))
        if verbose:
            async for conflict in archive.list.conflicts():
                typer.echo(_conflict(conflict))


def _lines(numbers: Stats, kinds: Breakdown) -> Iterator[str]:
    yield f"patients        {numbers.patients:,}"
    yield f"studies         {numbers.studies:,}"
    yield f"series          {numbers.series:,}"
    yield f"objects         {numbers.instances:,}, {size_words(numbers.bytes)}"
    yield f"kept aside      {numbers.conflicts:,}, {size_words(numbers.conflict_bytes)}"
    yield f"index           {size_words(numbers.index_bytes)}"
    yield f"free on volume  {size_words(numbers.free_bytes)}"
    yield from _section("by modality", kinds.modalities)
    yield from _section("by SOP class", {name_of(uid): share for uid, share in kinds.sop_classes.items()})
    yield from _section(
        "by transfer syntax", {transfer_syntax(uid).name: share for uid, share in kinds.transfer_syntaxes.items()}
    )
    yield from _section("by sender", kinds.senders)


def _section(title: str, shares: Mapping[str, Share]) -> Iterator[str]:
    if not shares:
        return
    yield ""
    yield f"{title}:"
    width = max(len(key) for key in shares)
    for key, share in shares.items():
        yield f"  {key or '(none)':{max(width, 6)}}  {share.instances:>10,}  {size_words(share.bytes):>10}"


def _conflict(conflict: ConflictSummary) -> str:
    sender = f" from {conflict.source_ae}" if conflict.source_ae else ""
    return f"kept aside: {conflict.path} ({size_words(conflict.size)}{sender}): {conflict.reason}"
