"""The plan of ``pacslite send``: which file goes over which association, and what that association is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pacslite.cli.sending_plan import MAX_CONTEXTS, ContextKey, SendableFile, SendingPlan, presentation_contexts


def make_file(number: int, sop_class: str = "1.2.3", transfer_syntax: str = "1.2.840.10008.1.2.1") -> SendableFile:
    return SendableFile(
        path=Path(f"/folder/{number}.dcm"),
        sop_class_uid=sop_class,
        sop_instance_uid=f"2.25.{number}",
        transfer_syntax_uid=transfer_syntax,
        data_set_offset=400,
        data_set_bytes=1000,
    )


def plan_of(files: list[SendableFile], *, max_contexts: int = MAX_CONTEXTS) -> SendingPlan:
    plan = SendingPlan(max_contexts=max_contexts)
    for file in files:
        plan.add(file)
    return plan


def test_files_come_back_in_their_order() -> None:
    files = [make_file(n, sop_class=f"1.2.{n % 3}") for n in range(10)]
    plan = plan_of(files)
    keys = plan.contexts_to_propose()
    assert [plan.take(keys) for _ in files] == files
    assert plan.take(keys) is None
    assert len(plan) == 0


def test_one_context_for_each_sop_class_in_each_transfer_syntax() -> None:
    plan = plan_of([make_file(1, "1.2.3", "1.2"), make_file(2, "1.2.3", "1.3"), make_file(3, "1.2.3", "1.2")])
    assert plan.contexts_to_propose() == (ContextKey("1.2.3", "1.2"), ContextKey("1.2.3", "1.3"))


def test_what_is_not_covered_stays_and_is_proposed_next() -> None:
    covered, other = make_file(1, "1.2.1"), make_file(2, "1.2.2")
    plan = plan_of([other, covered])
    assert plan.take([covered.context]) == covered
    assert plan.take([covered.context]) is None
    assert len(plan) == 1
    # What was needed before fills the room that is left, so that the next folder need not ask again.
    assert plan.contexts_to_propose() == (other.context, covered.context)


def test_more_than_128_contexts_need_several_associations() -> None:
    """UL-13: context IDs are odd numbers up to 255, so one association has room for 128."""
    plan = plan_of([make_file(n, sop_class=f"1.2.{n}") for n in range(300)])
    associations = []
    while len(plan):
        keys = plan.contexts_to_propose()
        contexts = presentation_contexts(keys)
        assert [context.context_id for context in contexts] == list(range(1, 257, 2))
        associations.append(0)
        while plan.take(keys):
            associations[-1] += 1
    assert associations == [128, 128, 44]


def test_a_file_that_is_added_again_waits_behind_the_others() -> None:
    first, second = make_file(1), make_file(2)
    plan = plan_of([first, second])
    taken = plan.take_any()
    assert taken == first
    plan.add(replace(first, attempts=1))
    assert plan.take_any() == second
    assert plan.take_any() == replace(first, attempts=1)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=60),
    st.integers(1, 12),
)
def test_every_file_is_sent_once_whatever_the_mixture(kinds: list[tuple[int, int]], max_contexts: int) -> None:
    files = [make_file(n, f"1.2.{a}", f"1.3.{b}") for n, (a, b) in enumerate(kinds)]
    plan = plan_of(files, max_contexts=max_contexts)
    sent: list[SendableFile] = []
    while len(plan):
        keys = plan.contexts_to_propose()
        assert len(keys) == len(set(keys)) <= max_contexts
        before = len(sent)
        while file := plan.take(keys):
            sent.append(file)
        assert len(sent) > before
    assert sorted(file.path for file in sent) == sorted(file.path for file in files)
