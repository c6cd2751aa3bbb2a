"""Objects as the real world sends them: legal and rare, illegal and common, and some that nobody should send.

Each has the status that the server must answer with: 0000 where the object can be identified, however broken the rest
is, and a failure where it cannot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from kit.encode import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, ITEM, UNDEFINED, Encoding, deflate
from kit.shipped import DicomObject

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_ROOT = "1.2.826.0.1.3680043.10.9999"

_SYNTAXES: dict[str, Encoding] = {EXPLICIT: EXPLICIT_LITTLE, IMPLICIT: IMPLICIT_LITTLE, BIG_ENDIAN: EXPLICIT_BIG}


@dataclass(frozen=True, slots=True)
class OddObject:
    """``kept`` says whether the answer must be Success (or a warning) and the bytes must be in the store."""

    object: DicomObject
    kept: bool = True


def uid_for(name: str, level: int) -> str:
    """The same UID for the same name, another one for another name."""
    return f"{_ROOT}.{level}.{int(hashlib.sha256(name.encode()).hexdigest()[:12], 16)}"


def make(
    name: str,
    *,
    syntax: str = EXPLICIT,
    encoding: Encoding | None = None,
    first: bytes = b"",
    group8: bytes = b"",
    patient: bytes | None = None,
    group18: bytes = b"",
    study: str | None = None,
    series: str | None = None,
    instance: str | None = None,
    rest: bytes = b"",
) -> DicomObject:
    """A small Secondary Capture. The bytes given go in at the place their names say; None means the usual ones."""
    use = encoding or _SYNTAXES[syntax]
    if patient is None:
        patient = use.element(0x00100010, "PN", f"Odd^{name[:40]}") + use.element(0x00100020, "LO", name[:60])
    study, series, instance = study or uid_for(name, 2), series or uid_for(name, 3), instance or uid_for(name, 4)
    data_set = b"".join(
        (
            first,
            use.element(0x00080016, "UI", SECONDARY_CAPTURE),
            use.element(0x00080018, "UI", instance),
            group8,
            patient,
            group18,
            use.element(0x0020000D, "UI", study),
            use.element(0x0020000E, "UI", series),
            rest,
        )
    )
    return DicomObject(
        name=name,
        sop_class=SECONDARY_CAPTURE,
        sop_instance=instance,
        transfer_syntax=syntax,
        data_set=data_set,
    )


def odd_objects() -> tuple[OddObject, ...]:
    """All of them; their names are unique and fit for test IDs."""
    kept = (*_encodings(), *_structures(), *_values(), *_uids(), *_character_sets(), *_broken_after_the_uids())
    return (*map(OddObject, kept), *(OddObject(one, kept=False) for one in _unidentifiable()))


def _pixels(encoding: Encoding) -> bytes:
    return (
        encoding.element(0x00280010, "US", encoding.us(4))
        + encoding.element(0x00280011, "US", encoding.us(4))
        + encoding.element(0x00280100, "US", encoding.us(8))
        + encoding.element(0x7FE00010, "OW", bytes(range(16)))
    )


def _encodings() -> Iterator[DicomObject]:
    little = EXPLICIT_LITTLE
    for syntax, name in ((EXPLICIT, "explicit"), (IMPLICIT, "implicit"), (BIG_ENDIAN, "big-endian")):
        yield make(name, syntax=syntax, rest=_pixels(_SYNTAXES[syntax]))
    plain = make("deflated", rest=_pixels(little))
    yield _with(plain, syntax=DEFLATED, data_set=deflate(plain.data_set))
    pieces = (b"\xff\xd8\xff\xe0" + bytes(60), bytes(64), b"\xff\xd9")
    for name, image in {
        "encapsulated": little.encapsulated(pieces[0]),
        "encapsulated-with-offset-table": little.encapsulated(*pieces, offsets=bytes(4)),
        "encapsulated-in-many-fragments": little.encapsulated(*[bytes(2)] * 500),
        "encapsulated-empty-fragment": little.encapsulated(b"", pieces[0]),
        "encapsulated-odd-fragment": little.encapsulated(bytes(63)),
        "encapsulated-without-end": little.encapsulated(pieces[0], end=False),
    }.items():
        yield _with(make(name, rest=image), syntax=JPEG_BASELINE)
    # A context promises one syntax and the data set is in another: several modalities do.
    yield make("implicit-in-explicit-context", syntax=EXPLICIT, encoding=IMPLICIT_LITTLE, rest=_pixels(IMPLICIT_LITTLE))
    yield make("big-endian-in-little-endian-context", syntax=EXPLICIT, encoding=EXPLICIT_BIG)
    yield make("little-endian-in-big-endian-context", syntax=BIG_ENDIAN, encoding=EXPLICIT_LITTLE)
    yield _with(make("plain-in-deflated-context"), syntax=DEFLATED)
    yield make("explicit-in-implicit-context", syntax=IMPLICIT, encoding=EXPLICIT_LITTLE, rest=_pixels(EXPLICIT_LITTLE))


def _structures() -> Iterator[DicomObject]:
    for syntax, kind in ((EXPLICIT, "explicit"), (IMPLICIT, "implicit"), (BIG_ENDIAN, "big-endian")):
        use = _SYNTAXES[syntax]
        creator = use.element(0x00090010, "LO", "ODD PRIVATE 1.0")
        private = creator + use.element(0x00091001, "UN", bytes(range(7)))
        yield make(f"private-{kind}", syntax=syntax, group8=private)
        yield make(f"private-without-creator-{kind}", syntax=syntax, group8=use.element(0x00091001, "LO", "x"))
        code = use.element(0x00080100, "SH", "T-A0100") + use.element(0x00080104, "LO", "Brain")
        for undefined in (True, False):
            nested = code
            for _ in range(8):
                nested = use.sequence(0x0008114A, nested, undefined=undefined)
            length = "undefined" if undefined else "defined"
            yield make(f"sequences-of-{length}-length-{kind}", syntax=syntax, group8=nested)
        yield make(f"empty-sequence-{kind}", syntax=syntax, group8=use.sequence(0x00081140))
        yield make(f"empty-item-{kind}", syntax=syntax, group8=use.sequence(0x00081140, b"", b""))
    little, implicit = EXPLICIT_LITTLE, IMPLICIT_LITTLE
    # PS3.5 6.2.2: UN of undefined length holds implicit VR, whatever surrounds it.
    inside = implicit.sequence(0x00091002, implicit.element(0x00080100, "SH", "X"))[8:]
    yield make("un-of-undefined-length", group8=little.element(0x00091001, "UN", inside, length=UNDEFINED, pad=False))
    deep = b""
    for _ in range(100):
        deep = little.sequence(0x0040A730, deep)
    yield make("hundred-levels-deep", rest=deep)
    many = [little.element(0x00080100, "SH", f"{at}") for at in range(3000)]
    yield make("three-thousand-items-before-the-study", group8=little.sequence(0x00081140, *many))
    for undefined in (True, False):  # segmentations and presentation states name every image they are about
        references = [
            little.element(0x00081150, "UI", SECONDARY_CAPTURE) + little.element(0x00081155, "UI", uid_for(f"{at}", 9))
            for at in range(5000)
        ]
        name = f"five-thousand-references-of-{'undefined' if undefined else 'defined'}-length"
        yield make(name, group8=little.sequence(0x00081115, *references, undefined=undefined))
    yield make("a-megabyte-before-the-study", group8=little.element(0x00091001, "OB", bytes(900_000)))
    yield make("group-lengths", first=_group_length(8), group18=_group_length(0x18) + _group_length(0x20))
    yield make("command-group-length-in-data-set", first=_group_length(0))
    # ST-04: illegal there, and it must not be mistaken for the meta information of the stored file.
    yield make("group-2-in-data-set", first=little.element(0x00020010, "UI", JPEG_BASELINE))
    yield make("trailing-padding", rest=little.element(0xFFFCFFFC, "OB", bytes(512)))
    yield make("trailing-zeros", rest=_pixels(little) + bytes(64))
    yield make("trailing-odd-byte", rest=_pixels(little) + b"\0")
    yield make("overlay-group-6010", rest=little.element(0x60103000, "OW", bytes(32)))


def _group_length(group: int) -> bytes:
    return EXPLICIT_LITTLE.element(group << 16, "UL", EXPLICIT_LITTLE.ul(1234))  # wrong, as they mostly are


def _values() -> Iterator[DicomObject]:
    little = EXPLICIT_LITTLE
    yield make("no-patient-name", patient=little.element(0x00100020, "LO", "4711"))
    yield make("no-patient-at-all", patient=b"")
    yield make("several-patient-ids", patient=little.element(0x00100020, "LO", "1\\2\\3"))
    yield make("empty-patient", patient=little.element(0x00100010, "PN", "") + little.element(0x00100020, "LO", ""))
    yield make("odd-lengths", group8=little.element(0x00080070, "LO", "ABC", pad=False))
    yield make("odd-length-uid", instance=f"{_ROOT}.4.77", group8=b"")
    yield make("unknown-vr-xx", group18=little.element(0x00180015, "XX", "CHEST "))
    yield make("unknown-vr-zeros", group18=little.element(0x00180015, "\0\0", "CHEST "))
    yield make("unknown-vr-question-marks", group18=little.element(0x00180015, "??", "CHEST "))
    yield make("wrong-vr-for-study-date", group8=little.element(0x00080020, "LO", "2020-01-01"))
    yield make("impossible-dates", group8=little.element(0x00080020, "DA", "20209999"))
    yield make("old-dates", group8=little.element(0x00080020, "DA", "1999.12.31"))
    yield make("number-that-is-none", rest=little.element(0x00200013, "IS", "1.5e"))
    yield make("number-too-large", rest=little.element(0x00200013, "IS", "99999999999999999999"))
    yield make("binary-in-text", patient=little.element(0x00100010, "PN", bytes(range(256))))
    yield make("names-with-wildcards", patient=little.element(0x00100010, "PN", "A*?%_[x]';--^B"))
    yield make("name-of-64-kib", patient=little.element(0x00100010, "PN", "N" * 65534))
    yield make("value-list-of-thousands", group8=little.element(0x00080008, "CS", "\\".join(["ORIGINAL"] * 5000)))
    yield make("elements-out-of-order", rest=little.element(0x00080060, "CS", "MR"))
    yield make("elements-twice", group8=little.element(0x00080060, "CS", "CT") + little.element(0x00080060, "CS", "MR"))
    yield make("nul-padded-text", patient=little.element(0x00100020, "LO", b"4711\0\0\0\0"))


_UIDS = {
    "leading-zeros": f"{_ROOT}.007.0001",
    "of-65-characters": f"{_ROOT}." + "1" * (64 - len(_ROOT)),
    "of-200-characters": f"{_ROOT}." + "1" * (199 - len(_ROOT)),
    "with-letters": "1.2.840.abc.XYZ",
    "with-case-a": "1.2.CASE",
    "with-case-b": "1.2.case",
    "traversal": "../../../../tmp/pacslite-was-here",
    "traversal-back": "..\\..\\windows",
    "absolute-path": "/etc/passwd",
    "dot": ".",
    "two-dots": "..",
    "empty-components": "1.2..3.",
    "inner-space": "1.2 .3",
    "inner-nul": "1.2\0.3",
    "line-feed": "1.2\n.3",
    "percent": "1.2.%2e%2e",
    "tilde-and-comma": "1.2~2,3",
    "above-ascii": "1.2.\xe4\xff",
    "one-digit": "7",
}


def _uids() -> Iterator[DicomObject]:
    for name, uid in _UIDS.items():
        yield make(f"instance-uid-{name}", instance=uid)
        yield make(f"study-uid-{name}", study=uid)
        yield make(f"series-uid-{name}", series=uid)
    yield make("uid-padded-with-spaces", study=f"{uid_for('space', 2)}   ")
    yield make("uid-with-space-in-front", study=f" {uid_for('front', 2)}")


def _character_sets() -> Iterator[DicomObject]:
    little = EXPLICIT_LITTLE
    for name, declared, text in (
        ("latin-1", "ISO_IR 100", b"M\xfcller^J\xf6rg"),
        ("utf-8", "ISO_IR 192", "山田^太郎".encode()),
        ("japanese", "ISO 2022 IR 6\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
        ("gb18030", "GB18030", "王^小東".encode("gb18030")),
        ("misspelt-with-hyphen", "ISO-IR 100", b"M\xfcller^J\xf6rg"),
        ("misspelt-without-space", "ISO_IR100", b"M\xfcller^J\xf6rg"),
        ("misspelt-utf8", "UTF-8", "Müller^Jörg".encode()),
        ("unknown", "ISO_IR 999", b"M\xfcller"),
        ("undeclared", "", b"M\xfcller^J\xf6rg"),
        ("declared-utf-8-but-latin-1", "ISO_IR 192", b"M\xfcller^J\xf6rg"),
        ("unfinished-escape", "ISO 2022 IR 6\\ISO 2022 IR 87", b"Yamada^\x1b"),
        ("unknown-escape", "ISO 2022 IR 6\\ISO 2022 IR 87", b"Yamada^\x1b%Zxx"),
        ("nine-of-them", "\\".join(["ISO 2022 IR 87"] * 9), b"Yamada"),
        ("binary", "\x01\x02\\\xff", b"Yamada"),
    ):
        first = little.element(0x00080005, "CS", declared)
        patient = little.element(0x00100010, "PN", text) + little.element(0x00100020, "LO", name)
        yield make(f"charset-{name}", first=first, patient=patient)


def _broken_after_the_uids() -> Iterator[DicomObject]:
    """The object can be identified; what comes after that is beyond pydicom, or illegal."""
    little = EXPLICIT_LITTLE
    yield make("length-beyond-the-end", rest=little.element(0x00204000, "LT", "short", length=60000))
    yield make("four-gib-length", rest=little.element(0x7FE00010, "OB", bytes(16), length=0xFFFFFFFE))
    yield make("cut-inside-an-element-header", rest=little.element(0x00280010, "US", b"\4\0")[:5])
    yield make("cut-inside-a-sequence", rest=little.sequence(0x0040A730, little.element(0x0040A040, "CS", "TEXT"))[:-9])
    yield make("garbage-tail", rest=hashlib.sha512(b"garbage").digest() * 20)
    yield make("item-outside-a-sequence", rest=little.mark(ITEM, 8) + bytes(8))
    yield make("end-of-sequence-without-one", rest=little.mark(0xFFFEE0DD))
    yield make(
        "item-longer-than-its-sequence", rest=little.element(0x0040A730, "SQ", little.mark(ITEM, 9999) + bytes(8))
    )


def _unidentifiable() -> Iterator[DicomObject]:
    little = EXPLICIT_LITTLE
    good = make("unidentifiable")
    yield _with(good, name="empty-data-set", data_set=b"")
    yield _with(good, name="random-bytes", data_set=hashlib.sha512(b"noise").digest() * 64)
    yield _with(good, name="text-file", data_set=b"This is not a DICOM data set.\n" * 50)
    yield _with(good, name="zeros", data_set=bytes(4096))
    cut = deflate(good.data_set)[: len(deflate(good.data_set)) // 3]
    yield _with(good, name="deflated-cut-before-the-study", syntax=DEFLATED, data_set=cut)
    yield _with(good, name="deflated-garbage", syntax=DEFLATED, data_set=b"\xed" + hashlib.sha512(b"x").digest() * 9)
    only_pixels = little.element(0x7FE00010, "OW", bytes(64))
    yield _with(good, name="only-pixels", data_set=only_pixels)
    other = make("somebody-else")
    # ST-03: the command names one object and the data set is another.
    yield _with(good, name="another-instance-than-the-command-says", data_set=other.data_set)


def _with(
    base: DicomObject, *, name: str | None = None, syntax: str | None = None, data_set: bytes | None = None
) -> DicomObject:
    return DicomObject(
        name=name or base.name,
        sop_class=base.sop_class,
        sop_instance=base.sop_instance,
        transfer_syntax=syntax or base.transfer_syntax,
        data_set=base.data_set if data_set is None else data_set,
    )
