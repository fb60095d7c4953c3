"""COLD and FSCD as bundles in parts score as the checkpoint: one request or many, by columns or by stored items."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from distill.data.prepare.progress import PassProgress
from distill.errors import DataError
from distill.export import BundleOptions, Trained
from distill.jobs.export import ItemOptions, export_bundle
from distill.models.prerankers.gated_parts import GatedParts
from distill.serving import Bundle, ItemVectors
from distill.serving import bundle as bundles
from distill.serving.program import RunningProgram
from tests.export.conftest import Log
from tests.export.raw import catalogue
from tests.export.test_bundle import check_raw_rows
from tests.marks import slow_except


def exported(trained: Trained, folder: Path, options: BundleOptions) -> Bundle:
    pq.write_table(catalogue(), folder / "items.parquet")
    with PassProgress(False) as bars:
        items = ItemOptions(str(folder / "items.parquet"), torch.device("cpu"))
        export_bundle(trained, folder / "bundle", options, items, bars)
    return Bundle.load(folder / "bundle")


@pytest.fixture(scope="module")
def cold(log: Log, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return exported(log.trained("cold").in_parts(), tmp_path_factory.mktemp("cold"), BundleOptions())


@pytest.mark.parametrize(
    ("name", "option"),
    slow_except(
        [("cold", "model.net.gate=true"), ("cold", "model.net.gate=false"), ("fscd", "model.net.gate=true")],
        ("cold", "model.net.gate=true"),
    ),
)
def test_they_score_as_the_checkpoint(name: str, option: str, cold: Bundle, log: Log, tmp_path: Path) -> None:
    whole = log.trained(name, option)
    parts = whole.in_parts()
    assert parts.name == whole.name
    assert parts.version != whole.version
    bundle = cold if cold.version == parts.version else exported(parts, tmp_path, BundleOptions(exported=False))
    assert bundle.manifest.model == whole.name
    assert ("single" in bundle.manifest.programs) is ((name, option) == ("cold", "model.net.gate=true"))
    check_raw_rows(log, replace(whole), bundle)
    assert isinstance(bundle.items, ItemVectors)
    request, candidates, _ = log.raw()
    one = {column: values[2].as_py() for column, values in request.items()}
    table = catalogue().take([31, 0, 0, 49, 7])
    pair = {column: candidates[column].slice(0, len(table)) for column in ("match", "reason", "bid", "dwell")}
    by_columns = bundle.score(one, {column: table[column] for column in table.column_names} | pair)
    by_key = bundle.score(one, pair, items=table["item"])
    np.testing.assert_allclose(by_key.logits, by_columns.logits, atol=1e-6)


def test_long_requests_of_a_batch_go_one_by_one_and_score_the_same(
    cold: Bundle, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, candidates, _ = log.raw()
    three = {column: values.slice(0, 3) for column, values in request.items()}
    counts = [40, 0, 70]
    rows = {column: values.take(np.resize(np.arange(len(values)), 110)) for column, values in candidates.items()}
    calls: list[int] = []
    run = RunningProgram.run
    monkeypatch.setattr(RunningProgram, "run", lambda self, given: calls.append(len(given)) or run(self, given))
    by_one = cold.score_batch(three, rows, counts).logits
    one_by_one = len(calls)
    monkeypatch.setattr(bundles, "_WORTH_A_CALL", 1000)
    together = cold.score_batch(three, rows, counts).logits
    assert (one_by_one, len(calls) - one_by_one) == (4, 3)
    np.testing.assert_allclose(by_one, together, atol=1e-6)


@pytest.mark.slow
def test_a_part_that_scores_otherwise_is_not_written(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    single = GatedParts.interact_single
    monkeypatch.setattr(GatedParts, "interact_single", lambda *arguments: single(*arguments) + 1e-3)
    with pytest.raises(DataError, match="does not score its golden requests"):
        exported(log.trained("cold").in_parts(), tmp_path, BundleOptions(exported=False))
    assert not (tmp_path / "bundle").exists()
