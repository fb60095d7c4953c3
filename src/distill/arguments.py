"""What a class takes from a config: its arguments, and those that it takes in bundles."""

from __future__ import annotations

import contextlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from inspect import Parameter
from typing import Any


class Bundle:
    """A frozen dataclass of arguments that travel together: one argument in code, its fields in a config.

    A class with an argument of such a type is configured as if it took the fields itself: the node of a model says
    `embedding_dim: 16`, and the model's constructor gets `features=Features(embedding_dim=16, …)`.
    """


@cache
def parameters(target: Callable[..., Any]) -> Mapping[str, Parameter]:
    """Returns what a config may give to a class, by name, with types: its arguments, for a bundle the bundle's fields.

    A type that only a type checker can look up is left out.
    """
    taken: dict[str, Parameter] = {}
    for name, parameter in _own(target).items():
        taken |= parameters(parameter.annotation) if _is_bundle(parameter) else {name: parameter}
    return taken


def gathered(target: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a class with what belongs to a bundle in it.

    Raises:
        TypeError: A field of a bundle is missing, or the bundle itself is given.
    """
    left = dict(given)
    for name, parameter in _own(target).items():
        if _is_bundle(parameter):
            kind = parameter.annotation
            if name in left:
                raise TypeError(f"{name} is given by its fields")
            left[name] = kind(**{field.name: left.pop(field.name) for field in fields(kind) if field.name in left})
    return left


@cache
def _own(target: Callable[..., Any]) -> Mapping[str, Parameter]:
    module = getattr(inspect.unwrap(target.__init__), "__globals__", {})  # where the constructor was written
    found = dict(inspect.signature(target).parameters)
    for name, parameter in found.items():
        kind: Any = Parameter.empty
        if parameter.annotation is not Parameter.empty:
            with contextlib.suppress(NameError, TypeError, AttributeError):
                one = types.SimpleNamespace(__annotations__={name: parameter.annotation})
                kind = typing.get_type_hints(one, module, include_extras=True)[name]
        found[name] = parameter.replace(annotation=kind)
    return found


def _is_bundle(parameter: Parameter) -> bool:
    return isinstance(parameter.annotation, type) and issubclass(parameter.annotation, Bundle)
