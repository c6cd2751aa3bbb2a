"""config/pacslite.toml cannot rot: it is what the declarations say, and it means the built-in defaults."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from pacslite.server.config import Config
from pacslite.server.config_problems import section_in
from pacslite.server.config_sources import load_config, parse_setting
from pacslite.server.config_toml import default_text, effective_text

FILE = Path(__file__).parents[2] / "config" / "pacslite.toml"


def all_keys(section: type[BaseModel]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = section_in(field.annotation)
        if inner is None:
            yield name
        else:
            yield from all_keys(inner)


def test_the_file_is_what_the_declarations_say() -> None:
    assert FILE.read_text(encoding="utf-8") == default_text(), "run: pacslite config default > config/pacslite.toml"


def test_the_file_means_the_built_in_defaults() -> None:
    assert load_config(FILE, environment={}).config == Config()


def test_the_file_mentions_every_key() -> None:
    written = re.findall(r"^#?(\w+) = ", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(written) == sorted(all_keys(Config))


def test_every_key_has_its_reason() -> None:
    def undescribed(section: type[BaseModel]) -> Iterator[str]:
        for name, field in section.model_fields.items():
            inner = section_in(field.annotation)
            if inner is not None:
                yield from undescribed(inner)
            elif not field.description:
                yield name

    assert not list(undescribed(Config))


def test_the_examples_are_right_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = re.sub(r"^#(?=[\w\[])", "", default_text(), flags=re.MULTILINE)
    text = text.replace("/etc/pacslite/tls/", f"{tmp_path}/")
    for name in ("server.crt", "server.key", "ca.crt"):
        (tmp_path / name).touch()
    text += '[[peers]]\nae_title = "ARCHIVE"\naddress = "10.1.2.9"\nport = 104\n'  # which the rule sends to
    (tmp_path / "all.toml").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "all.toml", environment={}).config
    assert config.listeners[0].tls is not None
    assert config.peers[0].ae_title == "CT1"
    assert config.forward[0].to == ("ARCHIVE",)


def test_lines_are_not_longer_than_a_screen() -> None:
    assert max(map(len, default_text().splitlines())) <= 120


def test_what_is_in_force_says_who_said_so_and_hides_secrets() -> None:
    sets = ["limits.idle_s=120", "peers.0.ae_title=CT1", "peers.0.address=10.1.2.3", "peers.0.user=u"]
    settings = [parse_setting(argument) for argument in [*sets, "peers.0.passcode=hush"]]
    loaded = load_config(settings=settings, environment={})
    text = effective_text(loaded.config, loaded.sources)
    assert "idle_s = 120.0  # --set\n" in text
    assert "\nartim_s = 30.0\n" in text
    assert "hush" not in text
    parsed = tomllib.loads(text)
    assert parsed["peers"][0]["passcode"] == "********"
    assert parsed["listeners"] == [{"host": "0.0.0.0", "port": 11112}]
