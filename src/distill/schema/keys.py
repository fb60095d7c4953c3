"""Raw columns that group, order and place rows, and how raw columns are read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Model(BaseModel):
    """Base of what a schema holds: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Stage = Literal["recalled", "preranked", "ranked", "exposed"]


class StageKey(Model):
    """Raw column of the stage, and what its values mean.

    Attributes:
        column: Raw column.
        values: Value of the column to its stage; without it, 0..3 or the names of the stages.
        missing: Stage of a null; an error if not given.
    """

    column: str
    values: dict[str, Stage] | None = None
    missing: Stage | None = None

    @field_validator("values", mode="before")
    @classmethod
    def _plain_keys(cls, value: object) -> object:
        """Takes integers and truth values for keys, as YAML reads them."""
        if not isinstance(value, dict):
            return value
        if None in value:
            raise ValueError("a null cannot be listed here: give its stage as `missing`")
        plain = {_key(key): stage for key, stage in value.items()}
        if len(plain) < len(value):
            raise ValueError("a value is listed twice, once as text and once as a number or truth value")
        return plain


def _key(key: object) -> object:
    if isinstance(key, bool):
        return str(key).lower()
    return str(key) if isinstance(key, int) else key


class Keys(Model):
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


class RawColumns(Model):
    """How raw columns are read, where the files alone do not say it.

    Attributes:
        null_values: Text that means missing, in text files (whose empty cells always do) and in columns of text. If not
            given: `null`, `NULL` and `\\N` in text files, and None, NA, N/A … where the other cells are numbers.
        columns: Raw column to the type of its values, whatever the file holds.
    """

    null_values: tuple[str, ...] | None = None
    columns: dict[str, Literal["text", "integer", "number", "time", "boolean"]] = Field(default_factory=dict)
