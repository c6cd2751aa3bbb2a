"""Every setting, declared once: its name, type, default, unit and why it exists.

The commented `config/pacslite.toml`, the error messages and `pacslite config show` all derive from these classes.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from pacslite.archive.settings import GIB, KIB, MIB, DuplicatePolicy
from pacslite.dimse.permission import Permission
from pacslite.net.access import Network, UnknownCallers
from pacslite.net.tls import ClientCertificates, TLSVersion
from pacslite.server.section import Section
from pacslite.server.setting_types import (
    UID,
    AETitle,
    Bytes,
    Count,
    LogFormat,
    LogLevel,
    PDUBytes,
    Place,
    Seconds,
    literal_network,
)
from pacslite.ul.negotiation import Order

DICOM_PORT = 11112
DICOM_TLS_PORT = 2762


class ServerSettings(Section):
    """Who we are."""

    ae_title: AETitle = Field("PACSLITE", description="Our AE title: what modalities call, and how we call others.")
    ae_title_aliases: tuple[AETitle, ...] = Field(
        (),
        description="Further titles that callers may use for us, e.g. that of an archive this server replaces. "
        "Used with check_called_ae.",
        examples=[("OLDPACS",)],
    )
    check_called_ae: bool = Field(
        False,
        description="Whether to refuse callers that call us by another title. Off, because a wrong called title is the "
        "commonest mistake when a modality is set up, and it protects nothing.",
    )
    shutdown_grace_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        30.0,
        description="Seconds that open associations get to finish their request after SIGTERM or Ctrl-C; then they are "
        "aborted. Keep it below what systemd or docker waits before it kills.",
    )


class TLSSettings(Section):
    """A [listeners.tls] table makes its listener speak TLS only (PS3.15 B.12). SIGHUP reads certificates again."""

    certificate: Path = Field(
        description="PEM file: the server's certificate, then its intermediate certificates.",
        examples=["/etc/pacslite/tls/server.crt"],
    )
    key: Path = Field(
        description="PEM file: the certificate's private key, without a passphrase.",
        examples=["/etc/pacslite/tls/server.key"],
    )
    client_certificates: ClientCertificates = Field(
        ClientCertificates.NONE,
        description="Whether callers must show a certificate signed by ca. Optional: one that is shown must be right.",
    )
    ca: Path | None = Field(
        None,
        description="PEM file: the authorities that sign callers' certificates.",
        examples=["/etc/pacslite/tls/ca.crt"],
    )
    minimum_version: TLSVersion = Field(
        TLSVersion.TLS_1_2, description="The oldest TLS that is spoken. Older than 1.2 is not allowed (RFC 8996)."
    )

    @model_validator(mode="after")
    def _ca_fits_client_certificates(self) -> Self:
        if self.ca is None and self.client_certificates is not ClientCertificates.NONE:
            raise ValueError(f'client_certificates = "{self.client_certificates}" needs ca, to check them against')
        return self


class ListenerSettings(Section):
    """Where we listen. Any number of [[listeners]], each plain or TLS."""

    host: str = Field(
        "0.0.0.0", description='The address to listen on: "0.0.0.0" is every IPv4 address, "::" every IPv6 address.'
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        DICOM_PORT,
        description="The TCP port. 11112 is the registered one that needs no root; with a tls table the default is "
        "2762. 0 takes any free port.",
    )
    tls: TLSSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _tls_has_its_own_port(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("tls") is not None and "port" not in data:
            return {**data, "port": DICOM_TLS_PORT}
        return data


class StorageSettings(Section):
    """Where the objects are kept."""

    folder: Path = Field(
        Path("pacslite-data"),
        description="The data folder: objects, index, and what is in flight, all on one local file system. Made when "
        "missing. A relative path starts at the folder in which the server is started.",
    )
    duplicates: DuplicatePolicy = Field(
        DuplicatePolicy.KEEP,
        description="What happens when an object arrives again with other content. keep: the first one stays and the "
        "new one is put aside in conflicts/. replace: the new one takes its place.",
    )
    min_free_bytes: Bytes = Field(
        GIB,
        description="Bytes. With less free on the volume, objects are refused (A700) before they are taken, so that "
        "the index can always be written. 0 is no reserve.",
    )
    min_free_percent: Annotated[float, Field(ge=0, lt=100)] = Field(
        2.0,
        description="Percent of the volume. The same reserve, relative; the larger of both counts. 0 is no reserve.",
    )
    quota_bytes: Bytes = Field(
        0, description="Bytes that all objects together may take; beyond it objects are refused (A700). 0 is no quota."
    )
    max_object_bytes: Bytes = Field(
        0, description="Bytes that one object may have; a larger one is refused (A700). 0 is no limit but the space."
    )
    spool_bytes: Annotated[int, Field(ge=4 * KIB)] = Field(
        MIB,
        description="Bytes of one object that are collected in memory before they are handed to the disk: a smaller "
        "object is written in one go, a larger one in pieces of this size.",
    )
    direct_bytes: Bytes = Field(
        64 * KIB,
        description="Bytes of an object from which on it is written past the page cache, which saves a copy and much "
        "waiting; objects larger than spool_bytes never are. 0 is never: better where objects are read again at once "
        "from a slow disk.",
    )
    file_threads: Annotated[int, Field(ge=1, le=256)] = Field(
        8,
        description="Threads that write and sync files. They mostly wait for the disk: more of them than processors is "
        "right.",
    )


class LimitSettings(Section):
    """Nothing is unbounded. Beyond a length an association is aborted or an object refused, never memory exhausted."""

    max_pdu_bytes: PDUBytes = Field(
        256 * KIB, description="Bytes of one P-DATA-TF that we announce and accept. Longer: A-ABORT."
    )
    max_associate_bytes: PDUBytes = Field(MIB, description="Bytes of an A-ASSOCIATE PDU. Longer: A-ABORT.")
    max_command_bytes: PDUBytes = Field(64 * KIB, description="Bytes of one command set. Longer: A-ABORT.")
    max_header_bytes: PDUBytes = Field(
        4 * MIB,
        description="Bytes of an object that are searched for what the index needs. Objects with more before the pixel "
        "data are kept all the same.",
    )
    max_header_levels: Annotated[int, Field(ge=1, le=256)] = Field(
        32, description="Levels of nested sequences that are followed while searching. Deeper ones are kept unread."
    )
    receive_high_water_bytes: Annotated[int, Field(ge=64 * KIB)] = Field(
        4 * MIB,
        description="Bytes of arriving data that one association may hold in memory; then reading pauses and TCP slows "
        "the sender.",
    )
    receive_low_water_bytes: Annotated[int, Field(ge=0)] = Field(
        MIB, description="Bytes in memory at which reading goes on. At most receive_high_water_bytes."
    )
    max_associations: Count = Field(
        200, description="Associations at once. Beyond it callers are refused for now (A-ASSOCIATE-RJ, transient)."
    )
    max_associations_per_peer: Count = Field(
        50, description="Associations at once from one address, so that no single sender takes them all."
    )
    max_connections: Count = Field(
        2000,
        description="TCP connections at once, silent ones included. Beyond it the oldest silent one is closed, never "
        "that of an associated peer.",
    )
    max_waiting_operations: Count = Field(
        64, description="Requests that may wait on one association; while there are more, reading pauses."
    )
    artim_s: Seconds = Field(
        30.0, description="Seconds that a caller has for its A-ASSOCIATE-RQ, and to close when all is said (ARTIM)."
    )
    idle_s: Seconds = Field(
        60.0, description="Seconds without a byte from an associated peer, nothing being served; then A-ABORT."
    )
    write_stall_s: Seconds = Field(
        60.0, description="Seconds in which a peer takes none of what we send; then its connection is closed."
    )

    @model_validator(mode="after")
    def _marks_in_order(self) -> Self:
        if self.receive_low_water_bytes > self.receive_high_water_bytes:
            raise ValueError(
                f"receive_low_water_bytes ({self.receive_low_water_bytes}) is above "
                f"receive_high_water_bytes ({self.receive_high_water_bytes}): reading would never pause"
            )
        return self


class NegotiationSettings(Section):
    """What we agree to with callers."""

    accept_unknown_sop_classes: bool = Field(
        True,
        description="Whether to store SOP classes of the standard's storage range that are newer than this version. "
        "They are kept byte for byte like all others.",
    )
    accept_private_sop_classes: bool = Field(
        True,
        description="Whether to store manufacturers' private SOP classes (raw data, protocols). Off: their contexts "
        "are refused, and scanners that send them report failed jobs.",
    )
    accept_related_general_sop_classes: bool = Field(
        True, description="Whether to store a SOP class for which the sender names a general class that we know."
    )
    transfer_syntaxes: tuple[UID, ...] = Field(
        (),
        description="The transfer syntaxes (UIDs) to accept for storage, the most wanted first. Empty: all that this "
        "version knows.",
        examples=[("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")],
    )
    prefer: Order = Field(
        Order.SENDER,
        description="Who chooses among the transfer syntaxes that both sides can. sender: its first one, so that "
        "nothing is converted on its side. configured: ours.",
    )
    async_window: Annotated[int, Field(ge=1, le=64)] = Field(
        8, description="Operations at once on one association, where the caller offers an asynchronous window. 1: none."
    )

    @model_validator(mode="after")
    def _each_syntax_once(self) -> Self:
        for uid, times in Counter(self.transfer_syntaxes).items():
            if times > 1:
                raise ValueError(f'transfer_syntaxes names "{uid}" {times} times')
        return self


class AccessSettings(Section):
    """Callers that fit none of the [[peers]]."""

    unknown: UnknownCallers = Field(
        UnknownCallers.LOOPBACK,
        description="Which unknown callers are let in. loopback: programs on this machine. The log tells, for each one "
        "that is refused, the lines to add.",
    )
    unknown_permissions: tuple[Permission, ...] = Field(
        tuple(Permission),
        description='What unknown callers may do, once let in. Shorten it when unknown = "all".',
    )


class PeerSettings(Section):
    """A system that we know: it may call us, and with a port we may call it. Any number of [[peers]]."""

    ae_title: AETitle = Field(description="Its AE title. Upper and lower case differ.", examples=["CT1"])
    address: Place = Field(
        description="Where it calls from: a host name, an address, or a network such as 10.1.2.0/24. Names are "
        "resolved at start and on SIGHUP.",
        examples=["10.1.2.3"],
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="Where it listens, when we are to call it.", examples=[104]
    )
    permissions: tuple[Permission, ...] = Field(
        (Permission.ECHO, Permission.STORE), description="What it may do here. Everything else is refused."
    )
    associations: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="Associations at once over which a retrieval is sent to it (C-MOVE)."
    )
    async_window: Annotated[int, Field(ge=1, le=64)] = Field(
        8, description="Objects under way to it at once on one association, if it agrees to that. 1: one by one."
    )
    commitment_wait_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        5.0,
        description="Seconds after it has asked for storage commitment in which it gets the result on the same "
        "association, if that is still open (limits.idle_s ends one that is silent); later we call it. 0: we always "
        "call it. Without a port to call it is told whenever the result is there.",
    )
    tls: bool = Field(False, description="Whether it must call over TLS, and whether we do when we call it.")
    user: str = Field(
        "",
        description="The user name that it must present (PS3.7 D.3.3.7). Empty: none is asked for.",
        examples=["ct1"],
    )
    passcode: SecretStr = Field(
        SecretStr(""), description="The passcode that it must present with the user name.", examples=["secret"]
    )

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.passcode.get_secret_value() and not self.user:
            raise ValueError("passcode without user")
        if self.port is not None and self.network is not None and self.network.num_addresses > 1:
            raise ValueError(f'port = {self.port} needs one address to call, and "{self.address}" is a network')
        return self

    @property
    def network(self) -> Network | None:
        """The address as a network; None when it is a host name, which has to be resolved."""
        return literal_network(self.address)


class LoggingSettings(Section):
    """What is written to standard error."""

    format: LogFormat = Field(
        LogFormat.HUMAN, description="human: one line for people. json: one object a line, for a log collector."
    )
    level: LogLevel = Field(
        LogLevel.INFO,
        description="The least that is written. debug adds a line for every object and every operation.",
    )
    mask_phi: bool = Field(
        True,
        description="Whether the UIDs of patients' objects are written as a short hash (the same one every time), "
        "since a UID leads to a patient. Peers, AE titles and counts stay.",
    )
