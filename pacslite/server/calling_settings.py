"""The settings of calls that the server makes."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from pacslite.server.section import Section


class CallingSettings(Section):
    """How we call peers with tls = true (PS3.15 B.12). SIGHUP reads certificates again."""

    ca: Path | None = Field(
        None,
        description="PEM file: the authorities that sign those peers' certificates. None: those that this machine "
        "trusts anyway.",
        examples=["/etc/pacslite/tls/ca.crt"],
    )
    certificate: Path | None = Field(
        None,
        description="PEM file: the certificate that we show, for peers that ask for one.",
        examples=["/etc/pacslite/tls/client.crt"],
    )
    key: Path | None = Field(
        None,
        description="PEM file: its private key, without a passphrase. None: it is in the same file.",
        examples=["/etc/pacslite/tls/client.key"],
    )
    check_host_name: bool = Field(
        True,
        description="Whether a peer's certificate must name the address by which we call it. Off where several devices "
        "share one certificate; who signed it is checked in any case.",
    )

    @model_validator(mode="after")
    def _key_belongs_to_a_certificate(self) -> Self:
        if self.key is not None and self.certificate is None:
            raise ValueError("key without certificate")
        return self
