"""[[forward]] and [retention]: what the archive makes of them, and what is refused, in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from pacslite.archive.job import Priority
from pacslite.archive.rules import ForwardRule
from pacslite.errors import ConfigurationError
from pacslite.server.config import Config
from pacslite.server.config_sources import load_config
from pacslite.server.parts import archive_settings

ARCHIVE = '[[peers]]\nae_title = "ARCHIVE"\naddress = "10.1.2.9"\nport = 104\n'
MODALITY = '[[peers]]\nae_title = "CT1"\naddress = "10.1.2.3"\n'
RULE = '[[forward]]\nname = "rule"\nto = ["ARCHIVE"]\n'


def load(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "site.toml"
    file.write_text(text, encoding="utf-8")
    return load_config(file, environment={}).config


def test_without_any_rule_the_archive_has_none() -> None:
    assert archive_settings(Config()).rules == ()


def test_a_rule_with_nothing_but_a_name_and_a_destination(tmp_path: Path) -> None:
    settings = archive_settings(load(tmp_path, ARCHIVE + RULE))
    assert settings.rules == (ForwardRule(name="rule", to=("ARCHIVE",)),)


def test_every_key_of_a_rule_reaches_the_archive(tmp_path: Path) -> None:
    text = f"""{ARCHIVE}permissions = ["commit"]
    [[forward]]
    name = "all"
    to = ["ARCHIVE"]
    on = "study"
    quiet_s = 30
    calling_ae = ["CT*"]
    called_ae = ["PACSLITE"]
    modality = ["CT", "MR"]
    sop_class = ["1.2.840.10008.5.1.4.1.1.2"]
    station_name = ["ER-?"]
    body_part = ["HEAD"]
    study_description = ["*TRAUMA*"]
    series_description = ["*THIN*"]
    priority = "low"
    window = "22:00-06:00"
    bytes_per_s = 1000000
    associations = 2
    commit = true
    """
    (rule,) = archive_settings(load(tmp_path, text)).rules
    assert rule == ForwardRule(
        name="all",
        to=("ARCHIVE",),
        on_study=True,
        quiet_s=30.0,
        calling_ae=("CT*",),
        called_ae=("PACSLITE",),
        modality=("CT", "MR"),
        sop_class=("1.2.840.10008.5.1.4.1.1.2",),
        station_name=("ER-?",),
        body_part=("HEAD",),
        study_description=("*TRAUMA*",),
        series_description=("*THIN*",),
        priority=Priority.LOW,
        time_window="22:00-06:00",
        bytes_per_s=1000000,
        associations=2,
        commit=True,
    )


def test_quiet_s_may_be_given_on_instance(tmp_path: Path) -> None:
    (rule,) = archive_settings(load(tmp_path, f"{ARCHIVE}{RULE}quiet_s = 5")).rules
    assert (rule.on_study, rule.quiet_s) == (False, 5.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ARCHIVE + RULE + RULE, 'forward: the name "rule" is there twice; work under way is known by it'),
        (
            ARCHIVE + RULE.replace("ARCHIVE", "ARCHVIE"),
            'forward "rule": there are no [[peers]] with ae_title = "ARCHVIE"; did you mean "ARCHIVE"?',
        ),
        (RULE, 'forward "rule": there are no [[peers]] with ae_title = "ARCHIVE"'),
        (
            MODALITY + RULE.replace("ARCHIVE", "CT1"),
            'forward "rule": the peer "CT1" has no port, so it cannot be called',
        ),
        (ARCHIVE + RULE.replace("ARCHIVE", "PACSLITE"), 'forward "rule": to = "PACSLITE" is this server itself'),
        (
            f"{ARCHIVE}{RULE}commit = true",
            'forward "rule": with commit = true the peer "ARCHIVE" needs the permission "commit" to report the result',
        ),
        (
            f'{ARCHIVE}{RULE}window = "25:00-06:00"',
            "forward.0.window: 25:00 is no time of day (00:00 to 24:00)",
        ),
        (
            f'{ARCHIVE}{RULE}window = "22-6"',
            'forward.0.window: "22-6" is not two times of day such as 22:00-06:00',
        ),
        (f'{ARCHIVE}{RULE}modality = [" "]', "forward.0.modality.0: an empty pattern matches nothing"),
        (f'{ARCHIVE}{RULE}modality = "CT"', 'forward.0.modality = "CT": must be a list, in brackets'),
        (
            f'{ARCHIVE}{RULE}sop_class = ["CT Image Storage"]',
            'forward.0.sop_class.0: "CT Image Storage" matches no UID',
        ),
        (f"{ARCHIVE}{RULE}windw = 1", 'forward.0.windw: unknown key; did you mean "window"?'),
        (ARCHIVE + RULE.replace('["ARCHIVE"]', "[]"), "forward.0.to = []: must not be empty"),
        (
            ARCHIVE + RULE.replace('"rule"', '""'),
            'forward.0.name: "" is no name for a rule: 1 to 64 of A-Z a-z 0-9 _ . -',
        ),
        (ARCHIVE + RULE.replace("rule", "two words"), 'forward.0.name: "two words" is no name for a rule'),
        (
            "[retention]\nhigh_water_bytes = 5",
            "retention: high_water_bytes needs low_water_bytes; without it everything",
        ),
        ("[retention]\nlow_water_bytes = 5", "retention: low_water_bytes does nothing without high_water_bytes"),
        (
            f'{ARCHIVE}[retention]\ndelivered_to = ["ARCHIV"]',
            'retention.delivered_to: there are no [[peers]] with ae_title = "ARCHIV"; did you mean "ARCHIVE"?',
        ),
        (
            f'{ARCHIVE}[retention]\ncommitted_by = ["X"]',
            'retention.committed_by: there are no [[peers]] with ae_title = "X"',
        ),
    ],
)
def test_what_could_never_work_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert f"site.toml: {message}" in str(caught.value)


def test_a_peer_may_report_from_one_address_and_be_called_at_another(tmp_path: Path) -> None:
    second = ARCHIVE.replace("10.1.2.9", "10.1.2.8").replace("port = 104\n", 'permissions = ["commit"]\n')
    assert load(tmp_path, f"{ARCHIVE}{second}{RULE}commit = true").forward[0].commit
