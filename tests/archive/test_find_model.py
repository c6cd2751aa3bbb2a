"""Whatever is stored and asked, the index finds what the meaning of the keys says (``dicom/keys.py``)."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.indexed import Node, Texts, entry_of, indexed, objects
from pacslite.archive.index.search import Pace
from pacslite.dicom import tags
from pacslite.dicom.elements import Element, Elements
from pacslite.dicom.keys import all_match, combine, key_of
from pacslite.dicom.levels import Level
from pacslite.dicom.matching import Key
from pacslite.errors import InvalidKey

LEVELS = tuple(Level)
LATER = Pace(first_rows=1, most_rows=2, hold_s=0.0)
"""One row at once, the others by their ids."""
TEXTS = ("a", "A", "ab", "aab", "a b", "a%", "a_b", "[a]", "a*", "a?b", "é日", 'a"b', "ba", "B^=a")
DATES = ("20200101", "20200102", "20201231", "2020.01.02", "nonsense")
TIMES = ("10", "1030", "103000.5", "235960", "10:30", "25")
NAMES = (
    "Smith",
    "Smith^John",
    "SMITH^JOHN^^DR",
    "Smithson^Al",
    "Müller^Jörg",
    "=山田^太郎=やまだ^たろう",
    "Yamada^T=山田^太郎",
    "a*b",
    "O'[x]",
    "^John",
)
PATIENT, STUDY, SERIES, IMAGE = LEVELS
ATTRIBUTES = {
    PATIENT: (
        tags.ISSUER_OF_PATIENT_ID,
        tags.PATIENT_NAME,
        tags.PATIENT_BIRTH_DATE,
        tags.PATIENT_BIRTH_TIME,
        tags.PATIENT_SEX,
        tags.OTHER_PATIENT_IDS,
        tags.OTHER_PATIENT_NAMES,
        tags.PATIENT_COMMENTS,
    ),
    STUDY: (
        tags.STUDY_DATE,
        tags.STUDY_TIME,
        tags.ACCESSION_NUMBER,
        tags.REFERRING_PHYSICIAN_NAME,
        tags.STUDY_DESCRIPTION,
        tags.NAME_OF_PHYSICIANS_READING_STUDY,
        tags.PATIENT_WEIGHT,
    ),
    SERIES: (
        tags.MODALITY,
        tags.SERIES_NUMBER,
        tags.SERIES_DATE,
        tags.SERIES_TIME,
        tags.OPERATORS_NAME,
        tags.SOFTWARE_VERSIONS,
    ),
    IMAGE: (
        tags.INSTANCE_NUMBER,
        tags.IMAGE_TYPE,
        tags.ACQUISITION_DATE_TIME,
        tags.CONTENT_DATE,
        tags.CONTENT_TIME,
        tags.INSTANCE_CREATION_DATE,
        tags.INSTANCE_CREATION_TIME,
        tags.ROWS,
    ),
}
UNIQUE = {level: level.unique_key for level in LEVELS}
SEVERAL_VALUES = frozenset(
    {tags.OTHER_PATIENT_IDS, tags.OTHER_PATIENT_NAMES, tags.NAME_OF_PHYSICIANS_READING_STUDY, tags.OPERATORS_NAME,
     tags.SOFTWARE_VERSIONS, tags.IMAGE_TYPE, tags.STUDY_DESCRIPTION, tags.MODALITY}
)  # fmt: skip
"""Some of them have one by definition, and several all the same."""


def stored(tag: int) -> st.SearchStrategy[str]:
    match tags.VR_OF[tag]:
        case "DA":
            one: st.SearchStrategy[str] = st.sampled_from(DATES)
        case "TM":
            one = st.sampled_from(TIMES)
        case "DT":
            one = st.sampled_from(("2020", "20200102103000.5", "202001021030+0100", "20200102"))
        case "IS":
            one = st.sampled_from(("0", "1", "007", "-3"))
        case "US":
            return st.sampled_from(("1", "512"))
        case "DS":
            one = st.sampled_from(("1", "1.0", "70.5", "7e1"))
        case "PN":
            one = st.sampled_from(NAMES)
        case "CS":
            one = st.sampled_from(("CT", "MR", "ct", "A_B", "C%"))
        case _:
            one = st.sampled_from(TEXTS)
    if tag in SEVERAL_VALUES:
        return st.one_of(one, st.lists(one, min_size=2, max_size=3).map("\\".join))
    return one


def values_of(level: Level) -> st.SearchStrategy[Texts]:
    return st.fixed_dictionaries({}, optional={tag: stored(tag) for tag in ATTRIBUTES[level]})


def nodes(level: Level) -> st.SearchStrategy[Node]:
    if level is IMAGE:
        return st.builds(Node, values_of(level))
    below = LEVELS[LEVELS.index(level) + 1]
    return st.builds(Node, values_of(level), st.lists(nodes(below), min_size=1, max_size=2).map(tuple))


def named(patients: Iterable[Node], prefix: str = "1", level: Level = PATIENT) -> tuple[Node, ...]:
    """With unique keys; every third patient has no Patient ID."""
    result = []
    for number, node in enumerate(patients, 1):
        uid = f"{prefix}.{number}"
        nameless = level is PATIENT and number % 3 == 0  # such a patient is one for each study
        key = {} if nameless else {UNIQUE[level]: uid}
        studies = node.below[:1] if nameless else node.below
        below = () if level is IMAGE else named(studies, uid, LEVELS[LEVELS.index(level) + 1])
        result.append(Node({**node.values, **key}, below))
    return tuple(result)


@st.composite
def asked(draw: st.DrawFn, tag: int) -> str:
    """The text of a key: mostly near what is stored."""
    vr = tags.VR_OF[tag]
    near = draw(st.sampled_from(("1", "1.1", "1.2", "1.1.2"))) if tag in UNIQUE.values() else draw(stored(tag))
    match vr:
        case "DA" | "TM" | "DT":
            other = draw(stored(tag))
            return draw(st.sampled_from((near, f"{near}-", f"-{near}", f"{near}-{other}", '""')))
        case "UI":
            return draw(st.sampled_from((near, f"{near}\\1.1.1\\1.2.1", "1.1.1.1\\1.2")))
        case "IS" | "DS" | "US":
            return near
    one = near.split("\\", 1)[0]
    place, kind = draw(st.integers(0, len(one))), draw(st.integers(0, 7))
    match kind:
        case 0:
            return f"{one[:place]}*"
        case 1:
            return f"*{one[place:]}"
        case 2:
            return f"*{one[place : place + 3]}*"
        case 3:
            return f"{one[:place]}?{one[place + 1 :]}"
        case 4:
            return "*".join(one) + "*"
        case 5:
            return '""'
        case 6:
            return near
    return one


@st.composite
def keys(draw: st.DrawFn, level: Level) -> tuple[Key, ...]:
    possible = [tag for upper in LEVELS[: LEVELS.index(level) + 1] for tag in (UNIQUE[upper], *ATTRIBUTES[upper])]
    if level is not PATIENT:
        possible += [tags.MODALITIES_IN_STUDY] * 3
    found = []
    flags = {name: draw(st.booleans()) for name in ("fuzzy", "empty_value", "multiple_values", "combined")}
    for tag in draw(st.lists(st.sampled_from(possible), min_size=1, max_size=2, unique=True)):
        text = draw(asked(tags.MODALITY if tag == tags.MODALITIES_IN_STUDY else tag))
        try:
            key = key_of(tag, element(tag, text), **flags)
        except InvalidKey:
            continue
        found += [key] if key is not None else []
    try:
        return combine(found) if flags["combined"] else tuple(found)
    except InvalidKey:
        return ()


Question = tuple[Level, tuple[Key, ...]]


def queries() -> st.SearchStrategy[Question]:
    return st.sampled_from(LEVELS).flatmap(lambda level: st.tuples(st.just(level), keys(level)))


def element(tag: int, text: str) -> Element:
    vr = tags.VR_OF[tag]
    return Element(vr, (int(text),) if vr == "US" and text.isdecimal() else text)


def entities(patients: Iterable[Node], level: Level, above: Elements | None = None) -> list[tuple[int, Elements]]:
    """What each entity of a level is, in order, with a number."""
    found: list[Elements] = []

    def visit(nodes: Iterable[Node], at: int, above: Elements) -> None:
        for node in nodes:
            own = {tag: element(tag, text) for tag, text in node.values.items()}
            if LEVELS[at] is STUDY:
                modalities = [
                    one for series in node.below for one in series.values.get(tags.MODALITY, "").split("\\") if one
                ]
                own[tags.MODALITIES_IN_STUDY] = Element("CS", "\\".join(modalities))
            merged = {**above, **own}
            if LEVELS[at] is level:
                found.append(merged)
            else:
                visit(node.below, at + 1, merged)

    visit(patients, 0, above or {})
    return list(enumerate(found))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.lists(nodes(PATIENT), min_size=1, max_size=4).map(named),
    st.lists(queries(), min_size=4, max_size=8),
    st.sampled_from(
        (Pace(), Pace(first_rows=1, most_rows=2, hold_s=0.0))
    ),  # rows at once, or mostly by their ids later
)
def test_the_index_finds_what_the_keys_mean(patients: tuple[Node, ...], asked_for: list[Question], pace: Pace) -> None:
    asyncio.run(compare(patients, asked_for, pace))


async def compare(patients: tuple[Node, ...], asked_for: list[Question], pace: Pace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with indexed(Path(folder), pace=pace) as index:
            index.add(map(entry_of, objects(patients)))
            for level, asked_keys in asked_for:
                wanted = [tag for upper in LEVELS[: LEVELS.index(level) + 1] for tag in ATTRIBUTES[upper]]
                rows = await index.find(level, wanted, asked_keys)
                expected = [one for _, one in entities(patients, level) if all_match(asked_keys, one)]
                answers = [tuple(map(shown, wanted, row)) for row in rows]
                assert sorted(answers) == sorted(tuple(text_of(one, tag) for tag in wanted) for one in expected)


def text_of(one: Elements, tag: int) -> str:
    return shown(tag, one[tag].value) if tag in one else ""


def shown(tag: int, value: object) -> str:
    """Numbers by meaning: the index keeps no more of them."""
    if isinstance(value, tuple):
        (value,) = value
    text = str(value)
    return str(int(text)) if tags.VR_OF[tag] == "IS" and text else text
