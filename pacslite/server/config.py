"""All settings of one server together, and which combinations of them are impossible.

Where the values come from, and in which order, is in :mod:`pacslite.server.config_sources`.
"""

from __future__ import annotations

from itertools import combinations
from typing import Self

from pydantic import model_validator

from pacslite.server.calling_settings import CallingSettings
from pacslite.server.outbox_checks import check_forwarding, check_retention
from pacslite.server.outbox_settings import CommitmentSettings, ForwardSettings, OutboxSettings, RetentionSettings
from pacslite.server.query_settings import QuerySettings, RetrieveSettings
from pacslite.server.section import Section
from pacslite.server.settings import (
    DICOM_TLS_PORT,
    AccessSettings,
    LimitSettings,
    ListenerSettings,
    LoggingSettings,
    NegotiationSettings,
    PeerSettings,
    ServerSettings,
    StorageSettings,
)

_EVERY_ADDRESS = ("0.0.0.0", "::", "")


class Config(Section):
    """All settings of one server."""

    server: ServerSettings = ServerSettings()
    listeners: tuple[ListenerSettings, ...] = (ListenerSettings(),)
    storage: StorageSettings = StorageSettings()
    limits: LimitSettings = LimitSettings()
    negotiation: NegotiationSettings = NegotiationSettings()
    query: QuerySettings = QuerySettings()
    retrieve: RetrieveSettings = RetrieveSettings()
    outbox: OutboxSettings = OutboxSettings()
    commitment: CommitmentSettings = CommitmentSettings()
    forward: tuple[ForwardSettings, ...] = ()
    retention: RetentionSettings = RetentionSettings()
    access: AccessSettings = AccessSettings()
    peers: tuple[PeerSettings, ...] = ()
    calling: CallingSettings = CallingSettings()
    logging: LoggingSettings = LoggingSettings()

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if not self.listeners:
            raise ValueError("listeners: at least one is needed; without any in the file there is a built-in one")
        for one, other in combinations(self.listeners, 2):
            _check_listeners(one, other)
        for peer, namesake in combinations(self.peers, 2):
            _check_peers(peer, namesake)
        check_forwarding(self.forward, self.peers, self.ae_titles)
        check_retention(self.retention, self.peers)
        return self

    @property
    def ae_titles(self) -> tuple[str, ...]:
        """Our titles; the first is the one we call others with."""
        return self.server.ae_title, *self.server.ae_title_aliases


def _check_listeners(one: ListenerSettings, other: ListenerSettings) -> None:
    if one.port != other.port or one.port == 0:
        return
    if (one.tls is None) != (other.tls is None):
        # PS3.15 B: the port for TLS shall differ from those for unsecured connections, whatever the address.
        raise ValueError(
            f"listeners: port {one.port} is both plain and TLS; give TLS its own, such as {DICOM_TLS_PORT}"
        )
    if one.host == other.host or one.host in _EVERY_ADDRESS or other.host in _EVERY_ADDRESS:
        raise ValueError(f"listeners: port {one.port} is there twice")


def _check_peers(peer: PeerSettings, namesake: PeerSettings) -> None:
    if peer.ae_title != namesake.ae_title:
        return
    if peer.address == namesake.address:
        raise ValueError(f'peers: "{peer.ae_title}" at "{peer.address}" is there twice')
    if peer.port is not None and namesake.port is not None:
        raise ValueError(f'peers: "{peer.ae_title}" has two ports; which one to call would be a guess')
