"""Normal forms, names and folding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacslite.dicom.values import (
    NameGroup,
    PersonName,
    fold,
    is_valid_ae_title,
    normalise_ae_title,
    normalise_date,
    normalise_date_time,
    normalise_time,
    parse_person_name,
    to_float,
    to_integer,
)


@pytest.mark.parametrize("padded", ["STORE", " STORE", "STORE           ", b"STORE\0\0", b"  STORE  "])
def test_padding_of_ae_titles_is_not_significant(padded: str | bytes) -> None:
    """UL-12."""
    assert normalise_ae_title(padded) == "STORE"


@pytest.mark.parametrize(
    ("title", "valid"),
    [
        ("STORE", True),
        ("A", True),
        ("CT Room 1-a_@", True),
        ("ABCDEFGHIJKLMNOP", True),
        ("ABCDEFGHIJKLMNOPQ", False),
        ("", False),
        ("    ", False),
        ("A\\B", False),
        ("A\tB", False),
        ("A\nB", False),
        ("A\n", False),
        ("MÜNCHEN", False),
    ],
)
def test_valid_ae_titles(title: str, valid: bool) -> None:
    """UL-12."""
    assert is_valid_ae_title(title) is valid


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("20200229", "20200229"),
        (" 20200229 ", "20200229"),
        ("1997.04.24", "19970424"),
        ("1997-04-24", "19970424"),
        ("1997.0424", ""),
        ("20210229", ""),
        ("20201301", ""),
        ("00000000", ""),
        ("202002", ""),
        ("٢٠٢٠٠١٠١", ""),
        ("20200101-20200202", ""),
        ("", ""),
        ("today", ""),
    ],
)
def test_dates(written: str, normal: str) -> None:
    assert normalise_date(written) == normal


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("2230", "223000.000000"),
        ("22", "220000.000000"),
        ("223000", "223000.000000"),
        ("223000.5", "223000.500000"),
        ("223000.123456 ", "223000.123456"),
        ("223000.12345678", "223000.123456"),
        ("10:20:30", "102030.000000"),
        ("10:20", "102000.000000"),
        ("10:20:30.25", "102030.250000"),
        ("10:2030", ""),
        ("235960", "235960.000000"),
        ("240000", ""),
        ("126000", ""),
        ("223", ""),
        ("", ""),
        ("noon", ""),
    ],
)
def test_times(written: str, normal: str) -> None:
    """QF-14: 2230 means 223000."""
    assert normalise_time(written) == normal


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("20200102030405.678", "20200102030405.678000"),
        ("20200102030405.678+0100", "20200102030405.678000+0100"),
        ("2020", "20200101000000.000000"),
        ("202005-0500", "20200501000000.000000-0500"),
        ("2020010203", "20200102030000.000000"),
        ("20200102030405+1500", ""),
        ("20200102030405+0160", ""),
        ("20200230", ""),
        ("20200102250000", ""),
        ("", ""),
        ("yesterday", ""),
    ],
)
def test_dates_with_times(written: str, normal: str) -> None:
    assert normalise_date_time(written) == normal


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("12", 12),
        (" -7 ", -7),
        ("+5", 5),
        ("007", 7),
        ("12.0", 12),
        ("1e3", 1000),
        ("12.5", None),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, None),
        ("9" * 10000, None),
        ("1_000", None),
        ("", None),
        ("x", None),
        ("nan", None),
        ("١٢", None),
    ],
)
def test_integers(written: str, value: int | None) -> None:
    assert to_integer(written) == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1.50 ", 1.5),
        ("-.5", -0.5),
        ("1E-2", 0.01),
        ("inf", None),
        ("nan", None),
        ("1e999", None),
        ("", None),
        ("1,5", None),
    ],
)
def test_decimals(written: str, value: float | None) -> None:
    assert to_float(written) == value


def test_person_names() -> None:
    name = parse_person_name("Yamada^Tarou=山田^太郎=やまだ^たろう")
    assert name.alphabetic == NameGroup(family="Yamada", given="Tarou")
    assert name.ideographic == NameGroup(family="山田", given="太郎")
    assert name.phonetic.given == "たろう"
    assert (
        str(parse_person_name("Adams^John Robert Quincy^^Rev.^B.A. M.Div."))
        == "Adams^John Robert Quincy^^Rev.^B.A. M.Div."
    )
    assert str(parse_person_name("Doe ^John^^^==")) == "Doe^John"
    assert parse_person_name("") == PersonName()
    assert parse_person_name("=山田").ideographic.family == "山田"
    assert str(parse_person_name("a^b^c^d^e^f=2=3=4")) == "a^b^c^d^e^f=2=3=4"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Müller", "MULLER"),
        ("Jérôme", "jerome"),
        ("Łódź", "lodz"),
        ("Øster", "oster"),
        ("STRASSE", "Straße"),
        ("İstanbul", "istanbul"),
        ("ＹＡＭＡＤＡ", "yamada"),
        ("ﾔﾏﾀﾞ", "やまだ"),
        ("ヤマダ", "やまだ"),
        ("ガ", "か\u3099"),
        ("홍", "\u1112\u1169\u11bc"),
        ("a \t b", "A B"),
        ("أحمد", "احمد"),
        ("Йод", "иод"),
    ],
)
def test_fold_makes_equal(one: str, other: str) -> None:
    """QF-09."""
    assert fold(one) == fold(other)


@pytest.mark.parametrize(("one", "other"), [("か", "が"), ("กา", "กิ"), ("Doe", "Dow")])
def test_fold_keeps_apart(one: str, other: str) -> None:
    assert fold(one) != fold(other)


def test_folded_names_keep_their_delimiters() -> None:
    assert parse_person_name("MÜLLER^Jörg^^^").folded() == "muller^jorg"
    assert parse_person_name("A^=B＝C").folded() == "a=b=c"


@given(st.text(max_size=30))
def test_fold_is_stable_and_nothing_raises(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    parse_person_name(text).folded()
    for function in (normalise_date, normalise_time, normalise_date_time, normalise_ae_title, is_valid_ae_title):
        function(text)
    to_integer(text)
    to_float(text)
