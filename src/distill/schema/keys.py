"""Raw columns that group, order and place rows, and how raw columns are read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Model(BaseModel):
    """Base of what a schema holds: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


RawType = Literal["text", "integer", "number", "time", "boolean"]
StageName = Literal["recalled", "preranked", "ranked", "exposed"]


class StageKey(Model):
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
            raise ValueError("null cannot stand here: say what it means under `keys.stage.missing`")
        found = {_written(key): stage for key, stage in values.items()}
        if len(found) < len(values):
            raise ValueError("a value is mapped twice, as a number and as text")
        return found


def _written(key: object) -> object:
    """Returns a key of YAML as the text that a raw value is compared with: 1 for 1 and 1.0, true for true."""
    if isinstance(key, bool):
        return str(key).lower()
    if isinstance(key, float) and key.is_integer():
        return str(int(key))
    return str(key) if isinstance(key, int | float) else key


class Keys(Model):
    """Raw columns that group, order and place rows.

    Attributes:
        request: Request id; required by the requests layout when raw rows are (request, candidate) pairs.
        user: User id, for GAUC and per-user splits; the request if not given.
        item: Item id.
        time: Anything that orders: number, timestamp or date.
        stage: How far the candidate got; all exposed if not given.
        per_file: Whether each raw file numbers its requests anew, so that equal ids in two files are two requests. The
            requests of the first file keep their ids, those of others get a hash of id and file.
        keep: Whether the dataset holds ids of requests and items that are text as they are, beside their hashes, so
            that what is written about its rows can be joined with the raw ones.
    """

    request: str | None = Field(default=None, min_length=1)
    user: str | None = Field(default=None, min_length=1)
    item: str | None = Field(default=None, min_length=1)
    time: str | None = Field(default=None, min_length=1)
    stage: StageKey | None = None
    per_file: bool | None = None
    keep: bool = True

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
        delimiters: Raw column of text to what stands between the values of the list that it means, as in `a|b|c`. Empty
            text is an empty list, and an empty value is null. Values are text, or numbers where numbers are wanted, if
            `columns` does not say otherwise.
    """

    null_values: tuple[str, ...] | None = None
    columns: dict[str, RawType] = Field(default_factory=dict)
    delimiters: dict[str, Annotated[str, Field(min_length=1)]] | None = None
