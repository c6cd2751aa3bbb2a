"""From settings to the parts they are for: each function reads some sections and makes what one part wants."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from pacslite.archive.archive import Archive
from pacslite.archive.settings import ArchiveSettings
from pacslite.dicom.transfer_syntax import (
    DEFAULT_PREFERENCE,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from pacslite.dicom.uids import STORAGE_SOP_CLASSES, VERIFICATION, name_of
from pacslite.dimse.command import CommandField
from pacslite.dimse.permission import Permission
from pacslite.dimse.registry import Registration, ServiceRegistry
from pacslite.errors import ConfigurationError
from pacslite.net.access import AccessPolicy, KnownPeer, Network
from pacslite.net.limits import ConnectionLimits
from pacslite.net.tls import ServerCertificate
from pacslite.server.config import Config
from pacslite.server.settings import ListenerSettings, PeerSettings
from pacslite.services.storage import StorableClasses, StorageService
from pacslite.services.verification import VerificationService


def service_registry(config: Config, archive: Archive) -> ServiceRegistry:
    """Everything this server serves."""
    settings = config.negotiation
    storable = StorableClasses(
        unknown=settings.accept_unknown_sop_classes,
        private=settings.accept_private_sop_classes,
        related_general=settings.accept_related_general_sop_classes,
    )
    return ServiceRegistry(
        [
            Registration(
                name="Verification",
                abstract_syntaxes=(VERIFICATION,),
                serves=lambda abstract_syntax, _: abstract_syntax == VERIFICATION,
                transfer_syntaxes=(EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN),
                permission=Permission.ECHO,
                operations={CommandField.C_ECHO_RQ: VerificationService()},
            ),
            Registration(
                name="Storage",
                abstract_syntaxes=tuple(sorted(STORAGE_SOP_CLASSES, key=lambda uid: (name_of(uid), uid))),
                serves=storable.serves,
                transfer_syntaxes=settings.transfer_syntaxes or DEFAULT_PREFERENCE,
                permission=Permission.STORE,
                operations={CommandField.C_STORE_RQ: StorageService(archive)},
                sends_to=Permission.RETRIEVE,
                produces=(EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN),
            ),
        ]
    )


def archive_settings(config: Config) -> ArchiveSettings:
    """[storage] and the header limits, as the archive takes them."""
    storage = config.storage
    return ArchiveSettings(
        folder=storage.folder,
        duplicates=storage.duplicates,
        spool_bytes=storage.spool_bytes,
        direct_bytes=storage.direct_bytes,
        file_threads=storage.file_threads,
        min_free_bytes=storage.min_free_bytes,
        min_free_percent=storage.min_free_percent,
        quota_bytes=storage.quota_bytes or None,
        max_object_bytes=storage.max_object_bytes or None,
        header_limit_bytes=config.limits.max_header_bytes,
        header_max_depth=config.limits.max_header_levels,
    )


def connection_limits(config: Config) -> ConnectionLimits:
    """[limits], as one connection takes them."""
    limits = config.limits
    return ConnectionLimits(
        max_pdu_bytes=limits.max_pdu_bytes,
        max_associate_bytes=limits.max_associate_bytes,
        max_command_bytes=limits.max_command_bytes,
        receive_high_water_bytes=limits.receive_high_water_bytes,
        receive_low_water_bytes=limits.receive_low_water_bytes,
        max_waiting_operations=limits.max_waiting_operations,
        artim_s=limits.artim_s,
        idle_s=limits.idle_s,
        write_stall_s=limits.write_stall_s,
    )


async def access_policy(config: Config) -> AccessPolicy:
    """[access] and [[peers]], host names resolved; raises :class:`ConfigurationError` for a name nobody knows."""
    return AccessPolicy(
        [await _known_peer(peer) for peer in config.peers],
        ae_titles=config.ae_titles,
        check_called_ae=config.server.check_called_ae,
        unknown=config.access.unknown,
        unknown_permissions=frozenset(config.access.unknown_permissions),
    )


async def _known_peer(peer: PeerSettings) -> KnownPeer:
    return KnownPeer(
        ae_title=peer.ae_title,
        networks=(peer.network,) if peer.network is not None else await _resolve(peer),
        permissions=frozenset(peer.permissions),
        tls=peer.tls,
        user=peer.user,
        passcode=peer.passcode.get_secret_value(),
    )


async def _resolve(peer: PeerSettings) -> tuple[Network, ...]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(peer.address, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigurationError(f'peer "{peer.ae_title}": cannot resolve "{peer.address}": {error}') from None
    return tuple({ipaddress.ip_network(address[0]) for *_, address in found})


def server_certificate(listener: ListenerSettings) -> ServerCertificate | None:
    """[listeners.tls], or None for a plain listener."""
    tls = listener.tls
    if tls is None:
        return None
    return ServerCertificate(
        certificate=tls.certificate,
        key=tls.key,
        client_certificates=tls.client_certificates,
        ca=tls.ca,
        minimum_version=tls.minimum_version,
    )
