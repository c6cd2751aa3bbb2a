"""Many objects in an index, without their files: queries read nothing else (but at IMAGE level for rare attributes)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from kit.samples import Sample, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.blobs.paths import blob_path
from pacslite.archive.identity import identify
from pacslite.archive.index.entry import Entry, instance_values, upper_key
from pacslite.archive.index.sqlite import connect
from pacslite.archive.index.writer import IndexWriter
from pacslite.dicom.header import HeaderReader
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.facts import ignore

_PER_COMMIT = 5000


def fill(folder: Path, samples: Iterable[Sample]) -> None:
    """Enter ``samples`` into the index of a data folder, which is made if it is new and which nobody else uses."""
    index = asyncio.run(_made(folder))
    with closing(connect(index, busy_timeout_s=20)) as connection:
        writer = IndexWriter(connection)
        left = iter(samples)
        while some := list(islice(left, _PER_COMMIT)):
            with writer.transaction():
                for sample in some:
                    writer.add(entry(sample))


def studies(count: int, *, history: str = "") -> Iterator[Sample]:
    """One object to a study, one study to a patient; study N is of patient ``MANY^N`` with the ID ``MN``.

    ``history`` is a text that each study has: it makes answers long.
    """
    for number in range(count):
        yield Sample(
            instance=f"1.2.9.{number}.1.1",
            series=f"1.2.9.{number}.1",
            study=f"1.2.9.{number}",
            patient_id=f"M{number}",
            patient_name=f"MANY^{number}",
            more=(
                (0x00080020, "DA", f"20{20 + number % 5}{1 + number % 12:02}{1 + number % 28:02}"),
                (0x00080030, "TM", "101112"),
                (0x00080050, "SH", f"A{number}"),
                (0x00081030, "LO", "Thorax"),
                (0x001021B0, "LT", history),
            ),
            pixels=b"",
        )


def entry(sample: Sample) -> Entry:
    """As it comes from an ingest, but for a file."""
    reader = HeaderReader(transfer_syntax(sample.transfer_syntax))
    reader.feed(sample.data_set())
    header = reader.finish()
    identity = identify(sample.origin, header)
    place = blob_path(
        study_uid=identity.study_uid,
        series_uid=identity.series_uid,
        sop_class_uid=sample.sop_class,
        sop_instance_uid=sample.instance,
    )
    return Entry(
        origin=sample.origin,
        header=header,
        study_uid=identity.study_uid,
        series_uid=identity.series_uid,
        path=place,
        usual_path=place,
        size=1000,
        data_set_offset=300,
        digest=sample.instance.encode().ljust(32, b"\0")[:32],
        stored_at=1.5,
        upper=upper_key(header),
        attributes=instance_values(header),
    )


async def _made(folder: Path) -> Path:
    async with Archive.open(settings_for(folder), observe=ignore) as archive:
        return archive.layout.index
