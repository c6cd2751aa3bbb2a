"""A few patients, chosen so that each rule of matching has something to get wrong. PS3.4 C.2.2.2; STANDARD 4."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kit.samples import Sample
from kit.shipped import DicomObject, part10

ACCESSION, DATE, TIME, DESCRIPTION, HISTORY = 0x00080050, 0x00080020, 0x00080030, 0x00081030, 0x001021B0
OTHER_IDS, IMAGE_TYPE, KVP, BIRTH_DATE, SEX = 0x00101000, 0x00080008, 0x00180060, 0x00100030, 0x00100040
ZONE, STUDY_ID, NUMBER, ACQUIRED = 0x00080201, 0x00200010, 0x00200011, 0x0008002A

JANE_OLD = Sample(
    instance="1.1.1.1",
    series="1.1.1",
    study="1.1",
    patient_id="P1",
    patient_name="Doe^Jane",
    modality="CT",
    more=(
        (DATE, "DA", "20240101"),
        (TIME, "TM", "231500"),
        (ACCESSION, "SH", "A_1%"),
        (DESCRIPTION, "LO", "Thorax [new]"),
        (HISTORY, "LT", "a\\b"),
        (OTHER_IDS, "LO", "X1\\X2"),
        (IMAGE_TYPE, "CS", "ORIGINAL\\PRIMARY\\AXIAL"),
        (KVP, "DS", "120"),
        (NUMBER, "IS", "7"),
        (ACQUIRED, "DT", "20240101231500.5+0000"),
    ),
)
JANE_OLD_2 = JANE_OLD.but(
    instance="1.1.1.2",
    number=2,
    more=((IMAGE_TYPE, "CS", "DERIVED"), *(one for one in JANE_OLD.more if one[0] != IMAGE_TYPE)),
)
JANE_REPORT = JANE_OLD.but(
    instance="1.1.2.1",
    series="1.1.2",
    modality="SR",
    sop_class="1.2.840.10008.5.1.4.1.1.88.11",
    more=tuple(one for one in JANE_OLD.more if one[0] not in (KVP, NUMBER)),
)
JANE_NEW = Sample(
    instance="1.2.1.1",
    series="1.2.1",
    study="1.2",
    patient_id="P1",
    patient_name="Doe^Jane",
    modality="MR",
    more=((DATE, "DA", "20240103"), (TIME, "TM", "2230"), (ACCESSION, "SH", "AX1B")),
)
SMITH = Sample(
    instance="1.3.1.1",
    series="1.3.1",
    study="1.3",
    patient_id="p2",
    patient_name="SMITH^John^^Dr",
    modality="CT",
    more=((DATE, "DA", "20240105"), (TIME, "TM", "060000.123"), (ACCESSION, "SH", "a_1%")),
)
BARE = Sample(instance="1.4.1.1", series="1.4.1", study="1.4", patient_id="P4", patient_name="", modality="OT")
EVERYTHING_STORED = (JANE_OLD, JANE_OLD_2, JANE_REPORT, JANE_NEW, SMITH, BARE)
EVERY_STUDY = ["1.1", "1.2", "1.3", "1.4"]


def files(folder: Path, samples: Iterable[Sample] = EVERYTHING_STORED) -> list[Path]:
    """The objects as files, for senders."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_file(folder, sample) for sample in samples]


def _file(folder: Path, sample: Sample) -> Path:
    path = folder / f"{sample.instance}.dcm"
    path.write_bytes(
        part10(
            DicomObject(
                name=sample.instance,
                sop_class=sample.sop_class,
                sop_instance=sample.instance,
                transfer_syntax=sample.transfer_syntax,
                data_set=sample.data_set(),
            )
        )
    )
    return path
