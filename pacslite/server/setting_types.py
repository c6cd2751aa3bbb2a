"""The kinds of values that settings have, beyond plain numbers and text; each refuses what cannot be meant."""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from pacslite.archive.settings import KIB, MIB
from pacslite.archive.time_window import TimeWindow
from pacslite.dicom.uids import is_conformant_uid
from pacslite.dicom.values import is_valid_ae_title, utc_offset_minutes
from pacslite.net.access import Network

_RULE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


class LogFormat(StrEnum):
    HUMAN = "human"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _ae_title(title: str) -> str:
    if not is_valid_ae_title(title):
        raise ValueError("an AE title is 1 to 16 printable ASCII characters, no backslash, not only spaces (PS3.5 6.2)")
    return title.strip(" ")


def _uid(uid: str) -> str:
    if not is_conformant_uid(uid):
        raise ValueError(f'"{uid}" is not a UID (PS3.5 9)')
    return uid


def _place(address: str) -> str:
    """A host name, an address, or a network without host bits."""
    if "/" in address:
        try:
            ipaddress.ip_network(address)
        except ValueError:
            try:
                meant = ipaddress.ip_network(address, strict=False)
            except ValueError:
                raise ValueError(f'"{address}" is not a network') from None
            raise ValueError(f'"{address}" has bits after the prefix; did you mean "{meant}"?') from None
    elif literal_network(address) is None and not _looks_like_host_name(address):
        raise ValueError(f'"{address}" is neither a host name nor an address nor a network')
    return address


def _looks_like_host_name(text: str) -> bool:
    # Digits and dots alone were meant as an address: better an error now than a name that never resolves.
    return bool(_HOST_NAME.fullmatch(text)) and not re.fullmatch(r"[0-9.]+", text)


def _utc_offset(text: str) -> str:
    """As Timezone Offset From UTC (0008,0201) has it (PS3.3 C.12.1.1.8), or nothing."""
    if text and utc_offset_minutes(text) is None:
        raise ValueError(f'"{text}" is not an offset from UTC such as +0100 or -0330 (from -1200 to +1400)')
    return text


def _pattern(text: str) -> str:
    if not text.strip(" "):
        raise ValueError("an empty pattern matches nothing; * matches everything")
    return text


def _uid_pattern(text: str) -> str:
    if not re.fullmatch(r"[0-9.*?]+", text):
        raise ValueError(f'"{text}" matches no UID: digits, periods, * and ? (the name of a SOP class is not its UID)')
    return text


def _rule_name(name: str) -> str:
    if not _RULE_NAME.fullmatch(name):
        raise ValueError(f'"{name[:64]}" is no name for a rule: 1 to 64 of A-Z a-z 0-9 _ . -')
    return name


def _times_of_day(text: str) -> str:
    TimeWindow.parse(text)
    return text


def literal_network(address: str) -> Network | None:
    """The address or network that ``address`` spells, or None when it is a name that has to be resolved."""
    try:
        return ipaddress.ip_network(address)
    except ValueError:
        return None


UTCOffset = Annotated[str, AfterValidator(_utc_offset)]
AETitle = Annotated[str, AfterValidator(_ae_title)]
UID = Annotated[str, AfterValidator(_uid)]
Patterns = tuple[Annotated[str, AfterValidator(_pattern)], ...]
UIDPatterns = tuple[Annotated[str, AfterValidator(_uid_pattern)], ...]
RuleName = Annotated[str, AfterValidator(_rule_name)]
TimesOfDay = Annotated[str, AfterValidator(_times_of_day)]
Place = Annotated[str, AfterValidator(_place)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=0)]
PDUBytes = Annotated[int, Field(ge=4 * KIB, le=64 * MIB)]
