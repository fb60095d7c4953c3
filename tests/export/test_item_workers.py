"""Items that tasks make are those of one process, to the byte: vectors, deltas and encoded features."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from distill.data.prepare.progress import PassProgress
from distill.data.unlabelled import units
from distill.errors import DataError
from distill.export import Trained
from distill.export.item_workers import ItemWorkers
from distill.jobs.export import ItemOptions, export_items
from tests.engines.elsewhere import Elsewhere
from tests.export.conftest import Log
from tests.export.raw import catalogue

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of which a small catalogue fills many."""
    monkeypatch.setattr(units, "UNIT_ROWS", 20)


def cut(folder: Path, table: pa.Table) -> str:
    """Writes a catalogue in two files, of which the second begins within a unit; returns their folder."""
    folder.mkdir()
    for name, part in (("a", table.slice(0, 33)), ("b", table.slice(33))):
        pq.write_table(part, folder / f"{name}.parquet", row_group_size=9)
    return str(folder)


def workers(folder: Path) -> tuple[ItemWorkers, Elsewhere]:
    (folder / "scratch").mkdir(exist_ok=True)
    engine = Elsewhere()
    return ItemWorkers(engine, folder / "scratch"), engine


def content(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def exported(trained: Trained, out: Path, items: ItemOptions, base: Path | None = None) -> dict[str, bytes]:
    with PassProgress(False) as bars:
        export_items(trained, out, items, base, base is not None, bars)
    return content(out)


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_vectors(two_tower: Trained, tmp_path: Path, kind: str) -> None:
    source = cut(tmp_path / "raw", catalogue())
    wanted = exported(two_tower, tmp_path / "here", ItemOptions(source, CPU, kind))
    on, engine = workers(tmp_path)
    assert exported(two_tower, tmp_path / "there", ItemOptions(source, CPU, kind, workers=on)) == wanted
    assert len(engine.tasks) == -(-len(catalogue()) // 20) > 1
    assert len(list(on.scratch.iterdir())) == len(engine.tasks)  # of the runs of a task whose result nobody took


def test_a_delta(two_tower: Trained, tmp_path: Path) -> None:
    exported(two_tower, tmp_path / "base", ItemOptions(cut(tmp_path / "raw", catalogue()), CPU))
    after = catalogue()
    prices = [9.0 if row % 7 == 3 else price for row, price in enumerate(after["price"].to_pylist())]
    after = after.set_column(after.column_names.index("price"), "price", pa.array(prices, after["price"].type))
    source = cut(tmp_path / "later", after.slice(2))
    wanted = exported(two_tower, tmp_path / "here", ItemOptions(source, CPU), tmp_path / "base")
    on, _ = workers(tmp_path)
    assert exported(two_tower, tmp_path / "there", ItemOptions(source, CPU, workers=on), tmp_path / "base") == wanted
    assert 0 < pq.read_metadata(tmp_path / "there" / "items.parquet").num_rows < len(after)


@pytest.mark.parametrize("name", ["cold", "bst"])
def test_features(log: Log, tmp_path: Path, name: str) -> None:
    trained, source = log.trained(name), cut(tmp_path / "raw", catalogue())
    wanted = exported(trained, tmp_path / "here", ItemOptions(source, CPU))
    on, engine = workers(tmp_path)
    assert exported(trained, tmp_path / "there", ItemOptions(source, CPU, workers=on)) == wanted
    assert engine.tasks


def test_an_error_is_that_of_one_process(two_tower: Trained, tmp_path: Path) -> None:
    table = catalogue()
    keys = [None if row == 37 else key for row, key in enumerate(table["item"].to_pylist())]
    source = cut(tmp_path / "raw", table.set_column(table.column_names.index("item"), "item", pa.array(keys)))
    on, _ = workers(tmp_path)
    texts = []
    for place, of in (("here", None), ("there", on)):
        with pytest.raises(DataError, match="An item has no key") as raised:
            exported(two_tower, tmp_path / place, ItemOptions(source, CPU, workers=of))
        texts.append(str(raised.value))
    assert texts[0] == texts[1]


def test_a_model_is_loaded_again_elsewhere(two_tower: Trained) -> None:
    import pickle
    from dataclasses import replace
    from functools import partial

    assert pickle.loads(pickle.dumps(two_tower)).version == two_tower.version
    sent = pickle.dumps(replace(two_tower, again=partial(_loaded, "a path")))
    assert len(sent) < 500
    assert pickle.loads(sent) == "a path"


def _loaded(path: str) -> str:
    return path
