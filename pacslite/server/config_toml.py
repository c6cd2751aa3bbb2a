"""Settings as TOML text: the commented file of all defaults, and what is in force with who said so."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from pacslite.server.config import Config
from pacslite.server.config_problems import Key, Sources, section_in

WIDTH = 120

HEADING = """\
# The settings of pacslite. Every key is here with its default: a file with none of them means the same.
# A line "#key = value" is a setting that is off, or an example. Units are in the names: _s seconds, _bytes bytes.
#
# Read from the file named with --config, or ./pacslite.toml, or /etc/pacslite/pacslite.toml. What is set in the
# environment (PACSLITE_SECTION__KEY, e.g. PACSLITE_LIMITS__IDLE_S=120, PACSLITE_LISTENERS__0__PORT=104) counts more
# than the file, and --set section.key=value counts more than both.
#
# This text is what `pacslite config default` prints.
"""


def default_text() -> str:
    """The file of all defaults, each with its reason."""
    return HEADING + "\n" + "\n".join(_commented(Config, Config()))


def effective_text(config: Config, sources: Sources) -> str:
    """The settings in force; those that somebody set say who. Secrets are not shown."""
    return "\n".join(_effective(config, (), "", sources)).strip() + "\n"


def toml(value: object) -> str:
    """One value as TOML."""
    match value:
        case SecretStr():
            return toml("********" if value.get_secret_value() else "")
        case Enum():
            return toml(value.value)
        case Path():
            return toml(str(value))
        case tuple() | list():
            return f"[{', '.join(toml(item) for item in value)}]"
        case bool() | int() | float() | str():
            return json.dumps(value)
        case _:
            raise TypeError(f"no TOML for {type(value).__name__}")


def _commented(model: type[BaseModel], values: BaseModel) -> Iterator[str]:
    for name, field in model.model_fields.items():
        section = section_in(field.annotation)
        assert section is not None, "every field of Config is a section"
        value = getattr(values, name)
        is_list = isinstance(value, tuple)
        yield from _comment(section.__doc__ or "")
        if is_list and not value:
            yield from _section(section, None, f"[[{name}]]", name)
        else:
            yield from _section(
                section, value[0] if is_list else value, f"[[{name}]]" if is_list else f"[{name}]", name
            )


def _section(section: type[BaseModel], values: BaseModel | None, heading: str, path: str) -> Iterator[str]:
    """One section; with ``values`` None it is an example, commented out."""
    off = "#" if values is None else ""
    yield off + heading
    inner_sections = []
    for name, field in section.model_fields.items():
        inner = section_in(field.annotation)
        if inner is not None:
            inner_sections.append((name, inner))
            continue
        yield from _comment(_explanation(field))
        yield _assignment(name, field, values)
    yield ""
    for name, inner in inner_sections:
        yield from _comment(inner.__doc__ or "")
        yield from _section(inner, None, f"[{path}.{name}]", f"{path}.{name}")


def _assignment(name: str, field: FieldInfo, values: BaseModel | None) -> str:
    value: Any = getattr(values, name, None)
    if value is not None:
        return f"{name} = {toml(value)}"
    example = field.examples[0] if field.examples else field.default
    return f"#{name} = {toml(example)}"


def _explanation(field: FieldInfo) -> str:
    example = f" Example: {toml(field.examples[0])}" if field.examples and field.default == () else ""
    choice = field.annotation
    if isinstance(choice, type) and issubclass(choice, Enum):
        return f"{' | '.join(member.value for member in choice)}. {field.description}"
    return f"{field.description}{example}"


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(" ".join(text.split()), WIDTH - 2, break_on_hyphens=False, break_long_words=False):
        yield f"# {line}"


def _effective(section: BaseModel, key: Key, heading: str, sources: Sources) -> Iterator[str]:
    values = {name: getattr(section, name) for name in type(section).model_fields}
    if heading:
        yield f"\n{heading}"
    for name, value in values.items():
        if value is not None and section_in(type(section).model_fields[name].annotation) is None:
            source = sources.get((*key, name))
            yield f"{name} = {toml(value)}" + (f"  # {source}" if source else "")
    for name, value in values.items():
        path = ".".join(part for part in (*key, name) if not part.isdigit())
        match value:
            case BaseModel():
                yield from _effective(value, (*key, name), f"[{path}]", sources)
            case tuple() if section_in(type(section).model_fields[name].annotation) is not None:
                for position, item in enumerate(value):
                    yield from _effective(item, (*key, name, str(position)), f"[[{path}]]", sources)
