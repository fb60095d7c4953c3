"""Scores and hidden vectors of a production ranker: what is written, what is counted, and what is refused."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.data.format import Dataset
from distill.data.prepare import meter
from distill.data.stream import BatchLoader, SplitReader, StreamOrder, plan_epoch
from distill.errors import DataError
from tests.data.prepare.builders import pairs, prepare_quietly, schema_of, write

SCORES = [0.25, None, 0.5, 0.75, 0.5, 0.5, 0.5]
VECTORS: list[Any] = [[0.1, 1.0], None, [2.0, -2.0], [3.0, -3.0], [4.0, -4.0], [5.0, -5.0], [6.0, -6.0]]
HIDDEN = {"body": {"column": "vec", "width": 2}}
LENGTHS = [2, 3, 1, 1]


def teacher(**changes: Any) -> dict[str, Any]:
    return {"columns": {"click": "scored"}, "kind": "probability", **changes}


def nested(columns: dict[str, Any]) -> dict[str, Any]:
    """Puts the rows of `pairs` into one row per request."""
    ends = [0, *itertools.accumulate(LENGTHS)]
    of_request = {"rid", "uid", "part"}
    return {
        name: [values[a] if name in of_request else values[a:b] for a, b in itertools.pairwise(ends)]
        for name, values in columns.items()
    }


def prepared(tmp_path: Path, shape: str, vectors: list[Any] = VECTORS, **changes: Any) -> Dataset:
    columns = pairs(scored=SCORES, vec=vectors)
    kind = pa.list_(pa.float64(), 2) if shape == "fixed" else pa.list_(pa.float64())
    columns["vec"] = pa.array(vectors, kind) if shape != "requests" else vectors
    raw = write(tmp_path / "raw.parquet", nested(columns) if shape == "requests" else columns, row_group_size=3)
    layout = "flat" if shape == "flat" else "requests"
    return prepare_quietly(raw, tmp_path / "out", schema_of(layout=layout, teacher=teacher(hidden=HIDDEN) | changes))


def hidden_by_first_number(dataset: Dataset, hidden: list[str] | None = None) -> dict[float, tuple[bool, list[float]]]:
    """Reads the training split: first number of the vector to whether the teacher scored the row, and its vector."""
    reader = SplitReader.open(dataset, dataset.schema, "train", "dataset", hidden)
    order = StreamOrder(batch_candidates=3, shuffle_buffer=4, num_shards=1, seed=0, shuffle=True)
    found = {}
    for batch in BatchLoader(reader, plan_epoch(reader.index, order, 0), ahead=False):
        assert batch.signals is not None
        for logit, valid, vector in zip(
            batch.signals.logits[:, 0].tolist(),
            batch.signals.valid.tolist(),
            batch.signals.hidden["body"].tolist(),
            strict=True,
        ):
            key = round(vector[0], 3)
            found[key] = (valid, [round(x, 3) for x in vector])
            assert valid or logit == 0
    return found


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("shape", ["flat", "pairs", "requests", "fixed"])
def test_hidden_vectors_come_with_their_rows(tmp_path: Path, shape: str, kind: str) -> None:
    if shape == "fixed" and int(pa.__version__.partition(".")[0]) < 26:
        pytest.skip("older releases of pyarrow neither write nor read nulls among lists of a fixed size")
    hidden = {"body": {**HIDDEN["body"], "type": kind}}
    dataset = prepared(tmp_path, shape, hidden=hidden)
    stored = pq.read_schema(dataset.root / dataset.parts("train")[0].path).field("hidden_body").type
    inner = stored if shape == "flat" else stored.value_type
    assert inner.list_size == 2
    assert inner.value_type == (pa.float16() if kind == "float16" else pa.float32())
    expected = {0.0: (False, [0.0, 0.0]), 0.1: (True, [0.1, 1.0])}
    expected |= {float(n): (True, [float(n), -float(n)]) for n in (2, 3, 4)}
    assert hidden_by_first_number(dataset) == expected


def test_hidden_vectors_are_read_only_if_they_are_wanted(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, "requests")
    for wanted, columns in ((None, True), (["body"], True), ([], False)):
        layout = SplitReader.open(dataset, dataset.schema, "train", "dataset", wanted).layout
        assert ("hidden_body" in layout.columns.names) is columns
        assert layout.hidden == ({"body": 2} if columns else {})
    assert "hidden_body" not in SplitReader.open(dataset, dataset.schema, "train").layout.columns.names


@pytest.mark.parametrize("shape", ["flat", "pairs", "requests"])
@pytest.mark.parametrize("missing", [None, [3.0, None]])
def test_a_vector_that_is_missing_where_there_is_a_score_is_refused(tmp_path: Path, shape: str, missing: Any) -> None:
    vectors = [*VECTORS[:3], missing, *VECTORS[4:]]
    place = "row 1, candidate 1" if shape == "requests" else "row group 1, row 0"
    with pytest.raises(DataError, match=rf"raw\.parquet.*{place}, column 'vec' \(hidden vector 'body'"):
        prepared(tmp_path, shape, vectors)


def test_a_vector_half_missing_where_there_is_no_score_is_none(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, "pairs", [VECTORS[0], [7.0, None], *VECTORS[2:]])
    assert hidden_by_first_number(dataset)[0.0] == (False, [0.0, 0.0])


@pytest.mark.parametrize(
    ("vector", "match"),
    [
        ([1.0], r"wrong width(.|\n)*row group 1, row 0(.|\n)*2 numbers"),
        ([1.0, math.nan], r"not finite(.|\n)*row group 1, row 0, value 1"),
        ([1.0, 1e39], r"too large for float32(.|\n)*row group 1, row 0, value 1"),
        ([1.0, 7e4], r"too large for float16(.|\n)*row group 1, row 0, column(.|\n)*type: float32"),
    ],
)
def test_wrong_vectors_are_located(tmp_path: Path, vector: list[float], match: str) -> None:
    with pytest.raises(DataError, match=match):
        prepared(
            tmp_path,
            "pairs",
            [*VECTORS[:3], vector, *VECTORS[4:]],
            hidden={"body": {**HIDDEN["body"], "type": "float16"}},
        )


@pytest.mark.parametrize("shape", ["pairs", "requests"])
@pytest.mark.parametrize("score", [1.5, -0.25])
def test_a_probability_outside_its_range_is_located(tmp_path: Path, shape: str, score: float) -> None:
    columns = pairs(scored=[*SCORES[:3], score, *SCORES[4:]])
    raw = write(tmp_path / "raw.parquet", nested(columns) if shape == "requests" else columns)
    place = "row 1, candidate 1" if shape == "requests" else "row 3"
    with pytest.raises(DataError, match=rf"raw\.parquet, row group 0, {place}, column 'scored'(.|\n)*{score}"):
        prepare_quietly(raw, tmp_path / "out", schema_of(teacher=teacher()))


def test_numbers_of_the_training_split_by_hand(tmp_path: Path) -> None:
    columns = pairs(
        scored=SCORES, click=[1, 0, None, 1, 0, 1, 0], stage=["exposed", "exposed", "exposed", "ranked", "recalled"] * 2
    )
    columns["stage"] = columns["stage"][:7]
    keys = {"request": "rid", "user": "uid", "stage": "stage"}
    dataset = prepare_quietly(
        write(tmp_path / "raw.parquet", columns), tmp_path / "out", schema_of(teacher=teacher(), keys=keys)
    )
    (found,) = dataset.manifest.teacher.values()
    assert list(found.candidates.items()) == [("recalled", 1), ("ranked", 1), ("exposed", 3)]
    assert found.scored == {"recalled": 1, "ranked": 1, "exposed": 2}
    assert found.coverage == 0.8
    assert found.low == pytest.approx(0.25)
    assert found.mean == pytest.approx((0.25 + 0.5 + 0.75 + 0.5) / 4)
    assert found.high == pytest.approx(0.75)
    # labelled and scored: rows 0, 3 and 4
    assert found.labelled == 3
    assert found.probability == pytest.approx((0.25 + 0.75 + 0.5) / 3)
    assert found.label == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("kind", "scores", "low", "mean", "high", "probability"),
    [
        ("logit", [-2.0, None, 0.0, 1.0, 3.0, 9, 9], -2.0, 0.5, 3.0, [-2.0, 0.0, 1.0, 3.0]),
        ("position", [1, None, 2, 4, 7, 9, 9], 1, 3.5, 7, None),
    ],
)
def test_numbers_are_those_of_the_scores_as_declared(
    tmp_path: Path, kind: str, scores: list[Any], low: float, mean: float, high: float, probability: list[float] | None
) -> None:
    raw = write(tmp_path / "raw.parquet", pairs(scored=scores))
    found = prepare_quietly(raw, tmp_path / "out", schema_of(teacher=teacher(kind=kind))).manifest.teacher["click"]
    assert (found.low, found.mean, found.high) == pytest.approx((low, mean, high))
    expected = None if probability is None else np.mean(1 / (1 + np.exp(-np.array(probability))))
    assert found.probability == (None if expected is None else pytest.approx(expected))


def test_numbers_without_any_score(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw.parquet", pairs(scored=pa.nulls(7, pa.float64())))
    found = prepare_quietly(raw, tmp_path / "out", schema_of(teacher=teacher())).manifest.teacher["click"]
    assert (found.coverage, found.low, found.mean, found.probability, found.label) == (0, None, None, None, None)


def test_numbers_do_not_depend_on_how_the_stream_was_cut() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2, 200_000)).astype(np.float32)
    labels = (labels > 0).astype(np.float32)
    stage = rng.integers(0, 4, 200_000).astype(np.int8)
    found = []
    for size in (1_000, 77_777, 200_000):
        each = meter.TeacherMeter(None)
        for start in range(0, 200_000, size):
            part = slice(start, start + size)
            each.add(logits[part], labels[part], stage[part])
        found.append(each.result())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("size", [1, 7, 500, 1000])
def test_ends_are_counted_however_the_stream_was_cut(size: int) -> None:
    rng = np.random.default_rng(3)
    logits = rng.integers(-3, 4, 1000).astype(np.float32)
    logits[[500, 900]] = -9999.0
    logits[::9] = np.nan
    each = meter.TeacherMeter(None)
    for start in range(0, 1000, size):
        part = logits[start : start + size]
        each.add(part, np.zeros_like(part), np.zeros(len(part), np.int8))
    found = each.result()
    expected = int((logits == -9999).sum())
    assert expected > 0
    assert (found.low, found.low_count, found.low_next) == (-9999.0, expected, -3.0)
    assert (found.high, found.high_count, found.high_next) == (3.0, int((logits == 3).sum()), 2.0)


def test_equal_scores_have_no_next(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw.parquet", pairs(scored=[0.5] * 7))
    found = prepare_quietly(raw, tmp_path / "out", schema_of(teacher=teacher())).manifest.teacher["click"]
    assert (found.low_count, found.high_count, found.low_next, found.high_next) == (5, 5, None, None)


def test_tasks_without_a_column_are_read_as_unknown(tmp_path: Path) -> None:
    tasks = [{"name": "like", "column": "click"}, {"name": "click"}]
    dataset = prepare_quietly(
        write(tmp_path / "raw.parquet", pairs(scored=SCORES)),
        tmp_path / "out",
        schema_of(tasks=tasks, teacher=teacher()),
    )
    assert dataset.schema.logged_tasks == ("click",)
    reader = SplitReader.open(dataset, dataset.schema, "train", "dataset")
    order = StreamOrder(batch_candidates=3, shuffle_buffer=4, num_shards=2, seed=0, shuffle=True)
    logits = []
    for batch in BatchLoader(reader, plan_epoch(reader.index, order, 0), ahead=False):
        assert batch.signals is not None
        assert batch.signals.logits[:, 0].isnan().all()
        assert (batch.signals.logits[:, 1][~batch.signals.valid] == 0).all()
        logits += batch.signals.logits[batch.signals.valid & (batch.weight > 0), 1].tolist()
    assert sorted(logits) == pytest.approx([math.log(1 / 3), 0, 0, math.log(3)])
