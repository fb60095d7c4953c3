"""One type for a column in all files, where the files leave a choice."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa

from distill.data.prepare.raw_file import FoundTypes, RawFile
from distill.encodings.arrow import family, plain_type

_NUMBERS = {"int", "float", "bool"}


def agree(files: Sequence[RawFile], columns: Sequence[str], numeric: Collection[str]) -> list[str]:
    """Gives columns of text files the type that fits all files, that is text where one file holds text.

    Args:
        files: Of a dataset.
        columns: That are read.
        numeric: Those of them that must hold numbers.

    Returns:
        What a user should know, in a line each: words that were taken for null, and times of several types.
    """
    found = [(file, file.schema, file.found_types if isinstance(file, FoundTypes) else {}) for file in files]
    lines = []
    for name in columns:
        kinds: dict[str, pa.DataType] = {}
        text: list[FoundTypes] = []
        for file, schema, types in found:
            if schema.get_field_index(name) < 0:
                continue
            kinds[str(file.path)] = types.get(name) or plain_type(schema.field(name).type)
            if name in types:
                assert isinstance(file, FoundTypes)
                text.append(file)
        target = _target(list(kinds.values()), name in numeric)
        words = sum(one.words_for_null.get(name, 0) for one in text)
        for one in text:
            if target is not None or pa.types.is_null(one.found_types[name]):
                one.retype(name, target or _any_known(kinds) or (pa.string() if words else pa.null()))
        if words and _any_known(kinds) is not None and target != pa.string():
            lines.append(_said(name, words))
        lines += _clocks(name, kinds)
    return lines


def _said(name: str, words: int) -> str:
    return (
        f"Column {name!r}: {words:,} words such as None or NA among numbers or times are taken for null. To take them "
        f"as values declare `raw.columns: {{{name}: text}}`; to say which words are null, `raw.null_values`."
    )


def _any_known(kinds: dict[str, pa.DataType]) -> pa.DataType | None:
    return next((kind for kind in kinds.values() if family(kind) != "null"), None)


def _target(kinds: Sequence[pa.DataType], numeric: bool) -> pa.DataType | None:
    """The type that text files read a column as; None if each may keep its own."""
    families = {family(kind) for kind in kinds} - {"null"}
    if numeric or not families:
        return None
    if families <= _NUMBERS:
        return pa.float64() if "float" in families and len(families) > 1 else None
    return None if families == {"time"} else pa.string()


def _clocks(name: str, kinds: dict[str, pa.DataType]) -> list[str]:
    times = {kind: path for path, kind in kinds.items() if family(kind) == "time"}
    if len(times) < 2:
        return []
    shown = ", ".join(f"{kind} as in {path}" for kind, path in times.items())
    return [f"Column {name!r} holds {shown}: read on one clock; a date is midnight, a time without a zone is UTC."]
