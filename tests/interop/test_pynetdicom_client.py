"""pynetdicom as a client: another stack's idea of the same standard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, StoragePresentationContexts, build_context
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from kit.odd import SECONDARY_CAPTURE, make
from kit.server import RunningServer
from kit.shipped import DicomObject, decoded_header, part10, shipped_objects
from kit.store import Store

VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
SHIPPED = {one.name: one for one in shipped_objects()}


@contextmanager
def associated(
    server: RunningServer, contexts: Sequence[Any], *, extended: Sequence[Any] = ()
) -> Iterator[Association]:
    """An established association, released at the end."""
    ae = AE(ae_title="PYNETDICOM")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    association = ae.associate(
        "127.0.0.1", server.port, contexts=list(contexts), ae_title="PACSLITE", ext_neg=list(extended) or None
    )
    assert association.is_established
    yield association
    association.release()
    assert association.is_released


def data_set_of(sent: DicomObject) -> Dataset:
    """The object as pynetdicom sends it: decoded and encoded again."""
    from io import BytesIO

    from pydicom.filereader import dcmread

    return dcmread(BytesIO(part10(sent)))


def test_echo(server: RunningServer) -> None:
    with associated(server, [build_context(VERIFICATION)]) as association:
        for _ in range(5):
            assert association.send_c_echo().Status == 0


def test_the_128_storage_contexts(server: RunningServer) -> None:
    contexts = StoragePresentationContexts[:128]
    with associated(server, contexts) as association:
        assert len(association.accepted_contexts) == len(contexts)
        assert association.rejected_contexts == []


NAMES = (
    "pydicom/CT_small.dcm",
    "pydicom/MR_small_bigendian.dcm",
    "pydicom/MR_small_RLE.dcm",
    "pydicom/JPEG2000.dcm",
    "pydicom/image_dfl.dcm",
    "pydicom/reportsi.dcm",
    "pydicom/waveform_ecg.dcm",
    "data_store/693_UNCI.dcm",
)


@pytest.mark.parametrize("name", NAMES)
def test_store(server: RunningServer, store: Store, name: str) -> None:
    sent = SHIPPED[name]
    with associated(server, [build_context(sent.sop_class, UID(sent.transfer_syntax))]) as association:
        assert association.send_c_store(data_set_of(sent)).Status == 0
    copies = [one for one in store.copies(sent.sop_instance) if one.transfer_syntax == sent.transfer_syntax]
    assert copies
    expected = decoded_header(part10(sent)).StudyInstanceUID
    assert all(decoded_header(one.path.read_bytes()).StudyInstanceUID == expected for one in copies)


def test_store_a_hundred_on_one_association(server: RunningServer, store: Store) -> None:
    sent = [make(f"pynetdicom-{at}") for at in range(100)]
    with associated(server, [build_context(SECONDARY_CAPTURE, UID(EXPLICIT))]) as association:
        for at, one in enumerate(sent):
            assert association.send_c_store(data_set_of(one), msg_id=at + 1).Status == 0
    for one in sent:
        store.copy_of(one)


def test_a_failure_comes_with_words(server: RunningServer) -> None:
    nameless = data_set_of(make("pynetdicom-nameless"))
    del nameless.StudyInstanceUID
    with associated(server, [build_context(SECONDARY_CAPTURE, UID(EXPLICIT))]) as association:
        answer = association.send_c_store(nameless)
        assert answer.Status == 0xC000
        assert "Study Instance UID" in answer.ErrorComment
        assert answer.OffendingElement == 0x0020000D
        assert association.send_c_store(data_set_of(make("pynetdicom-after"))).Status == 0


def test_extended_negotiation_of_every_kind(server: RunningServer) -> None:
    """DM-02, DM-04, DM-05: what was offered is answered as the standard says, and the association works."""
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 5, 5
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = UID(SECONDARY_CAPTURE), b"\2\0\3\0\1\0"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = UID(SECONDARY_CAPTURE), UID("1.2.840.10008.4.2")
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field, identity.positive_response_requested = 1, b"me", True
    with associated(
        server, [build_context(SECONDARY_CAPTURE, UID(EXPLICIT))], extended=[window, extended, common, identity]
    ) as association:
        acceptor = association.acceptor
        assert acceptor.asynchronous_operations[0] == 5
        assert acceptor.user_identity is None
        answers = acceptor.sop_class_extended
        assert set(answers) <= {SECONDARY_CAPTURE}
        assert association.send_c_store(data_set_of(make("pynetdicom-extended"))).Status == 0


def test_role_selection(server: RunningServer) -> None:
    from pynetdicom import build_role

    context = build_context(SECONDARY_CAPTURE, UID(EXPLICIT))
    role = build_role(SECONDARY_CAPTURE, scu_role=True, scp_role=True)
    with associated(server, [context], extended=[role]) as association:
        (accepted,) = association.accepted_contexts
        assert accepted.as_scu
        assert accepted.as_scp  # DM-03: it may fetch (C-GET), so it may be sent objects
        assert association.send_c_store(data_set_of(make("pynetdicom-role"))).Status == 0


def test_an_abort_in_the_middle_hurts_nobody(server: RunningServer) -> None:
    ae = AE(ae_title="ABORTER")
    ae.add_requested_context(VERIFICATION)
    association = ae.associate("127.0.0.1", server.port)
    assert association.is_established
    association.abort()
    with associated(server, [build_context(VERIFICATION)]) as other:
        assert other.send_c_echo().Status == 0
