"""Items that training does not have: the mean row of their group, in validation, on new days, in predictions."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from distill.data.dataset import load_dataset
from distill.encodings import FittedEncodings
from distill.encodings.tables import FittedVocabulary
from distill.features import EmbeddingTables
from distill.jobs.parts import load_model
from distill.models.prerankers.quality_score import QualityScore
from distill.serving import Bundle
from distill.training.checkpoint_io import read_checkpoint
from distill.training.module import RankingModule
from tests.jobs.days import SCHEMA, day, of_day, write_days
from tests.jobs.entry import path_arguments, run_dirs, run_script, train
from tests.jobs.test_predict import WHOLE, as_pairs, check, predict
from tests.jobs.test_resume import _equal, _state

pytestmark = pytest.mark.slow  # tests/features/test_groups.py and tests/export hold the parts

SMALL = ["trainer=cpu", "callbacks.progress_bar=false", "cost.enabled=false", "data.loader.batch_candidates=64"]
COLD = {
    **SCHEMA,
    "fields": [
        {**f, "cold": ["brand"], "encoding": {"type": "vocabulary", "min_count": 15}} if f["name"] == "item" else
        {**f, "encoding": {"type": "vocabulary", "min_count": 15}} if f["name"] == "past" else f
        for f in SCHEMA["fields"]
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of day 1, where items are cold by brand; day 2 under its encodings, as they are and grown."""
    root = tmp_path_factory.mktemp("cold")
    write_days(root, range(1, 3), COLD)
    run_script("scripts/prepare.py", *of_day(root, 1), *path_arguments(root), f"out={root / 'day1'}")
    train(*on(root, "day1"), *SMALL, "trainer.max_epochs=2", "model=two_tower", "name=student")
    known = [*path_arguments(root), f"encodings={root / 'day1'}"]
    run_script("scripts/prepare.py", *of_day(root, 2), *known, f"out={root / 'day2'}", WHOLE)
    run_script("scripts/prepare.py", *of_day(root, 2), *known, f"out={root / 'grown'}", "grow=true")
    pq.write_table(as_pairs(day(2).drop_columns(["click", "dwell"])), root / "pairs.parquet")
    return root


def on(root: Path, dataset: str) -> list[str]:
    return ["data=prepared", f"data.root={root / dataset}", *path_arguments(root)]


def best(root: Path, name: str = "student") -> Path:
    return run_dirs(root, name)[0] / "checkpoints" / "best.ckpt"


def vocabulary(root: Path, dataset: str = "day1") -> FittedVocabulary:
    found = load_dataset(root / dataset)
    table = FittedEncodings.load(found.root, found.manifest.encodings).tables["item"]
    assert isinstance(table, FittedVocabulary)
    return table


def means(table: FittedVocabulary, rows: torch.Tensor) -> torch.Tensor:
    """The mean of the rows of each group's members, one by one."""
    assert table.groups is not None
    members = torch.from_numpy(table.groups.members)[:, 0]
    known = rows[2 : table.first_group]
    return torch.stack([known[members == group].mean(0) for group in range(table.groups.count)])


def ids(root: Path, dataset: str, split: str) -> torch.Tensor:
    found = load_dataset(root / dataset)
    parts = [pq.read_table(found.root / part.path)["field_item"] for part in found.manifest.splits[split]]  # type: ignore[index]
    return torch.tensor([i for part in parts for row in part.to_pylist() for i in row])


def test_best_checkpoints_hold_the_means_as_they_are(root: Path) -> None:
    """Validation was scored with them, and the file has them without anybody setting them anew."""
    table, loaded = vocabulary(root), load_model(best(root))
    assert table.groups is not None
    assert table.groups.count >= 3
    validated = ids(root, "day1", "val")
    assert ((validated >= table.first_group) & (validated < table.size)).sum() > 5
    (tables,) = {id(m): m for m in loaded.model.modules() if isinstance(m, EmbeddingTables)}.values()
    place, state = tables.places["item"], read_checkpoint(best(root))["state_dict"]
    (saved, *_) = (
        w for n, w in state.items() if n.startswith("model.") and n.endswith(f"tables.weights.{place.width}")
    )
    rows = saved[place.first : place.first + place.size]
    torch.testing.assert_close(rows[table.first_group :], means(table, rows))
    assert torch.equal(tables.rows_of("item"), rows)


def test_new_items_are_their_group_in_predictions_as_in_prepared_rows(root: Path, tmp_path: Path) -> None:
    table, found = vocabulary(root), ids(root, "day2", "test")
    grouped = found >= table.first_group
    assert int(grouped.sum()) > 100
    assert int((found == 1).sum()) == load_dataset(root / "day2").manifest.counts["oov/test/item"] - int(grouped.sum())
    check(root, predict(root, root / "pairs.parquet", tmp_path / "out"))


def test_a_bundle_gives_new_items_the_same(root: Path, tmp_path: Path) -> None:
    """It encodes and predicts as the checkpoint does, in files and with item vectors of a catalogue."""
    pairs = pq.read_table(root / "pairs.parquet")
    names = ["item", "brand", "price", "age"]
    keys = pairs["item"].to_pylist()
    items = pairs.select(names).take(pa.array([keys.index(key) for key in dict.fromkeys(keys)]))
    pq.write_table(items, tmp_path / "items.parquet")
    out = tmp_path / "bundle"
    run_script("scripts/export.py", "trainer=cpu", f"path={best(root)}", f"out={out}", *path_arguments(root),
               f"items={tmp_path / 'items.parquet'}")  # fmt: skip
    tables = []
    for name, path in (("ckpt", best(root)), ("bundle", out)):
        run_script("scripts/predict.py", "trainer=cpu", f"path={path}", f"source={root / 'pairs.parquet'}",
                   f"out={tmp_path / name}_predicted", *path_arguments(root))  # fmt: skip
        parts = json.loads((tmp_path / f"{name}_predicted" / "predictions.json").read_text())["parts"]
        tables.append(pa.concat_tables([pq.read_table(tmp_path / f"{name}_predicted" / p["path"]) for p in parts]))
    np.testing.assert_allclose(tables[0]["pred_click"], tables[1]["pred_click"], atol=1e-6)
    bundle = Bundle.load(out)
    known = set(vocabulary(root).values.to_pylist())
    new = [key for key in items["item"].to_pylist() if key not in known][:4]
    rows = items.filter(pc.is_in(items["item"], pa.array(new)))
    by_key = bundle.score({"user": "u6", "past": []}, items=rows["item"].to_pylist()).predictions["click"]
    by_columns = bundle.score({"user": "u6", "past": []}, rows).predictions["click"]
    np.testing.assert_allclose(by_key, by_columns, atol=1e-6)
    assert len(set(np.round(by_columns, 6))) > 1


def test_a_warm_start_gives_new_items_the_row_of_their_group(root: Path) -> None:
    train(*on(root, "grown"), *SMALL, "trainer.max_epochs=1", "optimizer.lr=1e-12", "optimizer.embedding_lr=1e-12",
          "scheduler=constant", f"model.init_from={best(root)}", "name=warm")  # fmt: skip
    old, new = vocabulary(root), vocabulary(root, "grown")
    before, after = (_tables(load_model(best(root, name)).model) for name in ("student", "warm"))
    rows, others = after.rows_of("item"), before.rows_of("item")
    count = len(old.values)
    torch.testing.assert_close(rows[2 : 2 + count], others[2 : 2 + count], atol=1e-6, rtol=0)
    assert old.groups is not None
    assert new.groups is not None
    group = torch.from_numpy(old.groups.find(new.groups.of_value[count:]))  # brands are hashed alike on both days
    assert int((group >= 0).sum()) > 3
    wanted = others[old.first_group + group[group >= 0]]
    torch.testing.assert_close(rows[2 + count : new.first_group][group >= 0], wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(rows[new.first_group :], means(new, rows))
    log = (run_dirs(root, "warm")[0] / "train.log").read_text()
    assert "from their group" in log


def _tables(model: torch.nn.Module) -> EmbeddingTables:
    (tables,) = {id(m): m for m in model.modules() if isinstance(m, EmbeddingTables)}.values()
    return tables


@pytest.mark.parametrize("step", [4, 9])
def test_an_interrupted_run_ends_as_it_would_have(root: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of groups are read in training (of rare items), and stay as they were at the last validation."""
    table = vocabulary(root)
    assert (ids(root, "day1", "train") >= table.first_group).any()
    arguments = [*on(root, "day1"), *SMALL, "trainer.max_epochs=2", "callbacks.checkpoint_every_n_steps=3",
                 "optimizer.embedding_lr=0.1"]  # fmt: skip
    if not (root / "runs" / "whole").exists():
        train(*arguments, "name=whole")
    training_step = RankingModule.training_step

    def stop(self: RankingModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == step - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(RankingModule, "training_step", stop)
        with pytest.raises(SystemExit):
            train(*arguments, f"name=stopped_{step}")
    (folder,) = run_dirs(root, f"stopped_{step}")
    assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] == step
    train(*arguments, f"name=stopped_{step}", "resume=last")
    assert _equal(_state(folder), _state(run_dirs(root, "whole")[0]))


@pytest.mark.parametrize("model", ["quality_score", "logistic", "dat"])
def test_other_models_too(root: Path, model: str) -> None:
    train(*on(root, "day1"), *SMALL, "trainer.max_epochs=1", f"model={model}", f"name={model}")
    table, loaded = vocabulary(root), load_model(best(root, model)).model
    if isinstance(loaded, QualityScore):
        torch.testing.assert_close(loaded.logits[table.first_group :], means(table, loaded.logits))
        assert len(loaded.logits.unique()) > 3
    for tables in (m for m in loaded.modules() if isinstance(m, EmbeddingTables) and "item" in m.places):
        rows = tables.rows_of("item")
        torch.testing.assert_close(rows[table.first_group :], means(table, rows))


def test_two_processes_and_another_optimiser_and_a_teacher_that_shares(root: Path) -> None:
    train(*on(root, "day1"), "trainer=ddp_sim", "callbacks.progress_bar=false", "cost.enabled=false", "name=ranks",
          "trainer.max_epochs=1", "optimizer=adamw_sparse_adam", "teacher=cotrained", "loss=pfd")  # fmt: skip
    table = vocabulary(root)
    for name in ("best", "teacher"):
        path = run_dirs(root, "ranks")[0] / "checkpoints" / f"{name}.ckpt"
        rows = _item_tables(load_model(path).model)[0].rows_of("item")
        torch.testing.assert_close(rows[table.first_group :], means(table, rows))


def _item_tables(model: torch.nn.Module) -> list[EmbeddingTables]:
    return [m for m in model.modules() if isinstance(m, EmbeddingTables) and "item" in m.places]
