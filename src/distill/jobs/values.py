"""Checks every value of a composed config before anything is built: that it is there, and of the right kind.

What a part (`_target_`) takes is what the annotations of its constructor say; what the other keys take is in `KEYS`.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from distill.arguments import parameters
from distill.errors import ConfigError
from distill.jobs.construct import OF_BUILDER, TARGET
from distill.jobs.keys import BOUNDS, EXAMPLES, KEYS, OWN, PARTS, Bound
from distill.jobs.targets import run_part

_OF_HYDRA = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}


def check_values(cfg: DictConfig) -> None:
    """Refuses a config with a value that is missing or of another kind than its key wants.

    Args:
        cfg: As composed, without Hydra's own node.

    Raises:
        ConfigError: There is one; it names the key.
    """
    check_present(cfg)
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    for key, value in _nodes(content):  # first: arguments of parts may refer to them
        pattern = _pattern_of(key)
        if pattern is not None:
            _check(key, value, KEYS[pattern], _adapter_of_key(pattern))
    for key, value in leaves(content):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError("A value is not finite.", where=key, expected="a finite number", found=repr(value))
    for where, node in _parts(content, ""):
        _check_target(where, node)
    for where, node in _parts(content, ""):
        _check_arguments(where, node)
    _check_read(cfg, content)


def _check_read(cfg: DictConfig, content: Mapping[Any, Any]) -> None:
    """Refuses a key that nothing reads: no key of this program's, in no part, and no other value refers to it."""
    unknown = [key for key in _beside_parts(content) if _pattern_of(key) is None]
    referred = _referred(cfg) if unknown else set()
    for key in unknown:
        if not any(_same_branch(key, name) for name in referred):
            close = difflib.get_close_matches(key, [name for name in KEYS if "*" not in name], n=1)
            raise ConfigError(
                "Nothing reads this key.",
                where=key,
                expected="a key of the config, or one that another value refers to as ${" + key + "}",
                remedy=f"Did you mean {close[0]}?" if close else "Take it out of the command or of the experiment.",
            )


def _beside_parts(node: Mapping[Any, Any], where: str = "") -> Iterator[str]:
    """Yields the keys of values that are not arguments of a part."""
    for name, value in node.items():
        key = f"{where}.{name}" if where else str(name)
        if not isinstance(value, Mapping):
            yield key
        elif TARGET not in value:
            yield from _beside_parts(value, key) if value else [key]


def _referred(cfg: DictConfig) -> set[str]:
    """Returns what the values of a config refer to."""
    unresolved = OmegaConf.to_container(cfg, resolve=False)
    texts = (value for _, value in leaves(unresolved) if isinstance(value, str))
    return {name for text in texts for name in re.findall(r"\$\{([\w.]+)\}", text)}


def _same_branch(key: str, other: str) -> bool:
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def leaves(node: Any, where: str = "", whole: bool = False) -> Iterator[tuple[str, Any]]:
    """Yields the keys of a config with their values: those of mappings, and of lists unless they are taken whole."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from leaves(value, f"{where}.{key}" if where else str(key), whole)
    elif isinstance(node, (list, tuple)) and not whole:
        for i, value in enumerate(node):
            yield from leaves(value, f"{where}[{i}]")
    else:
        yield where, node


def _nodes(node: Mapping[Any, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every key of a config with its value, mappings themselves too."""
    for name, value in node.items():
        key = f"{where}.{name}" if where else str(name)
        yield key, value
        if isinstance(value, Mapping):
            yield from _nodes(value, key)


def check_present(cfg: DictConfig) -> None:
    """Refuses a config with a value that must be given and is not.

    Raises:
        ConfigError: There is one; names all.
    """
    missing = [key for key, value in leaves(OmegaConf.to_container(cfg, resolve=False)) if value == "???"]
    if missing:
        raise ConfigError(
            "A value must be given." if len(missing) == 1 else "Some values must be given.",
            where=", ".join(missing),
            remedy="Add to the command: " + " ".join(f"{key}={EXAMPLES.get(key, 'VALUE')}" for key in missing),
        )


def _parts(node: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield where, node
        for key, value in node.items():
            yield from _parts(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            yield from _parts(value, f"{where}[{i}]")


def _check_target(where: str, node: Mapping[str, Any]) -> None:
    if where.endswith(".net"):
        from distill.jobs.parts import model_class  # torch: other parts may do without

        model_class(node, where)  # which are fewer
    wanted = next((get_class(kind) for pattern, kind in PARTS.items() if fnmatchcase(where, pattern)), object)
    run_part(node[TARGET], f"{where}.{TARGET}", wanted)


def _check_arguments(where: str, node: Mapping[str, Any]) -> None:
    """Holds the arguments of a part against its constructor."""
    target = get_class(node["_target_"])
    taken = parameters(target)
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values())
    kinds = {name: p.annotation for name, p in taken.items() if p.annotation is not inspect.Parameter.empty}
    _check(f"{where}._partial_", node.get("_partial_", False), bool, TypeAdapter(bool))
    for name, value in node.items():
        if name in _OF_HYDRA or (isinstance(value, Mapping) and "_target_" in value):
            continue
        if f"{where}.{name}" in OWN:
            continue
        if name not in taken and not open_ended:
            raise ConfigError(
                f"{target.__name__} got an unexpected keyword argument {name!r}.",
                where=f"{where}.{name}",
                expected="one of " + ", ".join(known for known in taken if known not in OF_BUILDER),
            )
        if any(_parts(value, "")) or name not in kinds:
            continue
        if isinstance(value, Mapping) and value:
            if not _takes_mapping(kinds[name], value):
                raise _wrong_kind(f"{where}.{name}", value, kinds[name])
            continue
        _check(f"{where}.{name}", value, kinds[name], _adapter_of_argument(target, name))
        _check_bound(f"{where}.{name}", value, BOUNDS.get(name))


@cache
def _pattern_of(key: str) -> str | None:
    return next((pattern for pattern in KEYS if fnmatchcase(key, pattern)), None)


@cache
def _adapter_of_key(pattern: str) -> TypeAdapter[Any] | None:
    return _adapter(KEYS[pattern])


@cache
def _adapter_of_argument(target: Callable[..., Any], name: str) -> TypeAdapter[Any] | None:
    return _adapter(parameters(target)[name].annotation)


def _adapter(kind: Any) -> TypeAdapter[Any] | None:
    """What checks values of a type, converting none; None of a type that Pydantic does not know."""
    try:
        return TypeAdapter(kind, config=ConfigDict(strict=True, arbitrary_types_allowed=True))
    except PydanticSchemaGenerationError:
        return None
    except PydanticUserError:  # a type with settings of its own
        return TypeAdapter(kind)


def _takes_mapping(kind: Any, value: Mapping[str, Any]) -> bool:
    """Whether a mapping that is not a part may stand for a type: any, or one whose names the type lists."""
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_takes_mapping(one, value) for one in inner)
    if origin is typing.Annotated:
        return _takes_mapping(inner[0], value)
    if inner and typing.get_origin(inner[0]) is typing.Literal and not set(value) <= set(typing.get_args(inner[0])):
        return False
    return origin is Any or (isinstance(origin, type) and (origin is object or issubclass(origin, Mapping)))


def _check(where: str, value: Any, kind: Any, adapter: TypeAdapter[Any] | None) -> None:
    if adapter is None:
        return
    for candidate in (value, _tuples(value), Path(value) if isinstance(value, str) and value else value):
        try:
            adapter.validate_python(candidate)
            return
        except ValidationError:
            continue
    raise _wrong_kind(where, value, kind)


def _wrong_kind(where: str, value: Any, kind: Any) -> ConfigError:
    return ConfigError("A value has the wrong type.", where=where, expected=in_words(kind), found=_shown(value))


def _check_bound(where: str, value: Any, bound: Bound | None) -> None:
    if bound is None:
        return
    for number in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(number, (int, float)) and not isinstance(number, bool) and not bound.holds(number):
            raise ConfigError("A value is out of range.", where=where, expected=bound.text, found=_shown(number))


def _tuples(value: Any) -> Any:
    """A list as a tuple, inner ones too: what is annotated as a tuple is a list in a config."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 100 else f"{shown[:100]}…"


def _limit(limit: Any) -> str:
    """Says an end of a range; nothing of other limits."""
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    return next((f"{text} {getattr(limit, name)}" for name, text in words.items() if hasattr(limit, name)), "")


def in_words(kind: Any) -> str:
    """Says what values a type takes, as in "a whole number, or null"."""
    if kind in _WORDS:
        return _WORDS[kind]
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        limits = [limit for one in inner[1:] for limit in getattr(one, "metadata", [one])]
        return " ".join([in_words(inner[0]), *filter(None, map(_limit, limits))])
    if origin is typing.Literal:
        return ", ".join("null" if one is None else str(one) for one in inner)
    if origin in (typing.Union, types.UnionType):
        words = dict.fromkeys(in_words(one) for one in inner)
        return ", or ".join(sorted(words, key=lambda word: word == "null"))
    name = getattr(origin or kind, "__name__", str(kind))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        names = in_words(inner[0]) if inner and typing.get_origin(inner[0]) is typing.Literal else "name"
        return f"a mapping {{{names}: …}}"
    if isinstance(origin, type) and issubclass(origin, (Sequence, set, frozenset)):
        of = next((in_words(one) for one in inner if one is not ...), "")
        return f"a list [{of}, …]" if of else "a list"
    return "a path" if kind is Path else f"{name}"
