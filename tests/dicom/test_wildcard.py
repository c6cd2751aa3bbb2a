"""Wild card matching, PS3.4 C.2.2.2.4: QF-10, QF-11."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacslite.dicom.wildcard import is_pattern, literal_prefix, longest_literal, matcher


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("SMITH", ["SMITH"], ["", "smith", "SMITHS", "ASMITH"]),
        ("*", ["", "a", "a\nb"], []),
        ("**", ["", "a"], []),
        ("?", ["a", "é", "語", "\n", "😀", "?"], ["", "ab"]),
        ("??", ["ab"], ["a", "abc"]),
        ("?*", ["a", "ab"], [""]),
        ("*?", ["a", "ab"], [""]),
        ("*?*?*", ["ab", "abc"], ["", "a"]),
        ("A*", ["A", "AB", "A*"], ["", "BA", "a"]),
        ("*A", ["A", "BA"], ["", "AB"]),
        ("*A*", ["A", "BAB"], ["", "B", "a"]),
        ("A*A", ["AA", "ABA"], ["A", "AAB"]),
        ("AB*BA", ["ABBA", "ABCBA"], ["ABA"]),
        ("A?*", ["AB", "ABC"], ["A"]),
        ("A?C*E", ["ABCE", "A?CDE"], ["ACE", "ABCD"]),
        ("*A?C*A?C*", ["ABCAXC", "xABCyABCz"], ["ABC", "ABCAC"]),
        ("*a?*?b", ["aXXb", "aaXXb"], ["ab", "aXb"]),
        ("a*b*c", ["abc", "aXbXc", "abbcc"], ["acb", "ab", "bc"]),
        ("*ab*ab*", ["abab", "ababab"], ["aba", "ab"]),
        ("a*ab", ["aab", "aXab"], ["ab"]),
    ],
)
def test_patterns(pattern: str, matching: list[str], other: list[str]) -> None:
    matches = matcher(pattern)
    assert [text for text in matching if not matches(text)] == []
    assert [text for text in other if matches(text)] == []


@pytest.mark.parametrize(
    "special", ["%", "_", "[", "]", "\\", "[a-z]", "[^a]", ".", "^", "$", "(", "+", "{2}", "|", "#"]
)
def test_what_is_special_elsewhere_is_data(special: str) -> None:
    """QF-11: neither LIKE nor GLOB nor a regular expression."""
    for pattern in (special, f"*{special}*", f"{special}?", f"?{special}*", f"*?{special}?*"):
        text = pattern.replace("*", "").replace("?", "x")
        assert matcher(pattern)(text)
        assert not matcher(pattern)(text.replace(special, "a"))


def naive(pattern: str, text: str) -> bool:
    """The rule as the standard words it, one character at a time."""
    reached = {0}
    for char in pattern:
        match char:
            case "*":
                reached = set(range(min(reached), len(text) + 1)) if reached else reached
            case "?":
                reached = {place + 1 for place in reached if place < len(text)}
            case _:
                reached = {place + 1 for place in reached if text[place : place + 1] == char}
    return len(text) in reached


@given(st.text("ab?*", max_size=10), st.text("ab", max_size=12))
def test_the_same_as_the_naive_way(pattern: str, text: str) -> None:
    assert matcher(pattern)(text) == naive(pattern, text)


@given(st.text("ab?*", max_size=6), st.text("ab", max_size=3), st.text("ab", min_size=60, max_size=140))
def test_the_same_with_pieces_of_any_length(ends: str, piece: str, text: str) -> None:
    """Pieces with `?` that are longer than 64 characters are looked for in another way."""
    long_piece = text[5:80].replace("b", "?", 3) + piece
    for pattern in (f"{ends}*{long_piece}*", f"*{long_piece}{ends}", f"*?{long_piece}*{ends}*"):
        assert matcher(pattern)(text) == naive(pattern, text)


@pytest.mark.parametrize("length", [65, 200])
def test_a_long_piece_is_found_where_it_stands(length: int) -> None:
    piece = ("abc?" * length)[:length]
    for before in ("", "abcabcx", "abcd" * 20):
        assert matcher(f"*{piece}*")(before + piece.replace("?", "é") + "tail")
    assert not matcher(f"*{piece}*")(("abcd" * length)[: length - 1])


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("*a" * 500 + "b", "a" * 10_000),
        ("a*" * 500 + "b", "a" * 10_000),
        ("*a?" * 300 + "*b", "a" * 10_000),
        ("*?a" * 300 + "b*c", "a" * 10_000),
        ("*" + "a?" * 500 + "b*", "a" * 10_000),
        ("*" + "a" * 500 + "?b*", "a" * 10_000),
        ("*" + "a" * 1000 + "b*", "a" * 10_000),
        ("?" * 1000 + "*b", "a" * 10_000),
        ("*" * 1000 + "b", "a" * 10_000),
    ],
)
def test_no_pattern_takes_long(pattern: str, text: str) -> None:
    """Backtracking over these would not end within a lifetime."""
    assert not matcher(pattern)(text)
    assert not matcher(pattern)(text[:-1] + "x")


@given(st.text("ab?*", max_size=10), st.text("ab", max_size=12))
def test_literals_are_in_every_match(pattern: str, text: str) -> None:
    if matcher(pattern)(text):
        assert text.startswith(literal_prefix(pattern))
        assert longest_literal(pattern) in text


@pytest.mark.parametrize(
    ("pattern", "prefix", "longest"),
    [("SM*", "SM", "SM"), ("*SMITH*JO*", "", "SMITH"), ("A?BCD", "A", "BCD"), ("*?", "", ""), ("AB", "AB", "AB")],
)
def test_literals(pattern: str, prefix: str, longest: str) -> None:
    assert literal_prefix(pattern) == prefix
    assert longest_literal(pattern) == longest
    assert is_pattern(pattern) == (pattern != "AB")
