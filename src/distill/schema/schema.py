"""What a dataset holds: fields, tasks, keys and the ranking score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from distill.schema.events import Events
from distill.schema.fields import MAX_WIDTH, FieldSpec, Kind, check_cold, check_tables, check_unique
from distill.schema.keys import Keys, Model, RawColumns, RawType
from distill.schema.made import resolved
from distill.schema.raw_uses import check_delimited, check_events, columns_of
from distill.schema.side import Side

_ROWS = {"all", "exposed"}
Rates = dict[str, Annotated[float, Field(gt=0.0, le=1.0)]]
"""Binary task to the share of its negatives that a log kept: 1 if all of them, as for tasks that are left out."""


class Task(Model):
    """A behaviour to predict.

    Attributes:
        name: Unique name.
        column: Raw label column; `name` if not given, empty with `chosen` or `events`. A null label is not observed.
        chosen: In place of `column`, written `in`: raw column with a list of items for each request, such as those that
            were clicked. The label is 1 for candidates whose item is in it, else 0; a null list says nothing.
        events: In place of `column`: how the events of another log become labels.
        kind: binary (0 or 1) | graded (0, 1, 2, …) | value (any number).
        weight: Of the task in the multi-task loss.
        nan: What a NaN in the column means: an error, or null.
        observed: Which rows observe it: `all`, `exposed` (stage), or the name of another task: rows with its label 1.
    """

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    column: str = ""
    chosen: str | None = Field(default=None, min_length=1, alias="in")
    events: Events | None = None
    kind: Literal["binary", "graded", "value"] = "binary"
    weight: float = Field(default=1.0, ge=0.0)
    nan: Literal["error", "missing"] = "error"
    observed: str = "all"

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, data: object) -> object:
        if not isinstance(data, dict) or data.get("in") is not None or data.get("events"):
            return data
        return {**data, "column": data.get("column") or data.get("name", "")}

    @model_validator(mode="after")
    def _check(self) -> Task:
        if self.has_column:
            return self
        key = "in" if self.chosen is not None else "events"
        if self.column or (self.chosen is not None and self.events is not None):
            raise ValueError("`in` and `events` stand in place of `column`: give one of the three")
        if self.kind != "binary" or self.nan != "error":
            raise ValueError(f"`{key}` makes labels that are 0 or 1: leave `kind` and `nan` out")
        return self

    @property
    def has_column(self) -> bool:
        """Whether labels are a column of their own."""
        return self.chosen is None and self.events is None

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Writes it as it is read: `in` is not a name in Python, and not there where it is not used."""
        data: dict[str, Any] = handler(self)
        written = {"in": data.pop("in", None) or data.pop("chosen", None), "events": data.pop("events", None)}
        return {**data, **{key: value for key, value in written.items() if value is not None}}


class Score(Model):
    """The number candidates are ordered by: Π_k p_k^a_k · Π_c x_c^b_c.

    Attributes:
        tasks: Task name to the power a_k of its probability.
        columns: Raw column (such as a bid) to the power b_c of its value, which must be positive.
    """

    tasks: dict[str, float] = Field(default_factory=dict)
    columns: dict[str, float] = Field(default_factory=dict)


class HiddenColumn(Model):
    """Hidden vectors of a production ranker in the raw data.

    Attributes:
        column: Raw column: a list of `width` numbers for each candidate; null only where a score is null too.
        width: Numbers of a vector.
        type: What they are kept as: float32, or float16 for half the bytes.
    """

    column: str
    width: int = Field(ge=1, le=MAX_WIDTH)
    type: Literal["float32", "float16"] = "float32"


class TeacherColumns(Model):
    """Scores of a production ranker that are in the raw data, or the places that it gave.

    Attributes:
        columns: Task name to raw column, of all tasks or some; null where the ranker did not score.
        kind: What the columns hold: logit, probability, or position (place in the ranker's order of a request, whole
            numbers from `first` for the best). A position p becomes the logit −log(p − first + 1), so that a softmax
            over a request falls off as 1, ½, ⅓, …; it is not a probability of a label unless it is calibrated.
        first: Of positions: the number of the best place.
        nan: What a NaN in a column means: an error, or null.
        hidden: Name to hidden vectors, for the loss terms on them.
        negative_sampling: Task to the share of negatives in the log that the ranker learned from, if its scores are not
            corrected for it; without it they are those of a log that lacks nothing.
    """

    columns: dict[str, str] = Field(min_length=1)
    kind: Literal["logit", "probability", "position"]
    first: int = Field(default=1, ge=0, le=1)
    nan: Literal["error", "missing"] = "error"
    hidden: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")], HiddenColumn] | None = None
    negative_sampling: Rates | None = None

    @model_validator(mode="after")
    def _check_rates(self) -> TeacherColumns:
        if self.negative_sampling is not None and self.kind == "position":
            raise ValueError("`negative_sampling` corrects probabilities; it does not apply to positions")
        return self


class RowWeight(Model):
    """How much a candidate counts for, in losses and metrics.

    Attributes:
        column: Raw candidate column of finite numbers of at least 0, none of them null. A candidate of weight 0 is left
            out of training and evaluation, as if the log did not hold it; it is scored like any other.
    """

    column: str = Field(min_length=1)


class Schema(Model):
    """Names every field, task and key of a dataset once.

    Attributes:
        name: Of the dataset; part of the name of its folder.
        layout: `requests` (one row per request, candidate columns are lists) or `flat` (one row per candidate).
        keys: Grouping, time and stage columns.
        fields: Model inputs.
        tasks: Behaviours to predict, in the order of the logits.
        score: The ranking score; the product of all binary task probabilities if not given.
        duplicates: What becomes of candidates whose item is in their request before: all are kept (with a warning),
            the first or the last is, they are merged into the first, or they are an error.
        evaluation: Raw candidate columns that are kept for evaluation only, such as a known utility.
        teacher: Production scores in the raw data.
        weight: How much candidates count for, or the name of the column alone; all alike if not given.
        negative_sampling: Task to the share of its negatives that the log kept. A model learns the odds of the log;
            probabilities and the ranking score are corrected for it.
        raw: How raw columns are read, where the files alone do not say it.
    """

    version: Literal[1] = 1
    name: str = Field(pattern=r"^\w[\w .-]*$", max_length=50)
    layout: Literal["requests", "flat"]
    keys: Keys = Field(default_factory=Keys)
    fields: tuple[FieldSpec, ...] = Field(min_length=1)
    tasks: tuple[Task, ...] = Field(min_length=1)
    score: Score = Field(default_factory=Score)
    duplicates: Literal["keep", "first", "last", "merge", "error"] = "keep"
    evaluation: tuple[str, ...] = ()
    teacher: TeacherColumns | None = None
    weight: RowWeight | None = None
    negative_sampling: Rates | None = None
    raw: RawColumns | None = None

    @field_validator("weight", mode="before")
    @classmethod
    def _column_alone(cls, value: object) -> object:
        return {"column": value} if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, data: object) -> object:
        return resolved(data)

    @model_validator(mode="after")
    def _check(self) -> Schema:
        check_unique([f.name for f in self.fields], "field")
        check_unique([t.name for t in self.tasks], "task")
        check_tables(self.fields)
        check_cold(self.fields)
        check_unique(list(self.evaluation), "evaluation column")
        known = {t.name for t in self.tasks}
        for task in self.tasks:
            if task.name in _ROWS:
                raise ValueError(f"a task cannot be named {task.name!r}: the word says which rows observe a task")
            if task.observed not in _ROWS | (known - {task.name}):
                raise ValueError(
                    f"task {task.name!r}: `observed` must be all, exposed or another task, not {task.observed!r}"
                )
            if task.observed == "exposed" and self.keys.stage is None:
                raise ValueError(f"task {task.name!r} is observed on exposed rows, but `keys.stage` is not declared")
            if task.chosen is not None and self.keys.item is None:
                raise ValueError(f"task {task.name!r}: `in` compares items, but `keys.item` is not declared")
            if task.events is not None:
                check_events(self, task.name, task.events)
        if self.keys.per_file and self.keys.request is None:
            raise ValueError("`keys.per_file` is about request ids: `keys.request` is not declared")
        if self.duplicates != "keep" and (self.layout == "flat" or self.keys.item is None):
            raise ValueError(
                f"`duplicates: {self.duplicates}` needs layout requests and `keys.item`: an item twice in a request"
            )
        check_delimited(self)
        for owner, names in (("score", self.score.tasks), ("teacher", self.teacher.columns if self.teacher else {})):
            unknown = sorted(set(names) - known)
            if unknown:
                raise ValueError(f"{owner}: unknown task {unknown[0]!r}; the tasks are {', '.join(sorted(known))}")
        _check_sampling(self.negative_sampling, self.tasks, "negative_sampling")
        of_teacher = None if self.teacher is None else self.teacher.negative_sampling
        _check_sampling(of_teacher, self.tasks, "teacher.negative_sampling")
        return self

    @cached_property
    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of the logits."""
        return tuple(task.name for task in self.tasks)

    @property
    def log_rates(self) -> tuple[float, ...]:
        """By how much a logit of the log is corrected, for each task: log(rate) of its negatives, 0 if all were kept.

        With a share w of the negatives kept, the odds of the log are 1/w times those of the world, so that a
        probability p of the log is q = p / (p + (1 - p) / w), which is logit(q) = logit(p) + log(w).

        Reference: He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook", ADKDD 2014, section 6.3.
        """
        return log_rates(self.negative_sampling, self.task_names)

    @property
    def logged_tasks(self) -> tuple[str, ...]:
        """Names of the tasks of which `teacher` names a column, in the order of the logits; none without `teacher`."""
        return tuple(name for name in self.task_names if self.teacher is not None and name in self.teacher.columns)

    @property
    def value_columns(self) -> tuple[str, ...]:
        """Candidate columns that travel beside the fields: those of the score, then those of evaluation, then the row
        weight's, each once."""
        return tuple(dict.fromkeys((*self.score.columns, *self.evaluation, *self.weight_columns)))

    @property
    def weight_columns(self) -> tuple[str, ...]:
        """The column of the row weight; none if all rows count alike."""
        return () if self.weight is None else (self.weight.column,)

    @property
    def train_columns(self) -> tuple[str, ...]:
        """Those of `value_columns` that the training split has too: all but those of evaluation alone."""
        return tuple(dict.fromkeys((*self.score.columns, *self.weight_columns)))

    @property
    def reading(self) -> RawColumns:
        """How the raw columns of a log are read: `raw`, with numbers as the type of lists that are used as such, and
        text as that of fields of kind text."""
        raw = self.raw or RawColumns()
        used: dict[str, RawType] = {c: "number" for c in raw.delimiters or () if c in columns_of(self)[1]}
        used |= {f.column: "text" for f in self.fields if f.kind is Kind.TEXT}
        return raw.model_copy(update={"columns": {**used, **raw.columns}}) if used else raw

    @property
    def value_reading(self) -> RawColumns:
        """How raw columns are read that hold one value in a row, as those of a catalogue and of a server do.

        Text in them is a list only if one value of a field is.
        """
        lists = {source.column for f in self.fields for source in f.sources if source.list}
        delimiters = {c: text for c, text in (self.reading.delimiters or {}).items() if c in lists}
        return self.reading.model_copy(update={"delimiters": delimiters or None})

    def side(self, side: Side) -> tuple[FieldSpec, ...]:
        """Returns the fields of one side, in schema order."""
        return tuple(f for f in self.fields if f.side is side)

    def field(self, name: str) -> FieldSpec:
        """Returns a field by name.

        Raises:
            KeyError: No field has this name.
        """
        return {f.name: f for f in self.fields}[name]

    def groups_of(self, spec: FieldSpec) -> tuple[FieldSpec, ...]:
        """Returns the fields that say to which groups the values of a field belong; none without `cold`."""
        return tuple(self.field(name) for name in (spec.cold.by if spec.cold is not None else ()))

    def serving_view(self) -> Schema:
        """Returns the schema without privileged fields: all that a pre-ranker may see."""
        return self.model_copy(update={"fields": tuple(f for f in self.fields if not f.privileged)})


def log_rates(rates: Mapping[str, float] | None, tasks: Sequence[str]) -> tuple[float, ...]:
    """Returns the logarithm of the rate of each task, 0 of one that is left out; see `Schema.log_rates`."""
    return tuple(math.log((rates or {}).get(task, 1.0)) for task in tasks)


def _check_sampling(rates: Mapping[str, float] | None, tasks: Sequence[Task], where: str) -> None:
    """Negatives are of binary tasks."""
    binary = [task.name for task in tasks if task.kind == "binary"]
    if wrong := [name for name in rates or () if name not in binary]:
        raise ValueError(f"{where}: {wrong[0]!r} is not a binary task; these are {', '.join(binary) or 'none'}")
