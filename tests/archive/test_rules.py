"""Forwarding rules: what they match, and what becomes of an object that several of them send."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.encode import EXPLICIT_LITTLE
from kit.samples import CT, EXPLICIT, Sample
from pacslite.archive.job import JobKind, Lane, NewJob, Priority
from pacslite.archive.model import Origin
from pacslite.archive.rules import ForwardRule, Rules
from pacslite.dicom import tags
from pacslite.dicom.header import Header, HeaderReader
from pacslite.dicom.transfer_syntax import transfer_syntax

Values = Mapping[str, bytes | str]

ORIGIN = Origin(
    sop_class_uid=CT, sop_instance_uid="1.2.3.3", transfer_syntax_uid=EXPLICIT, calling_ae="CT1", called_ae="PACSLITE"
)
STUDY = "1.2.3.1"
NOTHING: Values = {}

TEXT_CONDITIONS = {
    "modality": tags.MODALITY,
    "station_name": tags.STATION_NAME,
    "body_part": tags.BODY_PART_EXAMINED,
    "study_description": tags.STUDY_DESCRIPTION,
    "series_description": tags.SERIES_DESCRIPTION,
}


def header_of(values: Values, character_set: str = "ISO_IR 192") -> Header:
    """The header of an object with these values, by the names of the conditions on them."""
    elements = {
        tag: EXPLICIT_LITTLE.element(tag, tags.VR_OF[tag], value.encode() if isinstance(value, str) else value)
        for name, tag in TEXT_CONDITIONS.items()
        if (value := values.get(name)) is not None
    }
    elements[tags.SPECIFIC_CHARACTER_SET] = EXPLICIT_LITTLE.element(tags.SPECIFIC_CHARACTER_SET, "CS", character_set)
    reader = HeaderReader(transfer_syntax(EXPLICIT))
    reader.feed(b"".join(elements[tag] for tag in sorted(elements)))
    return reader.finish()


def owed(
    *rules: ForwardRule, origin: Origin = ORIGIN, study: str = STUDY, values: Values = NOTHING
) -> Sequence[NewJob]:
    return Rules(rules).owed(origin, header_of(values), study_uid=study)


def is_sent(rule: ForwardRule, values: Values = NOTHING, *, origin: Origin = ORIGIN) -> bool:
    return bool(owed(rule, origin=origin, values=values))


def rule(**conditions: object) -> ForwardRule:
    usual = ForwardRule(name="rule", to=("ARCHIVE",))
    return replace(usual, **conditions)  # type: ignore[arg-type] # names and types are checked at run time


# --- Conditions ------------------------------------------------------------------------------------------------------


def test_without_rules_nothing_is_owed() -> None:
    assert owed(values={"modality": "CT"}) == ()


def test_a_rule_without_conditions_sends_everything() -> None:
    (job,) = owed(rule(), values={"modality": "CT"})
    assert job == NewJob(lane=Lane("ARCHIVE", JobKind.FORWARD, "rule"), subject="1.2.3.3", study_uid=STUDY)


@pytest.mark.parametrize("name", TEXT_CONDITIONS)
@pytest.mark.parametrize(
    ("patterns", "value", "matches"),
    [
        (("CT",), "CT", True),
        (("CT",), "CTX", False),
        (("ct",), "CT", True),
        (("MR", "C?"), "CT", True),
        (("*t*",), "KATZ", True),
        (("C[T]",), "CT", False),
        (("C.",), "CT", False),
        ((" CT ",), "CT", True),
        (("CT",), "CT  ", True),
        (("CT",), "  CT", True),
        (("CT",), "MR\\CT ", True),
        (("MR*CT",), "MR\\CT", False),
        (("CT",), "CT\0", True),
        (("*",), "", True),
        (("?",), "", False),
        (("?*",), "", False),
        (("STRASSE",), "straße", True),
    ],
)
def test_text_is_matched_without_case_and_blanks_by_any_value(
    name: str, patterns: tuple[str, ...], value: str, matches: bool
) -> None:
    assert is_sent(rule(**{name: patterns}), {name: value.encode()}) is matches


@pytest.mark.parametrize("name", TEXT_CONDITIONS)
def test_an_attribute_that_is_missing_matches_only_a_star(name: str) -> None:
    assert is_sent(rule(**{name: ("*",)}))
    assert not is_sent(rule(**{name: ("?*", "CT")}))


@pytest.mark.parametrize(
    ("character_set", "raw"),
    [
        ("ISO_IR 192", "Schädel".encode()),
        ("ISO_IR 100", "Schädel".encode("latin-1")),
        ("ISO_IR 101", "Schädel".encode("iso8859-2")),
    ],
)
def test_text_is_decoded_by_the_character_set_of_the_object(character_set: str, raw: bytes) -> None:
    assert Rules([rule(study_description=("SCHÄDEL",))]).owed(
        ORIGIN, header_of({"study_description": raw}, character_set), study_uid=STUDY
    )


def test_the_same_bytes_in_another_character_set_are_another_text() -> None:
    rules = Rules([rule(study_description=("Ж",))])
    raw = "Ж".encode("iso8859-5")
    for character_set, count in (("ISO_IR 144", 1), ("ISO_IR 100", 0), ("ISO_IR 144", 1)):
        header = header_of({"study_description": raw}, character_set)
        assert len(rules.owed(ORIGIN, header, study_uid=STUDY)) == count


@pytest.mark.parametrize(
    ("conditions", "matches"),
    [
        ({"calling_ae": ("CT*",)}, True),
        ({"calling_ae": ("ct*",)}, False),
        ({"calling_ae": (" CT1 ",)}, True),
        ({"called_ae": ("PACSLITE",)}, True),
        ({"called_ae": ("pacslite",)}, False),
        ({"sop_class": (CT,)}, True),
        ({"sop_class": ("1.2.840.10008.5.1.4.1.1.*",)}, True),
        ({"sop_class": ("1.2.840.10008.5.1.4.1.1",)}, False),
        ({"calling_ae": ("CT1",), "called_ae": ("TEACHING",)}, False),
    ],
)
def test_titles_and_uids_are_matched_as_they_are(conditions: dict[str, tuple[str, ...]], matches: bool) -> None:
    assert is_sent(rule(**conditions)) is matches


def test_what_came_from_no_network_has_no_title() -> None:
    origin = replace(ORIGIN, calling_ae="", called_ae="")
    assert is_sent(rule(calling_ae=("*",), called_ae=("*",)), origin=origin)
    assert not is_sent(rule(calling_ae=("?*",)), origin=origin)


def test_all_conditions_must_hold() -> None:
    both = rule(modality=("CT", "MR"), body_part=("HEAD",))
    assert is_sent(both, {"modality": "MR", "body_part": "HEAD"})
    assert not is_sent(both, {"modality": "MR", "body_part": "FOOT"})
    assert not is_sent(both, {"modality": "US", "body_part": "HEAD"})


def test_a_very_long_value_is_matched_too() -> None:
    rules = Rules([rule(study_description=("*a" * 30 + "b",))])
    for text, count in (("a" * 40000, 0), ("a" * 40000 + "b", 1)):
        assert len(rules.owed(ORIGIN, header_of({"study_description": text}), study_uid=STUDY)) == count


# --- Several rules ---------------------------------------------------------------------------------------------------


def test_an_object_is_never_sent_back_to_where_it_came_from() -> None:
    jobs = owed(rule(to=("CT1", "ARCHIVE")))
    assert [job.lane.destination for job in jobs] == ["ARCHIVE"]
    assert owed(rule(to=("CT1",)), origin=replace(ORIGIN, calling_ae="CT1 ")) == ()


def test_each_destination_is_owed_it_once() -> None:
    jobs = owed(rule(name="a", to=("ONE", "TWO")), rule(name="b", to=("TWO", "THREE", "THREE")))
    assert [(job.lane.destination, job.lane.rule) for job in jobs] == [("ONE", "a"), ("TWO", "a"), ("THREE", "b")]


def test_the_rule_that_lets_it_go_first_decides() -> None:
    at_night = rule(name="night", time_window="22:00-06:00", priority=Priority.HIGH)
    slowly = rule(name="slow", on_study=True, quiet_s=300.0)
    quickly = rule(name="quick", on_study=True, quiet_s=20.0, priority=Priority.LOW)
    at_once = rule(name="once", priority=Priority.LOW)
    first = rule(name="first", priority=Priority.LOW)
    for rules, name, quiet_s in (
        ((at_night, slowly, quickly, at_once, first), "once", 0.0),
        ((at_night, slowly, quickly, first, at_once), "first", 0.0),
        ((at_night, slowly, quickly), "quick", 20.0),
        ((at_night, slowly), "slow", 300.0),
    ):
        (job,) = owed(*rules)
        assert (job.lane.rule, job.quiet_s, job.time_window) == (name, quiet_s, "")
        assert job.priority is Priority.HIGH  # the best of all that hold


def test_of_two_rules_that_send_at_once_the_one_of_higher_priority_decides() -> None:
    (job,) = owed(rule(name="low", priority=Priority.LOW), rule(name="high", priority=Priority.HIGH))
    assert (job.lane.rule, job.priority) == ("high", Priority.HIGH)


def test_commitment_is_asked_for_if_one_of_the_rules_wants_it() -> None:
    (job,) = owed(rule(name="a"), rule(name="b", commit=True, time_window="22:00-06:00"))
    assert (job.lane.rule, job.wants_commitment) == ("a", True)


def test_only_rules_that_hold_count() -> None:
    other = rule(name="a", modality=("MR",), priority=Priority.HIGH, commit=True)
    (job,) = owed(other, rule(name="b"), values={"modality": "CT"})
    assert (job.lane.rule, job.priority, job.wants_commitment) == ("b", Priority.MEDIUM, False)


def test_without_a_study_there_is_nothing_to_wait_for() -> None:
    (job,) = owed(rule(on_study=True, quiet_s=20.0), study="")
    assert (job.study_uid, job.quiet_s) == ("", 0.0)


def test_quiet_s_means_nothing_to_a_rule_on_instance() -> None:
    (job,) = owed(rule(quiet_s=20.0))
    assert job.quiet_s == 0.0


# --- Against a slow reference ----------------------------------------------------------------------------------------

_TEXTS = st.text("Ctä* ?", max_size=4).map(lambda text: text.replace("*", "x").replace("?", "y"))
_VALUES = st.one_of(st.none(), _TEXTS, st.tuples(_TEXTS, _TEXTS).map("\\".join))
_PATTERNS = st.one_of(st.just(()), st.lists(st.text("CctTä*?xy", min_size=1, max_size=3), max_size=3).map(tuple))
_TITLES = st.sampled_from(["CT", "ct", "TC", "ARCHIVE", "BACKUP"])
_OBJECTS = st.fixed_dictionaries(dict.fromkeys(TEXT_CONDITIONS, _VALUES) | {"calling": _TITLES, "called": _TITLES})
_RULES = st.lists(
    st.builds(
        ForwardRule,
        name=st.sampled_from("abc"),
        to=st.lists(_TITLES, min_size=1, max_size=2).map(tuple),
        on_study=st.booleans(),
        quiet_s=st.sampled_from([5.0, 60.0]),
        calling_ae=_PATTERNS,
        called_ae=_PATTERNS,
        modality=_PATTERNS,
        station_name=_PATTERNS,
        body_part=_PATTERNS,
        study_description=_PATTERNS,
        series_description=_PATTERNS,
        priority=st.sampled_from(Priority),
        time_window=st.sampled_from(["", "22:00-06:00"]),
        commit=st.booleans(),
    ),
    max_size=4,
)


def _matches(patterns: Sequence[str], values: Sequence[str], *, with_case: bool) -> bool:
    if not patterns:
        return True
    for pattern in patterns:
        for value in [value.strip(" ") for value in values] or [""]:
            expression = fnmatch.translate(pattern.strip(" "))
            if re.fullmatch(expression, value, re.NOFLAG if with_case else re.IGNORECASE):
                return True
    return False


def _holds(rule: ForwardRule, found: dict[str, str | None]) -> bool:
    texts = all(
        _matches(getattr(rule, name), (found[name] or "").split("\\"), with_case=False) for name in TEXT_CONDITIONS
    )
    titles = _matches(rule.calling_ae, [str(found["calling"])], with_case=True) and _matches(
        rule.called_ae, [str(found["called"])], with_case=True
    )
    return texts and titles


def _expected(rules: Sequence[ForwardRule], found: dict[str, str | None]) -> set[NewJob]:
    jobs = set()
    holding = [rule for rule in rules if _holds(rule, found)]
    for destination in {title for rule in holding for title in rule.to} - {found["calling"]}:
        theirs = [rule for rule in holding if destination in rule.to]
        first = sorted(theirs, key=lambda rule: rule.priority)  # sorting is stable: the least important comes first
        first = sorted(first, key=lambda rule: rule.quiet_s if rule.on_study else 0)
        first = sorted(first, key=lambda rule: rule.time_window != "")
        jobs.add(
            NewJob(
                lane=Lane(destination, JobKind.FORWARD, first[0].name),
                subject=ORIGIN.sop_instance_uid,
                study_uid=STUDY,
                priority=min(rule.priority for rule in theirs),
                time_window=first[0].time_window,
                wants_commitment=any(rule.commit for rule in theirs),
                quiet_s=first[0].quiet_s if first[0].on_study else 0.0,
            )
        )
    return jobs


@settings(max_examples=60)
@given(_RULES, st.lists(_OBJECTS, min_size=1, max_size=4))
def test_rules_agree_with_a_slow_reference(rules: list[ForwardRule], objects: list[dict[str, str | None]]) -> None:
    compiled = Rules(rules)
    for found in [*objects, *objects]:  # the second time from memory
        values = {name: text for name in TEXT_CONDITIONS if (text := found[name]) is not None}
        origin = replace(ORIGIN, calling_ae=str(found["calling"]), called_ae=str(found["called"]))
        jobs = compiled.owed(origin, header_of(values), study_uid=STUDY)
        assert len({job.lane.destination for job in jobs}) == len(jobs)
        assert set(jobs) == _expected(rules, found)


def test_a_whole_data_set_is_enough() -> None:
    sample = Sample(more=((tags.BODY_PART_EXAMINED, "CS", "HEAD"),))
    reader = HeaderReader(transfer_syntax(EXPLICIT))
    reader.feed(sample.data_set())
    rules = Rules([rule(modality=("CT",), body_part=("HEAD",))])
    assert len(rules.owed(sample.origin, reader.finish(), study_uid=sample.study)) == 1
