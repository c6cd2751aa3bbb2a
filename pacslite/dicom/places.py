"""Where a header reader can be in a data set, and what it looks for there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from pacslite.dicom import tags
from pacslite.dicom.element import DELIMITERS, Encoding, encoding_for

NO_END: Final = 1 << 62
# The Content Sequence is the document itself, often hundreds of kilobytes of items: nothing indexed comes after it.
_SPECIAL: Final = frozenset({tags.REQUEST_ATTRIBUTES_SEQUENCE, tags.CONTENT_SEQUENCE})


class Table(NamedTuple):
    """What to look for among elements: tags as an encoding gives them, to tags, or to None for those with a meaning.

    `native & mask > last` says that an element is behind the last group there is anything in.
    """

    wanted: Mapping[int, int | None]
    mask: int
    last: int


def _tables(wanted: frozenset[int], special: frozenset[int], last_group: int) -> dict[bool, Table]:
    """By byte order."""

    def natives(encoding: Encoding) -> dict[int, int | None]:
        return {encoding.native(tag): None if tag in special else tag for tag in wanted | special}

    return {
        False: Table(natives(encoding_for(explicit=True, big_endian=False)), 0xFFFF, last_group),
        True: Table(natives(encoding_for(explicit=True, big_endian=True)), 0xFFFFFFFF, last_group << 16 | 0xFFFF),
    }


OF_DATA_SET: Final = _tables(tags.WANTED, DELIMITERS | _SPECIAL, max(tags.WANTED) >> 16)
OF_REQUEST: Final = _tables(tags.WANTED_OF_REQUEST, DELIMITERS, 0xFFFF)
_OF_OTHERS: Final = _tables(frozenset(), DELIMITERS, 0xFFFF)
_NOWHERE: Final[dict[int, bytes]] = {}  # where nothing is wanted


class Place:
    """The data set, or a sequence or item in it that is open, at the latest until the offset `end`.

    What `tables` want of it goes to `sink`. `holds_items` says that items of defined length in it can be stepped over.
    """

    __slots__ = ("encoding", "end", "fresh", "holds_items", "is_item", "is_request", "sink", "tables")

    def __init__(
        self,
        encoding: Encoding,
        end: int,
        sink: dict[int, bytes] = _NOWHERE,
        *,
        tables: Mapping[bool, Table] = _OF_OTHERS,
        is_item: bool = False,
        is_request: bool = False,
    ) -> None:
        self.encoding = encoding
        self.end = end
        self.sink = sink
        self.tables = tables
        self.is_item = is_item
        self.is_request = is_request
        self.holds_items = sink is _NOWHERE and not (is_item or is_request)
        self.fresh = is_item  # the encoding inside an item shows at its first element
