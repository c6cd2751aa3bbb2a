"""Counting sub-operations and telling the requester in time; STANDARD QR-02, QR-03, QR-05, QR-10."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pacslite.services.progress import Progress, Reports

REMAINING, COMPLETED, FAILED, WARNING = 0x1020, 0x1021, 0x1022, 0x1023


def test_qr_02_remaining_is_only_told_where_it_may_be() -> None:
    progress = Progress(10, completed=3, warning=1)
    assert progress.counters(remaining=True) == {REMAINING: 6, COMPLETED: 3, FAILED: 0, WARNING: 1}
    assert progress.counters(remaining=False) == {COMPLETED: 3, FAILED: 0, WARNING: 1}


def test_qr_03_each_is_counted_once_and_all_together_are_the_total() -> None:
    progress = Progress(10, completed=3, warning=2)
    progress.fail("1.2", "refused with A700")
    counters = progress.counters(remaining=True)
    assert sum(int(str(count)) for count in counters.values()) == 10
    assert counters[COMPLETED] == 3


def test_qr_03_more_than_the_counters_can_hold() -> None:
    counters = Progress(200_000, completed=70_000).counters(remaining=True)
    assert (counters[REMAINING], counters[COMPLETED]) == (0xFFFF, 0xFFFF)


def test_qr_05_the_list_of_failed_ones() -> None:
    progress = Progress(3)
    assert progress.failed_list == {}
    progress.fail("1.2", "refused with A700")
    progress.fail("1.3", "refused with A700")
    ((tag, element),) = progress.failed_list.items()
    assert (tag, element.vr, element.value) == (0x00080058, "UI", "1.2\\1.3")
    assert progress.why_failed == "refused with A700"
    progress.fail("1.4", "file is gone")
    assert progress.why_failed == "2: refused with A700; 1: file is gone"


# --- When ------------------------------------------------------------------------------------------------------------


def reported(
    changes: list[float], until: float, pending_s: float = 1.0, *, requester_has_the_turn: bool = False
) -> list[float]:
    """The times of all reports when something changes at ``changes``, asked for as a service does."""
    progress, now = Progress(1000), 100.0
    reports, said = Reports(pending_s, now), []
    due = [100.0 + at for at in changes]
    while now <= 100.0 + until:
        now += max(reports.wait_s(now), 0.001)
        while due and due[0] <= now:
            progress.completed += 1
            due.pop(0)
        if reports.is_due(progress, now, requester_has_the_turn=requester_has_the_turn):
            said.append(round(now - 100.0, 2))
    return said


def test_qr_10_a_flood_of_changes_is_reported_once_a_second() -> None:
    said = reported([at / 500 for at in range(2500)], until=6.0)
    assert len(said) in (5, 6)
    assert all(0.99 <= later - earlier <= 1.02 for earlier, later in pairwise(said[:5]))


def test_qr_10_silence_is_broken_every_five_seconds() -> None:
    said = reported([], until=20.0)
    assert len(said) >= 4
    assert all(later - earlier <= 5.01 for earlier, later in pairwise([0.0, *said]))


def test_a_requester_that_has_yet_to_answer_for_an_object_is_only_told_of_changes() -> None:
    """In a C-GET a report would pass for a sign of the requester's own life, and its answer be waited for for ever."""
    assert reported([], until=60.0, requester_has_the_turn=True) == []
    (told,) = reported([7.5], until=60.0, requester_has_the_turn=True)
    assert 7.5 <= told <= 8.51


def test_qr_10_a_change_after_silence_is_reported_within_the_time() -> None:
    (first, *_) = reported([2.5], until=4.0)
    assert 2.5 <= first <= 3.51


@pytest.mark.parametrize("pending_s", [0.01, 3.0, 60.0])
def test_qr_10_no_setting_makes_it_silent_for_longer(pending_s: float) -> None:
    said = reported([], until=16.0, pending_s=pending_s)
    assert all(later - earlier <= 5.01 for earlier, later in pairwise([0.0, *said]))
    assert len(said) >= 3


def test_nothing_is_reported_before_its_time() -> None:
    reports = Reports(1.0, 100.0)
    assert not reports.is_due(Progress(5, completed=5), 100.5)
    assert reports.is_due(Progress(5, completed=5), 101.0)
    assert not reports.is_due(Progress(5, completed=5), 102.5)
