"""The test kit's own parts: a wrong corpus or a wrong packer would make every other test here worthless."""

from __future__ import annotations

from collections import Counter

import pytest

from kit.message import Packing, c_store_rq, pack_message
from kit.odd import odd_objects
from kit.shipped import part10, read_meta, shipped_objects
from kit.wait import eventually
from pacslite.ul.codec import decode_pdu
from pacslite.ul.pdu import PDataTF


def test_the_shipped_corpus_is_there_and_varied() -> None:
    objects = shipped_objects()
    assert len(objects) >= 240
    assert len({one.name for one in objects}) == len(objects)
    assert len({one.transfer_syntax for one in objects}) >= 12
    assert len({one.sop_class for one in objects}) >= 17


def test_odd_objects_have_names_and_identities_of_their_own() -> None:
    names = Counter(one.object.name for one in odd_objects())
    assert [name for name, times in names.items() if times > 1] == []
    kept = Counter(one.object.sop_instance for one in odd_objects() if one.kept)
    assert [uid for uid, times in kept.items() if times > 1] == []


def test_a_written_file_reads_back() -> None:
    for odd in odd_objects():
        file = part10(odd.object)
        meta = read_meta(file, trusted=True)
        assert meta.uid(0x0003) == odd.object.sop_instance.strip("\0 ")
        assert file[meta.data_set_offset :] == odd.object.data_set


@pytest.mark.parametrize(
    "packing",
    [
        Packing(),
        Packing(command_fragments=(1,), data_fragments=(1, 2, 3)),
        Packing(data_fragments=(100,), pdvs_per_pdu=7),
        Packing(data_fragments=(11,), pdvs_per_pdu=3, empty_pdvs=True, control_noise=0xFC),
    ],
)
def test_every_packing_joins_to_the_same_message(packing: Packing) -> None:
    command, data_set = c_store_rq("1.2", "1.2.3"), bytes(range(256)) * 3
    pdvs = [value for raw in pack_message(5, command, data_set, packing) for value in _p_data(raw).pdvs]
    assert b"".join(value.data for value in pdvs if value.command) == command
    assert b"".join(value.data for value in pdvs if not value.command) == data_set
    assert [value.command for value in pdvs if value.last] == [True, False]
    assert pdvs[-1].last


def _p_data(raw: bytes) -> PDataTF:
    decoded = decode_pdu(raw[0], raw[6:])
    assert isinstance(decoded, PDataTF)
    return decoded


def test_waiting_ends_with_the_condition_or_with_the_bound() -> None:
    assert eventually(lambda: 7, "seven") == 7
    with pytest.raises(AssertionError, match=r"not within 0\.01 s: rain"):
        eventually(lambda: False, "rain", within_s=0.01)
