"""Fields that are made of other raw columns instead of being one."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import Field, model_validator

from distill.schema.keys import Model
from distill.schema.side import Side

if TYPE_CHECKING:
    from distill.schema.fields import FieldSpec

TimeUnit = Literal["seconds", "minutes", "hours", "days"]
Epoch = Literal["seconds", "milliseconds", "microseconds", "nanoseconds"]
SourceRole = Literal["id", "number", "time"]


class Source(Model):
    """A raw column that a field is made of; the name of another field stands for that field's column.

    Attributes:
        column: Raw column.
        side: Whom it describes.
        list: Whether each of its values is itself a list.
    """

    column: str = Field(min_length=1)
    side: Side
    list: bool = False


class Combine(Model):
    """The values of several id columns as one id: their text, joined; null if any of them is."""

    type: Literal["combine"] = "combine"
    of: tuple[Source, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _check(self) -> Combine:
        _check_plain(self.type, self.of)
        return self

    @property
    def role(self) -> SourceRole:
        """What the values of the columns are read as."""
        return "id"


class Comparison(Model):
    """Two columns whose values are compared as ids.

    Attributes:
        of: A list and a value, two lists, or two values.
        otherwise: The result where a list or a value is null; missing if not given.
    """

    of: tuple[Source, Source]
    otherwise: float | None = None

    @property
    def role(self) -> SourceRole:
        """What the values of the columns are read as."""
        return "id"


class Match(Comparison):
    """1 where a list holds a value, two lists share one, or two values are equal, else 0."""

    type: Literal["match"] = "match"


class Overlap(Comparison):
    """How often a list holds a value, or how many different values two lists share."""

    type: Literal["overlap"] = "overlap"

    @model_validator(mode="after")
    def _check(self) -> Overlap:
        if not any(source.list for source in self.of):
            raise ValueError("`overlap` counts in a list, and neither column is one: use `match`, or say `list: true`")
        return self


class Ratio(Model):
    """The first number divided by the second.

    Attributes:
        of: Two columns of numbers.
        otherwise: The result where a number is null or the second is 0; missing if not given.
    """

    type: Literal["ratio"] = "ratio"
    of: tuple[Source, Source]
    otherwise: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Ratio:
        _check_plain(self.type, self.of)
        return self

    @property
    def role(self) -> SourceRole:
        """What the values of the columns are read as."""
        return "number"


class Difference(Model):
    """The first number less the second; with a unit, the time from the second to the first.

    Attributes:
        of: Two columns of numbers, or of times (timestamps, dates, ISO 8601 text, numbers since 1970).
        unit: Of times: what the result counts.
        epoch: Of times that are numbers: what they count since 1970 UTC.
        otherwise: The result where one is null; missing if not given.
    """

    type: Literal["difference"] = "difference"
    of: tuple[Source, Source]
    unit: TimeUnit | None = None
    epoch: Epoch | None = None
    otherwise: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Difference:
        _check_plain(self.type, self.of)
        if self.epoch is not None and self.unit is None:
            raise ValueError("`epoch` belongs to differences of times: say their `unit`")
        return self

    @property
    def role(self) -> SourceRole:
        """What the values of the columns are read as."""
        return "number" if self.unit is None else "time"


class Missing(Model):
    """1 where a number is missing, else 0: what its own encoding does not tell apart from the mean.

    Attributes:
        of: A column of numbers.
    """

    type: Literal["missing"] = "missing"
    of: tuple[Source]

    @model_validator(mode="after")
    def _check(self) -> Missing:
        _check_plain(self.type, self.of)
        return self

    @property
    def role(self) -> SourceRole:
        """What the values of the column are read as."""
        return "number"


AnyMade = Annotated[
    Union[Combine, Match, Overlap, Ratio, Difference, Missing],  # noqa: UP007
    Field(discriminator="type"),
]


def _check_plain(kind: str, sources: tuple[Source, ...]) -> None:
    if lists := [source.column for source in sources if source.list]:
        raise ValueError(f"`{kind}` reads columns of one value in a row, and {lists[0]!r} is declared a list")


def side_of(sources: tuple[Source, ...]) -> Side:
    """Returns whom a field describes that is made of some columns."""
    sides = {source.side for source in sources}
    return sides.pop() if len(sides) == 1 else Side.CROSS


def making(made: AnyMade) -> str:
    """Writes what decides the values that are made of given columns."""
    said = made.model_dump(mode="json", exclude={"type", "of"}, exclude_none=True)
    columns = [f"{source.side.value} {'list' if source.list else 'value'}" for source in made.of]
    return ", ".join([f"{made.type} of {' and '.join(columns)}", *(f"{key} {value}" for key, value in said.items())])


def check_made(spec: FieldSpec) -> None:
    """Raises ValueError if a made field declares what its making does not allow."""
    made = spec.made
    assert made is not None
    wanted = "id" if isinstance(made, Combine) else "number"
    if spec.kind.value != wanted:
        raise ValueError(f"`made` of type {made.type} makes a field of kind {wanted}, not {spec.kind.value}")
    if isinstance(made, Combine) and spec.encoding.type not in ("vocabulary", "hash"):
        raise ValueError(
            f"`made` of type combine makes text: encode it by vocabulary or hash, not {spec.encoding.type!r}"
        )
    if wanted == "number" and spec.by_value:
        raise ValueError(
            f"`made` of type {made.type} makes a measured number: {spec.encoding.type!r} encodes values of ids"
        )
    if spec.side is not (side := side_of(made.of)):
        raise ValueError(f"the side of what `made.of` names is {side.value}, not {spec.side.value}")


def resolved(data: object) -> object:
    """Puts columns and sides in place of the fields that `made.of` names, and fills in what follows from them.

    Args:
        data: What a schema is validated from.

    Raises:
        ValueError: There is no such field, or it is none that a field can be made of.
    """
    fields = data.get("fields") if isinstance(data, dict) else None
    if not isinstance(fields, list | tuple) or not any(_made(spec) for spec in fields):
        return data
    assert isinstance(data, dict)
    return {**data, "fields": [_resolved(spec, fields) if _made(spec) else spec for spec in fields]}


def _made(spec: object) -> dict[str, Any] | None:
    made = spec.get("made") if isinstance(spec, dict) else None
    return made if isinstance(made, dict) and isinstance(made.get("of"), list | tuple) else None


def _resolved(spec: dict[str, Any], fields: list[Any] | tuple[Any, ...]) -> dict[str, Any]:
    made = _made(spec)
    assert made is not None
    named = {name: one for one in fields if isinstance(name := _get(one, "name"), str)}
    sources = [_source(source, made, named, f"field {spec.get('name')!r}, made.of") for source in made["of"]]
    sides = {_get(source, "side") for source in sources}
    columns = {_get(source, "column") for source in sources}
    filled = {**spec, "made": {**made, "of": sources}}
    if spec.get("side") is None and sides <= {side.value for side in Side}:
        filled["side"] = sides.pop() if len(sides) == 1 else Side.CROSS.value
    if any(_get(one, "privileged") and (_get(one, "column") or _get(one, "name")) in columns for one in fields):
        filled["privileged"] = True
    return filled


def _source(source: object, made: dict[str, Any], named: dict[str, Any], where: str) -> object:
    if not isinstance(source, str):
        return source
    one = named.get(source)
    if one is None:
        raise ValueError(f"{where}: there is no field {source!r}; of a column that is not a field say column and side")
    if _get(one, "made") is not None:
        raise ValueError(f"{where}: {source!r} is made of other columns itself: name those")
    kind, ids = _get(one, "kind"), made.get("type") in ("combine", "match", "overlap")
    if kind not in (("id", "sequence") if ids else ("number",)):
        wanted = "ids" if ids else "numbers"
        raise ValueError(f"{where}: {source!r} is a field of kind {kind}, and {made.get('type')} reads {wanted}")
    column = _get(one, "column") or source
    return {"column": column, "side": _get(one, "side"), "list": kind == "sequence"}


def _get(spec: object, key: str) -> Any:
    """Reads a key of a field as plain data, whether it is a mapping or a field already."""
    value = spec.get(key) if isinstance(spec, dict) else getattr(spec, key, None)
    return value.value if isinstance(value, Enum) else value
