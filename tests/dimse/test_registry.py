"""What is declared once: negotiation and dispatch read the same registrations. STANDARD DM-07, DM-11."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from pacslite.dimse.command import CommandField
from pacslite.dimse.permission import Permission
from pacslite.dimse.registry import Registration, ServiceRegistry
from pacslite.dimse.service import Request, Response
from pacslite.dimse.status import Kind, kind_of
from pacslite.errors import SOPClassNotSupported, UnrecognizedOperation


class Answering:
    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        yield Response()


ANSWERING = Answering()
REGISTRY = ServiceRegistry(
    [
        Registration(
            name="verification",
            abstract_syntaxes=("1.2.840.10008.1.1",),
            serves=lambda uid, related: uid == "1.2.840.10008.1.1",
            transfer_syntaxes=("1.2.840.10008.1.2",),
            permission=Permission.ECHO,
            operations={CommandField.C_ECHO_RQ: ANSWERING},
        ),
        Registration(
            name="storage",
            abstract_syntaxes=("1.2.3",),
            serves=lambda uid, related: uid == "1.2.3" or "1.2.3" in related,
            transfer_syntaxes=("1.2.840.10008.1.2",),
            permission=Permission.STORE,
            operations={CommandField.C_STORE_RQ: ANSWERING},
        ),
    ]
)


def test_a_service_is_found_by_abstract_syntax_and_command() -> None:
    assert REGISTRY.service("1.2.840.10008.1.1", (), CommandField.C_ECHO_RQ) is ANSWERING


def test_a_related_general_sop_class_finds_its_service() -> None:
    found = REGISTRY.find("1.9.9", ("1.2.3",))
    assert found is not None
    assert found.name == "storage"
    assert REGISTRY.find("1.9.9") is None


@pytest.mark.parametrize("field", [CommandField.C_STORE_RQ, CommandField.N_GET_RQ, 0x0999])
def test_dm_11_an_operation_the_class_does_not_have_is_0211(field: int) -> None:
    with pytest.raises(UnrecognizedOperation) as caught:
        REGISTRY.service("1.2.840.10008.1.1", (), field)
    assert caught.value.status == 0x0211


def test_dm_07_a_class_nobody_serves_is_0122() -> None:
    with pytest.raises(SOPClassNotSupported) as caught:
        REGISTRY.service("1.9.9", (), CommandField.C_STORE_RQ)
    assert caught.value.status == 0x0122


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0x0000, Kind.SUCCESS),
        (0xFF00, Kind.PENDING),
        (0xFF01, Kind.PENDING),
        (0xFE00, Kind.CANCEL),
        (0xB000, Kind.WARNING),
        (0xB007, Kind.WARNING),
        (0x0107, Kind.WARNING),
        (0x0116, Kind.WARNING),
        (0xA700, Kind.FAILURE),
        (0xC000, Kind.FAILURE),
        (0x0110, Kind.FAILURE),
        (0x1234, Kind.FAILURE),
    ],
)
def test_every_status_has_a_kind(status: int, kind: Kind) -> None:
    assert kind_of(status) is kind


@pytest.mark.parametrize(("status", "final"), [(0xFF00, False), (0xFF01, False), (0, True), (0xFE00, True)])
def test_only_pending_answers_are_not_final(status: int, final: bool) -> None:
    assert Response(status=status).is_final is final
