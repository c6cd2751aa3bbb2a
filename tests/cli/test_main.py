"""The frame of the command line: exit codes, one line for an error, and the verbs that look at settings."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pacslite.cli import main as main_module
from pacslite.cli.exits import Exit, exit_for
from pacslite.errors import (
    AssociationRejected,
    ConfigurationError,
    ConnectionLost,
    OutOfResources,
    PacsliteError,
    StoreInUseError,
)
from pacslite.server.config_toml import default_text


@dataclass
class Ended:
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program as a shell would, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["pacslite", *arguments])
        with pytest.raises(SystemExit) as ended:
            main_module.main()
        out, err = capsys.readouterr()
        return Ended(ended.value.code if isinstance(ended.value.code, int) else 0, out, err)

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), Exit.USAGE),
        (ConnectionLost("x"), Exit.UNREACHABLE),
        (AssociationRejected("x", result=1, source=1, reason=3), Exit.UNREACHABLE),
        (StoreInUseError("x"), Exit.STORE),
        (OutOfResources("x"), Exit.FAILED),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: PacsliteError, code: Exit) -> None:
    assert exit_for(error) is code


def test_help_and_version_are_no_errors(run: Run) -> None:
    assert run("--version").out.startswith("pacslite ")
    ended = run("--help")
    assert ended.code == Exit.OK
    assert "serve" in ended.out


def test_a_wrong_option_is_a_usage_error(run: Run) -> None:
    ended = run("serve", "--prt", "104")
    assert ended.code == Exit.USAGE
    assert "No such option: --prt" in ended.err


def test_an_error_is_one_line_on_standard_error(run: Run) -> None:
    assert run("config", "check", "--set", "limits.artim=3") == Ended(
        Exit.USAGE, "", 'pacslite: --set: limits.artim: unknown key; did you mean "artim_s"?\n'
    )


def test_verbose_shows_where_an_error_arose(run: Run) -> None:
    ended = run("config", "check", "--config", "absent.toml", "-v")
    assert ended.code == Exit.USAGE
    assert ended.err.startswith("Traceback")
    assert ended.err.endswith("\npacslite: absent.toml: cannot be read: No such file or directory\n")


def test_a_defect_has_a_code_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise KeyError("oops")

    monkeypatch.setattr(main_module, "VERBS", (lambda app: app.command("fail")(fail), *main_module.VERBS))
    assert run("fail") == Ended(Exit.DEFECT, "", "pacslite: defect, please report it: KeyError: 'oops'\n")


def test_a_full_disk_is_no_defect(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def write() -> None:
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    monkeypatch.setattr(main_module, "VERBS", (lambda app: app.command("write")(write), *main_module.VERBS))
    assert run("write") == Ended(Exit.FAILED, "", "pacslite: cannot write: No space left on device\n")


def test_ctrl_c_is_no_error_of_ours(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "VERBS", (lambda app: app.command("wait")(interrupt), *main_module.VERBS))
    assert run("wait") == Ended(Exit.INTERRUPTED, "", "")


def test_config_check_says_what_it_read(run: Run, tmp_path: Path) -> None:
    assert run("config", "check").out == "OK: built-in defaults, listeners: 1, peers: 0, forwarding rules: 0\n"
    (tmp_path / "pacslite.toml").write_text('[[peers]]\nae_title = "CT1"\naddress = "10.1.2.3"\n')
    assert run("config", "check").out == "OK: pacslite.toml, listeners: 1, peers: 1, forwarding rules: 0\n"


def test_config_check_looks_into_certificates(run: Run, tmp_path: Path) -> None:
    for name in ("server.crt", "server.key"):
        (tmp_path / name).write_text("no certificate\n")
    tls = '[[listeners]]\n[listeners.tls]\ncertificate = "server.crt"\nkey = "server.key"\n'
    (tmp_path / "pacslite.toml").write_text(tls)
    ended = run("config", "check")
    assert ended.code == Exit.USAGE
    assert ended.err.startswith("pacslite: cannot use certificate server.crt with key server.key: ")


def test_config_default_is_a_settings_file(run: Run) -> None:
    assert run("config", "default").out == default_text()


def test_config_show_is_toml_of_what_is_in_force(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACSLITE_SERVER__AE_TITLE", "OTHER")
    ended = run("config", "show", "--set", "limits.idle_s=5")
    assert 'ae_title = "OTHER"  # environment variable PACSLITE_SERVER__AE_TITLE\n' in ended.out
    assert tomllib.loads(ended.out)["limits"]["idle_s"] == 5


def test_serve_turns_its_options_into_settings(run: Run) -> None:
    assert run("serve", "--port", "70000").err.startswith("pacslite: --port: listeners.0.port = 70000: must be less")
    assert run("serve", "--ae-title", "A" * 17).err.startswith("pacslite: --ae-title: server.ae_title: an AE title is")


def test_peers_are_listed_as_they_are(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pacslite.toml").write_text(
        '[[peers]]\nae_title = "[red]CT1"\naddress = "10.1.2.3"\nport = 104\n'
        'tls = true\nuser = "ct"\npasscode = "hush"\n'
    )
    ended = run("peers")
    assert ended.out.splitlines()[1].split() == ["[red]CT1", "10.1.2.3", "104", "echo,", "store", "yes", "ct"]
    assert "hush" not in ended.out


def test_no_peers_are_said_to_be_none(run: Run) -> None:
    assert run("peers").out == "no peers in the built-in defaults; unknown callers: loopback\n"
