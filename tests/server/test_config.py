"""Settings: defaults, sources and their order, and what a wrong one says."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from pydantic import ValidationError

from pacslite.dimse.permission import Permission
from pacslite.errors import ConfigurationError
from pacslite.net.access import UnknownCallers
from pacslite.server.config import Config
from pacslite.server.config_sources import LoadedConfig, Setting, load_config, parse_setting

PEER = '[[peers]]\nae_title = "CT1"\naddress = "10.1.2.3"\n'
TLS = '[listeners.tls]\ncertificate = "server.crt"\nkey = "server.key"\n'


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the machine that runs the tests gets in."""
    monkeypatch.chdir(tmp_path)
    for name in ("server.crt", "server.key", "ca.crt"):
        (tmp_path / name).touch()


def load(text: str = "", *sets: str, environment: dict[str, str] | None = None) -> LoadedConfig:
    Path("site.toml").write_text(text, encoding="utf-8")
    settings = [parse_setting(argument) for argument in sets]
    return load_config(Path("site.toml"), settings=settings, environment=environment or {})


def problem(text: str = "", *sets: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(text, *sets, environment=environment)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- Defaults and sources --------------------------------------------------------------------------------------------


def test_without_any_file_the_defaults_apply() -> None:
    loaded = load_config(environment={})
    assert loaded.config == Config()
    assert loaded.file is None
    assert loaded.sources == {}


def test_the_defaults_are_those_of_the_documented_limits() -> None:
    limits = Config().limits
    assert (limits.max_pdu_bytes, limits.max_associate_bytes, limits.max_command_bytes) == (262144, 1 << 20, 65536)
    assert (limits.receive_high_water_bytes, limits.receive_low_water_bytes) == (4 << 20, 1 << 20)
    assert (limits.max_associations, limits.max_associations_per_peer) == (200, 50)
    assert (limits.artim_s, limits.idle_s, limits.write_stall_s) == (30, 60, 60)
    assert Config().access.unknown is UnknownCallers.LOOPBACK
    assert [(listener.host, listener.port, listener.tls) for listener in Config().listeners] == [
        ("0.0.0.0", 11112, None)
    ]


def test_a_file_in_the_current_folder_is_found() -> None:
    Path("pacslite.toml").write_text('[server]\nae_title = "FOUND"\n')
    loaded = load_config(environment={})
    assert (loaded.config.server.ae_title, loaded.file) == ("FOUND", Path("pacslite.toml"))


def test_a_named_file_that_is_missing_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"^absent.toml: cannot be read: No such file or directory$"):
        load_config(Path("absent.toml"), environment={})


def test_later_sources_win_over_earlier_ones() -> None:
    text = "[limits]\nartim_s = 1\nidle_s = 1\nwrite_stall_s = 1\n"
    environment = {"PACSLITE_LIMITS__IDLE_S": "2", "PACSLITE_LIMITS__WRITE_STALL_S": "2"}
    loaded = load(text, "limits.write_stall_s=3", environment=environment)
    limits = loaded.config.limits
    assert (limits.artim_s, limits.idle_s, limits.write_stall_s) == (1, 2, 3)
    assert loaded.sources[("limits", "artim_s")] == "site.toml"
    assert loaded.sources[("limits", "idle_s")] == "environment variable PACSLITE_LIMITS__IDLE_S"
    assert loaded.sources[("limits", "write_stall_s")] == "--set"


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("a.b=12", 12),
        ("a.b=true", True),
        ('a.b="12"', "12"),
        ("a.b=text", "text"),
        ("a.b=", ""),
        ('a.b = ["x", "y"]', ["x", "y"]),
        ("a.b=1=2", "1=2"),
        ("a.b=1\nc=2", "1\nc=2"),
    ],
)
def test_set_takes_a_toml_value_or_else_text(argument: str, value: object) -> None:
    setting = parse_setting(argument)
    assert (setting.key, setting.value, setting.source) == (("a", "b"), value, "--set")


@pytest.mark.parametrize("argument", ["", "a", "a=1", "a.b", ".b=1", "a.=1"])
def test_a_set_of_another_shape_is_refused(argument: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write it as section.key=value"):
        parse_setting(argument)


def test_text_that_looks_like_a_number_is_text_where_text_is_wanted() -> None:
    config = load("", "server.ae_title=1234", environment={"PACSLITE_LISTENERS__0__HOST": "12"}).config
    assert (config.server.ae_title, config.listeners[0].host) == ("1234", "12")


def test_a_variable_without_a_section_is_not_ours() -> None:
    """Kubernetes sets these for a service that is named pacslite."""
    assert load(environment={"PACSLITE_PORT": "tcp://10.0.0.1:11112", "PACSLITE_SERVICE_HOST": "x"}).config == Config()


def test_list_positions_change_an_entry_or_add_the_next() -> None:
    config = load("", "listeners.0.port=104", "listeners.1.port=105", "listeners.1.host=127.0.0.1").config
    assert [(listener.host, listener.port) for listener in config.listeners] == [("0.0.0.0", 104), ("127.0.0.1", 105)]
    config = load(PEER, "peers.0.port=104").config
    assert (config.peers[0].ae_title, config.peers[0].port) == ("CT1", 104)


def test_a_setting_from_an_option_is_named_after_it() -> None:
    option = Setting(key=("listeners", "0", "port"), value=70000, source="--port")
    with pytest.raises(ConfigurationError, match=r"^--port: listeners.0.port = 70000: must be less than or equal"):
        load_config(settings=[option], environment={})


def test_a_tls_listener_has_port_2762_unless_told_otherwise() -> None:
    """UL-25"""
    config = load(f"[[listeners]]\n{TLS}").config
    assert config.listeners[0].port == 2762
    assert load(f"[[listeners]]\nport = 4242\n{TLS}").config.listeners[0].port == 4242


def test_peers_know_whether_their_address_has_to_be_resolved() -> None:
    config = load(PEER + '[[peers]]\nae_title = "WS"\naddress = "ws.example"\nport = 104\n').config
    assert [peer.network for peer in config.peers] == [ipaddress.ip_network("10.1.2.3/32"), None]
    assert config.peers[0].permissions == (Permission.ECHO, Permission.STORE)


def test_nothing_can_be_changed_later() -> None:
    with pytest.raises(ValidationError):
        setattr(Config().server, "ae_title", "X")  # noqa: B010  spelled out, the type checker refuses it


def test_our_titles_are_the_main_one_and_the_aliases() -> None:
    assert load('[server]\nae_title = " A "\nae_title_aliases = ["B"]\n').config.ae_titles == ("A", "B")


# --- Mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[storge]\nfolder = "x"', 'storge: unknown section; did you mean "storage"?'),
        ('[storage]\nduplicats = "keep"', 'storage.duplicats: unknown key; did you mean "duplicates"?'),
        ("[server]\nport = 3", "server.port: unknown key; did you mean listeners.port or peers.port?"),
        ("[server]\nartim = 3", "server.artim: unknown key; did you mean limits.artim_s?"),
        ("[logging]\nxyz = 1", "logging.xyz: unknown key; known here: format, level, mask_phi"),
        (
            '[storage]\nduplicates = "kep"',
            'storage.duplicates = "kep": must be "keep" or "replace"; did you mean "keep"?',
        ),
        ('[limits]\nartim_s = "30"', 'limits.artim_s = "30": must be a number'),
        ("[limits]\nartim_s = 0", "limits.artim_s = 0: must be greater than 0"),
        ("[limits]\nartim_s = inf", "limits.artim_s = Infinity: must be a finite number"),
        ("[limits]\nmax_associations = true", "limits.max_associations = true: must be a whole number"),
        ("[storage]\nquota_bytes = 1.5", "storage.quota_bytes = 1.5: must be a whole number"),
        ("[server]\nae_title = 5", "server.ae_title = 5: must be a string"),
        ("server = 5", "server = 5: is a section, not a value"),
        ("[listeners]\nport = 1", "listeners: write it as [[listeners]], there may be several"),
        ('[[peers]]\nae_titel = "A"', 'peers.0.ae_titel: unknown key; did you mean "ae_title"?'),
        ('[[peers]]\nae_title = "A"', "peers.0.address: is required and not set"),
        ("[server", "not valid TOML: Expected ']' at the end of a table declaration (at end of document)"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key_and_what_was_meant(text: str, message: str) -> None:
    assert problem(text) == f"site.toml: {message}"


def test_a_mistake_outside_the_file_names_its_source() -> None:
    assert problem("", "servr.ae_title=x") == '--set: servr: unknown section; did you mean "server"?'
    environment = {"PACSLITE_LIMITS__ARTIM_S": "soon"}
    assert problem(environment=environment) == (
        'environment variable PACSLITE_LIMITS__ARTIM_S: limits.artim_s = "soon": must be a number'
    )


def test_further_mistakes_are_counted() -> None:
    assert problem("[limits]\nartim_s = 0\nidle_s = 0").endswith("must be greater than 0 (and 1 more)")


def test_positions_beyond_a_list_and_keys_below_a_value_are_refused() -> None:
    assert "peers has 0 entries, counted from 0; 1 is neither one of them nor the next" in problem("", "peers.1.port=3")
    assert problem('[server]\nae_title = "A"', "server.ae_title.x=3").endswith(
        "server.ae_title is a value, not a section"
    )


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"# \xfc\n")
    with pytest.raises(ConfigurationError, match="not UTF-8 text: byte 2 is not"):
        load_config(Path("latin.toml"), environment={})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'[[listeners]]\n{TLS}client_certificates = "required"', "listeners.0.tls: client_certificates"),
        (f'[[listeners]]\n{TLS}client_certificates = "optional"', '"optional" needs ca, to check them against'),
        ("[[listeners]]\nport = 104\n[[listeners]]\nport = 104", "listeners: port 104 is there twice"),
        ("listeners = []", "listeners: at least one is needed"),
        (
            '[[listeners]]\nport = 104\n[[listeners]]\nport = 104\nhost = "127.0.0.1"',
            "listeners: port 104 is there twice",
        ),
        ("[limits]\nreceive_low_water_bytes = 8000000", "is above receive_high_water_bytes (4194304)"),
        (PEER + PEER, 'peers: "CT1" at "10.1.2.3" is there twice'),
        (
            f"{PEER}port = 104\n{PEER.replace('2.3', '2.4')}port = 104",
            'peers: "CT1" has two ports; which one to call would be a guess',
        ),
        (PEER.replace("10.1.2.3", "10.1.2.0/24") + "port = 104", 'and "10.1.2.0/24" is a network'),
        (PEER.replace("10.1.2.3", "10.1.2.3/24"), 'did you mean "10.1.2.0/24"?'),
        (PEER.replace("10.1.2.3", "10.1.2.3.4"), "neither a host name nor an address nor a network"),
        (PEER.replace("10.1.2.3", "a b"), "neither a host name nor an address nor a network"),
        (PEER.replace("CT1", "SEVENTEEN LETTERS"), "an AE title is 1 to 16 printable ASCII characters"),
        (PEER.replace("CT1", "   "), "an AE title is 1 to 16 printable ASCII characters"),
        ('[negotiation]\ntransfer_syntaxes = ["1.2.03"]', '"1.2.03" is not a UID'),
        ('[negotiation]\ntransfer_syntaxes = ["1.2", "1.2"]', 'transfer_syntaxes names "1.2" 2 times'),
    ],
)
def test_an_impossible_combination_is_refused(text: str, message: str) -> None:
    assert message in problem(text)


def test_ul_25_tls_and_plain_never_share_a_port_whatever_the_address() -> None:
    text = f'[[listeners]]\nhost = "127.0.0.1"\nport = 104\n[[listeners]]\nhost = "10.0.0.1"\nport = 104\n{TLS}'
    assert problem(text) == "site.toml: listeners: port 104 is both plain and TLS; give TLS its own, such as 2762"


def test_free_ports_never_clash() -> None:
    assert len(load("[[listeners]]\nport = 0\n[[listeners]]\nport = 0").config.listeners) == 2


def test_a_certificate_that_is_not_there_is_told_before_anything_opens() -> None:
    text = f"[[listeners]]\n{TLS}".replace("server.key", "gone.key")
    assert problem(text) == "site.toml: listeners.0.tls.key: there is no file gone.key"


def test_a_passcode_is_never_shown() -> None:
    assert problem(f'{PEER}passcode = "hush"') == "site.toml: peers.0: passcode without user"
    assert "4711" not in problem(f"{PEER}passcode = 4711")
    assert "hush" not in repr(load(f'{PEER}user = "u"\npasscode = "hush"').config)
