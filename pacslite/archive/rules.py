"""Forwarding rules: to whom an object is owed that has just been stored.

Theory of operation. A rule holds if each condition that is given holds; a condition is a list of patterns, and holds if
one of them matches one of the values. ``*`` is any number of characters, ``?`` exactly one. AE titles and UIDs are
compared as they are, text without regard to case, after it has been decoded by the object's Specific Character Set;
blanks at either end never count. An attribute without a value, or without an attribute, is an empty text: only ``*``
matches that.

All rules that hold are put together, so that an object is owed once to each destination, and never to the one that it
came from. What decides where it waits, and within which limits it is sent, is the rule that lets it go first: without a
time window rather than with one, on instance rather than on study, the shorter quiet time, the higher priority, the
first in the file. The priority is the highest of all those rules, and commitment is asked for if one of them wants it.

A rule on study waits until nothing has come of the study for a while, be it objects that the rule sends or others.

Objects of a series mostly say the same, so what was decided is remembered by the raw bytes that decided it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pacslite.archive.job import JobKind, Lane, NewJob, Priority
from pacslite.archive.model import Origin
from pacslite.dicom import tags
from pacslite.dicom.header import Header
from pacslite.dicom.wildcard import matcher

Patterns = tuple[str, ...]

_REMEMBERED = 1024
_SHORT = 1024
"""Bytes of all values of one object together that are worth remembering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardRule:
    """What is sent on to whom. Conditions are patterns; none is no condition."""

    name: str
    to: tuple[str, ...]
    """AE titles."""
    on_study: bool = False
    """When the study has been quiet for ``quiet_s`` rather than at once."""
    quiet_s: float = 60.0
    calling_ae: Patterns = ()
    called_ae: Patterns = ()
    modality: Patterns = ()
    sop_class: Patterns = ()
    station_name: Patterns = ()
    body_part: Patterns = ()
    study_description: Patterns = ()
    series_description: Patterns = ()
    priority: Priority = Priority.MEDIUM
    time_window: str = ""
    bytes_per_s: int = 0
    associations: int = 0
    commit: bool = False


class Rules:
    """Rules as they apply to objects. Any thread may ask."""

    def __init__(self, rules: Iterable[ForwardRule]) -> None:
        self._rules = tuple(_Compiled(number, rule) for number, rule in enumerate(rules))
        self._waiting = tuple((one.rule.name, one.rule.quiet_s) for one in self._rules if one.rule.on_study)
        looked_at = {tag for rule in self._rules for tag, _ in rule.texts}
        self._tags = tuple(sorted(looked_at))
        self._decide = lru_cache(_REMEMBERED)(self._decided)

    def owed(self, origin: Origin, header: Header, *, study_uid: str) -> tuple[NewJob, ...]:
        """The forwards of an object: one for each destination at most."""
        if not self._rules:
            return ()
        raws = tuple(map(header.elements.get, self._tags))
        decide = self._decide if sum(len(raw) for raw in raws if raw) <= _SHORT else self._decided
        return tuple(
            NewJob(
                lane=forward.lane,
                subject=origin.sop_instance_uid,
                study_uid=study_uid,
                priority=forward.priority,
                time_window=forward.time_window,
                wants_commitment=forward.commit,
                # Without a study there is nothing to wait for.
                quiet_s=forward.quiet_s if study_uid else 0.0,
            )
            for forward in decide(
                origin.calling_ae, origin.called_ae, origin.sop_class_uid, header.character_sets, raws
            )
        )

    def disturbed(self, owed: Sequence[NewJob]) -> tuple[tuple[str, float], ...]:
        """The rules that wait until a study is quiet, and for how many seconds, but for those that hold what is owed:
        these know of the object.
        """
        if not self._waiting:
            return ()
        holding = {job.lane.rule for job in owed if job.quiet_s}
        return tuple(rule for rule in self._waiting if rule[0] not in holding)

    def _decided(
        self,
        calling_ae: str,
        called_ae: str,
        sop_class_uid: str,
        character_sets: tuple[str, ...],
        raws: tuple[bytes | None, ...],
    ) -> tuple[_Forward, ...]:
        header = _header_of(self._tags, raws, character_sets)
        texts = {tag: tuple(map(_folded, header.texts(tag))) or ("",) for tag in self._tags}
        calling_ae = calling_ae.strip(" ")
        named = (calling_ae, called_ae.strip(" "), sop_class_uid)
        holding: dict[str, list[_Compiled]] = {}
        for rule in self._rules:
            if rule.holds(named, texts):
                for destination in rule.rule.to:
                    if destination != calling_ae:
                        holding.setdefault(destination, []).append(rule)
        return tuple(_together(destination, rules) for destination, rules in holding.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Forward:
    """What is the same for all objects of which the same was decided."""

    lane: Lane
    priority: Priority
    time_window: str
    quiet_s: float
    commit: bool


class _Compiled:
    """A rule with its conditions as functions."""

    __slots__ = ("named", "order", "rule", "texts")

    def __init__(self, number: int, rule: ForwardRule) -> None:
        self.rule = rule
        self.order = (bool(rule.time_window), rule.quiet_s if rule.on_study else 0.0, rule.priority, number)
        self.named = tuple(
            (place, _condition([pattern.strip(" ") for pattern in patterns]))
            for place, patterns in enumerate((rule.calling_ae, rule.called_ae, rule.sop_class))
            if patterns
        )
        self.texts = tuple(
            (tag, _condition([_folded(pattern) for pattern in patterns]))
            for tag, patterns in (
                (tags.MODALITY, rule.modality),
                (tags.STATION_NAME, rule.station_name),
                (tags.BODY_PART_EXAMINED, rule.body_part),
                (tags.STUDY_DESCRIPTION, rule.study_description),
                (tags.SERIES_DESCRIPTION, rule.series_description),
            )
            if patterns
        )

    def holds(self, named: Sequence[str], texts: dict[int, tuple[str, ...]]) -> bool:
        return all(condition(named[place]) for place, condition in self.named) and all(
            any(map(condition, texts[tag])) for tag, condition in self.texts
        )


def _together(destination: str, rules: Sequence[_Compiled]) -> _Forward:
    first = min(rules, key=lambda rule: rule.order).rule
    return _Forward(
        lane=Lane(destination, JobKind.FORWARD, first.name),
        priority=min(rule.rule.priority for rule in rules),
        time_window=first.time_window,
        quiet_s=first.quiet_s if first.on_study else 0.0,
        commit=any(rule.rule.commit for rule in rules),
    )


def _condition(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether one of the patterns matches. However they are made, the work is in proportion to the text."""
    matchers = tuple(map(matcher, patterns))
    if len(matchers) == 1:
        return matchers[0]
    return lambda text: any(matches(text) for matches in matchers)


def _folded(text: str) -> str:
    return text.strip(" ").casefold()


def _header_of(tags_: tuple[int, ...], raws: tuple[bytes | None, ...], character_sets: tuple[str, ...]) -> Header:
    return Header(
        elements={tag: raw for tag, raw in zip(tags_, raws, strict=True) if raw},
        request_attributes=(),
        complete=True,
        problem="",
        big_endian=False,  # text has no byte order
        character_sets=character_sets,
    )
