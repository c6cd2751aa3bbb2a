"""What has been delivered, when its destination is asked to commit to it, and what follows from what that answers.

STANDARD SC-03, SC-05.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from kit.delivering import ARCHIVE, ASK, RULE, Delivering, delivering
from kit.samples import CT, rows
from pacslite.archive.deliveries import Answer, Silence
from pacslite.archive.index.delivery_rows import begin_asking, count_overdue
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.job import Priority
from pacslite.archive.rules import ForwardRule

NO_SUCH_OBJECT = 0x0112
PROCESSING_FAILURE = 0x0110


@pytest_asyncio.fixture
async def sent(quick_path: Path) -> AsyncIterator[Delivering]:
    async with delivering(quick_path) as sent:
        yield sent


# --- When it is asked -----------------------------------------------------------------------------------------------


async def test_a_destination_is_asked_once_nothing_more_was_delivered_for_a_while(sent: Delivering) -> None:
    await sent.deliver("1")
    assert sent.asking() == [("waiting", 1000.0, 1010.0, 0, "")]
    sent.now = 1005.0
    await sent.deliver("2")
    assert sent.asking() == [("waiting", 1000.0, 1015.0, 0, "")]


async def test_asking_is_not_put_off_for_ever(sent: Delivering) -> None:
    for _ in range(40):
        sent.now += 5.0
        await sent.deliver("1")
    assert sent.asking() == [("waiting", 1005.0, 1105.0, 0, "")]


async def test_nobody_is_asked_about_what_no_rule_wants_committed(sent: Delivering) -> None:
    await sent.deliver("1", commit=False)
    assert sent.asking() == []
    assert rows(sent.folder, "SELECT sop_class_uid, delivered_at FROM deliveries") == [(CT, 1000.0)]


async def test_every_rule_and_destination_is_asked_by_itself(sent: Delivering) -> None:
    await sent.deliver("1")
    await sent.deliver("1", destination="OTHER")
    await sent.deliver("2", rule="ct")
    asking = rows(sent.folder, "SELECT destination, rule FROM jobs WHERE kind = 'ask'")
    assert set(asking) == {(ARCHIVE, "all"), ("OTHER", "all"), (ARCHIVE, "ct")}


async def test_a_rule_that_wants_no_commitment_takes_nothing_from_one_that_does(sent: Delivering) -> None:
    await sent.deliver("1")
    await sent.deliver("1", rule="copies", commit=False)
    assert rows(sent.folder, "SELECT rule, wants_commitment FROM deliveries") == [("all", 1)]
    assert sent.asking() == [("waiting", 1000.0, 1010.0, 0, "")]


async def test_more_deliveries_leave_who_is_asking_alone(sent: Delivering) -> None:
    """Its end looks at what has come meanwhile; taking its lease away would make it ask twice."""
    await sent.deliver("1")
    sent.now = 1010.0
    (job,) = await sent.take()
    await sent.deliver("2")
    assert [job[0] for job in sent.asking()] == ["running"]
    await sent.settle(job, sent.deliveries.asked(job))
    assert sent.asking() == [("waiting", 1010.0, 1020.0, 0, "")]


async def test_a_question_that_fails_keeps_its_words_and_is_asked_soon_when_the_destination_takes_more(
    sent: Delivering,
) -> None:
    await sent.deliver("1")
    await sent.change("UPDATE jobs SET attempts = 3, last_error = 'refused', due_at = 9000")
    await sent.deliver("2")
    assert sent.asking() == [("waiting", 1000.0, 1100.0, 3, "refused")]


async def test_a_question_that_waits_for_a_result_does_not_keep_later_deliveries_waiting(sent: Delivering) -> None:
    await sent.deliver("1")
    sent.now = 1010.0
    await sent.ask()
    assert sent.asking() == [("waiting", 1010.0, 2010.0, 0, "no result yet")]
    sent.now = 1500.0
    await sent.deliver("2")
    assert sent.asking() == [("waiting", 1500.0, 1510.0, 0, "")]


async def test_a_question_that_was_given_up_begins_anew_with_the_next_delivery(sent: Delivering) -> None:
    await sent.deliver("1")
    await sent.change("UPDATE jobs SET state = 'dead', attempts = 9, last_error = 'refused'")
    sent.now = 1500.0
    await sent.deliver("2")
    assert sent.asking() == [("waiting", 1500.0, 1510.0, 0, "")]


# --- What is asked --------------------------------------------------------------------------------------------------


async def test_a_question_names_what_was_delivered_by_the_rule_and_is_not_answered_yet(sent: Delivering) -> None:
    await sent.deliver("1", "2")
    await sent.deliver("3", rule="other")
    await sent.deliver("4", destination="OTHER")
    sent.now = 1010.0
    (question,) = await sent.ask()
    assert set(question.references) == {(CT, "1"), (CT, "2")}
    assert sent.states() == {"1": "asked", "2": "asked", "3": "to ask", "4": "to ask"}


async def test_many_objects_are_asked_about_in_several_transactions(quick_path: Path) -> None:
    async with delivering(quick_path, most=2) as sent:
        await sent.deliver("1", "2", "3", "4", "5")
        sent.now = 1010.0
        questions = await sent.ask()
    assert [len(question.references) for question in questions] == [2, 2, 1]
    assert len({question.transaction_uid for question in questions}) == 3


async def test_a_question_that_was_not_accepted_is_put_again_in_a_new_transaction(sent: Delivering) -> None:
    await sent.deliver("1", "2")
    sent.now = 1010.0
    (lost,) = await sent.ask(accepted=False)
    await sent.change("UPDATE jobs SET due_at = 1020")  # it failed, or its process was killed
    await sent.deliver("3")
    sent.now = 1020.0
    (question,) = await sent.ask()
    assert {uid for _, uid in question.references} == {"1", "2", "3"}
    assert question.transaction_uid != lost.transaction_uid


async def test_a_question_without_a_result_is_put_again_when_its_time_is_up(sent: Delivering) -> None:
    await sent.deliver("1")
    sent.now = 1010.0
    await sent.ask()
    sent.now = 1500.0
    await sent.deliver("2")
    sent.now = 1510.0
    (about_the_new_one,) = await sent.ask()
    assert about_the_new_one.references == [(CT, "2")]
    assert sent.asking() == [("waiting", 1510.0, 2010.0, 0, "no result yet")]
    sent.now = 2010.0
    (again,) = await sent.ask()
    assert again.references == [(CT, "1")]


async def test_what_waits_for_results_does_not_slow_down_the_next_question(sent: Delivering) -> None:
    """So many steps of SQLite's machine, while nobody else can write: a destination may take days for its results."""
    await sent.deliver("1")
    sent.now += 10
    await sent.ask()
    few = await steps_to_begin(sent)
    await sent.change(
        "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 5000)"
        " INSERT INTO deliveries (sop_instance_uid, sop_class_uid, destination, rule, delivered_at, wants_commitment,"
        f" asked) SELECT '2.' || n, '', '{ARCHIVE}', '{RULE}', 1000, 1, 1 FROM number"
    )
    assert await steps_to_begin(sent) < few * 1.5


async def steps_to_begin(sent: Delivering) -> int:
    """Of asking about one more object."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    def begin(writer: IndexWriter) -> None:
        writer.connection.set_progress_handler(count, 1)
        overdue = sent.now - sent.manner.ask_again_s
        assert count_overdue(writer, ASK, overdue=overdue) == 0
        begin_asking(writer, ASK, overdue=overdue)
        writer.connection.set_progress_handler(None, 0)

    await sent.deliver("new")
    await sent.archive.workshop.index.run(begin)
    return steps


async def test_a_silent_destination_is_given_up_in_the_end(sent: Delivering) -> None:
    await sent.deliver("1", "2")
    sent.now = 1010.0
    await sent.ask()
    assert sent.silence is None
    for _ in range(4):
        sent.now += 1000.0
        assert len(await sent.ask()) == 1
        assert sent.silence == Silence(2, given_up=False)
    sent.now += 1000.0
    assert await sent.ask() == []
    assert sent.silence == Silence(2, given_up=True)
    assert sent.asking() == [("dead", 1010.0, 6010.0, 0, "no result for 2 objects")]


async def test_a_result_that_comes_after_giving_up_still_counts(quick_path: Path) -> None:
    async with delivering(quick_path, give_up_s=1000.0) as sent:
        await sent.deliver("1")
        sent.now = 1010.0
        (question,) = await sent.ask()
        sent.now = 2010.0
        assert await sent.ask() == []
        assert (await sent.answer(question, committed=("1",))).committed == 1
        assert sent.asking() == []


async def test_somebody_who_retries_what_was_given_up_has_it_asked_for_as_long_as_at_first(quick_path: Path) -> None:
    async with delivering(quick_path, give_up_s=1000.0) as sent:
        await sent.deliver("1")
        sent.now = 1010.0
        await sent.ask()
        sent.now = 2010.0
        assert await sent.ask() == []
        await sent.change("UPDATE jobs SET state = 'waiting', due_at = 2020, last_error = ''")
        sent.now = 2020.0
        assert len(await sent.ask()) == 1
        assert sent.asking() == [("waiting", 2020.0, 3020.0, 0, "no result yet")]


async def test_what_was_delivered_again_is_asked_about_again(sent: Delivering) -> None:
    await sent.store("1")
    await sent.deliver("1")
    sent.now = 1010.0
    (question,) = await sent.ask()
    await sent.answer(question, committed=("1",))
    await sent.deliver("1")
    assert sent.states() == {"1": "to ask"}
    assert sent.asking() == [("waiting", 1010.0, 1020.0, 0, "")]


async def test_what_was_left_when_time_was_up_is_asked_about_at_once(quick_path: Path) -> None:
    async with delivering(quick_path, most=1) as sent:
        await sent.deliver("1", "2")
        sent.now = 1010.0
        (job,) = await sent.take()
        await sent.deliveries.begin(job)
        assert await sent.deliveries.question(ASK)
        await sent.settle(job, sent.deliveries.asked(job, all_of_it=False))
        assert sent.asking() == [("waiting", 1010.0, 1010.0, 0, "")]


# --- What is answered -----------------------------------------------------------------------------------------------


async def test_what_is_committed_to_is_done_with(sent: Delivering) -> None:
    await sent.deliver("1", "2")
    sent.now = 1010.0
    (question,) = await sent.ask()
    sent.now = 1030.0
    answered = await sent.answer(question, committed=("1", "2"))
    assert (answered.committed, answered.resent, answered.refused, answered.asked_at) == (2, [], [], 1010.0)
    assert sent.states() == {"1": "committed", "2": "committed"}
    assert sent.asking() == []
    told = rows(sent.folder, "SELECT answered_at, committed, failed FROM commitments_asked")
    assert told == [(1030.0, 2, 0)]


async def test_what_is_not_committed_to_is_sent_again_as_its_rule_says(quick_path: Path) -> None:
    rule = ForwardRule(name="all", to=(ARCHIVE,), priority=Priority.HIGH, time_window="22:00-06:00", commit=True)
    async with delivering(quick_path, rules=(rule,)) as sent:
        await sent.store("1", "2")
        await sent.deliver("1", "2")
        sent.now = 1010.0
        (question,) = await sent.ask()
        answered = await sent.answer(question, committed=("1",), failed={"2": NO_SUCH_OBJECT})
        assert [refusal.sop_instance_uid for refusal in answered.resent] == ["2"]
        assert sent.states() == {"1": "committed", "2": "refused"}
        assert sent.forwards() == [("2", "1.2.3.1", ARCHIVE, "all", 0, "22:00-06:00", 1)]
        assert sent.asking() == []
        assert sent.heard == [ARCHIVE]


async def test_what_was_sent_again_is_asked_about_again_until_it_was_refused_too_often(sent: Delivering) -> None:
    await sent.store("1")
    await sent.deliver("1")
    for _ in range(2):
        sent.now += 10.0
        (question,) = await sent.ask()
        assert len((await sent.answer(question, failed={"1": NO_SUCH_OBJECT})).resent) == 1
        await sent.deliver("1")
    sent.now += 10.0
    (question,) = await sent.ask()
    answered = await sent.answer(question, failed={"1": NO_SUCH_OBJECT})
    assert [(one.sop_instance_uid, one.failure_reason, one.resent) for one in answered.refused] == [
        ("1", NO_SUCH_OBJECT, 2)
    ]
    assert sent.forwards() == []
    assert [(job[0], job[4]) for job in sent.asking()] == [("dead", "not committed to: 1 object (0112H)")]


async def test_what_has_been_deleted_meanwhile_is_not_sent_again(sent: Delivering) -> None:
    await sent.deliver("1")
    sent.now = 1010.0
    (question,) = await sent.ask()
    answered = await sent.answer(question, failed={"1": NO_SUCH_OBJECT})
    assert len(answered.refused) == 1
    assert sent.forwards() == []


async def test_the_same_answer_again_changes_nothing(sent: Delivering) -> None:
    """SC-05, SC-06: an archive repeats a result until it has heard that we have it."""
    await sent.store("2")
    await sent.deliver("1", "2")
    sent.now = 1010.0
    (question,) = await sent.ask()
    await sent.answer(question, committed=("1",), failed={"2": NO_SUCH_OBJECT})
    await sent.change("DELETE FROM jobs")
    again = await sent.answer(question, committed=("1",), failed={"2": NO_SUCH_OBJECT})
    assert (again.committed, again.resent, again.refused) == (0, [], [])
    assert sent.forwards() == []
    assert rows(sent.folder, "SELECT committed, failed FROM commitments_asked") == [(1, 1)]


async def test_what_an_answer_does_not_mention_is_asked_about_again(sent: Delivering) -> None:
    """SC-03 has a result name all of the request; some do not."""
    await sent.deliver("1", "2")
    sent.now = 1010.0
    (question,) = await sent.ask()
    await sent.answer(question, committed=("1",))
    assert sent.asking() == [("waiting", 1010.0, 2010.0, 0, "no result yet")]
    sent.now = 2010.0
    (again,) = await sent.ask()
    assert again.references == [(CT, "2")]


async def test_what_is_said_of_an_object_twice_is_believed_for_the_worse(sent: Delivering) -> None:
    await sent.store("1")
    await sent.deliver("1")
    sent.now = 1010.0
    (question,) = await sent.ask()
    await sent.answer(question, committed=("1",), failed={"1": PROCESSING_FAILURE})
    assert sent.states() == {"1": "refused"}


async def test_an_answer_that_comes_late_still_counts(sent: Delivering) -> None:
    await sent.deliver("1")
    sent.now = 1010.0
    (late,) = await sent.ask()
    sent.now = 2010.0
    await sent.ask()
    assert (await sent.answer(late, committed=("1",))).committed == 1
    assert sent.asking() == []


async def test_a_late_refusal_waits_for_the_answer_to_the_newer_question(sent: Delivering) -> None:
    await sent.store("1")
    await sent.deliver("1")
    sent.now = 1010.0
    (late,) = await sent.ask()
    sent.now = 2010.0
    (newer,) = await sent.ask()
    assert (await sent.answer(late, failed={"1": NO_SUCH_OBJECT})).resent == []
    assert (await sent.answer(newer, committed=("1",))).committed == 1


async def test_a_late_answer_says_nothing_of_what_was_delivered_since(sent: Delivering) -> None:
    """With other content, perhaps."""
    await sent.deliver("1")
    sent.now = 1010.0
    (late,) = await sent.ask()
    sent.now = 1020.0
    await sent.deliver("1")
    assert (await sent.answer(late, committed=("1",))).committed == 0
    assert sent.states() == {"1": "to ask"}


async def test_what_an_answer_makes_up_changes_nothing(sent: Delivering) -> None:
    await sent.deliver("1")
    await sent.deliver("2", destination="OTHER")
    sent.now = 1010.0
    (question,) = await sent.ask()
    answered = await sent.answer(question, committed=("2", "3"), failed={"4": NO_SUCH_OBJECT})
    assert (answered.committed, answered.resent, answered.refused) == (0, [], [])
    assert sent.states() == {"1": "asked", "2": "to ask"}


async def test_an_unknown_transaction_is_none_of_ours(sent: Delivering) -> None:
    assert await sent.deliveries.asked_of("1.2.3") is None
    assert await sent.deliveries.answer(Answer(transaction_uid="1.2.3", committed=(), failed=())) is None


async def test_an_answer_may_come_while_it_is_still_being_asked(sent: Delivering) -> None:
    """On the same association, even before N-ACTION is confirmed; the job is settled by who has it."""
    await sent.deliver("1")
    sent.now = 1010.0
    (job,) = await sent.take()
    await sent.deliveries.begin(job)
    question = await sent.deliveries.question(ASK)
    assert question is not None
    assert await sent.deliveries.asked_of(question.transaction_uid) == ARCHIVE
    await sent.answer(question, committed=("1",))
    assert [job[0] for job in sent.asking()] == ["running"]
    await sent.deliveries.accepted(question)
    await sent.settle(job, sent.deliveries.asked(job))
    assert sent.asking() == []


async def test_an_answer_does_not_put_off_a_question_that_was_not_accepted(quick_path: Path) -> None:
    async with delivering(quick_path, most=1) as sent:
        await sent.deliver("1", "2")
        sent.now = 1010.0
        (job,) = await sent.take()
        await sent.deliveries.begin(job)
        accepted, refused = await sent.deliveries.question(ASK), await sent.deliveries.question(ASK)
        assert accepted is not None
        assert refused is not None
        await sent.deliveries.accepted(accepted)
        await sent.archive.outbox.fail(job, reason="too busy", due_at=1015.0)
        await sent.answer(accepted, committed=[uid for _, uid in accepted.references])
        assert sent.asking() == [("waiting", 1000.0, 1015.0, 1, "too busy")]
        sent.now = 1015.0
        (again,) = await sent.ask()
        assert again.references == refused.references


async def test_somebody_who_retries_what_was_refused_has_it_asked_and_sent_anew(sent: Delivering) -> None:
    await sent.deliver("1")
    sent.now = 1010.0
    (question,) = await sent.ask()
    await sent.answer(question, failed={"1": NO_SUCH_OBJECT})
    assert [job[0] for job in sent.asking()] == ["dead"]
    await sent.store("1")
    await sent.change("UPDATE jobs SET state = 'waiting', due_at = 0")
    (again,) = await sent.ask()
    answered = await sent.answer(again, failed={"1": NO_SUCH_OBJECT})
    assert [refusal.resent for refusal in answered.resent] == [0]


async def test_somebody_who_does_not_want_to_wait_has_everything_asked_anew(sent: Delivering) -> None:
    """So it is after a crash in the middle of asking, too."""
    await sent.deliver("1")
    sent.now = 1010.0
    await sent.ask()
    await sent.change("UPDATE jobs SET due_at = 0")
    (again,) = await sent.ask()
    assert again.references == [(CT, "1")]
