"""The proposal of a schema: every column of a sample with its place in it, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from distill.data.propose.fields import Roles, chosen_lists, field_lines
from distill.data.propose.keys import is_split, item_key, stage_values, time_key, user_key
from distill.data.propose.labels import (
    is_score,
    label_kind,
    listed_name,
    only_where,
    score_kind,
    task_of_score,
    task_order,
)
from distill.data.propose.layout import Layout, request_like
from distill.data.propose.per_file import by_file
from distill.data.propose.sample import Sample
from distill.data.propose.sides import Groups
from distill.data.propose.values import Values, deviations, groups_of
from distill.data.propose.view import Line, View
from distill.data.propose.words import LABEL, PURCHASE, has
from distill.encodings.arrow import family
from distill.schema.names import field_name

_FAMILIES = ("int", "float", "bool", "string", "null", "time", "time of day", "duration")
_RESERVED = ("all", "exposed")  # words of `observed`


@dataclass(frozen=True)
class Proposal:
    """A schema, line by line.

    Attributes:
        layout: Form of the rows.
        keys: Key to its line.
        fields: Lines of fields, in the order of the columns.
        tasks: Lines of tasks, the main one first.
        teacher: A line of `teacher`, never used as it is.
        chosen: Columns of lists that hold some of the candidates, of which no task was made.
        main_task: Name of the first binary task, of the first one without any; None without tasks.
        split: Rule that suits the keys: time, random, or column.
        split_column: Of the last.
    """

    layout: Layout
    keys: Mapping[str, Line]
    fields: tuple[Line, ...]
    tasks: tuple[Line, ...]
    teacher: Line | None
    chosen: tuple[str, ...]
    main_task: str | None
    split: str
    split_column: str | None


def propose(sample: Sample) -> Proposal:
    """Proposes a schema from a sample of raw files."""
    unusable = {name: why for name, array in sample.columns.items() if (why := _unusable(name, array))}
    view = View.of({name: array for name, array in sample.columns.items() if name not in unusable})
    view, anew = by_file(view, sample.rows_of)
    keys = dict(_keys(view))
    if anew:
        keys["per_file"] = Line("true", True, anew)
    user, item, time = (_used(keys.get(role)) for role in ("user", "item", "time"))
    stage = keys["stage"].column if "stage" in keys else None
    groups = _groups(view, user, item)
    splits = [name for name, one in view.values.items() if is_split(one) and view.in_one_request(name)]
    taken = (view.layout.request, user, item, time, stage, *splits)
    chosen = chosen_lists(view, item)
    tasks = _with_listed(_tasks(view, groups, taken), [view.values[name] for name in chosen], item)
    roles = Roles(user, item, (view.layout.request, time), tuple(task.column for task in tasks))
    scores = tuple(_scores(view, groups, (*taken, *roles.labels)))
    reasons = dict.fromkeys(splits, "says which split a row is of")
    reasons |= dict.fromkeys(scores, "reads as a ranker's score: a signal of a teacher rather than a feature")
    reasons |= {stage: "reads as how far the candidate got: see keys.stage"} if stage is not None else {}
    chosen = [name for name in chosen if name not in roles.labels]
    reasons |= dict.fromkeys(chosen, "holds candidates of its own row, as clicked ids do: a label, no input")
    fields = field_lines(view, groups, roles, reasons)
    fields += tuple(Line(name, None, why, used=False) for name, why in (unusable | sample.unusable).items())
    by_time = time is not None and view.in_one_request(time)
    split = "column" if splits else "time" if by_time else "random"
    main = next((task.spec["name"] for task in tasks if "kind" not in task.spec), None)
    main = main or next((task.spec["name"] for task in tasks), None)
    teacher = _teacher(view, scores, tasks)
    return Proposal(
        view.layout, keys, fields, tasks, teacher, tuple(chosen), main, split, splits[0] if splits else None
    )


def _unusable(name: str, array: pa.Array) -> str:
    """Says why nothing can be made of a column, empty if something can."""
    if not name or "\0" in name:
        return "no column can be named so: rename it"
    kind = family(array.type)
    return "" if kind.replace("list of ", "") in _FAMILIES else f"no kind of field takes {kind}"


def _used(line: Line | None) -> str | None:
    return line.column if line is not None and line.used else None


def _keys(view: View) -> Iterator[tuple[str, Line]]:
    rows, request = view.some(per_candidate=False, but=(view.layout.request,)), view.layout.request
    if request is not None:
        yield "request", Line(request, request, f"{view.values[request].seen()}: check that it names requests")
    else:
        like = [name for name in request_like(rows) if name != user_key(rows)] if view.layout.shape == "flat" else []
        more = f"; {', '.join(like[:3])} may group rows, then say `layout: requests`" if like else ""
        yield "request", Line("", "COLUMN", f"none recognised{more}", used=False)
    if (user := user_key(rows)) is None:
        yield "user", Line("", "COLUMN", "none recognised; for metrics and splits by user", used=False)
    elif view.in_one_request(user):
        yield "user", Line(user, user, f"{view.values[user].seen()}: check that it names users")
    else:
        yield "user", Line(user, user, "not the same in all rows of each request", used=False)
    candidates = view.some(per_candidate=True, but=(request, user))
    if view.request is not None:
        candidates = {name: one for name, one in candidates.items() if not view.in_one_request(name)}
    if (item := item_key(candidates)) is None:
        yield "item", Line("", "COLUMN", "none recognised; for a catalogue, negatives and duplicates", used=False)
    else:
        yield "item", Line(item, item, f"{view.values[item].seen()}: check that it names items")
    yield from _time_and_stage(view, rows)


def _time_and_stage(view: View, rows: Mapping[str, Values]) -> Iterator[tuple[str, Line]]:
    if (time := time_key(rows)) is None:
        yield "time", Line("", "COLUMN", "none recognised; needed to split by time", used=False)
    else:
        why = view.values[time].seen()
        if not view.in_one_request(time):
            why += "; not the same in all rows of each request, so that splits by time are refused"
        yield "time", Line(time, time, f"{why}: check that it orders the requests")
    for name, one in view.some(per_candidate=True).items():
        if stages := stage_values(one):
            others = [text for text in one.known.unique().to_pylist() if text not in stages]
            more = f"; say what {', '.join(map(repr, others))} mean" if others else ""
            spec = {"column": name, "values": stages}
            yield "stage", Line(name, spec, f"{one.seen()}: uncomment if these are stages{more}", used=False)
            return


def _groups(view: View, user: str | None, item: str | None) -> Groups:
    request, of_user = view.request, False
    if view.layout.shape == "flat" and user is not None:
        request, of_user = groups_of(view.values[user].array), True
    return Groups(request, of_user, None if item is None else groups_of(view.values[item].array))


def _tasks(view: View, groups: Groups, taken: tuple[str | None, ...]) -> tuple[Line, ...]:
    found = []
    for name, one in view.some(per_candidate=True, but=taken).items():
        kind = label_kind(one)
        if kind is not None and not one.is_list and (kind == "binary" or not _of_item(one, groups)):
            found.append((task_order(name), one, kind))
    found.sort(key=lambda task: task[0])
    clicks = [one for order, one, _ in found if order == 0]
    names: list[str] = []
    lines = []
    for _, one, kind in found:
        names.append(field_name(one.name, (*_RESERVED, *names)))
        spec = {"name": names[-1]} | ({"column": one.name} if names[-1] != one.name else {})
        spec |= {"kind": kind} if kind != "binary" else {}
        spec |= {"nan": "missing"} if one.has_nan else {}
        lines.append(Line(one.name, spec, _task_why(one, kind, clicks)))
    return tuple(lines)


def _with_listed(tasks: tuple[Line, ...], chosen: list[Values], item: str | None) -> tuple[Line, ...]:
    """Adds a task for each list of candidates that is named as a label, unless a task of its kind is there."""
    found = list(tasks)
    for one in chosen:
        if not has(one.name, LABEL) or any(task_order(one.name) == task_order(task.column) for task in found):
            continue
        names = [str(task.spec["name"]) for task in found]
        name = field_name(listed_name(one.name), (*_RESERVED, *names))
        why = f"{one.seen()}; 1 where {item} is in the list; check that it is an outcome to predict"
        found.append(Line(one.name, {"name": name, "in": one.name}, why))
    return tuple(sorted(found, key=lambda task: task_order(task.column)))


def _task_why(one: Values, kind: str, clicks: list[Values]) -> str:
    why = one.seen()
    if kind == "binary":
        why += f", {100 * float(one.numbers.mean()):.3g} % positive"
    if one.distinct == 1:
        why += "; WITHOUT ANY OTHER LABEL in the sample"
    if has(one.name, PURCHASE) and any(only_where(one, click) for click in clicks):
        why += f"; only where {clicks[0].name} is 1: `observed: {clicks[0].name}` learns it from these alone"
    return f"{why}; check that it is an outcome to predict"


def _of_item(one: Values, groups: Groups) -> bool:
    """Whether a column has one value for each item, by items that are there more than once."""
    if groups.item is None:
        return False
    differing, compared = deviations(one.array, groups.item)
    return compared > 0 and differing == 0


def _scores(view: View, groups: Groups, taken: tuple[str | None, ...]) -> Iterator[str]:
    for name, one in view.some(per_candidate=True, but=taken).items():
        if is_score(one) and not _of_item(one, groups) and (view.request is None or not view.in_one_request(name)):
            yield name


def _teacher(view: View, scores: tuple[str, ...], tasks: tuple[Line, ...]) -> Line | None:
    if not scores or not tasks:
        return None
    kinds = {score_kind(view.values[name]) for name in scores}
    names = [str(task.spec["name"]) for task in tasks]
    columns: dict[str, str] = {}
    for name in scores:
        columns.setdefault(task_of_score(name, names), name)
    why = f"{scores[0]}: {view.values[scores[0]].seen()}; uncomment if a ranker of yours gave these scores"
    if len(kinds) > 1:
        why += "; some read as probabilities, some as logits: one kind for all"
    return Line(scores[0], {"columns": columns, "kind": score_kind(view.values[scores[0]])}, why, used=False)
