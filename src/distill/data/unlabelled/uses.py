"""Which raw columns a model needs to score candidates, and in which shape they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from distill.data.prepare.plan import check_present
from distill.data.prepare.source import RawFiles
from distill.data.prepare.uses import RawShape, Use, field_uses, key_uses
from distill.encodings.arrow import family, plain_type
from distill.errors import DataError
from distill.schema import Schema

ANY = ("int", "string", "bool", "float", "null", "time", "time of day", "duration")
_NUMBERS = ("int", "float", "bool", "null")


def scoring_uses(schema: Schema) -> tuple[Use, ...]:
    """Lists every use of a raw column: keys, fields and the columns of the ranking score. Labels are none."""
    uses = list(key_uses(schema))
    uses += field_uses(schema.fields)
    uses += [Use(column, "score column", True, _NUMBERS) for column in schema.score.columns]
    return tuple(uses)


def shape_of(schema: Schema, files: RawFiles, uses: Sequence[Use]) -> RawShape:
    """Tells raw shapes apart by the type of the first column of a candidate.

    Raises:
        DataError: The column is missing, or does not fit the layout.
    """
    if schema.layout == "flat":
        return "flat"
    file = files.files[0]
    use = next(use for use in uses if use.per_candidate)
    check_present(use.column, use.purpose, Counter(file.schema.names), str(file.path))
    found = family(plain_type(file.schema.field(use.column).type)).count("list of ")
    if found > use.depth:
        return "requests"
    if schema.keys.request is None:
        raise DataError(
            "Raw rows are (request, candidate) pairs, but no key says which rows form a request.",
            where=f"{file.path}, column {use.column!r} ({use.purpose})",
            expected="lists, one row per request: the model's schema declares no `keys.request`",
            found="one value per row",
            remedy="Write one row per request, as the model was trained.",
        )
    return "pairs"


def kept_uses(names: Sequence[str], uses: Sequence[Use], shape: RawShape, files: RawFiles) -> tuple[Use, ...]:
    """Lists columns that go to the output as they are; in raw requests lists are of candidates, others of the request.

    Raises:
        DataError: One is not in the files.
    """
    file, known = files.files[0], {use.column for use in uses}
    found = []
    for name in names:
        if name in known:
            continue
        check_present(name, "keep", Counter(file.schema.names), str(file.path))
        is_list = family(plain_type(file.schema.field(name).type)).startswith("list of ")
        found.append(Use(name, "keep", shape != "requests" or is_list, ANY, constant=False))
    return tuple(found)
