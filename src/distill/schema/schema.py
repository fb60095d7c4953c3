"""What a dataset holds: fields, tasks, keys and the ranking score."""

from __future__ import annotations

from enum import Enum
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from distill.schema.encoding import AnyEncoding, Identity, Standardise, Vocabulary

MAX_WIDTH = 1 << 16
_ROWS = {"all", "exposed"}


class Side(str, Enum):
    """Whom a field describes: the request, the candidate alone, or the pair."""

    REQUEST = "request"
    CANDIDATE = "candidate"
    CROSS = "cross"


class Kind(str, Enum):
    """What one value of a field is."""

    ID = "id"
    NUMBER = "number"
    VECTOR = "vector"
    SEQUENCE = "sequence"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FieldSpec(_Model):
    """One input of the models.

    Attributes:
        name: Unique name.
        side: Whom it describes.
        kind: id | number | vector | sequence (of ids).
        column: Raw column; `name` if not given.
        encoding: How it is encoded; vocabulary for ids and sequences, standardise for numbers, identity for vectors.
        embedding_dim: Width of its embedding; the model's default if not given.
        table: Name of the embedding table and vocabulary, shared by all fields that name it; `name` if not given.
        privileged: Known at training time only.
        max_length: Of a sequence: only the last `max_length` values are kept.
        width: Of a vector.
        nan: What a NaN in a number means: an error, or a missing value.
        size: Number of ids of the encoded field, reserved ones included; filled in by `prepare`.
    """

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    side: Side
    kind: Kind
    column: str = ""
    encoding: AnyEncoding = Field(default_factory=Identity)
    embedding_dim: int | None = Field(default=None, ge=1, le=MAX_WIDTH)
    table: str = ""
    privileged: bool = False
    max_length: int | None = Field(default=None, ge=1, le=2**31 - 1)
    width: int | None = Field(default=None, ge=1, le=MAX_WIDTH)
    nan: Literal["error", "missing"] = "error"
    size: int | None = Field(default=None, ge=1, le=2**31 - 1)

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        filled = dict(data)
        name = filled.get("name", "")
        filled["column"] = filled.get("column") or name
        filled["table"] = filled.get("table") or name
        kind = filled.get("kind")
        if filled.get("encoding") is None:
            by_kind = {"id": Vocabulary(), "sequence": Vocabulary(), "number": Standardise(), "vector": Identity()}
            filled["encoding"] = by_kind.get(str(getattr(kind, "value", kind)), Identity())
        elif isinstance(filled["encoding"], str):
            filled["encoding"] = {"type": filled["encoding"]}
        return filled

    @model_validator(mode="after")
    def _check(self) -> FieldSpec:
        is_sequence = self.kind is Kind.SEQUENCE
        if self.kind in (Kind.ID, Kind.SEQUENCE) and not self.encoding.makes_ids:
            raise ValueError(f"kind {self.kind.value} wants an encoding that makes ids, not {self.encoding.type!r}")
        if self.kind is Kind.VECTOR and not isinstance(self.encoding, Identity):
            raise ValueError(f"a vector is taken as it is: encoding must be identity, not {self.encoding.type!r}")
        if self.kind is Kind.VECTOR and self.width is None:
            raise ValueError("a vector needs its `width`")
        if self.width is not None and self.kind is not Kind.VECTOR:
            raise ValueError("`width` belongs to vectors only; of an embedding it is `embedding_dim`")
        if self.max_length is not None and not is_sequence:
            raise ValueError("`max_length` belongs to sequences only")
        return self

    @property
    def is_id(self) -> bool:
        """Whether the encoded field is one id per row."""
        return self.encoding.makes_ids and self.kind is not Kind.SEQUENCE

    @property
    def is_number(self) -> bool:
        """Whether the encoded field is one float32 per row."""
        return self.kind is Kind.NUMBER and not self.encoding.makes_ids


class Task(_Model):
    """A behaviour to predict.

    Attributes:
        name: Unique name.
        column: Raw label column; `name` if not given. A null label is not observed.
        kind: binary (0 or 1) | graded (0, 1, 2, …) | value (any number).
        weight: Of the task in the multi-task loss.
        nan: What a NaN in the column means: an error, or null.
        observed: Which rows observe it: `all`, `exposed` (stage), or the name of another task: rows with its label 1.
    """

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    column: str = ""
    kind: Literal["binary", "graded", "value"] = "binary"
    weight: float = Field(default=1.0, ge=0.0)
    nan: Literal["error", "missing"] = "error"
    observed: str = "all"

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, data: object) -> object:
        return {**data, "column": data.get("column") or data.get("name", "")} if isinstance(data, dict) else data


StageName = Literal["recalled", "preranked", "ranked", "exposed"]


class StageKey(_Model):
    """Raw column of the stage.

    Attributes:
        column: Raw column.
        values: What its values mean; 0..3 or the names of the stages if not given. Numbers and booleans are meant by
            what they are, quoted or not.
        missing: What null means, such as `recalled` if the stages come from a left join; an error if not given.
    """

    column: str
    values: dict[str, StageName] | None = None
    missing: StageName | None = None

    @field_validator("values", mode="before")
    @classmethod
    def _plain_keys(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        if None in values:
            raise ValueError("null is no value: say what it means under `keys.stage.missing`")
        found = {_written(key): stage for key, stage in values.items()}
        if len(found) < len(values):
            raise ValueError("a value is mapped twice, as a number and as text")
        return found


class Keys(_Model):
    """Raw columns that group, order and place rows.

    Attributes:
        request: Request id; required by the requests layout when raw rows are (request, candidate) pairs.
        user: User id, for GAUC and per-user splits; the request if not given.
        item: Item id.
        time: Anything that orders: number, timestamp or date.
        stage: How far the candidate got; all exposed if not given.
    """

    request: str | None = Field(default=None, min_length=1)
    user: str | None = Field(default=None, min_length=1)
    item: str | None = Field(default=None, min_length=1)
    time: str | None = Field(default=None, min_length=1)
    stage: StageKey | None = None

    @field_validator("stage", mode="before")
    @classmethod
    def _column_alone(cls, value: object) -> object:
        return {"column": value} if isinstance(value, str) else value


class Score(_Model):
    """The number candidates are ordered by: Π_k p_k^a_k · Π_c x_c^b_c.

    Attributes:
        tasks: Task name to the power a_k of its probability.
        columns: Raw column (such as a bid) to the power b_c of its value, which must be positive.
    """

    tasks: dict[str, float] = Field(default_factory=dict)
    columns: dict[str, float] = Field(default_factory=dict)


class HiddenColumn(_Model):
    """Hidden vectors of a production ranker in the raw data.

    Attributes:
        column: Raw column: a list of `width` numbers for each candidate; null only where a score is null too.
        width: Numbers of a vector.
        type: What they are kept as: float32, or float16 for half the bytes.
    """

    column: str
    width: int = Field(ge=1, le=MAX_WIDTH)
    type: Literal["float32", "float16"] = "float32"


class TeacherColumns(_Model):
    """Scores of a production ranker that are in the raw data, or the places that it gave.

    Attributes:
        columns: Task name to raw column, of all tasks or some; null where the ranker did not score.
        kind: What the columns hold: logit, probability, or position (place in the ranker's order of a request, whole
            numbers from `first` for the best). A position p becomes the logit −log(p − first + 1), so that a softmax
            over a request falls off as 1, ½, ⅓, …; it is no probability of a label unless it is calibrated.
        first: Of positions: the number of the best place.
        nan: What a NaN in a column means: an error, or null.
        hidden: Name to hidden vectors, for the loss terms on them.
    """

    columns: dict[str, str] = Field(min_length=1)
    kind: Literal["logit", "probability", "position"]
    first: int = Field(default=1, ge=0, le=1)
    nan: Literal["error", "missing"] = "error"
    hidden: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")], HiddenColumn] | None = None


class Schema(_Model):
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

    @model_validator(mode="after")
    def _check(self) -> Schema:
        _check_unique([f.name for f in self.fields], "field")
        _check_unique([t.name for t in self.tasks], "task")
        _check_tables(self.fields)
        _check_unique(list(self.evaluation), "evaluation column")
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
        if self.duplicates != "keep" and (self.layout == "flat" or self.keys.item is None):
            raise ValueError(
                f"`duplicates: {self.duplicates}` needs layout requests and `keys.item`: an item twice in a request"
            )
        for owner, names in (("score", self.score.tasks), ("teacher", self.teacher.columns if self.teacher else {})):
            unknown = sorted(set(names) - known)
            if unknown:
                raise ValueError(f"{owner}: unknown task {unknown[0]!r}; the tasks are {', '.join(sorted(known))}")
        return self

    @cached_property
    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of the logits."""
        return tuple(task.name for task in self.tasks)

    @property
    def logged_tasks(self) -> tuple[str, ...]:
        """Names of the tasks of which `teacher` names a column, in the order of the logits; none without `teacher`."""
        return tuple(name for name in self.task_names if self.teacher is not None and name in self.teacher.columns)

    @property
    def value_columns(self) -> tuple[str, ...]:
        """Candidate columns that travel beside the fields: those of the score, then those of evaluation."""
        return (*self.score.columns, *(c for c in self.evaluation if c not in self.score.columns))

    def side(self, side: Side) -> tuple[FieldSpec, ...]:
        """Returns the fields of one side, in schema order."""
        return tuple(f for f in self.fields if f.side is side)

    def field(self, name: str) -> FieldSpec:
        """Returns a field by name.

        Raises:
            KeyError: No field has this name.
        """
        return {f.name: f for f in self.fields}[name]

    def serving_view(self) -> Schema:
        """Returns the schema without privileged fields: all that a pre-ranker may see."""
        return self.model_copy(update={"fields": tuple(f for f in self.fields if not f.privileged)})


def _written(key: object) -> object:
    """Returns a key of YAML as the text that a raw value is compared with: 1 for 1 and 1.0, true for true."""
    if isinstance(key, bool):
        return str(key).lower()
    if isinstance(key, float) and key.is_integer():
        return str(int(key))
    return str(key) if isinstance(key, int | float) else key


def _check_unique(names: list[str], what: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{what} {repeated[0]!r} is declared twice; names must be unique")


def _check_tables(fields: tuple[FieldSpec, ...]) -> None:
    """Fields that share a table must encode alike and be equally wide."""
    first: dict[str, FieldSpec] = {}
    for spec in fields:
        if not spec.encoding.makes_ids:
            continue
        other = first.setdefault(spec.table, spec)
        if other.encoding != spec.encoding:
            raise ValueError(
                f"fields {other.name!r} and {spec.name!r} share table {spec.table!r} but encode differently"
            )
        if other.embedding_dim != spec.embedding_dim:
            raise ValueError(
                f"fields {other.name!r} and {spec.name!r} share table {spec.table!r} but differ in embedding_dim"
            )
