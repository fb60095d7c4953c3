"""Vectors of a catalogue by raw key: what the bundle computes, stored in some type, whole or as a delta."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from distill.errors import DataError
from distill.export import Trained
from distill.files import hash_file
from distill.serving import Bundle, ItemVectors
from distill.serving.index import ItemIndex, write_index
from distill.serving.items import ItemType, read_items_manifest
from distill.serving.key_value import KeyValueItems, write_key_value
from tests.export.conftest import Log
from tests.export.items import written
from tests.export.raw import catalogue


@pytest.fixture
def trained(two_tower: Trained) -> Trained:
    return two_tower


@pytest.fixture
def bundle(two_tower_bundle: Bundle) -> Bundle:
    return two_tower_bundle


def own(bundle: Bundle, table: pa.Table) -> np.ndarray:
    return bundle.item_vectors(table.drop_columns([]))


@pytest.mark.parametrize(("kind", "bound"), [("float32", 1e-6), ("float16", 2e-3), ("int8", 1e-2)])
def test_stored_vectors_are_those_of_the_bundle(
    trained: Trained, bundle: Bundle, kind: ItemType, bound: float, tmp_path: Path
) -> None:
    table = catalogue()
    assert written(trained, tmp_path / "items", table, kind).count == len(table)
    items = ItemVectors.load(tmp_path / "items", trained.version)
    backwards = table["item"].to_pylist()[::-1]
    wanted = own(bundle, table)[::-1]
    assert np.abs(items.of(backwards) - wanted).max() <= bound * np.abs(wanted).max()
    assert items.keys().to_pylist() == table["item"].to_pylist()
    in_table = pq.read_table(tmp_path / "items" / "items.parquet")
    first = np.asarray(in_table["vector"][3].as_py(), np.float32).reshape(items.shape)
    if kind == "int8":
        first = first * np.asarray(in_table["scale"][3].as_py(), np.float32).reshape(*items.shape[:-1], 1)
    np.testing.assert_allclose(first, items.of([table["item"][3].as_py()])[0], rtol=1e-6)


def test_scores_by_key_are_those_by_raw_columns(trained: Trained, bundle: Bundle, log: Log, tmp_path: Path) -> None:
    table = catalogue()
    written(trained, tmp_path / "items", table)
    with_items = bundle.with_items(ItemVectors.load(tmp_path / "items", bundle.version))
    request, _, _ = log.raw()
    one = {name: values[0].as_py() for name, values in request.items()}
    bids = [1.0] * len(table)
    by_columns = bundle.score(one, {name: table[name] for name in table.column_names} | {"bid": bids})
    by_key = with_items.score(one, {"bid": bids}, items=table["item"])
    np.testing.assert_allclose(by_key.logits, by_columns.logits, atol=1e-5)
    np.testing.assert_allclose(by_key.ranking_score, by_columns.ranking_score, atol=1e-5)
    with pytest.raises(DataError, match=r"An item has no vector(.|\n)*row 1(.|\n)*i999"):
        with_items.score(one, {"bid": [1.0, 1.0]}, items=["i3", "i999"])
    with pytest.raises(DataError, match="no stored items"):
        bundle.score(one, {"bid": [1.0]}, items=["i3"])
    with pytest.raises(DataError, match="another type"):
        with_items.score(one, {"bid": [1.0]}, items=[3])


def test_a_delta_holds_new_and_changed_items_alone(trained: Trained, bundle: Bundle, tmp_path: Path) -> None:
    before = catalogue(count=40)
    written(trained, tmp_path / "base", before)
    base = ItemVectors.load(tmp_path / "base", trained.version)
    price = before["price"].to_pylist()
    price[3] += 100.0
    after = before.set_column(before.column_names.index("price"), "price", pa.array(price)).slice(2)
    after = pa.concat_tables([after, catalogue(seed=9, count=5, shift=70)])
    found = written(trained, tmp_path / "delta", after, base=base, is_whole=True, rows=9)
    assert (found.count, found.seen, found.removed) == (6, 43, 2)
    now = base.updated(tmp_path / "delta")
    assert len(now) == 43
    assert sorted(now.keys().to_pylist()) == sorted(after["item"].to_pylist())
    np.testing.assert_allclose(now.of(after["item"]), own(bundle, after), atol=1e-5)
    assert now.positions(["i0", "i1", "i2", "i71"])[:2].tolist() == [-1, -1]
    assert len(base) == 40, "the base is what it was"
    with pytest.raises(DataError, match="not all of it"):
        ItemVectors.load(tmp_path / "delta")


def test_without_the_whole_catalogue_nothing_is_gone(trained: Trained, tmp_path: Path) -> None:
    written(trained, tmp_path / "base", catalogue(count=10))
    base = ItemVectors.load(tmp_path / "base")
    assert written(trained, tmp_path / "delta", catalogue(count=10).slice(0, 3), base=base).count == 0
    assert len(base.updated(tmp_path / "delta")) == 10


def test_other_versions_are_refused_everywhere(log: Log, trained: Trained, bundle: Bundle, tmp_path: Path) -> None:
    other = log.trained("two_tower")
    with torch.no_grad():
        next(other.model.parameters()).view(-1)[0] += 1
    other = Trained(other.model, other.schema, other.encodings)
    written(trained, tmp_path / "own", catalogue(count=200))
    written(other, tmp_path / "other", catalogue(count=200))
    foreign, mine = ItemVectors.load(tmp_path / "other"), ItemVectors.load(tmp_path / "own")
    write_key_value(tmp_path / "foreign.lmdb", foreign)
    (tmp_path / "index").mkdir()
    write_index(tmp_path / "index", foreign, other.schema.task_names, "flat")
    refusals = (
        lambda: ItemVectors.load(tmp_path / "other", bundle.version),
        lambda: bundle.with_items(foreign),
        lambda: Bundle.load(bundle.root, items=tmp_path / "other"),
        lambda: mine.updated(tmp_path / "other"),
        lambda: written(other, tmp_path / "delta", catalogue(), base=mine),
        lambda: KeyValueItems(tmp_path / "foreign.lmdb", bundle.version),
        lambda: ItemIndex.load(tmp_path / "index", bundle.version),
    )
    for refused in refusals:
        with pytest.raises(DataError, match="another version"):
            refused()


def test_a_catalogue_names_each_item_once(trained: Trained, tmp_path: Path) -> None:
    table = catalogue(count=5)
    twice = pa.concat_tables([table, table.slice(2, 2)])
    with pytest.raises(DataError, match=r"more than once(.|\n)*'i2', 2 times; 2 such items"):
        written(trained, tmp_path / "twice", twice)
    without = table.set_column(0, "item", pa.array(["i0", None, "i2", "i3", "i4"]))
    with pytest.raises(DataError, match=r"no key(.|\n)*row 1"):
        written(trained, tmp_path / "null", without)


def test_a_damaged_store_is_refused(trained: Trained, tmp_path: Path) -> None:
    written(trained, tmp_path / "items", catalogue())
    path = tmp_path / "items" / "vectors.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataError, match="not the one that was written"):
        ItemVectors.load(tmp_path / "items")
    path.unlink()
    with pytest.raises(DataError, match="no file"):
        ItemVectors.load(tmp_path / "items")
    with pytest.raises(DataError, match="holds no item vectors"):
        ItemVectors.load(tmp_path)


def test_vectors_that_are_not_those_of_the_items_are_refused(trained: Trained, bundle: Bundle, tmp_path: Path) -> None:
    """Hashes and version agree, but the vectors were made of other rows."""
    for kind in ("float32", "float16", "int8"):
        written(trained, tmp_path / kind, catalogue(), kind)
        assert Bundle.load(bundle.root, items=tmp_path / kind).items is not None
    root = tmp_path / "float32"
    table = pq.read_table(root / "golden.parquet")
    price = [value + (1000.0 if row == 3 else 0.0) for row, value in enumerate(table["price"].to_pylist())]
    pq.write_table(
        table.set_column(table.column_names.index("price"), "price", pa.array(price)), root / "golden.parquet"
    )
    manifest = read_items_manifest(root)
    files = {**manifest.files, "golden.parquet": hash_file(root / "golden.parquet")}
    manifest.model_copy(update={"files": files}).write(root)
    with pytest.raises(DataError, match=r"not the one that the bundle computes(.|\n)*item 'i3'"):
        Bundle.load(bundle.root, items=root)


def test_the_loss_of_fewer_bits_is_measured(trained: Trained, tmp_path: Path) -> None:
    table = catalogue(count=300)
    shares = []
    for kind in ("float32", "float16", "int8"):
        written(trained, tmp_path / kind, table, kind, rows=100)
        share = read_items_manifest(tmp_path / kind).overlap
        assert share is not None
        shares.append(share)
    assert shares[0] == 1.0
    assert 1.0 >= shares[1] >= shares[2] > 0.9
    written(trained, tmp_path / "few", table.slice(0, 50), "int8")
    assert read_items_manifest(tmp_path / "few").overlap is None


def test_the_manifest_of_items_has_a_seal(trained: Trained, tmp_path: Path) -> None:
    written(trained, tmp_path / "items", catalogue(count=4))
    path = tmp_path / "items" / "items.json"
    path.write_text(path.read_text().replace('"count": 4', '"count": 3'))
    with pytest.raises(DataError, match="holds no item vectors"):
        read_items_manifest(tmp_path / "items")


def test_a_delta_belongs_to_its_base(trained: Trained, tmp_path: Path) -> None:
    """Items that a delta does not name are those of its base: under others they would be out of date."""
    for name, seed in (("base", 5), ("other", 6)):
        written(trained, tmp_path / name, catalogue(seed=seed, count=10))
    base, other = (ItemVectors.load(str(tmp_path / name)) for name in ("base", "other"))
    written(trained, tmp_path / "first", catalogue(count=10, seed=7).slice(0, 3), base=base)
    with pytest.raises(DataError, match="changes other item vectors"):
        other.updated(tmp_path / "first")
    once = base.updated(str(tmp_path / "first"))
    written(trained, tmp_path / "second", catalogue(count=12, seed=8), base=once)
    with pytest.raises(DataError, match="changes other item vectors"):
        base.updated(tmp_path / "second")
    assert len(once.updated(tmp_path / "second")) == 12


def test_an_empty_catalogue(trained: Trained, tmp_path: Path) -> None:
    table = catalogue(count=5)
    written(trained, tmp_path / "empty", table.slice(0, 0))
    empty = ItemVectors.load(tmp_path / "empty")
    assert len(empty) == 0
    assert empty.of([]).shape == (0, *empty.shape)
    with pytest.raises(DataError, match="has no vector"):
        empty.of(["i0"])
    written(trained, tmp_path / "delta", table, base=empty, is_whole=True)
    assert empty.updated(tmp_path / "delta").keys().to_pylist() == table["item"].to_pylist()
    assert write_key_value(tmp_path / "items.lmdb", empty) == 0
    for kind in ("flat", "ivf"):
        (tmp_path / kind).mkdir()
        write_index(tmp_path / kind, empty, trained.schema.task_names, kind)
        index = ItemIndex.load(str(tmp_path / kind))
        assert index.search(np.zeros((1, empty.shape[1]), np.float32), "buy", 2)[1].tolist() == [[-1, -1]]


@pytest.mark.parametrize("file", ["items.parquet", "golden.parquet", "vectors.npy"])
def test_a_file_that_was_cut_off_is_named_without_its_hash_too(trained: Trained, file: str, tmp_path: Path) -> None:
    written(trained, tmp_path / "items", catalogue(count=5))
    path = tmp_path / "items" / file
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=f"cannot be read(.|\n)*{file}"):
        ItemVectors.load(tmp_path / "items", check=False)


def test_keys_that_are_not_those_of_the_vectors_are_refused(trained: Trained, tmp_path: Path) -> None:
    written(trained, tmp_path / "items", catalogue(count=5))
    path = tmp_path / "items" / "items.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(DataError, match=r"other item keys(.|\n)*5 keys(.|\n)*4"):
        ItemVectors.load(tmp_path / "items", check=False)
    pq.write_table(table.rename_columns(["name", *table.column_names[1:]]), path)
    with pytest.raises(DataError, match="cannot be read"):
        ItemVectors.load(tmp_path / "items", check=False)


def test_vectors_that_float16_cannot_hold_are_refused(log: Log, tmp_path: Path) -> None:
    trained = log.trained("logistic")
    with torch.no_grad():
        for parameter in trained.model.parameters():
            parameter.mul_(1e6)
    with pytest.raises(DataError, match=r"not finite as float16(.|\n)*item_type=float32"):
        written(Trained(trained.model, trained.schema, trained.encodings), tmp_path / "items", catalogue(), "float16")
