"""Matching of person names, PS3.4 C.2.2.2.1.1 and C.2.2.2.4: QF-09."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacslite.dicom import tags
from pacslite.dicom.elements import Element
from pacslite.dicom.keys import key_of, matches
from pacslite.dicom.matching import NameMatch
from pacslite.dicom.names import folded_group, folded_groups, name_match, name_matcher
from pacslite.dicom.sound import sound_of
from pacslite.dicom.values import fold, parse_person_name


def found(wanted: str, stored: str, *, fuzzy: bool = False) -> bool:
    key = key_of(tags.PATIENT_NAME, Element("PN", wanted), fuzzy=fuzzy)
    assert key is not None
    return matches(key, Element("PN", stored))


# --- Groups and components -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "same", "other"),
    [
        (
            "SMITH",
            ["SMITH", "smith", "Smith^", "SMITH^^^^", "SMITH==", " SMITH "],
            ["SMITH^JOHN", "SMITHSON", "", "^SMITH"],
        ),
        (
            "SMITH^JOHN",
            ["Smith^John", "SMITH ^ JOHN", "smith^john^"],
            ["SMITH^JOHN^A", "SMITH", "JOHN^SMITH", "SMITH JOHN"],
        ),
        ("smith^john^^", ["SMITH^JOHN"], ["SMITH^JOHN^A"]),
        ("SMITH^JOHN^A^DR^MD", ["smith^john^a^dr^md"], ["smith^john^a^dr"]),
        ("^JOHN", ["^John"], ["SMITH^JOHN", "JOHN"]),
        ("SMITH*", ["SMITH", "Smithson^A", "SMITH^JOHN^A", "SMITH=X"], ["ASMITH", "", "X=SM"]),
        ("SMITH^*", ["SMITH^JOHN", "SMITH^", "SMITH", "SMITH^JOHN^A"], ["SMITHSON", "SMITHSON^JOHN"]),
        ("SMITH^*^*", ["SMITH", "SMITH^JOHN", "SMITH^JOHN^A"], ["SMITHS"]),
        ("SMITH^J*^A", ["SMITH^JOHN^A", "SMITH^J^A"], ["SMITH^JOHN", "SMITH^A", "SMITH^JOHN^AB"]),
        ("*^JOHN", ["SMITH^JOHN", "^JOHN", "SMITH^X^JOHN"], ["JOHN", "SMITH^JOHNNY"]),
        ("*SMITH*", ["GOLDSMITH^A", "A^SMITHEE"], ["SMIT", ""]),
        ("SM?TH", ["SMITH", "SMYTH", "Smøth"], ["SMTH", "SMIITH"]),
        ("SM?TH^?*", ["SMITH^J"], ["SMITH", "SMITH^"]),
        ("?", ["A", "Ä", "山"], ["AB", ""]),
        ("MARY *", ["MARY ANN", "Mary  Ann^X"], ["MARYANN", "MARY"]),
        ("O'BRIEN", ["o'brien"], ["OBRIEN"]),
        ("A%", ["a%"], ["ab"]),
    ],
)
def test_one_group(wanted: str, same: list[str], other: list[str]) -> None:
    """Components count in their order; delimiters at an end mean nothing (PS3.5 6.2.1)."""
    assert [stored for stored in same if not found(wanted, stored)] == []
    assert [stored for stored in other if found(wanted, stored)] == []


JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("yamada^tarou", True),
        ("山田^太郎", True),
        ("やまだ^たろう", True),
        ("ヤマダ^タロウ", True),
        ("山*", True),
        ("*太郎", True),
        ("Yamada=山田", False),
        ("Yamada^*=山田^*", True),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("Yamada^Tarou==やまだ^たろう", True),
        ("=山田^太郎", True),
        ("==やまだ^たろう", True),
        ("=やまだ^たろう", False),
        ("==山田^太郎", False),
        ("*=山田*", True),
        ("*=*=や*", True),
        ("Yamada^Tarou=鈴木*", False),
        ("Yamada^Tarou=", True),
        ("Suzuki=山田^太郎", False),
    ],
)
def test_groups(wanted: str, expected: bool) -> None:
    """One group may match any of the three; groups that are told apart match each its own."""
    assert found(wanted, JAPANESE) is expected


@pytest.mark.parametrize("wanted", ["*", "**", "*=*", "*=*=*", "^", "=", "==", "^^=^", "*^*", "=*", "* "])
def test_names_that_ask_for_nothing(wanted: str) -> None:
    """QF-13."""
    assert name_match(wanted.strip()) is None


def test_the_form_of_a_key() -> None:
    assert name_match("Smith^Jo?n*") == NameMatch(groups=("smith^jo?n*", "", ""), any_group=True)
    assert name_match("A=Ä") == NameMatch(groups=("a", "a", ""))
    assert name_match("=Ä", fuzzy=True) == NameMatch(groups=("", "a", ""), fuzzy=True)
    assert name_match("a***b") == NameMatch(groups=("a*b", "", ""), any_group=True)


def test_one_of_several_names_suffices() -> None:
    """QF-18."""
    key = key_of(tags.OTHER_PATIENT_NAMES, Element("PN", "doe*"))
    assert key is not None
    assert matches(key, Element("PN", "SMITH^JOHN\\DOE^JANE"))
    assert not matches(key, Element("PN", "SMITH^DOE"))


# --- Scripts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "wanted", "other"),
    [
        pytest.param("Buc^Jérôme", ["BUC^JEROME", "buc^jérôme", "Buc^J?r?me", "BUC^JE*"], ["BUC^JRME"], id="Latin-1"),
        pytest.param("Äneas^Rüdiger", ["aneas^rudiger", "ÄNEAS^*", "?neas^*"], ["Aeneas^R*"], id="Latin-1 umlauts"),
        pytest.param("Strauß^Åke", ["STRAUSS^AKE", "strauß^åke"], ["STRAUS^*"], id="Latin-1 sharp s"),
        pytest.param("Wałęsa^Lech", ["WALESA^LECH", "wałęsa^lech", "*ałęs*"], ["WAESA^*"], id="Latin-2"),
        pytest.param("Dvořák^Antonín", ["DVORAK^ANTONIN", "dvořák*"], ["DVOAK*"], id="Latin-2 caron"),
        pytest.param("Đorđević^Željko", ["dordevic^zeljko", "ĐORĐEVIĆ^ŽELJKO"], ["orevi*"], id="Latin-2 strokes"),
        pytest.param("Yılmaz^İbrahim", ["yilmaz^ibrahim", "YILMAZ^İBRAHİM"], ["ylmaz*"], id="Latin-5"),
        pytest.param("Люкceмбypг^Роза", ["люкCEМБyPГ^РОЗА", "люк*", "Л?к*"], ["Lux*"], id="Cyrillic"),
        pytest.param("Королёв^Сергей", ["КОРОЛЕВ^СЕРГЕЙ", "королёв*"], ["корол"], id="Cyrillic ё"),
        pytest.param("Διονυσίου^Ιωάννης", ["ΔΙΟΝΥΣΙΟΥ^ΙΩΑΝΝΗΣ", "διονυσιου*", "*ιωαννησ"], ["διο"], id="Greek"),
        pytest.param("قباني^لنزار", ["قباني^لنزار", "قَبَّاني^*", "قبا*"], ["لنزار^*"], id="Arabic"),
        pytest.param("שרון^דבורה", ["שרון^דבורה", "שָׁרוֹן^*", "*דבורה"], ["דבורה*"], id="Hebrew"),
        pytest.param("ชนินทร์^สมชาย", ["ชนินทร์^สมชาย", "ชนิน*", "*สมช?ย"], ["ชนนทร*"], id="Thai"),
        pytest.param("ﾔﾏﾀﾞ^ﾀﾛｳ", ["ヤマダ^タロウ", "やまだ^たろう", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ヤ?ダ*"], ["ヤマタ*"], id="kana"),
        pytest.param("山田^太郎", ["山田^太郎", "山?^太郎", "山*"], ["山^太郎"], id="kanji"),
        pytest.param("ＹＡＭＡＤＡ^Ｔａｒｏｕ", ["yamada^tarou", "ｙａｍａｄａ*"], ["yamad"], id="full width"),
        pytest.param(
            "Hong^Gildong=洪^吉洞=홍^길동", ["홍^길동", "洪^吉洞", "hong^*", "홍^?동"], ["홍길동"], id="Korean"
        ),
        pytest.param(
            "Zhang^XiaoDong=张^小东", ["张^小东", "zhang^xiaodong", "*=张*", "张^?东"], ["張^小东"], id="Chinese"
        ),
        pytest.param("Wang^XiaoDong=王^小東", ["王^小東", "=王^*"], ["王^小东"], id="traditional Chinese"),
    ],
)
def test_scripts(stored: str, wanted: list[str], other: list[str]) -> None:
    """Case, accents, width and kind of kana do not count; letters do."""
    assert [text for text in wanted if not found(text, stored)] == []
    assert [text for text in other if found(text, stored)] == []


def test_decomposed_and_composed_are_the_same() -> None:
    assert found("Je\u0301ro\u0302me", "Jérôme")
    assert found("Jérôm?", "Je\u0301ro\u0302me\u0301")
    assert found("한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8")


@pytest.mark.parametrize(
    ("wanted", "stored", "expected"),
    [
        ("A＝B", "A＝B", True),  # full-width delimiters are letters
        ("A＝B", "A=B", False),
        ("A＾B", "A＾B", True),
        ("A＊", "A＊", True),  # and full-width wild cards one letter each
        ("A＊", "ABC", False),
        ("A？", "A？", True),
        ("A？", "A", False),
        ("＊", "", False),
    ],
)
def test_full_width_delimiters_and_wild_cards(wanted: str, stored: str, expected: bool) -> None:
    assert found(wanted, stored) is expected


# --- Fuzzy semantic matching -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "stored", "expected"),
    [
        ("john smith", "SMITH^JOHN", True),
        ("SMITH^JOHN", "JOHN^SMITH", True),
        ("SMITH", "GOLD-SMITH^JOHN^A", True),
        ("smi jo", "SMITH^JOHN^A", True),
        ("smyth jon", "SMITH^JOHN", True),
        ("smith jane", "SMITH^JOHN", True),  # sounds alike: the vowels of jane and john do not count
        ("smith mary", "SMITH^JOHN", False),
        ("mith", "SMITH^JOHN", False),
        ("Müller", "MUELLER^ANNA", True),
        ("Mueller", "MÜLLER^ANNA", True),
        ("Meier", "Mayer^Hans", True),
        ("Katharina", "Catarina^X", True),
        ("Obrien", "O'Brien^Pat", True),
        ("o'brien", "OBRIEN^PAT", True),
        ("SM*", "SMITH^JOHN", True),
        ("J*N SM?TH", "SMITH^JOHN", True),
        ("*ITH^J*", "SMITH^JOHN", True),
        ("X*", "SMITH^JOHN", False),
        ("太郎 山田", JAPANESE, True),
        ("たろ", JAPANESE, True),
        ("yamada 太郎", JAPANESE, False),  # words of one group
        ("=太郎", JAPANESE, True),
        ("=tarou", JAPANESE, False),
        ("Иванов Пётр", "ИВАНОВ^ПЕТР^СЕРГЕЕВИЧ", True),
        ("Li", "Lee^X", False),  # too short to sound like anything
        ("Li", "Lindt^X", True),
        ("SMITH", "", False),
    ],
)
def test_fuzzy(wanted: str, stored: str, expected: bool) -> None:
    """Each word of the key begins a word of the name, or sounds like one, in any order."""
    assert found(wanted, stored, fuzzy=True) is expected


@pytest.mark.parametrize(
    "alike",
    [
        ["Smith", "Smyth", "Schmidt", "Schmitt"],
        ["Meier", "Maier", "Meyer", "Mayer"],
        ["Karl", "Carl", "Karll"],
        ["Katharina", "Katarina", "Catherina", "Cathryna"],
        ["Philipp", "Filip", "Philip"],
        ["Jackson", "Jakson", "Jaxon"],
        ["Hanna", "Anna", "Hannah"],
        ["Stephen", "Steven"],
        ["Tchaikovsky", "Tschaikowski"],
        ["Josef", "Yusuf", "Jozef"],
    ],
)
def test_names_that_sound_alike(alike: list[str]) -> None:
    assert len({sound_of(fold(name)) for name in alike}) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("Smith", "Snake"), ("Anna", "Emma"), ("Schwarzenegger", "Schwarz"), ("Berg", "Burton")]
)
def test_names_that_do_not(one: str, other: str) -> None:
    assert sound_of(fold(one)) != sound_of(fold(other))


@pytest.mark.parametrize("word", ["", "li", "山田太郎", "иван", "a1b", "smith*"])
def test_what_has_no_sound(word: str) -> None:
    assert sound_of(word) == ""


# --- Properties ------------------------------------------------------------------------------------------------------

names = st.text(
    st.one_of(st.sampled_from("^= ANäößЯλ山ヤﾔﾞ＊＝"), st.characters(codec="utf-8", exclude_categories=["C"])),
    max_size=24,
).filter(lambda name: not set("*?\\") & set(name))


@given(names)
def test_folding_is_that_of_the_index(name: str) -> None:
    """The index keeps what :func:`folded_groups` makes, group by group."""
    parsed = parse_person_name(name)
    groups = (str(parsed.alphabetic), str(parsed.ideographic), str(parsed.phonetic))
    assert folded_groups(name) == tuple("^".join(map(fold, group.split("^"))).rstrip("^") for group in groups)


@given(names)
def test_a_name_finds_itself_however_it_is_written(name: str) -> None:
    match = name_match(name)
    if match is None:
        assert folded_groups(name) == ("", "", "")
        return
    for written in (name, f"{name}^" if "=" not in name else name, name.upper(), f" {name} "):
        if folded_groups(written) == folded_groups(name):
            assert name_matcher(match)(folded_groups(written))
    assert name_matcher(match)(folded_groups(name))


@given(names, names)
def test_fuzzy_finds_all_that_literal_finds(wanted: str, stored: str) -> None:
    literal, fuzzy = name_match(wanted), name_match(wanted, fuzzy=True)
    if literal is not None and fuzzy is not None and name_matcher(literal)(folded_groups(stored)):
        assert name_matcher(fuzzy)(folded_groups(stored))


@given(st.text("ab^ ", max_size=12), st.text("ab^*? ", max_size=8))
def test_delimiters_at_the_end_mean_nothing(stored: str, wanted: str) -> None:
    match = name_match(wanted)
    if match is not None:
        assert name_match(wanted + "^^") == match
        assert name_matcher(match)(folded_groups(stored)) == name_matcher(match)(folded_groups(f"{stored}^^=="))


@given(names)
def test_folding_twice_is_folding_once(name: str) -> None:
    group = folded_group(name)
    assert folded_group(group) == group
