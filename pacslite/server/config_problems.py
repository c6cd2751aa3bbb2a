"""What is wrong with a configuration, in one line: where it stands, which key, what was meant."""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pacslite.server.config import Config

Key = tuple[str, ...]
Sources = dict[Key, str]

SECRETS = ("passcode",)
"""Keys whose values are never shown."""


def describe(error: ValidationError, sources: Sources) -> str:
    """The first problem in words, and how many more there are."""
    problems = _causes(error.errors(include_url=False))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return _line(problems[0], sources) + more


def is_text_wanted(error: ValidationError, key: Key) -> bool:
    """Whether the value of ``key`` was refused only for not being text."""
    return any(problem["type"] == "string_type" and _key(problem) == key for problem in error.errors(include_url=False))


def model_at(key: Key) -> type[BaseModel] | None:
    """The section that ``key`` names (positions in lists do not matter), or None when it is a value or unknown."""
    model: type[BaseModel] = Config
    for name in key:
        if name.isdigit():
            continue
        field = model.model_fields.get(name)
        inner = None if field is None else section_in(field.annotation)
        if inner is None:
            return None
        model = inner
    return model


def section_in(annotation: Any) -> type[BaseModel] | None:
    """The section class inside ``X``, ``X | None`` or ``tuple[X, ...]``; None for plain values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, Union, types.UnionType):
        for argument in get_args(annotation):
            inner = section_in(argument)
            if inner is not None:
                return inner
    return None


def _causes(problems: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without consequences: a required key is often missing only because it is misspelt."""
    misspelt = {problem["loc"][:-1] for problem in problems if problem["type"] == "extra_forbidden"}
    return [problem for problem in problems if problem["type"] != "missing" or problem["loc"][:-1] not in misspelt]


def _line(problem: ErrorDetails, sources: Sources) -> str:
    key = _key(problem)
    where, name = _source(key, sources), ".".join(key)
    match problem["type"]:
        case "extra_forbidden":
            return f"{where}: {name}: unknown {_kind(problem)}; {_nearest(key)}"
        case "missing":
            return f"{where}: {name}: is required and not set"
        case "value_error":
            return f"{where}: {name + ': ' if name else ''}{problem['ctx']['error']}"
        case "tuple_type" if model_at(key) is not None:
            return f"{where}: {name}: write it as [[{name}]], there may be several"
        case "tuple_type":
            return f"{where}: {name}{_shown(key, problem['input'])}: must be a list, in brackets"
        case "too_short":
            return f"{where}: {name}{_shown(key, problem['input'])}: must not be empty"
        case "model_type":
            return f"{where}: {name}{_shown(key, problem['input'])}: is a section, not a value"
        case "enum":
            return f"{where}: {name}{_shown(key, problem['input'])}: {_words(problem)}{_meant(problem)}"
        case _:
            return f"{where}: {name}{_shown(key, problem['input'])}: {_words(problem)}"


def _words(problem: ErrorDetails) -> str:
    words = problem["msg"].replace("Input should be", "must be").replace("'", '"')
    return words.replace("a valid integer", "a whole number").replace("a valid ", "a ")


def _meant(problem: ErrorDetails) -> str:
    near = difflib.get_close_matches(str(problem["input"]), re.findall('"(.+?)"', _words(problem)), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def _key(problem: ErrorDetails) -> Key:
    return tuple(str(part) for part in problem["loc"])


def _kind(problem: ErrorDetails) -> str:
    return "section" if len(problem["loc"]) == 1 else "key"


def _shown(key: Key, value: object) -> str:
    if key[-1] in SECRETS or isinstance(value, dict):
        return ""
    return f" = {json.dumps(value, default=str, ensure_ascii=False)}"


def _source(key: Key, sources: Sources) -> str:
    """Who set ``key`` or what is below it, or else what is nearest to it."""
    for length in range(len(key), -1, -1):
        found = [source for other, source in sources.items() if other[:length] == key[:length]]
        if found:
            return " and ".join(dict.fromkeys(found))
    return "configuration"


def _nearest(key: Key) -> str:
    section = model_at(key[:-1]) or Config
    name = key[-1]
    near = difflib.get_close_matches(name, section.model_fields, n=1)
    if near:
        return f'did you mean "{near[0]}"?'
    elsewhere = [".".join(other) for other in _names(Config) if other[-1] == name]
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere)}?"
    close = difflib.get_close_matches(name, {other[-1] for other in _names(Config)}, n=1, cutoff=0.8)
    if close:
        return f"did you mean {' or '.join('.'.join(other) for other in _names(Config) if other[-1] == close[0])}?"
    return f"known here: {', '.join(section.model_fields)}"


def _names(model: type[BaseModel], above: Key = ()) -> Iterator[Key]:
    """The keys of all values below a section, without positions in lists."""
    for name, field in model.model_fields.items():
        inner = section_in(field.annotation)
        if inner is None:
            yield (*above, name)
        else:
            yield from _names(inner, (*above, name))
