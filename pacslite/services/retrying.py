"""What fails comes back later: when, and when not any more.

A job that its destination refused has a back-off of its own, in its row. A destination that cannot be reached backs off
as a whole, in memory: after a restart it is tried at once. So does a lane whose rounds come to nothing. What has failed
for longer than a setting says is given up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pacslite.archive.job import Job, Lane
from pacslite.archive.jobs import Failure
from pacslite.facts import DestinationFailed, DestinationRecovered, Observe
from pacslite.services.back_off import BackOffs, Delays, Streak
from pacslite.services.rounds import Round

_ALL_REFUSED: Final = 20
"""A round of which so many jobs failed and none was done: the destination is in no state to be sent more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxManner:
    """How jobs are tried again, and how their lanes take turns."""

    retry_first_s: float = 5.0
    retry_most_s: float = 3600.0
    retry_for_s: float = 7 * 86400.0
    """0 is for ever."""
    longest_s: float = 2 * 86400.0
    """No job is ever put off for longer, but for its time window: one that is saw a clock that went wrong."""
    lease_s: float = 120.0
    poll_s: float = 1.0
    round_s: float = 10.0


class Retrying:
    """Who fails at the moment, and what that means for jobs."""

    def __init__(
        self,
        manner: OutboxManner,
        *,
        observe: Observe,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._retry_for_s = manner.retry_for_s
        self._surely_gone_s = min(manner.retry_for_s, manner.retry_most_s)
        self._observe = observe
        self._clock = clock
        self._delays = Delays(first_s=manner.retry_first_s, most_s=manner.retry_most_s, random=random)
        self._back_offs: BackOffs[str | Lane] = BackOffs(self._delays)

    def ready_at(self, lane: Lane, now: float) -> float:
        """When a round of the lane may begin; ``now`` if it may."""
        return max(self._back_offs.until(lane.destination, now), self._back_offs.until(lane, now))

    def forget(self, destination: str | None = None) -> None:
        """Try it, or everything, at once."""
        self._back_offs.forget(destination)

    # --- Jobs ---

    def failure(self, job: Job, reason: str) -> Failure:
        """When a job that failed by itself is tried again, or that it is not."""
        return self._failure(job, reason, self._clock() + self._delays.after(job.attempts + 1), with_others=False)

    def failure_with_others(self, job: Job, reason: str, *, due_at: float) -> Failure:
        """The same of a job whose destination failed; at ``due_at`` that may be tried again."""
        return self._failure(job, reason, due_at, with_others=True)

    def _failure(self, job: Job, reason: str, due_at: float, *, with_others: bool) -> Failure:
        now = self._clock()
        if not self._retry_for_s:
            return Failure(job=job, reason=reason, due_at=due_at, with_others=with_others)
        failing_since = now if job.failing_since is None else min(job.failing_since, now)
        give_up_at = failing_since + self._retry_for_s
        # The last attempt is when its time is up, not long before.
        return Failure(
            job=job,
            reason=reason,
            due_at=min(due_at, give_up_at),
            give_up=now >= give_up_at,
            with_others=with_others,
        )

    # --- Destinations ---

    def destination_failed(self, round: Round, reason: str) -> Streak:
        """The round's destination could not be reached, or was lost."""
        now, lane = self._clock(), round.lane
        streak, is_news = self._back_offs.failed(lane.destination, began_at=round.began_at, now=now)
        if is_news:
            self._observe(
                DestinationFailed(
                    destination=lane.destination,
                    kind=lane.kind.value,
                    failures=streak.failures,
                    retry_in_s=streak.until - now,
                    reason=reason,
                )
            )
        return streak

    def reached(self, destination: str) -> bool:
        """It has taken something; whether that is news."""
        streak = self._back_offs.succeeded(destination)
        if streak is None:
            return False
        seconds = max(self._clock() - streak.since, 0.0)
        self._observe(DestinationRecovered(destination=destination, failures=streak.failures, seconds=seconds))
        return True

    def give_up_before(self, streak: Streak) -> float | None:
        """Each attempt takes only some of a lane's jobs along. Once it is clear that the destination is not just away
        for a moment, what else has been owed since before this is given up as well."""
        now = self._clock()
        if self._retry_for_s and now - streak.since >= self._surely_gone_s:
            return now - self._retry_for_s
        return None

    # --- Lanes ---

    def lane_failed(self, round: Round) -> None:
        """It came to nothing, and must not begin anew at once."""
        self._back_offs.failed(round.lane, began_at=round.began_at, now=self._clock())

    def round_ended(self, round: Round, *, given_back: int, was_ended: bool) -> None:
        """Without an error; ``was_ended`` before there was nothing left to do."""
        tally = round.tally
        is_refused = tally.failed >= _ALL_REFUSED and not tally.done
        if is_refused or (given_back and not tally.done and not tally.failed and not was_ended):
            self.lane_failed(round)
        elif tally.done:
            self._back_offs.succeeded(round.lane)
