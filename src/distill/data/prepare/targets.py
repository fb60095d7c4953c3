"""Stages, labels and value columns of candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.codes import Stage
from distill.data.prepare.attribute import EventLabels
from distill.data.prepare.chunk import Chunk, Int8
from distill.data.prepare.listed import RawLabels, label_purpose, listed_labels
from distill.encodings.arrow import Bool, Int64
from distill.encodings.id_values import to_id_values
from distill.encodings.place import Place
from distill.encodings.values import Float64, first, to_float32, to_numbers, to_positive
from distill.errors import DataError, SchemaError
from distill.schema import Schema, StageKey, Task

Float32 = npt.NDArray[np.float32]

_STAGES = {stage.name.lower(): int(stage) for stage in Stage}


def stages(chunk: Chunk, key: StageKey | None) -> Int8:
    """Reads how far each candidate got `[N]`; all exposed if there is no stage column.

    Raises:
        DataError: A value means no stage.
    """
    if key is None:
        return np.full(chunk.num_candidates, Stage.EXPOSED, np.int8)
    place = chunk.candidate_place(key.column, "keys.stage")
    raw = chunk.candidate[key.column]
    distinct = to_id_values(raw, place).dictionary_encode(null_encoding="encode")
    indices = distinct.indices.to_numpy(zero_copy_only=False)
    known = _known_stages(key, pa.types.is_boolean(raw.type))
    codes = np.zeros(len(distinct.dictionary), np.int8)
    for code, value in enumerate(distinct.dictionary.to_pylist()):
        if value is None and key.missing is not None:
            codes[code] = _STAGES[key.missing]
        elif value is not None and str(value) in known:
            codes[code] = known[str(value)]
        else:
            raise DataError(
                "A value of the stage column is not a known stage.",
                where=place.at(int(np.argmax(indices == code))),
                expected=" or ".join(known),
                found="null" if value is None else f"{value!r:.200}",
                remedy="Say what null means under `keys.stage` in the schema, such as `missing: recalled`."
                if value is None
                else "Map the value under `keys.stage.values` in the schema.",
            )
    stage: Int8 = codes[indices]
    return stage


def _known_stages(key: StageKey, is_bool: bool) -> dict[str, int]:
    if key.values is None:
        return {**_STAGES, **{str(code): code for code in _STAGES.values()}}
    known = {value: _STAGES[name] for value, name in key.values.items()}
    if is_bool:
        words = {"true": "1", "false": "0"}
        known = {words.get(value.lower(), value): stage for value, stage in known.items()}
    return known


def labels(
    chunk: Chunk, schema: Schema, stage: Int8, items: Int64, events: Mapping[str, EventLabels]
) -> dict[str, RawLabels]:
    """Reads the labels of every task.

    Args:
        chunk: N candidates.
        schema: Names the tasks.
        stage: How far each candidate got `[N]`.
        items: Item keys `[N]`.
        events: Task to its labels, of tasks whose events were attributed.

    Returns:
        Task name to labels, NaN where not observed.

    Raises:
        DataError: A label is not of its task's kind.
        SchemaError: Tasks observe each other in a circle.
    """
    raw = {task.name: _label(chunk, task, items, events) for task in schema.tasks}
    observed: dict[str, Bool] = {}
    waiting = list(schema.tasks)
    while waiting:
        ready = [t for t in waiting if t.observed in ("all", "exposed") or t.observed in observed]
        if not ready:
            raise SchemaError(
                "Tasks are observed where each other is 1, which is circular.",
                where=f"tasks {', '.join(task.name for task in waiting)}",
                remedy="Let one of them be observed on `all` or `exposed` rows.",
            )
        for task in ready:
            observed[task.name] = ~raw[task.name].null & _rule(task, raw, observed, stage)
        waiting = [task for task in waiting if task.name not in observed]
    nan = np.float32(np.nan)
    return {name: replace(found, values=np.where(observed[name], found.values, nan)) for name, found in raw.items()}


def _rule(task: Task, raw: Mapping[str, RawLabels], observed: Mapping[str, Bool], stage: Int8) -> Bool:
    if task.observed == "all":
        return np.ones(len(stage), np.bool_)
    exposed: Bool = stage == Stage.EXPOSED
    if task.observed == "exposed":
        return exposed
    happened: Bool = raw[task.observed].values == 1
    return observed[task.observed] & happened


def _label(chunk: Chunk, task: Task, items: Int64, events: Mapping[str, EventLabels]) -> RawLabels:
    if task.events is not None:
        return RawLabels(*events[task.name].of(chunk, label_purpose(task)))
    if task.chosen is not None:
        return listed_labels(chunk, task, items)
    place = chunk.candidate_place(task.column, label_purpose(task))
    values, missing = to_numbers(chunk.candidate[task.column], place, task.nan)
    if task.kind == "binary":
        check_values(values, (values != 0) & (values != 1), place, "a binary label", "0 or 1")
    elif task.kind == "graded":
        check_values(values, (values < 0) | (values != np.floor(values)), place, "a graded label", "0, 1, 2, …")
    return RawLabels(to_float32(values, place), missing)


def check_values(values: Float64, bad: Bool, place: Place, what: str, expected: str) -> None:
    """Raises DataError at the first of the bad values `[n]`."""
    if (position := first(bad)) >= 0:
        raise DataError(
            f"A value cannot be {what}.",
            where=place.at(position),
            expected=f"{expected}, or null",
            found=repr(float(values[position])),
            remedy="Correct the column, or declare another `kind`.",
        )


def check_weights(chunk: Chunk, column: str) -> None:
    """Raises DataError at the first row weight that is not a finite number of at least 0."""
    place = chunk.candidate_place(column, "row weight")
    numbers, missing = to_numbers(chunk.candidate[column], place, "missing", largest=np.inf)
    if (position := first(missing | (numbers < 0) | np.isinf(numbers))) >= 0:
        raise DataError(
            "A value is not a valid weight of a row.",
            where=place.at(position),
            expected="a finite number of at least 0",
            found="null or NaN" if missing[position] else repr(float(numbers[position])),
            remedy="Fill or correct the value, or remove `weight` from the schema, so that all rows count equally.",
        )


def values(chunk: Chunk, schema: Schema) -> dict[str, Float32]:
    """Reads the columns of the score, of evaluation and of the row weight `[N]`; NaN where one of evaluation is null.

    Raises:
        DataError: A number is not finite, one of the score is null or not positive, or a weight is null or negative.
    """
    found = {}
    for column in schema.value_columns:
        of_score = column in schema.score.columns
        place = chunk.candidate_place(column, "score column" if of_score else "evaluation column")
        if column in schema.weight_columns:
            check_weights(chunk, column)
        numbers, missing = (to_positive if of_score else to_numbers)(chunk.candidate[column], place)
        found[column] = np.where(missing, np.float32(np.nan), to_float32(numbers, place))
    return found
