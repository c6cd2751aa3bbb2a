"""The settings of what is owed to others: the outbox, storage commitment, forwarding and retention."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from pacslite.archive.settings import MIB
from pacslite.server.section import Section
from pacslite.server.setting_types import AETitle, Bytes, Count, Patterns, RuleName, Seconds, TimesOfDay, UIDPatterns

DAY_S = 86400.0


class OutboxSettings(Section):
    """How work owed to others is tried again: forwards, and reports of storage commitment."""

    retry_first_s: Seconds = Field(
        5.0,
        description="Seconds until a destination that failed is tried again; doubled each time, and varied a little.",
    )
    retry_most_s: Seconds = Field(3600.0, description="Seconds between attempts at most.")
    retry_for_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        7 * DAY_S,
        description="Seconds after which something that keeps failing is given up. It is kept, and pacslite jobs shows "
        "it and can retry it. 0 is never.",
    )
    lease_s: Annotated[float, Field(ge=10, allow_inf_nan=False)] = Field(
        120.0, description="Seconds for which a worker has what it took; it renews that while it lives."
    )


class Verification(StrEnum):
    """What an object has to pass before we commit to it."""

    PRESENCE = "presence"
    DIGEST = "digest"


class CommitmentSettings(Section):
    """Storage commitment: what we promise to those who sent us objects, and what we ask of those we forward to."""

    verify: Verification = Field(
        Verification.PRESENCE,
        description="What is looked at before an object is committed. presence: it is in the index and its file has "
        "the right size. digest: the file is read again, and is what was received.",
    )
    max_request_bytes: Annotated[int, Field(ge=MIB)] = Field(
        64 * MIB, description="Bytes of one request. Longer: refused (0213H)."
    )
    max_instances: Count = Field(200_000, description="Instances in one request. More: refused (0213H).")
    ask_after_s: Seconds = Field(
        10.0, description="Seconds after the last forwarded object until its destination is asked to commit."
    )
    answer_wait_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        10.0,
        description="Seconds for which we keep the association on which we asked open for the result. Later ones are "
        "taken on an association that the destination opens.",
    )
    ask_again_s: Seconds = Field(
        3600.0, description="Seconds without a result after which the destination is asked anew."
    )
    max_resends: Annotated[int, Field(ge=0)] = Field(
        3, description="How often an object is sent again that the destination did not commit to."
    )


class ForwardOn(StrEnum):
    """When a rule sends."""

    INSTANCE = "instance"
    STUDY = "study"


class ForwardPriority(StrEnum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class ForwardSettings(Section):
    """A rule: what is sent on to whom. Any number of [[forward]]; an object goes wherever a rule sends it, once.

    All conditions that are given must hold; each is a list of patterns of which one must match, with * and ?, upper and
    lower case alike (AE titles and UIDs as they are). Of several values any may match; a missing one matches only *.
    Where several rules send an object to one peer, the rule that lets it go first decides when and within which limits.
    """

    name: RuleName = Field(
        description="Its name in the log and in pacslite jobs. Keep it: work under way is known by it.",
        examples=["ct-to-archive"],
    )
    to: tuple[AETitle, ...] = Field(
        min_length=1, description="AE titles of the [[peers]] to send to, which need a port.", examples=[("ARCHIVE",)]
    )
    on: ForwardOn = Field(
        ForwardOn.INSTANCE,
        description="instance: at once, each object by itself. study: when the study has been quiet for quiet_s.",
    )
    quiet_s: Seconds = Field(60.0, description="Seconds without a new object of the study, with on = study.")
    calling_ae: Patterns = Field((), description="Who sent it: AE titles.", examples=[("CT*", "MR1")])
    called_ae: Patterns = Field((), description="What the sender called us.", examples=[("TEACHING",)])
    modality: Patterns = Field((), description="Modality (0008,0060).", examples=[("CT", "MR")])
    sop_class: UIDPatterns = Field((), description="SOP Class UIDs.", examples=[("1.2.840.10008.5.1.4.1.1.88.*",)])
    station_name: Patterns = Field((), description="Station Name (0008,1010).", examples=[("ER-*",)])
    body_part: Patterns = Field((), description="Body Part Examined (0018,0015).", examples=[("HEAD", "BRAIN")])
    study_description: Patterns = Field((), description="Study Description (0008,1030).", examples=[("*TRAUMA*",)])
    series_description: Patterns = Field((), description="Series Description (0008,103E).", examples=[("*THIN*",)])
    priority: ForwardPriority = Field(
        ForwardPriority.MEDIUM, description="What a destination gets first, and the Priority of the C-STORE."
    )
    window: TimesOfDay = Field(
        "",
        description="Times of day between which is sent, on this machine's clock. Empty: always.",
        examples=["22:00-06:00"],
    )
    bytes_per_s: Bytes = Field(
        0, description="Bytes a second that this rule sends to one destination at most. 0 is no limit."
    )
    associations: Annotated[int, Field(ge=0, le=64)] = Field(
        0, description="Associations at once to one destination, at most the peer's own. 0: as many as that."
    )
    commit: bool = Field(
        False,
        description="Whether the destination is asked to commit to what it was sent (storage commitment), and what it "
        'does not is sent again. The peer needs the permission "commit" to report the result.',
    )


class RetentionSettings(Section):
    """What may be deleted without anybody asking, whole studies at a time. Nothing, unless limits are set here.

    One object keeps its whole study if it is still to be forwarded, or if its destination is asked to commit to it and
    has not: no setting changes that.
    """

    check_every_s: Seconds = Field(3600.0, description="Seconds between checks.")
    max_age_days: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="Days after its last object came in which a study is kept. 0: for ever."
    )
    high_water_bytes: Bytes = Field(
        0, description="Bytes of all objects above which the oldest studies are deleted. 0: no such limit."
    )
    low_water_bytes: Bytes = Field(
        0,
        description="Bytes to which they are then brought down: below high_water_bytes, and needed with it, as 0 would "
        "be all of them.",
    )
    delivered_to: tuple[AETitle, ...] = Field(
        (),
        description="AE titles: only studies of which each of these has taken every object.",
        examples=[("ARCHIVE",)],
    )
    committed_by: tuple[AETitle, ...] = Field(
        (), description="The same, and has committed to them.", examples=[("ARCHIVE",)]
    )
    keep_committed: bool = Field(
        True,
        description="Whether objects are kept that we committed to ourselves. Off only where another archive has taken "
        "over: see committed_by.",
    )
    dry_run: bool = Field(False, description="Whether only to log what would be deleted.")

    @model_validator(mode="after")
    def _marks_in_order(self) -> Self:
        if self.high_water_bytes and not self.low_water_bytes:
            raise ValueError("high_water_bytes needs low_water_bytes; without it everything would be deleted")
        if self.low_water_bytes and not self.high_water_bytes:
            raise ValueError("low_water_bytes does nothing without high_water_bytes")
        if self.high_water_bytes and self.low_water_bytes >= self.high_water_bytes:
            raise ValueError(
                f"low_water_bytes ({self.low_water_bytes}) is not below high_water_bytes ({self.high_water_bytes})"
            )
        return self
