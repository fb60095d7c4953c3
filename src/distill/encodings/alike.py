"""Ids that are compared are of one type: a number is never equal to a text."""

from __future__ import annotations

import pyarrow as pa

from distill.encodings.arrow import family, plain_type
from distill.errors import DataError


def kind_of_ids(kind: pa.DataType) -> str:
    """Says what the ids of a column or of its lists are made of: numbers, text, or else its family; empty if null."""
    found = family(plain_type(kind)).replace("list of ", "")
    return {"null": "", "string": "text", **dict.fromkeys(("int", "float", "bool"), "numbers")}.get(found, found)


def not_alike(problem: str, where: str, found: str, wanted: str, other: str, columns: tuple[str, str]) -> DataError:
    """Builds the error of ids that are compared with ids of another kind.

    Args:
        problem: A sentence that says what is compared, and what follows.
        where: The place of those that were found.
        found: Their kind.
        wanted: The kind of the others.
        other: The place of these.
        columns: Both raw columns.
    """
    declared = ", ".join(f"{column}: text" for column in dict.fromkeys(columns))
    return DataError(
        problem,
        where=where,
        expected=f"{wanted}, as in {other}",
        found=found,
        remedy=f"Declare one type for both in the schema: `raw.columns: {{{declared}}}`, or integer.",
    )
