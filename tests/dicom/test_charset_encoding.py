"""Unicode to the requester's character set: what decode_text, pydicom and Python's own codecs read back."""

from __future__ import annotations

import pydicom.charset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacslite.dicom.charset import SINGLE_BYTE, decode_text
from pacslite.dicom.charset_encoding import text_encoder

JAPANESE = ("", "ISO 2022 IR 87")
KATAKANA = ("ISO 2022 IR 13", "ISO 2022 IR 87")
ALL_JAPANESE = ("ISO 2022 IR 13", "ISO 2022 IR 87", "ISO 2022 IR 159")
KOREAN = ("", "ISO 2022 IR 149")
CHINESE = ("", "ISO 2022 IR 58")
LATIN_CYRILLIC = ("ISO 2022 IR 100", "ISO 2022 IR 144")

EVERY_SET = [
    (),
    *((f"ISO_IR {number}",) for number in SINGLE_BYTE),
    ("ISO_IR 13",),
    ("ISO_IR 192",),
    ("GB18030",),
    ("GBK",),
    JAPANESE,
    KATAKANA,
    ALL_JAPANESE,
    KOREAN,
    CHINESE,
    LATIN_CYRILLIC,
    ("", "ISO 2022 IR 13", "ISO 2022 IR 87"),
    ("", "ISO 2022 IR 87", "ISO 2022 IR 149", "ISO 2022 IR 58"),
    ("ISO 2022 IR 126", "ISO 2022 IR 101", "ISO 2022 IR 166"),
    ("ISO 2022 IR 87",),
    ("nonsense", "ISO 2022 IR 149"),
]
# Letters of every script, one per repertoire at least, delimiters, and what looks alike but is not the same.
LETTERS = "aZ ~^=\\\t\r\néÅłЛΔع א€ก¥‾ｱﾞ山田やヤ丂홍洪张东張—·°×￥﹏🀄"
TEXTS = st.text(st.sampled_from(LETTERS) | st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)


def encode_text(
    text: str, character_sets: tuple[str, ...], *, person_name: bool, multi_valued: bool = True
) -> bytes | None:
    return text_encoder(character_sets).encode(text, person_name=person_name, multi_valued=multi_valued)


@given(
    text=TEXTS,
    character_sets=st.sampled_from(EVERY_SET) | st.lists(st.sampled_from(["", "ISO_IR 100", "x", "GBK"])).map(tuple),
    person_name=st.booleans(),
    multi_valued=st.booleans(),
)
def test_what_is_encoded_is_read_back(
    text: str, character_sets: tuple[str, ...], person_name: bool, multi_valued: bool
) -> None:
    """QF-20, QF-21: in the sets that label the bytes, and in the spelling of the requester."""
    raw = encode_text(text, character_sets, person_name=person_name, multi_valued=multi_valued)
    if raw is None:
        assert not text.isascii() or "\x1b" in text or "\\" in text
        return
    for label in (text_encoder(character_sets).terms, character_sets):
        assert decode_text(raw, label, person_name=person_name, multi_valued=multi_valued) == text


@given(text=TEXTS)
def test_utf_8_takes_everything(text: str) -> None:
    """QF-20."""
    assert encode_text(text, ("ISO_IR 192",), person_name=True) == text.encode()


@pytest.mark.parametrize(
    "character_sets",
    [tuple(f"ISO 2022 IR {number}" for number in SINGLE_BYTE), ("GBK",), ALL_JAPANESE, KOREAN, CHINESE],
    ids="+".join,
)
def test_every_character_that_a_set_has_is_read_back(character_sets: tuple[str, ...]) -> None:
    """QF-20: none is representable by one side's tables only, nor disturbs the letter behind it."""
    encoder = text_encoder(character_sets)
    count = 0
    for number in (*range(0x20, 0x7F), *range(0xA0, 0xD800), *range(0xE000, 0x10000)):
        text = f"{chr(number)}a"
        raw = encoder.encode(text)
        if raw is not None:
            count += 1
            assert decode_text(raw, encoder.terms, person_name=False) == text
    assert count > 500


@pytest.mark.parametrize(
    ("text", "character_sets", "expected"),
    [
        (  # PS3.5 H.3.1
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
            JAPANESE,
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        ),
        (  # PS3.5 H.3.2
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
            KATAKANA,
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        ),
        (  # PS3.5 I.2
            "Hong^Gildong=洪^吉洞=홍^길동",
            KOREAN,
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        ),
        (  # PS3.5 K.2
            "Zhang^XiaoDong=张^小东=",
            CHINESE,
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        ),
        (
            "Dionysios is Διον^ä",
            ("ISO 2022 IR 100", "ISO 2022 IR 126"),
            b"Dionysios is \x1b-F\xc4\xe9\xef\xed\x1b-A^\xe4",
        ),
        ("Ä", ("ISO_IR 100",), b"\xc4"),
        ("王^小东", ("GB18030",), "王^小东".encode("gb18030")),
        ("丂", ALL_JAPANESE, b"\x1b$(D\x30\x21\x1b(J"),
    ],
)
def test_the_standards_examples(text: str, character_sets: tuple[str, ...], expected: bytes) -> None:
    """QF-20, QF-21."""
    assert encode_text(text, character_sets, person_name=True) == expected


@pytest.mark.parametrize("delimiter", ["\\", "\r", "\n", "\f", "\t"])
def test_escape_state_ends_at_delimiters(delimiter: str) -> None:
    """QF-21: value 1 is designated again before, the other set again behind."""
    assert encode_text(f"Ж{delimiter}Ж", LATIN_CYRILLIC, person_name=False) == (
        b"\x1b-L\xb6\x1b-A" + delimiter.encode() + b"\x1b-L\xb6\x1b-A"
    )
    assert encode_text(f"山{delimiter}山", JAPANESE, person_name=False) == (
        b"\x1b$B;3\x1b(B" + delimiter.encode() + b"\x1b$B;3\x1b(B"
    )


@pytest.mark.parametrize("delimiter", ["^", "="])
def test_component_delimiters_end_it_in_names_only(delimiter: str) -> None:
    """QF-21."""
    raw = delimiter.encode()
    assert (
        encode_text(f"Ж{delimiter}Ж", LATIN_CYRILLIC, person_name=True)
        == b"\x1b-L\xb6\x1b-A" + raw + b"\x1b-L\xb6\x1b-A"
    )
    assert encode_text(f"Ж{delimiter}Ж", LATIN_CYRILLIC, person_name=False) == b"\x1b-L\xb6" + raw + b"\xb6\x1b-A"


def test_a_backslash_is_no_yen_sign() -> None:
    """QF-21: in JIS X 0201 there is no backslash, and no yen sign where values are separated by its code."""
    for character_sets in (("ISO_IR 13",), KATAKANA):
        assert encode_text("A\\100", character_sets, person_name=False) == b"A\\100"
        assert encode_text("A\\100", character_sets, person_name=False, multi_valued=False) is None
        assert encode_text("A¥100", character_sets, person_name=False, multi_valued=False) == b"A\\100"
        assert encode_text("A¥100", character_sets, person_name=False) is None
    assert encode_text("a\\b¥", ("", "ISO 2022 IR 13"), person_name=False, multi_valued=False) == b"a\\b\x1b(J\\\x1b(B"


@pytest.mark.parametrize(
    ("text", "character_sets"),
    [
        ("Müller", ()),
        ("Müller", ("nonsense",)),
        ("Müller", ("SHIFT_JIS",)),
        ("Müller", ("ISO_IR 144",)),
        ("山", ("ISO_IR 13",)),
        ("张", JAPANESE),
        ("Ж", ("ISO 2022 IR 100", "ISO 2022 IR 126")),
        ("똠", KOREAN),
        ("\x85", ("ISO_IR 100",)),
        ("a\x1b$Bb", ()),
        ("a\x1b$Bb", JAPANESE),
        ("\ud800", ("ISO_IR 192",)),
        ("ř", ("ISO_IR 100",)),
    ],
)
def test_what_is_not_representable(text: str, character_sets: tuple[str, ...]) -> None:
    """QF-20."""
    assert encode_text(text, character_sets, person_name=False) is None


@pytest.mark.parametrize(
    ("spelt", "terms"),
    [
        ((), ()),
        (("",), ()),
        (("ISO_IR 6",), ()),
        (("ISO 2022 IR 6", "ISO 2022 IR 6"), ()),
        (("WINDOWS-1251",), ()),
        (("ISO_IR 100",), ("ISO_IR 100",)),
        (("ISO 2022 IR 100",), ("ISO 2022 IR 100",)),
        (("iso-ir 100",), ("ISO_IR 100",)),
        (("ISO_IR 100", "ISO_IR 144"), ("ISO 2022 IR 100", "ISO 2022 IR 144")),
        (("ISO 8859-5",), ("ISO_IR 144",)),
        (("UTF-8",), ("ISO_IR 192",)),
        (("", "ISO_IR 192"), ("ISO_IR 192",)),
        (("GB2312",), ("GB18030",)),
        (("ISO 2022 GBK",), ("GBK",)),
        (("ISO 2022 IR 87",), ("", "ISO 2022 IR 87")),
        (("ISO 2022 IR 149", "x"), ("", "ISO 2022 IR 149")),
        (("ISO 2022 IR 6", "ISO 2022 IR 87"), ("", "ISO 2022 IR 87")),
        (("x", "ISO 2022 IR 87", "y"), ("", "ISO 2022 IR 87")),
        (KATAKANA, KATAKANA),
    ],
)
def test_the_label_is_made_of_defined_terms(spelt: tuple[str, ...], terms: tuple[str, ...]) -> None:
    """QF-20: whatever the requester's spelling."""
    assert text_encoder(spelt).terms == terms


@pytest.mark.parametrize(
    ("name", "character_sets"),
    [
        ("Buc^Jérôme", ("ISO_IR 100",)),
        ("Łódź^Świętosława", ("ISO_IR 101",)),
        ("Люкceмбypг", ("ISO_IR 144",)),
        ("قباني^لنزار", ("ISO_IR 127",)),
        ("Διονυσιος", ("ISO_IR 126",)),
        ("שרון^דבורה", ("ISO_IR 138",)),
        ("สมชาย^ใจดี", ("ISO_IR 166",)),
        ("Çelik^Şule", ("ISO_IR 148",)),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ", ("ISO_IR 13",)),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", JAPANESE),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", KATAKANA),
        ("Hong^Gildong=洪^吉洞=홍^길동", KOREAN),
        ("Wang^XiaoDong=王^小東", ("ISO_IR 192",)),
        ("Wang^XiaoDong=王^小东", ("GB18030",)),
        ("Wang^XiaoDong=王^小东", ("GBK",)),
        ("Dionysios is Διονυσιος", ("ISO 2022 IR 100", "ISO 2022 IR 126")),
    ],
)
def test_pydicom_reads_names_alike(name: str, character_sets: tuple[str, ...]) -> None:
    """QF-20: another reader, with tables of its own. (It leaves the escape sequences of ISO 2022 IR 58 in the text.)"""
    raw = encode_text(name, character_sets, person_name=True)
    assert raw is not None
    codecs = pydicom.charset.convert_encodings(list(text_encoder(character_sets).terms))
    groups = [pydicom.charset.decode_bytes(group, codecs, set(b"^=")) for group in raw.split(b"=")]
    assert "=".join(groups) == name
