"""Verification service class (PS3.4 Annex A): C-ECHO."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from pacslite.dimse.command import NO_DATA_SET, CommandField, Tag
from pacslite.dimse.service import Context, Request, Response
from pacslite.net.association import Association


class VerificationService:
    """Answers that we are here."""

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        yield Response()


async def echo(association: Association, context: Context) -> int:
    """C-ECHO as SCU; returns the status. Raises :class:`AssociationError`."""
    response = await association.call(
        context.context_id,
        {
            Tag.AFFECTED_SOP_CLASS_UID: context.abstract_syntax,
            Tag.COMMAND_FIELD: CommandField.C_ECHO_RQ,
            Tag.COMMAND_DATA_SET_TYPE: NO_DATA_SET,
        },
    )
    return response.status
