"""Turns plain data that names classes into objects; no string in it is ever resolved.

A node is a mapping with `_target_`, the full path of a class, and its arguments by name, which may be nodes
themselves; those of a bundle (`distill.arguments.Bundle`) stand beside the others. `_partial_: true` leaves arguments
to be given later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from distill.arguments import gathered
from distill.errors import ConfigError, DistillError

TARGET = "_target_"
OF_BUILDER = frozenset({"schema", "tables"})
"""Arguments of models that `build_model` gives them, and no config."""

_PARTIAL, _CONVERT = "_partial_", "_convert_"
Find = Callable[[Any, str], type[Any]]


def construct(node: Any, where: str, find: Find, /, **arguments: Any) -> Any:
    """Builds a node, inner nodes first, once all targets in it are found to be what they may be.

    Args:
        node: Plain data.
        where: Its place, for errors.
        find: Returns the class that a target at a place names, or raises ConfigError.
        **arguments: Given to the outermost target beside the node's own.

    Raises:
        ConfigError: A target is not allowed, an option of the node is unknown, or a class refuses its arguments.
    """
    for inner, place in nodes(node, where):
        find(inner[TARGET], f"{place}.{TARGET}")
        _check_options(inner, place)
    return _built(node, where, find, arguments)


def nodes(value: Any, where: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yields all mappings with a target below a value, and their places."""
    if isinstance(value, Mapping):
        if TARGET in value:
            yield value, where
        for key, item in value.items():
            yield from nodes(item, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from nodes(item, f"{where}[{i}]")


def _check_options(node: Mapping[str, Any], where: str) -> None:
    for key in node:
        if key in ("_args_", "_recursive_"):
            raise ConfigError(
                "This option of a node is not known here.", where=f"{where}.{key}", expected="arguments by name"
            )
    if node.get(_CONVERT, "all") != "all":
        raise ConfigError(
            "Arguments must be plain lists and dicts.",
            where=f"{where}.{_CONVERT}",
            expected="all",
            found=str(node[_CONVERT]),
        )
    if not isinstance(node.get(_PARTIAL, False), bool):
        raise ConfigError(
            "A node must be built completely or partially.",
            where=f"{where}.{_PARTIAL}",
            expected="true or false",
            found=str(node[_PARTIAL]),
        )


def _built(value: Any, where: str, find: Find, arguments: Mapping[str, Any]) -> Any:
    if isinstance(value, (list, tuple)):
        return [_built(item, f"{where}[{i}]", find, {}) for i, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    own = {k: _built(v, f"{where}.{k}", find, {}) for k, v in value.items() if k not in (TARGET, _PARTIAL, _CONVERT)}
    if TARGET not in value:
        return own
    given = {**own, **arguments}
    found: Callable[..., Any] = find(value[TARGET], f"{where}.{TARGET}")
    if value.get(_PARTIAL, False):
        return partial(found, **given)
    try:
        return found(**gathered(found, given))
    except DistillError as error:
        raise error.within(where) from error
    except Exception as error:  # whatever a class makes of arguments that it does not take
        raise ConfigError(
            "A part of the config cannot be built.",
            where=where,
            expected=f"arguments that {value[TARGET]} takes",
            found=f"{type(error).__name__}: {' '.join(str(error).split())[:400]}",
        ) from error
