"""The settings of queries and retrievals."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pacslite.archive.settings import GIB, MIB
from pacslite.server.section import Section
from pacslite.server.setting_types import Bytes, Count, PDUBytes, Seconds, UTCOffset
from pacslite.services.progress import SIGN_OF_LIFE_S


class QuerySettings(Section):
    """How questions are answered (C-FIND)."""

    max_answers: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Answers to one query. One that has more fails (A700) with the words to narrow it; nothing is "
        "silently left out. 0 is no limit.",
    )
    max_identifier_bytes: PDUBytes = Field(
        MIB, description="Bytes of a query or a retrieval's identifier. Longer: refused (A700)."
    )
    max_queries: Count = Field(
        16, description="Queries that read the index at once; further ones wait for one of them to end."
    )
    timezone: UTCOffset = Field(
        "",
        description="The offset from UTC, such as +0100, of dates and times in objects that name none, for requesters "
        "that agree on time zone adjustment. Empty: this machine's own, now.",
        examples=["+0100"],
    )


class RetrieveSettings(Section):
    """How objects are sent where they are asked for (C-MOVE, C-GET)."""

    pending_s: Annotated[float, Field(gt=0, le=SIGN_OF_LIFE_S)] = Field(
        1.0,
        description="Seconds between reports of progress to the requester while there is progress. At most "
        f"{SIGN_OF_LIFE_S:g}: so often it gets one in any case, as requesters give up on silence.",
    )
    connect_s: Seconds = Field(10.0, description="Seconds that a destination has to take the connection.")
    answer_s: Seconds = Field(
        60.0, description="Seconds that a destination has to accept the association, and to answer for one object."
    )
    read_ahead_bytes: Annotated[int, Field(ge=MIB)] = Field(
        16 * MIB, description="Bytes of the next objects that one retrieval reads while the last ones are being sent."
    )
    convert: bool = Field(
        True,
        description="Whether an object is converted, never with loss, for a destination that does not take the "
        "transfer syntax it is stored in. Off: such objects count as failed.",
    )
    convert_processes: Annotated[int, Field(ge=1, le=256)] = Field(
        2, description="Processes that compress and decompress pixel data, started when they are first needed."
    )
    max_convert_bytes: Bytes = Field(
        GIB,
        description="Bytes that the pixel data of one object may have, compressed or not, to be converted in memory; "
        "a larger one counts as failed. Changes that leave the pixels alone have no limit. 0 is no limit.",
    )
