"""SOP Class Extended Negotiation of queries (PS3.4 C.5.1.1). STANDARD DM-04, QF-06, QF-15, QF-16, QF-23."""

from __future__ import annotations

import pytest

from pacslite.services.negotiated import Agreed, find_negotiation


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        (b"\1", b"\1"),
        (b"\0", b"\0"),
        (b"\1\1\1", b"\1\1\1"),
        (b"\0\1\0\1", b"\0\1\0\1"),
        (b"\1\1\1\1\1", b"\1\1\1\1\0"),
        (b"\1\1\1\1\1\1\1", b"\1\1\1\1\0\1\1"),
        (b"\1\1\1\1\1\1\1\1\1", b"\1\1\1\1\0\1\1"),
        (b"\2\xff\1", b"\0\0\1"),
        (b"", None),
    ],
)
def test_dm_04_what_is_offered_is_answered_byte_by_byte_and_nothing_else(
    offered: bytes, answered: bytes | None
) -> None:
    assert find_negotiation(offered) == answered


def test_without_negotiation_nothing_is_agreed() -> None:
    assert Agreed.by(b"") == Agreed()


@pytest.mark.parametrize(
    ("byte", "agreed"),
    [
        (1, Agreed(relational=True)),
        (2, Agreed(combined_date_time=True)),
        (3, Agreed(fuzzy=True)),
        (4, Agreed(time_zone=True)),
        (5, Agreed()),
        (6, Agreed(empty_value=True)),
        (7, Agreed(multiple_values=True)),
    ],
)
def test_each_byte_agrees_on_one_thing(byte: int, agreed: Agreed) -> None:
    offered = bytes(byte - 1) + b"\1"
    assert Agreed.by(find_negotiation(offered) or b"") == agreed
