"""YAML text to plain data, bounded: no small file can take the memory, the stack or the time of its reader."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as _SafeLoader  # libyaml: the same documents, ten times as fast
except ImportError:
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

MAX_DEPTH = 50
MAX_NODES = 100_000


def read_yaml(text: str) -> Any:
    """Reads one document of plain data.

    Stricter than YAML: a key may be in a mapping once, an alias may not lie within its own anchor, text has no half of
    a surrogate pair (no file could hold it), and the document with all aliases written out has at most 100,000 values,
    nested at most 50 deep.

    Raises:
        yaml.YAMLError: It is no such document; names line and column.
    """
    _check(text)
    return yaml.load(text, _PlainLoader)


class _PlainLoader(_SafeLoader):
    """A safe loader that says where a value does not fit its tag."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Constructs a value."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError) as error:
            kind = str(node.tag).rpartition(":")[2]
            raise yaml.MarkedYAMLError(problem=f"this is no {kind}: {error}", problem_mark=node.start_mark) from error


@dataclass
class _Open:
    """A mapping or list whose end has not come yet.

    Attributes:
        is_mapping: Whether every second value is a key.
        anchor: Its name for aliases.
        size: Values in it so far, aliases written out.
        children: Keys and values so far.
        keys: Scalar keys so far.
    """

    is_mapping: bool
    anchor: str | None
    size: int = 1
    children: int = 0
    keys: set[tuple[str, bool]] = field(default_factory=set)


def _check(text: str) -> None:
    """Raises YAMLError for what `read_yaml` refuses beyond YAML, without building anything."""
    above: list[_Open] = []
    sizes: dict[str, int] = {}
    for event in yaml.parse(text, _SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            above.append(_Open(isinstance(event, yaml.MappingStartEvent), event.anchor))
            if len(above) > MAX_DEPTH:
                raise _refusal(f"values are nested more than {MAX_DEPTH} deep", event)
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            closed = above.pop()
            size, anchor = closed.size, closed.anchor
        elif isinstance(event, yaml.ScalarEvent):
            _check_text(event)
            _check_key(above, event)
            size, anchor = 1, event.anchor
        elif isinstance(event, yaml.AliasEvent) and event.anchor is not None:
            if any(outer.anchor == event.anchor for outer in above):
                raise _refusal("an alias lies within its own anchor", event)
            size, anchor = sizes.get(event.anchor, 1), None
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        if above:
            above[-1].size += size
            above[-1].children += 1
        if size > MAX_NODES:
            raise _refusal(f"there are more than {MAX_NODES:,} values, aliases written out", event)


def _check_text(event: yaml.ScalarEvent) -> None:
    try:
        event.value.encode()
    except UnicodeEncodeError as error:
        raise _refusal(f"{event.value[error.start]!r} is half a surrogate pair, not a character", event) from None


def _check_key(above: list[_Open], event: yaml.ScalarEvent) -> None:
    if not above or not above[-1].is_mapping or above[-1].children % 2:
        return
    key = (event.value, event.implicit[0])
    if key in above[-1].keys:
        raise _refusal(f"key {event.value[:80]!r} is there twice", event)
    above[-1].keys.add(key)


def _refusal(problem: str, event: yaml.Event) -> yaml.YAMLError:
    return yaml.YAMLError(f"{problem}\n{event.start_mark}")
