"""What is proposed to a destination; STANDARD QR-07, QR-09, ST-05."""

from __future__ import annotations

import pytest

from kit.identifiers import EXPLICIT, IMPLICIT
from kit.samples import CT
from pacslite.archive.selection import Kind
from pacslite.dimse.command import Tag
from pacslite.net.limits import ConnectionLimits
from pacslite.net.requestor import Remote
from pacslite.services.destinations import (
    MAX_CONTEXTS,
    Call,
    Called,
    Callee,
    Originator,
    proposed_contexts,
)

MR, JPEG, RLE = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"
NATIVE = (EXPLICIT, IMPLICIT)
CALL = Call(calling_ae="PACSLITE", limits=ConnectionLimits(), connect_s=1.0, answer_s=1.0)


def called(*, associations: int = 1) -> Called:
    remote = Remote(host="127.0.0.1", port=1, ae_title="SINK")
    callee = Callee(remote=remote, associations=associations)
    return Called(callee, CALL, Originator(ae_title="WS1", message_id=77))


def test_each_stored_syntax_is_proposed_alone_and_both_native_ones_together() -> None:
    proposed = [
        (one.context_id, one.abstract_syntax, one.transfer_syntaxes)
        for one in proposed_contexts({(MR, RLE), (CT, JPEG), (CT, EXPLICIT)})
    ]
    assert proposed == [
        (1, CT, (EXPLICIT,)),
        (3, CT, (JPEG,)),
        (5, CT, NATIVE),
        (7, MR, (RLE,)),
        (9, MR, NATIVE),
    ]


def test_what_cannot_be_proposed_is_left_out() -> None:
    proposed = [one.abstract_syntax for one in proposed_contexts({("", EXPLICIT), ("1" * 65, EXPLICIT), (CT, "")})]
    assert proposed == [CT]


@pytest.mark.parametrize(
    ("classes", "syntaxes", "portions"), [(1, 1, 1), (64, 1, 1), (65, 1, 2), (50, 3, 2), (200, 2, 5)]
)
def test_more_contexts_than_fit_go_over_further_associations(classes: int, syntaxes: int, portions: int) -> None:
    kinds: set[Kind] = {(f"1.2.{one}", f"1.3.{other}") for one in range(classes) for other in range(syntaxes)}
    found = list(called().portions(kinds))
    assert len(found) == portions
    assert sum(len(portion) for portion in found) == len(kinds)
    assert set().union(*found) == kinds
    for portion in found:
        contexts = list(proposed_contexts(portion))
        assert len(contexts) <= MAX_CONTEXTS
        assert {(one.abstract_syntax, one.transfer_syntaxes[0]) for one in contexts} >= set(portion)
        assert [one.context_id for one in contexts] == list(range(1, 2 * len(contexts), 2))


def test_qr_09_nothing_needs_no_association() -> None:
    assert list(called().portions({})) == []


def test_st_05_the_originator_is_sent_along() -> None:
    assert called().elements == {Tag.MOVE_ORIGINATOR_AE_TITLE: "WS1", Tag.MOVE_ORIGINATOR_MESSAGE_ID: 77}
