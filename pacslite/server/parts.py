"""From settings to the parts they are for: each function reads some sections and makes what one part wants."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from pacslite.archive.archive import Archive
from pacslite.archive.deliveries import AskManner, Deliveries
from pacslite.archive.job import JobKind, Priority
from pacslite.archive.rules import ForwardRule
from pacslite.archive.settings import ArchiveSettings
from pacslite.dicom.levels import MODELS
from pacslite.dicom.transfer_syntax import (
    DEFAULT_PREFERENCE,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_SOP_CLASSES, VERIFICATION, name_of
from pacslite.dicom.values import utc_offset_minutes
from pacslite.dimse.command import CommandField
from pacslite.dimse.permission import Permission
from pacslite.dimse.registry import Registration, ServiceRegistry
from pacslite.dimse.service import Service
from pacslite.errors import ConfigurationError
from pacslite.facts import Observe, ignore
from pacslite.net.access import AccessPolicy, KnownPeer, Network
from pacslite.net.association import Perform
from pacslite.net.limits import ConnectionLimits
from pacslite.net.requestor import Remote
from pacslite.net.tls import ServerCertificate, client_context
from pacslite.server.config import Config
from pacslite.server.outbox_settings import ForwardOn, ForwardPriority, ForwardSettings, Verification
from pacslite.server.settings import ListenerSettings, PeerSettings
from pacslite.services.asking import AskPerformer
from pacslite.services.commitment import CommitmentLimits, CommitmentService
from pacslite.services.conversations import Conversations
from pacslite.services.conveyor import Manner
from pacslite.services.destinations import Call, Callee
from pacslite.services.events import EventService
from pacslite.services.forwarding import ForwardManner, ForwardPerformer
from pacslite.services.held_bytes import HeldBytes
from pacslite.services.negotiated import find_negotiation
from pacslite.services.open_lines import OpenLines
from pacslite.services.outbox import OutboxManner, Performer
from pacslite.services.query import QueryService
from pacslite.services.read_ahead import Converter
from pacslite.services.reporting import ReportPerformer
from pacslite.services.retrieve import GetService, MoveService, Retrieval, RetrieveLimits, retrieve_negotiation
from pacslite.services.storage import StorableClasses, StorageService
from pacslite.services.verification import VerificationService
from pacslite.services.verifying import VerifyPerformer
from pacslite.transcode.syntaxes import NATIVE
from pacslite.transcode.transcoder import Transcoder

_FOR_IDENTIFIERS = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)
"""For what is no object."""

_AS_GOOD_AS_NO_LIMIT = 1 << 40
_LONG_REQUESTS_AT_ONCE = 4

_PRIORITIES = {
    ForwardPriority.HIGH: Priority.HIGH,
    ForwardPriority.MEDIUM: Priority.MEDIUM,
    ForwardPriority.LOW: Priority.LOW,
}


def service_registry(
    config: Config,
    archive: Archive,
    *,
    callees: Mapping[str, Callee] | None = None,
    converter: Converter | None = None,
    lines: OpenLines | None = None,
    asking: Asking | None = None,
    observe: Observe = ignore,
) -> ServiceRegistry:
    """Everything this server serves. ``callees`` are looked at anew for each C-MOVE; ``lines`` are those over which
    results of storage commitment may go, ``asking`` has what we asked of others."""
    retrieval = _retrieval(config, archive, converter, observe)
    settings = config.negotiation
    storable = storable_classes(config)
    held = HeldBytes(_LONG_REQUESTS_AT_ONCE * config.commitment.max_request_bytes)
    return ServiceRegistry(
        [
            Registration(
                name="Verification",
                abstract_syntaxes=(VERIFICATION,),
                serves=lambda abstract_syntax, _: abstract_syntax == VERIFICATION,
                transfer_syntaxes=_FOR_IDENTIFIERS,
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
                # Not those that only images can be compressed to: what is sent on one context may be anything.
                produces=NATIVE if config.retrieve.convert else (),
            ),
            _querying(config, archive, observe),
            _retrieving(
                "Retrieve (C-MOVE)",
                tuple(model.move for model in MODELS),
                {CommandField.C_MOVE_RQ: MoveService(retrieval, callees=callees or {}, call=_call(config))},
            ),
            _retrieving(
                "Retrieve (C-GET)",
                tuple(model.get for model in MODELS),
                {CommandField.C_GET_RQ: GetService(retrieval)},
            ),
            _committing(
                CommitmentService(
                    archive,
                    lines or open_lines(config),
                    limits=_commitment_limits(config),
                    held=held,
                    observe=observe,
                ),
                _events(config, asking or asking_of(config, archive), callees or {}, held, observe),
            ),
        ]
    )


def _committing(requests: CommitmentService, results: EventService) -> Registration:
    return Registration(
        name="Storage Commitment",
        abstract_syntaxes=(STORAGE_COMMITMENT_PUSH_MODEL,),
        serves=lambda abstract_syntax, _: abstract_syntax == STORAGE_COMMITMENT_PUSH_MODEL,
        transfer_syntaxes=_FOR_IDENTIFIERS,
        permission=Permission.COMMIT,
        operations={CommandField.N_ACTION_RQ: requests, CommandField.N_EVENT_REPORT_RQ: results},
        sends_to=Permission.COMMIT,
    )


def _commitment_limits(config: Config) -> CommitmentLimits:
    settings = config.commitment
    return CommitmentLimits(max_request_bytes=settings.max_request_bytes, max_instances=settings.max_instances)


@dataclass(frozen=True, slots=True)
class Asking:
    """Storage commitment that we ask of others: what whoever asks and whoever takes results have in common."""

    deliveries: Deliveries
    conversations: Conversations


def asking_of(config: Config, archive: Archive) -> Asking:
    """[commitment] and [outbox] retry_for_s, as those take them."""
    settings = config.commitment
    deliveries = Deliveries(
        archive.workshop.index,
        heard=archive.outbox.added,
        rules={rule.name: rule for rule in archive.settings.rules},
        manner=AskManner(
            ask_after_s=settings.ask_after_s,
            ask_again_s=settings.ask_again_s,
            give_up_s=config.outbox.retry_for_s,
            max_resends=settings.max_resends,
        ),
    )
    return Asking(deliveries, Conversations())


def _events(
    config: Config, asking: Asking, callees: Mapping[str, Callee], held: HeldBytes, observe: Observe
) -> EventService:
    return EventService(
        asking.deliveries,
        asking.conversations,
        callees=callees,
        max_bytes=config.commitment.max_request_bytes,
        max_instances=config.commitment.max_instances,
        held=held,
        observe=observe,
    )


def open_lines(config: Config) -> OpenLines:
    """[[peers]] commitment_wait_s. Who cannot be called is told on its own association, however late, or never."""
    wait_s = {
        peer.ae_title: peer.commitment_wait_s if peer.port is not None or not peer.commitment_wait_s else math.inf
        for peer in sorted(config.peers, key=lambda peer: peer.port is not None)  # of namesakes, the one with a port
    }
    return OpenLines(lambda calling_ae: wait_s.get(calling_ae, math.inf))


def _querying(config: Config, archive: Archive, observe: Observe) -> Registration:
    abstract_syntaxes = tuple(model.find for model in MODELS)
    service = QueryService(
        archive,
        ae_title=config.server.ae_title,
        max_identifier_bytes=config.query.max_identifier_bytes,
        max_answers=config.query.max_answers,
        observe=observe,
    )
    return Registration(
        name="Query",
        abstract_syntaxes=abstract_syntaxes,
        serves=lambda abstract_syntax, _: abstract_syntax in abstract_syntaxes,
        transfer_syntaxes=(*_FOR_IDENTIFIERS, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
        permission=Permission.QUERY,
        operations={CommandField.C_FIND_RQ: service},
        extended=find_negotiation,
    )


def _retrieving(
    name: str, abstract_syntaxes: tuple[str, ...], operations: Mapping[CommandField, Service]
) -> Registration:
    return Registration(
        name=name,
        abstract_syntaxes=abstract_syntaxes,
        serves=lambda abstract_syntax, _: abstract_syntax in abstract_syntaxes,
        transfer_syntaxes=_FOR_IDENTIFIERS,
        permission=Permission.RETRIEVE,
        operations=operations,
        extended=retrieve_negotiation,
    )


def performers(
    config: Config,
    archive: Archive,
    *,
    callees: Mapping[str, Callee],
    converter: Converter | None,
    asking: Asking,
    perform: Perform,
    lines: OpenLines,
    observe: Observe,
) -> dict[JobKind, Performer]:
    """Who does what is owed to others, by kind. ``perform`` is for what they invoke on associations of ours."""
    storable = storable_classes(config)
    return {
        JobKind.VERIFY: VerifyPerformer(
            archive,
            digest=config.commitment.verify is Verification.DIGEST,
            stores=lambda sop_class: storable.serves(sop_class, ()),
            observe=observe,
        ),
        JobKind.FORWARD: ForwardPerformer(
            archive,
            callees=callees,
            call=_call(config),
            rules={rule.name: rule for rule in archive.settings.rules},
            manner=ForwardManner(sending=_sending(config, converter), ask_after_s=config.commitment.ask_after_s),
            observe=observe,
        ),
        JobKind.REPORT: ReportPerformer(archive, lines, callees=callees, call=_call(config), observe=observe),
        JobKind.ASK: AskPerformer(
            asking.deliveries,
            asking.conversations,
            callees=callees,
            call=_call(config),
            perform=perform,
            answer_wait_s=config.commitment.answer_wait_s,
            observe=observe,
        ),
    }


def storable_classes(config: Config) -> StorableClasses:
    """[negotiation], as storage takes it."""
    settings = config.negotiation
    return StorableClasses(
        unknown=settings.accept_unknown_sop_classes,
        private=settings.accept_private_sop_classes,
        related_general=settings.accept_related_general_sop_classes,
    )


def outbox_manner(config: Config) -> OutboxManner:
    """[outbox], as the worker takes it."""
    settings = config.outbox
    return OutboxManner(
        retry_first_s=settings.retry_first_s,
        retry_most_s=settings.retry_most_s,
        retry_for_s=settings.retry_for_s,
        lease_s=settings.lease_s,
    )


def transcoder(config: Config) -> Transcoder | None:
    """[retrieve] convert, as the transcoder takes it; None if nothing is to be converted."""
    settings = config.retrieve
    if not settings.convert:
        return None
    return Transcoder(
        processes=settings.convert_processes, max_bytes=settings.max_convert_bytes or _AS_GOOD_AS_NO_LIMIT
    )


def _retrieval(config: Config, archive: Archive, converter: Converter | None, observe: Observe) -> Retrieval:
    settings = config.retrieve
    return Retrieval(
        archive,
        manner=_sending(config, converter),
        limits=RetrieveLimits(max_identifier_bytes=config.query.max_identifier_bytes, pending_s=settings.pending_s),
        observe=observe,
    )


def _sending(config: Config, converter: Converter | None) -> Manner:
    settings = config.retrieve
    return Manner(converter=converter, answer_s=settings.answer_s, read_ahead_bytes=settings.read_ahead_bytes)


def _call(config: Config) -> Call:
    return Call(
        calling_ae=config.server.ae_title,
        limits=connection_limits(config),
        connect_s=config.retrieve.connect_s,
        answer_s=config.retrieve.answer_s,
    )


def callees(config: Config) -> dict[str, Callee]:
    """The [[peers]] that have a port, by AE title; raises :class:`ConfigurationError` for a certificate that does not
    fit. Host names are resolved when they are called."""
    called = [peer for peer in config.peers if peer.port is not None]
    context = _calling_context(config) if any(peer.tls for peer in called) else None
    return {
        peer.ae_title: Callee(
            remote=Remote(
                # A network of one address is one too.
                host=str(peer.network.network_address) if peer.network is not None else peer.address,
                port=peer.port,
                ae_title=peer.ae_title,
                tls=context if peer.tls else None,
            ),
            associations=peer.associations,
            async_window=peer.async_window,
        )
        for peer in called
        if peer.port is not None
    }


def _calling_context(config: Config) -> ssl.SSLContext:
    calling = config.calling
    return client_context(
        ca=calling.ca, certificate=calling.certificate, key=calling.key, check_host_name=calling.check_host_name
    )


def archive_settings(config: Config) -> ArchiveSettings:
    """[storage], [[forward]] and the header limits, as the archive takes them."""
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
        queries=config.query.max_queries,
        utc_offset_minutes=utc_offset_minutes(config.query.timezone),
        rules=tuple(map(_forward_rule, config.forward)),
    )


def _forward_rule(settings: ForwardSettings) -> ForwardRule:
    """One of [[forward]], as the archive takes it."""
    return ForwardRule(
        name=settings.name,
        to=settings.to,
        on_study=settings.on is ForwardOn.STUDY,
        quiet_s=settings.quiet_s,
        calling_ae=settings.calling_ae,
        called_ae=settings.called_ae,
        modality=settings.modality,
        sop_class=settings.sop_class,
        station_name=settings.station_name,
        body_part=settings.body_part,
        study_description=settings.study_description,
        series_description=settings.series_description,
        priority=_PRIORITIES[settings.priority],
        time_window=settings.window,
        bytes_per_s=settings.bytes_per_s,
        associations=settings.associations,
        commit=settings.commit,
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
