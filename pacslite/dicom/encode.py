"""Small data sets to bytes (PS3.5 7): identifiers, answers, action information.

Text is written in the character sets asked for if all of it is representable in them, else in UTF-8; Specific
Character Set (0008,0005) says which, and is there only if some text needs it (QF-20). A value that its VR cannot hold
becomes no value: what an archive has stored is not always what the standard allows, and one such value must not end
an answer. Lengths are not checked against the limits of VRs, for the same reason.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from operator import itemgetter
from typing import Final, NamedTuple, Protocol

from pacslite.dicom import tags
from pacslite.dicom.charset_encoding import UTF_8, TextEncoder, text_encoder
from pacslite.dicom.element import ITEM
from pacslite.dicom.elements import Elements, Value
from pacslite.dicom.transfer_syntax import TransferSyntax
from pacslite.dicom.vrs import LONG_VRS, NUMBER_FORMATS, SINGLE_VALUED_VRS, TEXT_VRS, WORD_SIZES, swapped

_MAX_SHORT_LENGTH: Final = 0xFFFE
_PREPARED: Final = 65  # heads are made beforehand for values that are shorter than this: those of most VRs
_LABEL: Final = tags.SPECIFIC_CHARACTER_SET
_ASCII: Final = TextEncoder()
_UNICODE: Final = text_encoder((UTF_8,))

_Triple = tuple[int, str, Value]


class Attribute(Protocol):
    """An attribute that an answer may have."""

    @property
    def tag(self) -> int: ...

    @property
    def vr(self) -> str: ...


class _NotRepresentable(Exception):
    """Some text cannot be written in the character set."""


def encode_data_set(
    elements: Elements, syntax: TransferSyntax, *, character_sets: Sequence[str] = (), labelled: bool = False
) -> bytes:
    """The elements in ascending order; any Specific Character Set among them is replaced by the right one, or none.

    With ``labelled`` it is there in any case: by it a request tells in which character sets it can be answered.
    """
    own = text_encoder(tuple(character_sets))
    writer, triples = _writer(syntax.implicit_vr, syntax.big_endian), _triples(elements)
    for encoder in (own,) if labelled else (_ASCII, own):
        try:
            return _finished(writer.label(encoder) + writer.elements(triples, encoder), syntax)
        except _NotRepresentable:
            continue
    return _finished(writer.label(_UNICODE) + writer.elements(triples, _UNICODE), syntax)


class AnswerEncoder:
    """Answers that all have the same attributes, the C-FIND way: what does not change is made beforehand.

    ``attributes`` may be in any order, the values come in that order. ``fixed`` are elements of plain ASCII that every
    answer has with that value; they win over an attribute with the same tag.
    """

    def __init__(
        self,
        attributes: Sequence[Attribute],
        syntax: TransferSyntax,
        *,
        character_sets: Sequence[str] = (),
        fixed: Elements | None = None,
    ) -> None:
        self._syntax = syntax
        self._writer = _writer(syntax.implicit_vr, syntax.big_endian)
        own = text_encoder(tuple(character_sets))
        self._encoders = (own, _UNICODE) if own.terms else (_UNICODE,)
        constant = {triple[0]: self._writer.element(*triple, _ASCII) for triple in _triples(fixed or {})}
        order = [index for index, one in enumerate(attributes) if one.tag not in {_LABEL, *constant}]
        order.sort(key=lambda index: attributes[index].tag)
        self._pick = itemgetter(*order, *order[:1]) if order else None  # two at least, so that it gives a tuple
        self._columns = [self._column(attributes[index], constant) for index in order]
        self._last = b"".join(constant.values()).decode("latin-1")

    def encode(self, values: Sequence[Value]) -> bytes:
        """One answer. None leaves an attribute out; the empty string is no value."""
        row = self._pick(values) if self._pick else ()
        try:
            text = self._plain(row)
        except _NotRepresentable:
            text = self._labelled(row)
        return _finished(text.encode("latin-1"), self._syntax)

    def _plain(self, row: Sequence[Value]) -> str:
        """The answer if all text is ASCII, as text in which every byte is the character of its number.

        One join and one conversion at the end cost half of what converting value by value does.
        """
        parts: list[str] = []
        append = parts.append
        for (heads, pad, before, tag, vr), value in zip(self._columns, row, strict=False):
            if value.__class__ is int and heads:
                value = str(value)
            if value.__class__ is str and heads and (size := len(value)) < _PREPARED:
                if not value.isascii():
                    raise _NotRepresentable
                append(heads[size])
                append(value)
                if size & 1:
                    append(pad)
            elif value is None:
                append(before)
            else:
                append(before)
                append(self._writer.element(tag, vr, value, _ASCII).decode("latin-1"))
        append(self._last)
        text = "".join(parts)
        if "\x1b" in text:  # in a value it would be taken for the beginning of an escape sequence
            raise _NotRepresentable
        return text

    def _labelled(self, row: Sequence[Value]) -> str:
        """The same in the first character set that all text is representable in; the last takes anything."""
        for encoder in self._encoders[:-1]:
            try:
                return self._in(encoder, row)
            except _NotRepresentable:
                continue
        return self._in(self._encoders[-1], row)

    def _in(self, encoder: TextEncoder, row: Sequence[Value]) -> str:
        parts = [self._writer.label(encoder).decode("latin-1")]
        append = parts.append
        for (heads, pad, before, tag, vr), value in zip(self._columns, row, strict=False):
            if value.__class__ is str and heads:
                raw = _text(vr, value, encoder)
                if len(raw) < _PREPARED:
                    append(heads[len(raw)])
                    append(raw.decode("latin-1"))
                    if len(raw) & 1:
                        append(pad)
                    continue
            append(before)
            append(self._writer.element(tag, vr, value, encoder).decode("latin-1"))
        append(self._last)
        return "".join(parts)

    def _column(self, attribute: Attribute, constant: dict[int, bytes]) -> _Column:
        """Takes from ``constant`` what goes before this attribute and has not gone before another."""
        tag, vr = attribute.tag, attribute.vr
        before = b"".join([constant.pop(one) for one in list(constant) if one < tag]).decode("latin-1")
        heads = _heads(self._writer.implicit, self._writer.big_endian, tag, vr) if vr in TEXT_VRS else ()
        if before:
            heads = tuple(before + head for head in heads)
        return _Column(heads, _pad(vr).decode("latin-1"), before, tag, vr)


class _Column(NamedTuple):
    """One attribute of every answer: its head for a value of each short length, with the fixed elements before it."""

    heads: tuple[str, ...]
    pad: str
    before: str
    tag: int
    vr: str


class _Writer:
    """Elements in one encoding."""

    def __init__(self, *, implicit: bool, big_endian: bool) -> None:
        self.implicit = implicit
        self.big_endian = big_endian
        self._order = ">" if big_endian else "<"
        self._implicit_head = struct.Struct(f"{self._order}HHI").pack
        self._short_head = struct.Struct(f"{self._order}HH2sH").pack
        self._long_head = struct.Struct(f"{self._order}HH2sHI").pack

    def head(self, tag: int, vr: str, length: int) -> bytes:
        group, element = tag >> 16, tag & 0xFFFF
        if self.implicit:
            return self._implicit_head(group, element, length)
        if vr in LONG_VRS:
            return self._long_head(group, element, vr.encode("ascii"), 0, length)
        if length > _MAX_SHORT_LENGTH:  # PS3.5 6.2.2: UN may stand for any VR whose length field is too small
            return self._long_head(group, element, b"UN", 0, length)
        return self._short_head(group, element, vr.encode("ascii"), length)

    def element(self, tag: int, vr: str, value: Value, encoder: TextEncoder) -> bytes:
        if value is None:
            return b""
        if vr in TEXT_VRS:
            raw = _text(vr, value, encoder)
        elif vr == "SQ":
            raw = b"".join(self._items(value, encoder)) if isinstance(value, tuple) else b""
        elif vr in NUMBER_FORMATS:
            raw = self._numbers(vr, value)
        else:
            vr = vr if vr in WORD_SIZES else "UN"
            raw = self._words(vr, value) if isinstance(value, bytes) else b""
        if len(raw) % 2:
            raw += _pad(vr)
        return self.head(tag, vr, len(raw)) + raw

    def label(self, encoder: TextEncoder) -> bytes:
        """Specific Character Set, if what the encoder makes needs it."""
        return self.element(_LABEL, "CS", "\\".join(encoder.terms), _ASCII) if encoder.terms else b""

    def elements(self, elements: Iterable[_Triple], encoder: TextEncoder) -> bytes:
        return b"".join(self.element(*element, encoder) for element in elements)

    def _items(self, items: Iterable[object], encoder: TextEncoder) -> Iterator[bytes]:
        for item in items:
            if isinstance(item, Mapping):
                body = self.elements(_triples(item), encoder)
                yield self._implicit_head(ITEM >> 16, ITEM & 0xFFFF, len(body)) + body

    def _numbers(self, vr: str, value: Value) -> bytes:
        try:
            numbers = _as_numbers(vr, value)
            if vr == "AT":
                numbers = [part for number in numbers for part in divmod(int(number), 1 << 16)]
            code = NUMBER_FORMATS[vr][0]
            # What becomes UN is little endian, whatever the data set is (PS3.5 6.2.2).
            order = self._order if len(numbers) * struct.calcsize(f"<{code}") <= _MAX_SHORT_LENGTH else "<"
            return struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        except (struct.error, ValueError, TypeError, OverflowError):
            return b""

    def _words(self, vr: str, value: bytes) -> bytes:
        return swapped(value, vr) if self.big_endian else value


@cache
def _writer(implicit: bool, big_endian: bool) -> _Writer:
    return _Writer(implicit=implicit, big_endian=big_endian)


@lru_cache(maxsize=1024)
def _heads(implicit: bool, big_endian: bool, tag: int, vr: str) -> tuple[str, ...]:
    """For values of each short length: made once, because a query for one study costs less than making them."""
    writer = _writer(implicit, big_endian)
    return tuple(writer.head(tag, vr, size + size % 2).decode("latin-1") for size in range(_PREPARED))


def _text(vr: str, value: Value, encoder: TextEncoder) -> bytes:
    if isinstance(value, bytes):
        return value
    text = value if isinstance(value, str) else "\\".join(map(str, value if isinstance(value, tuple) else (value,)))
    raw = encoder.encode(text, person_name=vr == "PN", multi_valued=vr not in SINGLE_VALUED_VRS)
    if raw is not None:
        return raw
    if encoder is not _UNICODE:
        raise _NotRepresentable
    return text.encode("utf-8", "replace")  # surrogates, which are no characters


def _as_numbers(vr: str, value: Value) -> list[int | float]:
    """Numbers that an index keeps as text are read as what they are."""
    if isinstance(value, str):
        read = float if vr in ("FL", "FD") else int
        return [read(part) for part in value.split("\\")] if value else []
    parts = value if isinstance(value, tuple) else (value,)
    return [part for part in parts if isinstance(part, int | float)]


def _pad(vr: str) -> bytes:
    return b" " if vr in TEXT_VRS and vr != "UI" else b"\0"


def _triples(elements: Elements) -> list[_Triple]:
    return [(tag, elements[tag].vr, elements[tag].value) for tag in sorted(elements) if tag != _LABEL]


def _finished(data_set: bytes, syntax: TransferSyntax) -> bytes:
    if not syntax.deflated:
        return data_set
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(data_set) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)  # PS3.5 A.5
