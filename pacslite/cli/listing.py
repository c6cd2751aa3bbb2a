"""`pacslite ls`: what is in the archive, patients' names too: who may read the data folder may read them anyway."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pacslite.cli.list_filters import Filters, Level
from pacslite.cli.local_archive import DataFolder, load, open_archive
from pacslite.cli.options import ConfigFile, Sets, Verbose
from pacslite.cli.running import run
from pacslite.cli.screen import size_words
from pacslite.cli.tables import print_table
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.dicom.uids import name_of
from pacslite.server.config import Config

if TYPE_CHECKING:
    from pacslite.archive.model import InstanceSummary, PatientSummary, SeriesSummary, StudySummary

    Summary = PatientSummary | StudySummary | SeriesSummary | InstanceSummary

_MOST_IN_A_TABLE = 500

_HEADINGS = {
    Level.PATIENTS: ("patient id", "issuer", "name", "birth date", "sex", "studies", "series", "objects", "size"),
    Level.STUDIES: (
        *("date", "time", "patient id", "name", "modalities", "description", "accession"),
        *("series", "objects", "size", "study UID"),
    ),
    Level.SERIES: ("no", "modality", "description", "objects", "size", "series UID"),
    Level.INSTANCES: ("no", "SOP class", "transfer syntax", "size", "from", "contradicts", "SOP instance UID"),
}


def register(app: typer.Typer) -> None:
    app.command("ls")(ls)


def ls(
    level: Annotated[Level, typer.Argument(help="What to list.")] = Level.STUDIES,
    patient_id: Annotated[str, typer.Option(metavar="ID", help="Of this patient.")] = "",
    name: Annotated[
        str, typer.Option(metavar="PATTERN", help="Of patients whose name fits, with * and ?; case and accents aside.")
    ] = "",
    date: Annotated[
        str, typer.Option(metavar="RANGE", help="Studies of 20240131, 20240101-20240131, 20240101- or -20240131.")
    ] = "",
    modality: Annotated[str, typer.Option(metavar="CS", help="Studies or series of this modality.")] = "",
    study: Annotated[str, typer.Option(metavar="UID", help="This study, or what is in it.")] = "",
    series: Annotated[str, typer.Option(metavar="UID", help="This series, or what is in it.")] = "",
    limit: Annotated[
        int | None,
        typer.Option("-n", "--limit", metavar="N", min=0, help="No more than so many; 0: all. A table stops at 500."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything that is known, one JSON object a line.")] = False,
    data: DataFolder = None,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """List patients, studies, series or instances. A server may be running meanwhile.

    What identifies patients is shown. Where the output is no terminal, columns are separated by tabs.
    """
    loaded = load(config, sets, data)
    filters = Filters(
        patient_id=patient_id, name=name, dates=date, modality=modality, study_uid=study, series_uid=series
    )
    filters.check(level)
    if limit is None:
        limit = 0 if as_json else _MOST_IN_A_TABLE
    run(_list(loaded, level, filters, limit=limit, as_json=as_json))


async def _list(config: Config, level: Level, filters: Filters, *, limit: int, as_json: bool) -> None:
    shown: list[Summary] = []
    async with open_archive(config) as archive, aclosing(filters.select(archive.list, level)) as found:
        more = False
        count = 0
        async for summary in found:
            if limit and count == limit:
                more = True
                break
            count += 1
            if as_json:
                typer.echo(json.dumps(asdict(summary)))
            else:
                shown.append(summary)
    if not as_json:
        print_table(_HEADINGS[level], (_row(summary) for summary in shown))
    if more:
        typer.echo(f"only the first {limit}; see more with --limit", err=True)


def _row(summary: Summary) -> Sequence[str]:
    from pacslite.archive.model import PatientSummary, SeriesSummary, StudySummary

    match summary:
        case PatientSummary():
            who = (summary.patient_id, summary.issuer, summary.name, summary.birth_date, summary.sex)
            return *who, str(summary.studies), str(summary.series), str(summary.instances), size_words(summary.bytes)
        case StudySummary():
            return (
                summary.study_date,
                summary.study_time.partition(".")[0],
                summary.patient_id,
                summary.patient_name,
                " ".join(summary.modalities),
                summary.description,
                summary.accession_number,
                str(summary.series),
                str(summary.instances),
                size_words(summary.bytes),
                summary.study_uid,
            )
        case SeriesSummary():
            what = (_number(summary.number), summary.modality, summary.description)
            return *what, str(summary.instances), size_words(summary.bytes), summary.series_uid
        case _:
            return (
                _number(summary.number),
                name_of(summary.sop_class_uid),
                transfer_syntax(summary.transfer_syntax_uid).name,
                size_words(summary.size),
                summary.source_ae,
                summary.discrepancy,
                summary.sop_instance_uid,
            )


def _number(number: int | None) -> str:
    return "" if number is None else str(number)
