"""Names in every Specific Character Set that is in use (PS3.3 C.12.1.1.2), and keys that find them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.dataset import Dataset

ASCII: tuple[str, ...] = ()
UTF_8 = ("ISO_IR 192",)
GB_2312 = ("", "ISO 2022 IR 58")
_TO_GB_2312 = b"\x1b$)A"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alphabet:
    """A name as a modality of that country sends it, a pattern that finds it, and a name that the pattern misses."""

    name: str
    terms: tuple[str, ...]
    person: str
    pattern: str
    one_character: str
    """The name with its last character as ``?``."""
    description: str
    """A text of another VR, where code extensions work otherwise."""

    @property
    def patient_id(self) -> str:
        return f"ID-{self.name}"


def _alphabet(name: str, terms: str, person: str, pattern: str, description: str) -> Alphabet:
    return Alphabet(
        name=name,
        terms=tuple(terms.split("\\")),
        person=person,
        pattern=pattern,
        one_character=f"{person.rstrip('=')[:-1]}?",
        description=description,
    )


ALPHABETS = (
    _alphabet("latin-1", "ISO_IR 100", "Müller^Jürgen", "MÜLL*", "Schädel natív"),
    _alphabet("latin-2", "ISO_IR 101", "Wałęsa^Łucja", "wałę*", "Głowa z kontrastem ąę"),
    _alphabet("latin-5", "ISO_IR 148", "Yıldız^Şeyma", "yıl*", "Göğüs ğş"),
    _alphabet("cyrillic", "ISO_IR 144", "Иванов^Пётр", "иван*", "Грудная клетка"),
    _alphabet("greek", "ISO_IR 126", "Διονύσιος^Νίκη", "διον*", "Θώραξ"),
    _alphabet("arabic", "ISO_IR 127", "قباني^لنزار", "قبا*", "الصدر"),
    _alphabet("hebrew", "ISO_IR 138", "שרון^דבורה", "שרו*", "בית החזה"),
    _alphabet("thai", "ISO_IR 166", "นามสกุล^สมชาย", "นาม*", "ทรวงอก"),
    _alphabet("jis-x-0201", "ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ﾔﾏ*", "ｷｮｳﾌﾞ"),
    _alphabet("jis-x-0208", "\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう", "*=山*", "胸部単純撮影 CT"),
    _alphabet(
        "jis-x-0201 and 0208",
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        "*=*=やま*",
        "ｷｮｳﾌﾞ撮影",
    ),
    _alphabet("jis-x-0212", "\\ISO 2022 IR 87\\ISO 2022 IR 159", "Ding^Taro=丂丄^太郎=", "*=丂*", "補助漢字 丂丄"),
    _alphabet("korean", "\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동", "*=洪*", "흉부 촬영"),
    _alphabet("gb-2312", "\\ISO 2022 IR 58", "Zhang^XiaoDong=张^小东=", "*=张*", "胸部平扫"),
    _alphabet("gb18030", "GB18030", "Wang^XiaoDong=王誠^小东=", "*=王誠*", "胸部 誠穃 平扫"),
    _alphabet("gbk", "GBK", "Li^Cheng=李^誠穃=", "*=李*", "头部 誠"),
    _alphabet("utf-8", "ISO_IR 192", "Вonaparte^Ωmega=王^小東=", "*=王^小東*", "Käse 王 Ω שלום"),
)


def read_text(data_set: Dataset, keyword: str) -> str:
    """An attribute's text, by pydicom, in the character set that ``data_set`` says it is in."""
    if terms_of(data_set) != GB_2312:
        data_set.decode()
        return str(data_set.get(keyword, ""))
    raw = data_set.get_item(keyword)
    # pydicom takes these escape sequences for text (PS3.5 K.2 has them), and does not write them.
    return bytes(raw.value).replace(_TO_GB_2312, b"").decode("gb2312").rstrip() if raw is not None else ""


def write_gb_2312(text: str) -> bytes:
    """With the escape sequence in each part that needs it: PN, LO and SH of one value."""
    return b"".join(
        (b"" if part.isascii() else _TO_GB_2312) + part.encode("gb2312") for part in re.split("([=^])", text)
    )


def terms_of(data_set: Dataset) -> tuple[str, ...]:
    """The values of Specific Character Set (0008,0005)."""
    value = data_set.get("SpecificCharacterSet")
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
