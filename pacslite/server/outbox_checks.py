"""What forwarding rules and retention name must be there, and able to do its part."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from itertools import combinations

from pacslite.dimse.permission import Permission
from pacslite.server.outbox_settings import ForwardSettings, RetentionSettings
from pacslite.server.settings import PeerSettings


def check_forwarding(
    rules: Sequence[ForwardSettings], peers: Sequence[PeerSettings], our_titles: Collection[str]
) -> None:
    """Raises ValueError for a rule that could never do what it says."""
    for one, other in combinations(rules, 2):
        if one.name == other.name:
            raise ValueError(f'forward: the name "{one.name}" is there twice; work under way is known by it')
    for rule in rules:
        for title in rule.to:
            _check_destination(rule, title, peers, our_titles)


def check_retention(retention: RetentionSettings, peers: Sequence[PeerSettings]) -> None:
    """Raises ValueError for a title that nobody has: nothing would ever be deleted."""
    for key, titles in (("delivered_to", retention.delivered_to), ("committed_by", retention.committed_by)):
        for title in titles:
            if title not in _titles(peers):
                raise ValueError(
                    f'retention.{key}: there are no [[peers]] with ae_title = "{title}"{_meant(title, peers)}'
                )


def _check_destination(
    rule: ForwardSettings, title: str, peers: Sequence[PeerSettings], our_titles: Collection[str]
) -> None:
    where = f'forward "{rule.name}"'
    if title in our_titles:
        raise ValueError(f'{where}: to = "{title}" is this server itself')
    named = [peer for peer in peers if peer.ae_title == title]
    if not named:
        raise ValueError(f'{where}: there are no [[peers]] with ae_title = "{title}"{_meant(title, peers)}')
    if all(peer.port is None for peer in named):
        raise ValueError(f'{where}: the peer "{title}" has no port, so it cannot be called')
    if rule.commit and not any(Permission.COMMIT in peer.permissions for peer in named):
        raise ValueError(
            f'{where}: with commit = true the peer "{title}" needs the permission "commit" to report the result'
        )


def _titles(peers: Sequence[PeerSettings]) -> list[str]:
    return [peer.ae_title for peer in peers]


def _meant(title: str, peers: Sequence[PeerSettings]) -> str:
    near = difflib.get_close_matches(title, _titles(peers), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""
