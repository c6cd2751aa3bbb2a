"""What every table of the configuration is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """What all sections have in common: nothing unknown is let through, and nothing changes later."""

    model_config = ConfigDict(frozen=True, extra="forbid")
