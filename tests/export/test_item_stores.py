"""Vectors of a catalogue as exports: a key-value file and an index, stamped with the version of their model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from distill.errors import DataError
from distill.export import Trained
from distill.sealed import read_sealed, write_sealed
from distill.serving import Bundle, ItemVectors
from distill.serving.index import ItemIndex, write_index
from distill.serving.key_value import KeyValueItems, key_bytes, write_key_value
from tests.export.items import written
from tests.export.raw import catalogue


@pytest.fixture
def trained(two_tower: Trained) -> Trained:
    return two_tower


@pytest.fixture
def bundle(two_tower_bundle: Bundle) -> Bundle:
    return two_tower_bundle


@pytest.mark.slow
def test_key_value_file_and_index_hold_the_same_vectors(trained: Trained, bundle: Bundle, tmp_path: Path) -> None:
    table = catalogue(count=200)
    written(trained, tmp_path / "items", table)
    items = ItemVectors.load(tmp_path / "items")
    assert write_key_value(tmp_path / "items.lmdb", items, rows=33) == 200
    stored = KeyValueItems(tmp_path / "items.lmdb", trained.version)
    np.testing.assert_array_equal(stored.of(["i7", "i0"]), items.of(["i7", "i0"]))
    with pytest.raises(DataError, match="i999"):
        stored.of(["i999"])
    stored.close()
    request = bundle.request_vectors(
        {
            "user": [3],
            "city": [1],
            "past": [["i3"]],
            "words": [[]],
            "taste": [None],
            "age": [30.0],
        },
        1,
    )
    k = trained.schema.task_names.index("buy")
    exact = (items.of(items.keys())[:, min(k, items.shape[0] - 1)] * request[0, k]).sum(1)
    best = np.argsort(-exact, kind="stable")[:10]
    for kind in ("flat", "ivf"):
        (tmp_path / kind).mkdir()
        write_index(tmp_path / kind, items, trained.schema.task_names, kind)
        index = ItemIndex.load(tmp_path / kind, trained.version)
        scores, found = index.search(request[:, k], "buy", 10)
        np.testing.assert_allclose(scores[0], exact[found[0]], rtol=1e-5)
        assert len(np.intersect1d(found[0], best)) >= (10 if kind == "flat" else 5)
        assert index.keys[int(found[0][0])].as_py() in table["item"].to_pylist()


def test_an_index_names_what_it_cannot_search(trained: Trained, tmp_path: Path) -> None:
    written(trained, tmp_path / "items", catalogue(count=5))
    items = ItemVectors.load(tmp_path / "items")
    write_index(tmp_path, items, trained.schema.task_names, "flat")
    index = ItemIndex.load(tmp_path)
    with pytest.raises(DataError, match=r"no such task(.|\n)*click, buy, stars(.|\n)*like"):
        index.search(np.zeros((1, items.shape[1]), np.float32), "like", 2)
    for shape in ((1, items.shape[1] + 1), (1, 3, items.shape[1])):
        with pytest.raises(DataError, match="another shape than the index"):
            index.search(np.zeros(shape, np.float32), "buy", 2)
    content = read_sealed(tmp_path / "index.json")
    content["tasks"]["buy"] = "../buy.faiss"
    write_sealed(tmp_path / "index.json", content)
    with pytest.raises(DataError, match="does not lie below"):
        ItemIndex.load(tmp_path)
    with pytest.raises(DataError, match=r"holds no index(.|\n)*no file"):
        ItemIndex.load(tmp_path / "items")


def test_keys_of_a_key_value_file(trained: Trained, tmp_path: Path) -> None:
    assert key_bytes(-1) == b"i" + b"\xff" * 8 == key_bytes(2**64 - 1)
    assert key_bytes(np.int64(7)) == key_bytes(7)
    for wrong in (None, 2**64, 1.5, b"i1"):
        with pytest.raises(DataError, match="not a key of an item"):
            key_bytes(wrong)  # type: ignore[arg-type]
    written(trained, tmp_path / "items", catalogue(count=200))
    items = ItemVectors.load(tmp_path / "items")
    write_key_value(tmp_path / "items.lmdb", items)
    stored = KeyValueItems(str(tmp_path / "items.lmdb"))
    np.testing.assert_array_equal(stored.of(pa.array(["i7", "i0"])), items.of(["i7", "i0"]))
    stored.close()
    content = (tmp_path / "items.lmdb").read_bytes()
    (tmp_path / "cut.lmdb").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="is cut off"):  # to read it would end the process
        KeyValueItems(tmp_path / "cut.lmdb")
    table = catalogue(count=2)
    long = table.set_column(0, "item", pa.array(["i" * 600, "j"]))
    written(trained, tmp_path / "long", long)
    with pytest.raises(DataError, match=r"too long for a key-value file(.|\n)*600 bytes"):
        write_key_value(tmp_path / "long.lmdb", ItemVectors.load(tmp_path / "long"))
