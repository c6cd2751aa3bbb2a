"""Back-off: longer from failure to failure, bounded, varied; over when it works again, or the clock says nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacslite.services.back_off import VARIED_TO, BackOffs, Delays

FIRST_S, MOST_S = 5.0, 3600.0


def delays(chance: float = 0.5) -> Delays:
    return Delays(first_s=FIRST_S, most_s=MOST_S, random=lambda: chance)


def test_delays_double_up_to_the_most() -> None:
    after = delays().after
    assert [after(failures) for failures in (1, 2, 3, 10, 11, 1000, 10**9)] == [5, 10, 20, 2560, 3600, 3600, 3600]


@given(failures=st.integers(1, 10**6), chance=st.floats(0, 1))
def test_delays_are_varied_by_a_quarter_at_most(failures: int, chance: float) -> None:
    usual = delays().after(failures)
    assert usual * 0.75 <= delays(chance).after(failures) <= usual * VARIED_TO


def test_failures_at_the_same_time_are_one() -> None:
    back_offs: BackOffs[str] = BackOffs(delays())
    first, is_news = back_offs.failed("A", began_at=0.0, now=10.0)
    assert (first.failures, first.since, first.until, is_news) == (1, 10.0, 15.0, True)
    assert back_offs.failed("A", began_at=5.0, now=12.0) == (first, False)
    second, is_news = back_offs.failed("A", began_at=15.0, now=20.0)
    assert (second.failures, second.since, second.until, is_news) == (2, 10.0, 30.0, True)
    assert back_offs.until("A", 21.0) == 30.0
    assert back_offs.until("B", 21.0) == 21.0


def test_a_success_ends_it_and_the_next_failure_is_the_first() -> None:
    back_offs: BackOffs[str] = BackOffs(delays())
    for at in (0.0, 10.0, 30.0):
        back_offs.failed("A", began_at=at, now=at + 1)
    ended = back_offs.succeeded("A")
    assert ended is not None
    assert (ended.failures, ended.since) == (3, 1.0)
    assert back_offs.succeeded("A") is None
    assert back_offs.until("A", 40.0) == 40.0
    assert back_offs.failed("A", began_at=40.0, now=41.0)[0].until == 46.0


@pytest.mark.parametrize("key", ["A", None])
def test_trying_at_once_forgets_no_failure(key: str | None) -> None:
    back_offs: BackOffs[str] = BackOffs(delays())
    for at in (0.0, 10.0):
        back_offs.failed("A", began_at=at, now=at + 1)
    back_offs.failed("B", began_at=0.0, now=1.0)
    back_offs.forget(key)
    back_offs.forget("C")
    assert back_offs.until("A", 12.0) == 12.0
    assert back_offs.until("B", 2.0) == (6.0 if key else 2.0)
    assert back_offs.failed("A", began_at=12.0, now=13.0)[0].failures == 3


def test_a_clock_that_is_put_back_makes_nobody_wait_longer() -> None:
    back_offs: BackOffs[str] = BackOffs(delays())
    back_offs.failed("A", began_at=1e6, now=1e6)
    assert back_offs.until("A", 0.0) == 0.0
    again, is_news = back_offs.failed("A", began_at=0.0, now=1.0)
    assert (again.failures, again.until, again.since, is_news) == (2, 11.0, 1.0, True)
