"""Specific Character Set: the standard's own examples, and what senders make of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacslite.dicom.charset import decode_text


def name(raw: bytes, *character_sets: str) -> str:
    return decode_text(raw, character_sets, person_name=True)


def text(raw: bytes, *character_sets: str) -> str:
    return decode_text(raw, character_sets, person_name=False)


@pytest.mark.parametrize(
    ("raw", "character_sets", "expected"),
    [
        (b"Doe^John", (), "Doe^John"),
        (b"Buc^J\xe9r\xf4me", ("ISO_IR 100",), "Buc^Jérôme"),
        (b"\xbb\xee\xda\x63\x65\xdc\xd1\x79\x70\xd3", ("ISO_IR 144",), "Люкceмбypг"),
        (b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", ("ISO_IR 127",), "قباني^لنزار"),
        (b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", ("ISO_IR 126",), "Διονυσιος"),
        (b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", ("ISO_IR 138",), "שרון^דבורה"),
        (b"\xa4 5", ("ISO_IR 203",), "€ 5"),
        ("Wang^XiaoDong=王^小東".encode(), ("ISO_IR 192",), "Wang^XiaoDong=王^小東"),
        ("Wang^XiaoDong=王^小东".encode("gb18030"), ("GB18030",), "Wang^XiaoDong=王^小东"),
        ("王^小东".encode("gbk"), ("GBK",), "王^小东"),
        (  # PS3.5 H.3.1
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            ("", "ISO 2022 IR 87"),
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (  # PS3.5 H.3.2
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
            ("ISO 2022 IR 13", "ISO 2022 IR 87"),
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        ),
        (  # PS3.5 I.2
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            ("", "ISO 2022 IR 149"),
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
        (  # PS3.5 K.2
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
            ("", "ISO 2022 IR 58"),
            "Zhang^XiaoDong=张^小东=",
        ),
        (b"\x1b$(D\x30\x21\x1b(B", ("", "ISO 2022 IR 159"), "丂"),
        (b"Dionysios is \x1b-F\xc4\xe9\xef\xed", ("ISO 2022 IR 100", "ISO 2022 IR 126"), "Dionysios is Διον"),
    ],
)
def test_the_standards_character_sets(raw: bytes, character_sets: tuple[str, ...], expected: str) -> None:
    """QF-20."""
    assert name(raw, *character_sets) == expected


@pytest.mark.parametrize("delimiter", [b"\\", b"\r", b"\n", b"\f", b"\t"])
def test_delimiters_return_to_the_first_character_set(delimiter: bytes) -> None:
    """QF-21."""
    decoded = text(b"\x1b-F\xc4" + delimiter + b"\xc4", "ISO 2022 IR 100", "ISO 2022 IR 126")
    assert decoded == "Δ" + delimiter.decode() + "Ä"


@pytest.mark.parametrize("delimiter", [b"^", b"="])
def test_component_delimiters_do_so_in_names_only(delimiter: bytes) -> None:
    """QF-21."""
    raw = b"\x1b-F\xc4" + delimiter + b"\xc4"
    sets = ("ISO 2022 IR 100", "ISO 2022 IR 126")
    assert name(raw, *sets) == "Δ" + delimiter.decode() + "Ä"
    assert text(raw, *sets) == "Δ" + delimiter.decode() + "Δ"


def test_delimiter_codes_inside_two_byte_characters_are_no_delimiters() -> None:
    """QF-21: bytes 5CH, 5EH and 3DH are halves of kanji while JIS X 0208 is in G0."""
    raw = b"\x1b$B\x3d\x5c\x3d\x5e\x3d\x3d\x1b(B^\x1b$B\x3d\x5c\x1b(B"
    decoded = name(raw, "", "ISO 2022 IR 87")
    assert decoded == raw.decode("iso2022_jp")
    assert "\\" not in decoded
    assert decoded.count("^") == 1


@pytest.mark.parametrize("character_set", ["GB18030", "GBK", "ISO_IR 13"])
def test_5c_as_the_second_byte_of_a_character_is_no_backslash(character_set: str) -> None:
    """QF-21: split into values after decoding."""
    codec = {"GB18030": "gb18030", "GBK": "gbk", "ISO_IR 13": "shift_jis"}[character_set]
    character = {"shift_jis": "表"}.get(codec, "誠")
    assert b"\\" in character.encode(codec)
    raw = f"A{character}\\{character}".encode(codec)
    assert text(raw, character_set).split("\\") == [f"A{character}", character]


def test_yen_of_jis_x_0201() -> None:
    """QF-21: 5CH separates values, and is the yen sign where no value can be separated."""
    for sets in (("ISO_IR 13",), ("ISO 2022 IR 13", "ISO 2022 IR 87")):
        assert decode_text(b"\xb1\\\xb2", sets, person_name=False) == "ｱ\\ｲ"
        assert decode_text(b"\xb1\\\xb2", sets, person_name=False, multi_valued=False) == "ｱ¥ｲ"
        assert decode_text(b"A\\100", sets, person_name=False, multi_valued=False) == "A¥100"
    assert decode_text(b"\x1b(J\\\x1b(B\\", (), person_name=False, multi_valued=False) == "¥\\"


@pytest.mark.parametrize("term", ["", "ISO_IR 6", "ISO 2022 IR 6", "whatever", "ISO_IR 999"])
def test_high_bytes_without_a_character_set_are_utf_8_or_latin_1(term: str) -> None:
    assert name("Müller^Jörg".encode(), term) == "Müller^Jörg"
    assert name("Müller^Jörg".encode("latin-1"), term) == "Müller^Jörg"
    assert name("山田".encode()) == "山田"


@pytest.mark.parametrize(
    ("term", "raw", "expected"),
    [
        ("ISO-IR 100", b"\xe9", "é"),
        ("ISO IR 100", b"\xe9", "é"),
        ("iso_ir_100", b"\xe9", "é"),
        ("ISO_IR100", b"\xe9", "é"),
        ("ISO 2022 IR 100", b"\xe9", "é"),
        ("ISO_2022_IR_101", b"\xb3", "ł"),
        ("ISO-2022-IR-144", b"\xbb", "Л"),
        ("ISO 8859-5", b"\xbb", "Л"),
        ("ISO8859_2", b"\xb3", "ł"),
        ("ISO_IR_192", b"\xc3\xa9", "é"),
        ("UTF-8", b"\xc3\xa9", "é"),
        ("ISO 2022 IR 192", b"\xc3\xa9", "é"),
        ("latin1", b"\xe9", "é"),
        ("windows-1251", b"\xcb", "Л"),
        ("GB2312", b"\xd5\xc5", "张"),
    ],
)
def test_misspelt_terms(term: str, raw: bytes, expected: str) -> None:
    assert text(raw, term) == expected


def test_rules_that_senders_forget() -> None:
    korean = b"\x1b$)C\xc8\xab^\xb1\xe6\xb5\xbf"  # not designated again after the delimiter
    assert name(korean, "", "ISO 2022 IR 149") == "홍^길동"
    assert name(b"\x1b$B;3ED\x1b(B") == "山田"  # not announced
    assert name("山田".encode(), "", "ISO_IR 192") == "山田"  # stand-alone, yet not first
    assert name(b"a\x1bb\x1b", "ISO_IR 100") == "ab"  # a stray escape
    assert name(b"\x1b$B;", "", "ISO 2022 IR 87").endswith("\ufffd")  # half a character


@given(
    raw=st.binary(max_size=60)
    | st.lists(st.sampled_from([b"\x1b$B", b"\x1b(B", b"\x1b)I", b"\xb1", b"=^\\"])).map(b"".join),
    character_sets=st.lists(
        st.sampled_from(
            [
                "",
                "ISO_IR 13",
                "ISO 2022 IR 13",
                "ISO 2022 IR 87",
                "ISO 2022 IR 149",
                "ISO_IR 192",
                "GB18030",
                "ISO_IR 166",
            ]
        )
        | st.text(max_size=20),
        max_size=4,
    ),
    person_name=st.booleans(),
    multi_valued=st.booleans(),
)
def test_decoding_never_fails(raw: bytes, character_sets: list[str], person_name: bool, multi_valued: bool) -> None:
    decoded = decode_text(raw, character_sets, person_name=person_name, multi_valued=multi_valued)
    decoded.encode("utf-8")


def test_what_an_escape_sequence_has_designated_is_not_guessed_again() -> None:
    """JIS X 0208 has signs whose numbers in Latin-1 could be UTF-8."""
    assert text(b"\x1b$B!_!k\x1b(B", "", "ISO 2022 IR 87") == "×°"


def test_a_megabyte_of_delimiters_is_read_in_one_pass() -> None:
    raw = b"\x1b-F\xc4" + b"\\" * (1 << 20)
    assert text(raw, "ISO 2022 IR 100", "ISO 2022 IR 126") == "Δ" + "\\" * (1 << 20)
