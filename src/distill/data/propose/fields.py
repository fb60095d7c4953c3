"""A line of the proposal for each column that may be a field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distill.data.propose.encoding import choose
from distill.data.propose.labels import comes_with
from distill.data.propose.sides import Groups, side_of
from distill.data.propose.values import Values
from distill.data.propose.view import Line, View
from distill.data.propose.words import ID, ITEM, REQUEST, is_outcome, names_key, words
from distill.schema import Side
from distill.schema.names import field_name

_OVERLAP, _COVERED = 0.5, 0.1
_ROWS_COMPARED = 2000


@dataclass(frozen=True)
class Roles:
    """What columns are besides fields.

    Attributes:
        user: Key of users, a field too.
        item: Key of items, a field too.
        no_fields: Keys that are none.
        labels: Columns of tasks, no fields.
    """

    user: str | None
    item: str | None
    no_fields: tuple[str | None, ...]
    labels: tuple[str, ...]


def field_lines(view: View, groups: Groups, roles: Roles, reasons: Mapping[str, str]) -> tuple[Line, ...]:
    """Proposes a field for every column but labels and keys that only order or group.

    Args:
        view: The sample.
        groups: Which of its rows belong together.
        roles: What columns are besides.
        reasons: Column to why it should not be taken; it becomes a comment.
    """
    lines: list[Line] = []
    names: dict[str, str] = {}
    for name in view.values:
        if name not in roles.no_fields and name not in roles.labels:
            names[name] = field_name(name, names.values())
    item = None if roles.item is None else view.values[roles.item]
    item_line = None if item is None else _line(view, groups, roles, item, names[item.name])
    for column, name in names.items():
        line = _line(view, groups, roles, view.values[column], name)
        if item is not None and item_line is not None and column != item.name:
            line = _of_items(line, view, item, item_line)
        if column in reasons:
            line = Line(column, line.spec, f"{view.values[column].seen()}; {reasons[column]}", used=False)
        lines.append(line)
    return tuple(lines)


def shares_values(inner: Values, item: Values) -> bool:
    """Whether values of lists are items: half of the distinct ones are among the items, and a tenth of the items among
    them, so that small category numbers within a range of item numbers are not taken for items."""
    if inner.family != item.family or not inner.distinct or not item.distinct:
        return False
    both = pc.is_in(inner.known.unique(), value_set=item.known.unique())
    common = int(pc.sum(both).as_py() or 0)
    return common >= _OVERLAP * inner.distinct and common >= _COVERED * item.distinct


def chosen_lists(view: View, item: str | None) -> list[str]:
    """Lists the columns of lists that are beside lists of candidates and hold some of these: ids that were clicked."""
    if view.layout.shape != "requests" or item is None:
        return []
    beside = [one for name, one in view.values.items() if one.is_list and not view.per_candidate(name)]
    alike = [one for one in beside if one.inner.family == view.values[item].family]
    return [one.name for one in alike if are_chosen(one.array, view.lists[item])]


def are_chosen(chosen: pa.Array, lists: pa.Array) -> bool:
    """Whether lists hold nothing but values of the lists beside them, and are not always empty: ids that were clicked.

    Args:
        chosen: Lists `[n]`.
        lists: Of the candidates of the same rows `[n]`.
    """
    pairs = zip(chosen.slice(0, _ROWS_COMPARED).to_pylist(), lists.slice(0, _ROWS_COMPARED).to_pylist(), strict=True)
    some = False
    for some_ids, all_ids in pairs:
        if not set(some_ids or ()) <= set(all_ids or ()):
            return False
        some = some or bool(some_ids)
    return some


def _line(view: View, groups: Groups, roles: Roles, one: Values, name: str) -> Line:
    is_key = one.name in (roles.user, roles.item)
    side, side_why = _side(view, groups, roles, one)
    choice = choose(one, _units(view, groups, one, side), is_key)
    spec: dict[str, Any] = {"name": name} | ({"column": one.name} if name != one.name else {})
    spec |= {"side": side.value, "kind": choice.kind, **choice.settings}
    parts = [one.seen(), side_why, choice.why]
    used = not choice.left_out
    if used and not is_key and ID.intersection(words(one.name)) and names_key(one.name, REQUEST) is not None:
        parts, used = [one.seen(), "names requests or sessions, and new ones have new names"], False
    if used and (outcome := _outcome(view, roles, one)):
        spec["privileged"] = True
        parts.append(outcome)
    return Line(one.name, spec if choice.kind else None, "; ".join(part for part in parts if part), used)


def _outcome(view: View, roles: Roles, one: Values) -> str:
    """Says why a column is an outcome, which a student never sees; empty if it seems to be none."""
    if is_outcome(one.name):
        return "READS AS AN OUTCOME, known only afterwards: for a teacher alone"
    told = [name for name in roles.labels if view.per_candidate(one.name) and comes_with(one, view.values[name])]
    return f"AN OUTCOME: there only where {told[0]} is 1; for a teacher alone" if told else ""


def _side(view: View, groups: Groups, roles: Roles, one: Values) -> tuple[Side, str]:
    if not view.per_candidate(one.name):
        return Side.REQUEST, "one value per request"
    if one.name == roles.item:
        return Side.CANDIDATE, "the item"
    if one.name == roles.user:
        return Side.REQUEST, "the user"
    return side_of(one.array, groups)


def _units(view: View, groups: Groups, one: Values, side: Side) -> Values:
    """Takes one value for each request, user or item that a column describes."""
    of = {Side.REQUEST: groups.request if view.per_candidate(one.name) else None, Side.CANDIDATE: groups.item}
    if (numbers := of.get(side)) is None:
        return one
    return Values(one.name, one.array.take(pa.array(np.unique(numbers, return_index=True)[1])))


def _of_items(line: Line, view: View, item: Values, item_line: Line) -> Line:
    """Lets a sequence of items, or another item by its name, share their table."""
    one = view.values[line.column]
    if line.spec is None or line.spec["kind"] not in ("sequence", "id"):
        return line
    if line.spec["kind"] == "id":
        return _sharing(line, one, item, item_line) if names_key(line.column, ITEM) is not None else line
    return _sharing(line, one.inner, item, item_line)


def _sharing(line: Line, values: Values, item: Values, item_line: Line) -> Line:
    if not line.used or not shares_values(values, item):
        return line
    spec = {**line.spec, "table": item_line.spec["name"]}
    spec.pop("encoding", None)
    if "encoding" in item_line.spec:
        spec["encoding"] = item_line.spec["encoding"]
    return Line(line.column, spec, f"{line.why}; values of {item.name}, whose table it shares")
