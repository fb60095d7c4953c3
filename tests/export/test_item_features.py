"""Features of items by key: a model that reads request and item together scores stored items as it does raw ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from distill.data.prepare.progress import PassProgress
from distill.errors import ConfigError, DataError
from distill.export import BundleOptions
from distill.files import hash_file
from distill.jobs.export import ItemOptions, export_bundle, export_items
from distill.serving import Bundle, ItemVectors
from distill.serving.item_features import FEATURES_FILE, ItemFeatures, read_features_manifest
from tests.export.conftest import Log
from tests.export.raw import catalogue
from tests.marks import slow_except

CPU = torch.device("cpu")


def items_of(folder: Path, table: pa.Table) -> ItemOptions:
    pq.write_table(table, folder / "items.parquet")
    return ItemOptions(str(folder / "items.parquet"), CPU)


@pytest.fixture(scope="module")
def bundle(log: Log, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("features")
    with PassProgress(False) as bars:
        trained, options = log.trained("cold"), BundleOptions(exported=False)
        export_bundle(trained, folder / "bundle", options, items_of(folder, catalogue()), bars)
    return Bundle.load(folder / "bundle")


def of_pair(log: Log, count: int) -> dict[str, pa.Array]:
    """Columns of the pair and of the ranking score."""
    _, candidates, _ = log.raw()
    return {name: candidates[name].slice(0, count) for name in ("match", "reason", "bid", "dwell")}


@pytest.mark.parametrize("name", slow_except(["cold", "fscd", "dcn_v2", "bst"], "cold"))
def test_items_by_key_score_as_their_raw_columns(name: str, log: Log, tmp_path: Path) -> None:
    with PassProgress(False) as bars:
        export_bundle(log.trained(name), tmp_path / "b", BundleOptions(exported=False), items_of(tmp_path, catalogue()),
                      bars)  # fmt: skip
    bundle = Bundle.load(tmp_path / "b")
    request, _, _ = log.raw()
    one = {column: values[2].as_py() for column, values in request.items()}
    table = catalogue().take([31, 0, 0, 49, 7])
    pair = of_pair(log, len(table))
    by_columns = bundle.score(one, {column: table[column] for column in table.column_names} | pair)
    by_key = bundle.score(one, pair, items=table["item"])
    np.testing.assert_array_equal(by_key.logits, by_columns.logits)
    np.testing.assert_array_equal(by_key.ranking_score, by_columns.ranking_score)
    two = {column: values.slice(2, 2) for column, values in request.items()}
    batch = bundle.score_batch(two, pair, [3, 2], items=table["item"].to_pylist())
    np.testing.assert_allclose(batch.logits[:3], by_columns.logits[:3], atol=1e-5)


def test_what_is_stored_is_what_is_encoded(bundle: Bundle) -> None:
    items = bundle.items
    assert isinstance(items, ItemFeatures)
    assert len(items) == 50
    table = catalogue()
    stored = items.inputs(table["item"])
    for name, wanted in bundle.encode_items(table).items():
        np.testing.assert_array_equal(stored[name], wanted)
        assert stored[name].dtype == wanted.dtype
    assert set(stored) == set(bundle.encode_items(table))
    assert items.positions(["i3", "?", "i0"]).tolist() == [3, -1, 0]


def test_unknown_and_damaged_items_are_refused(bundle: Bundle, log: Log, tmp_path: Path) -> None:
    request, _, _ = log.raw()
    one = {column: values[0].as_py() for column, values in request.items()}
    with pytest.raises(DataError, match=r"no stored features(.|\n)*row 1(.|\n)*i999"):
        bundle.score(one, of_pair(log, 2), items=["i3", "i999"])
    copied = _copy(bundle.root / "items", tmp_path / "items")
    with pytest.raises(DataError, match="holds no item vectors"):
        ItemVectors.load(copied)
    (copied / "ids.npy").write_bytes((copied / "ids.npy").read_bytes()[:-1] + b"\x07")
    with pytest.raises(DataError, match=r"not the one that was written(.|\n)*ids\.npy"):
        ItemFeatures.load(copied)
    manifest = read_features_manifest(copied)
    manifest.model_copy(update={"version": "0" * 32}).write(copied)
    with pytest.raises(DataError, match="another version"):
        Bundle.load(bundle.root, items=copied)
    (copied / FEATURES_FILE).unlink()
    with pytest.raises(DataError, match="no stored features of items"):
        ItemFeatures.load(copied)


@pytest.mark.parametrize(
    ("file", "array", "match"),
    [
        ("numbers.npy", np.zeros((49, 2), np.float32), "50 rows"),
        ("numbers.npy", np.zeros((50, 2), np.int64), "float32"),
        ("ids.npy", np.zeros((50, 3), np.float32), "integers"),
        ("ends-4.npy", np.arange(50)[::-1].copy(), "ascending"),
        ("ends-4.npy", np.zeros(50, np.int64), "ascending, up to"),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(
    file: str, array: npt.NDArray[np.generic], match: str, bundle: Bundle, tmp_path: Path
) -> None:
    """Though their hashes are right."""
    copied = _copy(bundle.root / "items", tmp_path / "items")
    manifest = read_features_manifest(copied)
    assert file in manifest.files
    np.save(copied / file, array)
    manifest.model_copy(update={"files": {**manifest.files, file: hash_file(copied / file)}}).write(copied)
    with pytest.raises(DataError, match=rf"{file}(.|\n)*{match}"):
        ItemFeatures.load(copied)


def test_ends_that_go_back_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    """Though the last of them is right."""
    copied = _copy(bundle.root / "items", tmp_path / "items")
    ends = np.load(copied / "ends-4.npy")
    ends[3] = ends[-1]
    np.save(copied / "ends-4.npy", ends)
    with pytest.raises(DataError, match=r"ends-4.npy(.|\n)*ascending"):
        ItemFeatures.load(copied, check=False)


def test_features_that_are_not_those_of_the_items_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    """Hashes and version agree, but other rows were encoded."""
    copied = _copy(bundle.root / "items", tmp_path / "items")
    manifest = read_features_manifest(copied)
    ids = np.load(copied / "ids.npy")
    ids[5] = ids[6]
    np.save(copied / "ids.npy", ids)
    manifest.model_copy(update={"files": {**manifest.files, "ids.npy": hash_file(copied / "ids.npy")}}).write(copied)
    with pytest.raises(DataError, match=r"not those that the bundle encodes(.|\n)*candidate_ids"):
        Bundle.load(bundle.root, items=copied)


def test_an_empty_catalogue_and_what_has_no_vectors(log: Log, tmp_path: Path) -> None:
    trained = log.trained("cold")
    with PassProgress(False) as bars:
        empty = items_of(tmp_path, catalogue().slice(0, 0))
        export_items(trained, tmp_path / "empty", empty, None, False, bars)
        assert len(ItemFeatures.load(tmp_path / "empty")) == 0
        assert ItemFeatures.load(tmp_path / "empty").positions(["i1"]).tolist() == [-1]
        with pytest.raises(ConfigError, match="cannot have deltas"):
            export_items(trained, tmp_path / "delta", empty, tmp_path / "empty", False, bars)
        for option in ({"kind": "int8"}, {"key_value": True}, {"index": "flat"}):
            with pytest.raises(ConfigError, match="reads request and item together"):
                export_items(trained, tmp_path / "no", ItemOptions(empty.source, CPU, **option), None, False, bars)
        twice = items_of(tmp_path, pa.concat_tables([catalogue(), catalogue().slice(3, 1)]))
        with pytest.raises(DataError, match="more than once"):
            export_items(trained, tmp_path / "twice", twice, None, False, bars)
    assert not (tmp_path / "twice").exists()


def test_the_card_says_what_is_stored(bundle: Bundle) -> None:
    assert "50 items by `item`, encoded" in (bundle.root / "README.md").read_text()


def _copy(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to
