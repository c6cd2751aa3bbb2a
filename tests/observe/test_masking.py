"""UIDs of objects become short hashes; nothing else does."""

from __future__ import annotations

import hashlib

import pytest

from pacslite.observe.masking import mask_text, mask_uid

UID = "2.25.329800735698586629295641978511506172918"
SIEMENS = "1.3.12.2.1107.5.1.4.99999"


def test_the_hash_is_what_sha256sum_prints() -> None:
    assert mask_uid(UID) == "#" + hashlib.sha256(UID.encode()).hexdigest()[:10]


def test_the_standards_own_uids_and_nothing_stay() -> None:
    assert mask_uid("1.2.840.10008.5.1.4.1.1.2") == "1.2.840.10008.5.1.4.1.1.2"
    assert mask_uid("") == ""


@pytest.mark.parametrize(
    "text",
    [
        "from 10.1.2.3 port 104",
        "to 255.255.255.255.",
        "0.0123456789012345678 s",
        "version 1.2.3",
        "1.2.840.10008.1.2.1",
        "no numbers",
    ],
)
def test_text_without_such_uids_stays(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize("frame", ["{}", "the UID {}.", "({}, {})", "'{}'", "uid={};"])
def test_uids_in_text_are_masked_wherever_they_stand(frame: str) -> None:
    for uid in (SIEMENS, UID):
        assert mask_text(frame.replace("{}", uid)) == frame.replace("{}", mask_uid(uid))
