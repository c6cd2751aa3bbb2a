"""Where settings come from: built-in defaults, then one TOML file, then the environment, then the command line.

The layers are merged as plain data first and checked once as a whole; each value remembers where it came from, so that
a wrong one is named with its source.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pacslite.errors import ConfigurationError
from pacslite.server.config import Config
from pacslite.server.config_problems import Key, Sources, describe, is_text_wanted

CONFIG_FILES = (Path("pacslite.toml"), Path("/etc/pacslite/pacslite.toml"))
"""Looked for in this order when no file is named; the first one that exists is the only one read."""

PREFIX = "PACSLITE_"
LEVEL = "__"
"""Between section and key. A variable without it is not ours: Kubernetes sets PACSLITE_PORT for a service named so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One value from outside the file. ``text`` is how it was spelled, where that is all there is to go by."""

    key: Key
    value: object
    source: str
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedConfig:
    """The settings, the file that was read (None: there was none) and, for each key that was set, who set it."""

    config: Config
    file: Path | None
    sources: Sources


def load_config(
    file: Path | None = None, *, settings: Iterable[Setting] = (), environment: Mapping[str, str] | None = None
) -> LoadedConfig:
    """Read and check everything; raises :class:`ConfigurationError` with one line. ``file`` must exist when named."""
    file = file or next((candidate for candidate in CONFIG_FILES if candidate.is_file()), None)
    tree: dict[str, object] = {}
    sources: Sources = {}
    if file is not None:
        tree = _read(file)
        sources.update((key, str(file)) for key in _leaves(tree))
    overrides = [*_from_environment(os.environ if environment is None else environment), *settings]
    for setting in overrides:
        _put(tree, setting)
        sources[setting.key] = setting.source
    config = _check(tree, overrides, sources)
    _check_files(config, sources)
    return LoadedConfig(config=config, file=file, sources=sources)


def parse_setting(argument: str) -> Setting:
    """The ``section.key=value`` of a ``--set``: a TOML value, or text when it is none."""
    name, equals, text = argument.partition("=")
    key = tuple(name.strip().split("."))
    if not equals or len(key) < 2 or not all(key):
        raise ConfigurationError(f'--set "{argument}": write it as section.key=value')
    return Setting(key=key, value=_parse(text.strip()), text=text.strip(), source="--set")


def _from_environment(environment: Mapping[str, str]) -> Iterator[Setting]:
    for name, text in sorted(environment.items()):
        if name.startswith(PREFIX) and LEVEL in name:
            key = tuple(name.removeprefix(PREFIX).lower().split(LEVEL))
            yield Setting(key=key, value=_parse(text), text=text, source=f"environment variable {name}")


def _read(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: not UTF-8 text: byte {error.start} is not") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file}: not valid TOML: {error}") from error


def _parse(text: str) -> object:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _leaves(node: object, key: Key = ()) -> Iterator[Key]:
    """The keys of all values in a tree; those of tables in a list have its position: listeners, 0, port."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield from _leaves(child, (*key, name))
    elif isinstance(node, list) and any(isinstance(item, dict) for item in node):
        for position, item in enumerate(node):
            yield from _leaves(item, (*key, str(position)))
    else:
        yield key


def _put(tree: dict[str, object], setting: Setting) -> None:
    """Put one value into the tree. ``listeners.0.port`` changes the first listener, or adds one after the last."""
    *sections, last = setting.key
    node: object = tree
    for depth, name in enumerate(sections):
        following = setting.key[depth + 1]
        # Without any [[listeners]] there is one built-in listener, and 0 is that one.
        empty: object = [{}] if name == "listeners" else [] if following.isdigit() else {}
        node = _child(node, name, empty, setting, depth)
    _child(node, last, setting.value, setting, len(sections))
    if isinstance(node, list):
        node[int(last)] = setting.value
    elif isinstance(node, dict):
        node[last] = setting.value


def _child(node: object, name: str, missing: object, setting: Setting, depth: int) -> object:
    """The part of ``node`` that ``name`` names; ``missing`` is put there first when there is none."""
    place, where = ".".join(setting.key[:depth]), f"{setting.source}: {'.'.join(setting.key)}"
    match node:
        case dict():
            return node.setdefault(name, missing)
        case list() if name.isdigit() and int(name) <= len(node):
            if int(name) == len(node):
                node.append(missing)
            return node[int(name)]
        case list():
            raise ConfigurationError(
                f"{where}: {place} has {len(node)} entries, counted from 0; {name} is neither one of them nor the next"
            )
        case _:
            raise ConfigurationError(f"{where}: {place} is a value, not a section")


def _check(tree: dict[str, object], overrides: Iterable[Setting], sources: Sources) -> Config:
    try:
        return _validate(tree)
    except ValidationError as error:
        # --set server.ae_title=1234 is a number to TOML, but text was wanted, and text it is on a command line.
        texts = [item for item in overrides if item.text is not None and is_text_wanted(error, item.key)]
        if not texts:
            raise ConfigurationError(describe(error, sources)) from error
    for setting in texts:
        _put(tree, Setting(key=setting.key, value=setting.text, source=setting.source))
    try:
        return _validate(tree)
    except ValidationError as error:
        raise ConfigurationError(describe(error, sources)) from error


def _validate(tree: dict[str, object]) -> Config:
    # Strict JSON rules are TOML's own: no number in quotes, no truth as a number, but a list for a tuple and a name
    # for an enum. A TOML date becomes text, which is what every setting would make of it.
    return Config.model_validate_json(json.dumps(tree, default=str), strict=True)


def _check_files(config: Config, sources: Sources) -> None:
    """A certificate that is not there is better told now than after half the listeners are open."""
    for position, listener in enumerate(config.listeners):
        if listener.tls is None:
            continue
        for name in ("certificate", "key", "ca"):
            file: Path | None = getattr(listener.tls, name)
            if file is not None and not file.is_file():
                key = ("listeners", str(position), "tls", name)
                raise ConfigurationError(f"{sources.get(key, 'built-in')}: {'.'.join(key)}: there is no file {file}")
