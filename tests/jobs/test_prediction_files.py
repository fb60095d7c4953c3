"""Files of predictions are written row group by row group on a thread: order, bounds, and what an error leaves."""

from __future__ import annotations

import errno
import json
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.errors import DataError
from distill.jobs import predictions
from distill.jobs.behind import Behind
from distill.jobs.prediction_table import places
from distill.jobs.predictions import PredictionFolder, PredictionWriter


@pytest.fixture
def folder(tmp_path: Path) -> PredictionFolder:
    folder = PredictionFolder(tmp_path / "out", {"model": "x"}, 2)
    folder.begin()
    return folder


def rows(start: int, stop: int) -> pa.Table:
    number = np.arange(start, stop)
    kept = pa.array([[int(i)] for i in number], pa.list_(pa.int64()))
    return pa.table({"item": number, "kept": kept, "pred": number.astype(np.float32)})


def test_row_groups_are_written_as_rows_come(folder: PredictionFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a row group and the rows that came last are in memory; tiny tables do not become tiny groups."""
    monkeypatch.setattr(predictions, "ROW_GROUP", 100)
    with PredictionWriter(folder, ["pred"]) as files:
        for start in range(0, 990, 30):
            files.add(0, rows(start, start + 30), {"candidates": 30})
            assert sum(map(len, files._waiting)) < 100
            assert not folder.part(0).exists()
        files.add(1, rows(0, 350), {"candidates": 350})
        assert folder.part(0).exists()
        files.finish()
    file = pq.ParquetFile(folder.part(0))
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [100] * 9 + [90]
    assert file.read().equals(rows(0, 990))
    assert pq.ParquetFile(folder.part(1)).num_row_groups == 4
    group = file.metadata.row_group(0)
    encodings = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert encodings["kept.list.element"].compression == encodings["item"].compression == "ZSTD"
    assert encodings["pred"].compression == "UNCOMPRESSED"
    assert not encodings["pred"].has_dictionary_page
    assert folder.finish()["counts"] == {"candidates": 1340}
    assert json.loads((folder.root / predictions.PREDICTIONS_FILE).read_text())["parts"][0]["rows"] == 990


def test_an_error_leaves_the_finished_files_alone(folder: PredictionFolder) -> None:
    def interrupted() -> None:
        with PredictionWriter(folder, []) as files:
            files.add(0, rows(0, 10), {})
            files.add(1, rows(0, 10), {})
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        interrupted()
    assert folder.part(0).exists()
    assert sorted(path.name for path in folder.root.iterdir()) == ["part-00000.parquet", "plan.json"]


def test_a_file_without_rows_has_its_columns(folder: PredictionFolder) -> None:
    with PredictionWriter(folder, ["pred"]) as files:
        files.add(0, rows(0, 0), {"candidates": 0})
        files.finish()
        files.finish()
    assert pq.read_table(folder.part(0)).equals(rows(0, 0))


def test_jobs_run_in_order_one_at_a_time_while_the_caller_goes_on() -> None:
    seen: list[int] = []
    free = threading.Event()

    def job(number: int) -> None:
        free.wait(10)
        time.sleep(0.001 * (5 - number))
        seen.append(number)

    with Behind() as behind:
        behind(partial(job, 0))
        assert not seen
        free.set()
        for number in range(1, 5):
            behind(partial(job, number))
            assert seen == list(range(number))  # the one before is done
    assert seen == list(range(5))


def test_the_error_of_a_job_reaches_the_caller() -> None:
    def fails() -> None:
        raise DataError("There is no room.")

    def runs(*jobs: Callable[[], None], then: Exception | None = None) -> None:
        with Behind() as behind:
            for job in jobs:
                behind(job)
            if then is not None:
                raise then

    with pytest.raises(DataError, match="no room"):
        runs(fails)
    with pytest.raises(DataError, match="no room"):
        runs(fails, pytest.fail)
    with pytest.raises(OSError, match="first"):
        runs(fails, then=OSError(errno.EIO, "first"))


@pytest.mark.parametrize("most", [1, 3, 40])
def test_places_are_those_of_a_sort_by_request_and_score(most: int) -> None:
    """With ties, numbers that are none, infinite ones, and requests without candidates."""
    rng = np.random.default_rng(most)
    counts = rng.integers(0, most + 1, 200)
    score = np.round(rng.normal(size=counts.sum()), 1).astype(np.float32)
    score[::7], score[::11], score[::13] = np.nan, np.inf, -np.inf
    request = np.repeat(np.arange(len(counts)), counts)
    wanted = np.empty(len(score), np.int32)
    wanted[np.lexsort((-score, request))] = np.arange(len(score)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    assert np.array_equal(places(score, counts), wanted)


def test_places_of_no_candidates() -> None:
    assert len(places(np.zeros(0, np.float32), np.zeros(3, np.int64))) == 0
    assert places(np.array([1, 3, 2], np.float32), np.array([0, 3, 0])).tolist() == [3, 1, 2]
