"""What the log says about each fact, at which level, and that it leads to no patient."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from pacslite.facts import (
    AssociationAccepted,
    AssociationEnded,
    AssociationRefused,
    CertificatesReloaded,
    CommitmentReported,
    CommitmentRequested,
    CommitmentVerified,
    ContextAnswer,
    DestinationFailed,
    DestinationRecovered,
    Fact,
    InstanceStored,
    JobFailed,
    JobGivenUp,
    JobsGivenUp,
    ListenerOpened,
    OperationServed,
    Peer,
    QueryServed,
    RoundEnded,
    ShutdownStarted,
    StoreReconciled,
    TaskFailed,
)
from pacslite.observe.lines import HumanFormatter, JSONFormatter
from pacslite.observe.log import LogObserver

CT = "1.2.840.10008.5.1.4.1.1.2"
PRINT = "1.2.840.10008.5.1.1.9"
EXPLICIT = "1.2.840.10008.1.2.1"
INSTANCE = "1.3.12.2.1107.5.1.4.99999.30000018120"
HASH = "#" + hashlib.sha256(INSTANCE.encode()).hexdigest()[:10]
PEER = Peer(association=7, address="10.1.2.3", port=50123, calling_ae="CT1", called_ae="PACSLITE")

ENDED = AssociationEnded(
    peer=PEER,
    how="released",
    established=True,
    seconds=3.21,
    operations=514,
    stored=512,
    failed=0,
    bytes_received=268_400_000,
    bytes_sent=51_200,
)
FAILED = OperationServed(
    peer=PEER,
    command="C-STORE-RQ",
    status=0xA900,
    comment=f"the data set is {INSTANCE}",
    sop_class=CT,
    sop_instance=INSTANCE,
    seconds=0.0123,
)
QUERY = QueryServed(
    peer=PEER,
    model="Study Root",
    level="STUDY",
    keys=("PatientName", "StudyDate"),
    answers=12,
    outcome="complete",
    first_s=0.0021,
    seconds=0.0304,
)
STORED = InstanceStored(
    sop_class=CT,
    sop_instance=INSTANCE,
    study=INSTANCE + ".1",
    series=INSTANCE + ".2",
    transfer_syntax=EXPLICIT,
    source_ae="CT1",
    outcome="stored",
    size=524_288,
    seconds=0.004,
)


def accepted(*answers: ContextAnswer) -> AssociationAccepted:
    return AssociationAccepted(peer=PEER, contexts=answers, implementation="OFFIS_DCMTK_367", async_window=1)


def context(context_id: int, abstract_syntax: str, result: int, lacks: str = "") -> ContextAnswer:
    return ContextAnswer(
        context_id=context_id, abstract_syntax=abstract_syntax, transfer_syntax=EXPLICIT, result=result, lacks=lacks
    )


@dataclass
class Told:
    level: str
    human: str
    json: dict[str, object]


Tell = Callable[..., list[Told]]


@pytest.fixture
def tell(caplog: pytest.LogCaptureFixture) -> Tell:
    """Tell facts to an observer, and get what it logs."""

    def tell(*told: Fact, level: int = logging.DEBUG, mask_phi: bool = True) -> list[Told]:
        caplog.clear()
        caplog.set_level(level, logger="pacslite")
        observer = LogObserver(mask_phi=mask_phi)
        for fact in told:
            observer(fact)
        return [
            Told(record.levelname, HumanFormatter().format(record), json.loads(JSONFormatter().format(record)))
            for record in caplog.records
        ]

    return tell


def test_an_association_is_one_line_at_its_end_with_all_that_matters(tell: Tell) -> None:
    answers = [context(1, CT, 0), context(3, PRINT, 3), context(5, CT, 4), context(7, PRINT, 1, "print")]
    (line,) = tell(accepted(*answers), ENDED, level=logging.INFO)
    assert line.level == "INFO"
    assert line.human.partition(" INFO    ")[2] == (
        "CT1@10.1.2.3:50123 > PACSLITE [7] released after 3.2 s: 512 stored, 0 failed, 514 operations, "
        "268.4 MB in, 51.2 kB out; contexts: 1 accepted; "
        "1 refused, abstract syntax not supported (Basic Grayscale Print Management Meta SOP Class); "
        "1 refused, no transfer syntax supported (CT Image Storage); "
        '1 refused, not permitted to this peer: add "print" to its permissions '
        "(Basic Grayscale Print Management Meta SOP Class)"
    )
    assert line.json["event"] == "association_ended"
    assert (line.json["calling_ae"], line.json["stored"], line.json["association"]) == ("CT1", 512, 7)
    assert line.json["contexts"] == [
        {
            "context_id": answer.context_id,
            "abstract_syntax": answer.abstract_syntax,
            "transfer_syntax": EXPLICIT,
            "result": answer.result,
            "lacks": answer.lacks,
        }
        for answer in answers
    ]


def test_many_refused_contexts_stay_readable(tell: Tell) -> None:
    answers = [context(2 * number + 1, f"1.2.3.{number}", 3) for number in range(100)]
    (line,) = tell(accepted(*answers), ENDED, level=logging.INFO)
    assert "100 refused, abstract syntax not supported (1.2.3.0, 1.2.3.1, 1.2.3.2, 1.2.3.3 and 96 more)" in line.human


@pytest.mark.parametrize("changed", [{"how": "aborted by peer"}, {"how": "connection lost"}, {"failed": 1}])
def test_an_association_that_went_wrong_is_a_warning(tell: Tell, changed: dict[str, object]) -> None:
    (line,) = tell(replace(ENDED, **changed))  # type: ignore[arg-type]  # the parameters above fit
    assert line.level == "WARNING"


def test_a_connection_that_never_associated_is_told_at_debug_only(tell: Tell) -> None:
    silent = replace(ENDED, how="silent", established=False, peer=replace(PEER, calling_ae="", called_ae=""))
    assert not tell(silent, level=logging.INFO)
    assert "10.1.2.3:50123 [7] silent after 3.2 s, never associated" in tell(silent)[0].human


def test_a_caller_that_speaks_another_protocol_is_a_warning(tell: Tell) -> None:
    how = "aborted: unrecognized PDU type 16H: the peer speaks TLS on a plain port"
    (line,) = tell(replace(ENDED, established=False, how=how))
    assert line.level == "WARNING"
    assert "the peer speaks TLS on a plain port" in line.human


def test_a_refused_caller_is_a_warning_with_the_lines_to_add(tell: Tell) -> None:
    advice = 'to let it in, add to the configuration:\n[[peers]]\nae_title = "CT1"'
    fact = AssociationRefused(peer=PEER, result=1, source=1, reason=3, why="nobody may call", advice=advice)
    (line,) = tell(fact, level=logging.INFO)
    assert line.level == "WARNING"
    assert line.human.endswith(
        "CT1@10.1.2.3:50123 > PACSLITE [7] refused (result 1, source 1, reason 3): nobody may call; "
        'to let it in, add to the configuration:\n    [[peers]]\n    ae_title = "CT1"'
    )
    assert line.json["advice"] == advice


def test_a_failed_object_is_one_line_with_status_and_words_but_no_uid(tell: Tell) -> None:
    (line,) = tell(FAILED, level=logging.INFO)
    assert line.level == "WARNING"
    assert line.human.endswith(
        f"CT1@10.1.2.3:50123 > PACSLITE [7] C-STORE-RQ of CT Image Storage {HASH}: "
        f"failure A900 (the data set is {HASH}) in 12.3 ms"
    )
    assert (line.json["sop_instance"], line.json["sop_class"]) == (HASH, CT)
    assert INSTANCE not in json.dumps(line.json)


def test_uids_are_shown_when_the_site_says_so(tell: Tell) -> None:
    (line,) = tell(FAILED, mask_phi=False)
    assert f"CT Image Storage {INSTANCE}: failure A900 (the data set is {INSTANCE})" in line.human


def test_a_warning_status_is_told_and_success_only_at_debug(tell: Tell) -> None:
    (line,) = tell(replace(FAILED, status=0xB007), level=logging.INFO)
    assert line.level == "INFO"
    assert "warning B007" in line.human
    assert not tell(replace(FAILED, status=0), STORED, level=logging.INFO)
    assert [line.level for line in tell(replace(FAILED, status=0), STORED)] == ["DEBUG", "DEBUG"]


def test_a_stored_object_at_debug_has_size_and_time(tell: Tell) -> None:
    (line,) = tell(STORED)
    assert line.human.endswith(f"CT1: CT Image Storage {HASH} stored, 524.3 kB in 4.0 ms")
    assert INSTANCE not in json.dumps(line.json)


def test_a_query_is_told_at_debug_and_a_slow_one_always(tell: Tell) -> None:
    assert not tell(QUERY, level=logging.INFO)
    (line,) = tell(QUERY)
    assert line.human.endswith(
        "CT1@10.1.2.3:50123 > PACSLITE [7] query, Study Root, STUDY level by PatientName, StudyDate: 12 answers, "
        "the first found after 2.1 ms, all in 30.4 ms"
    )
    assert (line.json["event"], line.json["keys"]) == ("query_served", ["PatientName", "StudyDate"])
    (slow,) = tell(replace(QUERY, seconds=1.5, outcome="cancelled", answers=1, keys=()), level=logging.INFO)
    assert slow.level == "INFO"
    assert "STUDY level without a key: 1 answer, cancelled, the first" in slow.human
    (long,) = tell(replace(QUERY, keys=tuple("ABCDEFGH")))
    assert "by A, B, C, D, E, F and 2 more:" in long.human


def test_an_object_with_other_content_is_always_told(tell: Tell) -> None:
    aside, replaced = tell(
        replace(STORED, outcome="kept_aside"), replace(STORED, outcome="replaced"), level=logging.INFO
    )
    assert (aside.level, replaced.level) == ("WARNING", "INFO")
    assert "the new one was kept aside" in aside.human


def test_storage_commitment_is_a_line_when_it_is_asked_for_and_one_when_it_was_reported(tell: Tell) -> None:
    reported = CommitmentReported(
        destination="CT1",
        request=3,
        transaction=INSTANCE,
        committed=512,
        failed=0,
        over="same association",
        seconds=0.04,
    )
    told = tell(
        CommitmentRequested(peer=PEER, request=3, transaction=INSTANCE, instances=512),
        reported,
        replace(reported, committed=511, failed=1),
        level=logging.INFO,
    )
    assert [line.human.split(" ", 2)[2].lstrip() for line in told] == [
        "INFO    CT1@10.1.2.3:50123 > PACSLITE [7] commitment request 3 for 512 instances, transaction " + HASH,
        "INFO    commitment request 3 of CT1 reported over the same association 0.0 s after it came: "
        "committed to 512 instances",
        "WARNING commitment request 3 of CT1 reported over the same association 0.0 s after it came: "
        "committed to 511 instances, not to 1 (see pacslite commitment show 3)",
    ]


def test_storage_commitment_is_a_line_when_it_was_verified(tell: Tell) -> None:
    verified = CommitmentVerified(requester="CT1", request=3, transaction=INSTANCE, committed=1, failed=0, seconds=0.04)
    told = tell(verified, replace(verified, failed=2), level=logging.INFO)
    assert [line.human.split(" ", 2)[2].lstrip() for line in told] == [
        "INFO    commitment request 3 of CT1 verified 0.0 s after it came: 1 instance committed",
        "INFO    commitment request 3 of CT1 verified 0.0 s after it came: 1 instance committed, 2 cannot be committed",
    ]


def test_what_is_owed_is_told_when_it_fails(tell: Tell) -> None:
    failed = JobFailed(
        job=12, kind="report", destination="CT1", rule="", subject="3", attempts=2, reason="no answer", due_at=0.0
    )
    forward = replace(failed, kind="forward", subject=INSTANCE)
    given_up = JobGivenUp(
        job=13,
        kind="forward",
        destination="ARCHIVE",
        rule="ct",
        subject=INSTANCE,
        attempts=40,
        reason=f"{INSTANCE} refused",
        due_at=0.0,
    )
    told = tell(
        failed,
        replace(failed, job=14, with_others=True),
        forward,
        given_up,
        JobsGivenUp(kind="forward", destination="ARCHIVE", rule="ct", jobs=7, reason="nobody there"),
        DestinationFailed(destination="ARCHIVE", kind="forward", failures=3, retry_in_s=20.4, reason="nobody there"),
        DestinationRecovered(destination="ARCHIVE", failures=3, seconds=61.0),
        RoundEnded(kind="forward", destination="ARCHIVE", rule="ct", done=5, failed=2, given_back=1, seconds=1.5),
        level=logging.INFO,
    )
    assert [line.human.split(" ", 2)[2].lstrip() for line in told] == [
        "WARNING job 12 (report to CT1) failed, attempt 2: no answer",
        f"ERROR   job 13 (forward to ARCHIVE) given up after 40 attempts: {HASH} refused; "
        "see pacslite jobs show 13, pacslite jobs retry 13",
        "ERROR   ARCHIVE (ct): 7 jobs given up: nobody there; see pacslite jobs ls --state dead",
        "WARNING ARCHIVE has failed 3 times (forward): nobody there; tried again in 20 s",
        "INFO    ARCHIVE works again, 61 s and 3 failures later",
    ]
    assert told[1].json["subject"] == HASH


def test_a_defect_is_an_error_with_its_trace_masked(tell: Tell) -> None:
    (line,) = tell(TaskFailed(where="C-STORE-RQ", error="KeyError()", trace=f"Traceback:\n  {INSTANCE}\n"))
    assert line.level == "ERROR"
    assert line.human.endswith(f"defect in C-STORE-RQ: KeyError()\n    Traceback:\n      {HASH}")


def test_the_server_itself(tell: Tell) -> None:
    told = tell(
        ListenerOpened(host="0.0.0.0", port=2762, tls=True),
        ShutdownStarted(associations=2, grace_s=30),
        CertificatesReloaded(listeners=1),
        CertificatesReloaded(listeners=0, error="server.crt is gone"),
    )
    assert [line.human.split(" ", 2)[2].lstrip() for line in told] == [
        "INFO    listening on 0.0.0.0:2762 (TLS)",
        "INFO    stopping, 2 associations open; waiting up to 30 s for them",
        "INFO    reloaded: addresses of peers, certificates of 1 listeners",
        "ERROR   nothing reloaded, all stays as it was: server.crt is gone",
    ]


def test_a_fact_without_words_of_its_own_is_told_all_the_same(tell: Tell) -> None:
    (line,) = tell(StoreReconciled(examined=3, discarded=1, seconds=0.5), level=logging.INFO)
    assert line.human.endswith("store reconciled: examined 3, discarded 1, seconds 0.5")
    assert line.json["event"] == "store_reconciled"


def test_text_from_a_peer_cannot_forge_lines_or_move_the_cursor(tell: Tell) -> None:
    peer = replace(PEER, calling_ae="A\n2026 ERROR", called_ae="\x1b[2J")
    (line,) = tell(replace(ENDED, peer=peer))
    assert "\n" not in line.human
    assert "\x1b" not in line.human
    assert "A\\x0a2026 ERROR@10.1.2.3" in line.human


def test_a_per_cent_sign_is_no_format(tell: Tell) -> None:
    (line,) = tell(replace(FAILED, comment="100 %s full"))
    assert "(100 %s full)" in line.human
