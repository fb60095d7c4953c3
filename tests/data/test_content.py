"""What is read is what was written: flipped bits of every file are errors that name it, or change nothing."""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from distill.data.build import build_dataset
from distill.data.catalogue import load_catalogue
from distill.data.checked_file import CheckedFile
from distill.data.checksums import CHECKSUMS_FILE, FileChecksums
from distill.data.coverage import teacher_numbers
from distill.data.dataset import load_dataset
from distill.data.format import MANIFEST_FILE, SCHEMA_FILE, SPLITS, Dataset, field_column, teacher_column
from distill.data.raw import RawDataset
from distill.data.stream import BatchLoader, SplitReader, StreamOrder, plan_epoch
from distill.encodings.fitted import FittedEncodings
from distill.errors import DataError, DistillError
from distill.schema import Schema
from distill.sealed import read_sealed, write_sealed
from distill.signals.aligned import write_aligned
from distill.signals.principal import PrincipalComponents
from distill.signals.provenance import Provenance, check_parts, check_provenance, finish_signals
from tests.data.prepare.builders import BY_COLUMN, schema_of, write
from tests.data.stream.builders import make_dataset, with_checksums
from tests.data.stream.test_contents import tensors
from tests.marks import slow_except

FIELDS = [
    {"name": "uid", "side": "request", "kind": "id"},
    {"name": "history", "side": "request", "kind": "sequence", "table": "item"},
    {"name": "item", "side": "candidate", "kind": "id"},
    {"name": "brand", "side": "candidate", "kind": "id", "encoding": {"type": "hash", "buckets": 50}},
    {"name": "price", "side": "candidate", "kind": "number"},
    {"name": "image", "side": "candidate", "kind": "vector", "width": 2},
    {"name": "clicks", "side": "cross", "kind": "number", "encoding": {"type": "quantile", "buckets": 4}},
]
ORDER = StreamOrder(batch_candidates=20, shuffle_buffer=64, num_shards=1, seed=3, shuffle=True)


@dataclass(frozen=True)
class Source:
    """Logs of 60 requests with a catalogue and a teacher's scores."""

    name: str = "shop"

    def fingerprint(self) -> str:
        return "0123456789abcdef"

    def write_raw(self, directory: Path) -> RawDataset:
        rng = np.random.default_rng(0)
        rows = 60 * 4
        item = rng.integers(0, 30, rows)
        columns = {
            "rid": np.repeat([f"r{i}" for i in range(60)], 4).tolist(),
            "uid": np.repeat(rng.integers(0, 9, 60), 4).tolist(),
            "history": [[int(v) for v in range(i % 4)] for i in range(60) for _ in range(4)],
            "item": item.tolist(),
            "brand": [f"b{i % 7}" for i in item],
            "price": (item / 8.0).tolist(),
            "image": [[float(i), -1.0] for i in item],
            "clicks": rng.integers(0, 20, rows).astype(float).tolist(),
            "click": rng.integers(0, 2, rows).tolist(),
            "score": rng.normal(size=rows).tolist(),
            "part": np.repeat((["train"] * 4 + ["val", "test"]) * 10, 4).tolist(),
        }
        ids = list(range(30))
        items = {"item": ids, "brand": [f"b{i % 7}" for i in ids], "price": [i / 8.0 for i in ids]}
        items["image"] = [[float(i), -1.0] for i in ids]
        schema = schema_of(fields=FIELDS, teacher={"columns": {"click": "score"}, "kind": "logit"})
        files = (write(directory / "raw.parquet", columns),)
        return RawDataset(files, schema, BY_COLUMN, write(directory / "items.parquet", items))


def score(dataset: Dataset, folder: Path) -> None:
    """Writes signals as the score job does."""
    rng = np.random.default_rng(1)
    names = []
    for part in dataset.all_parts[: -len(dataset.manifest.items)]:
        columns = {
            teacher_column("click"): rng.normal(size=part.candidates).astype(np.float32),
            "hidden_body": rng.normal(size=(part.candidates, 3)).astype(np.float16),
        }
        write_aligned(columns, dataset.open(part), folder / part.path, {b"a": b"b"}, nested=True)
        names.append(part.path)
    finish_signals(folder, Provenance("t" * 32, dataset.fingerprint, ("click",)), names)
    vectors = torch.from_numpy(rng.normal(size=(50, 5)).astype(np.float32))
    PrincipalComponents.fit([vectors], 2, "test").save(folder / "components.safetensors")


def everything(root: Path, signals: Path) -> list[bytes]:
    """All that is made of a dataset and of signals."""
    dataset = load_dataset(root)
    found = [torch.tensor(0)]
    check_parts(signals, check_provenance(signals, dataset.fingerprint, ("click",)))
    for split in SPLITS:
        for source in ("dataset", str(signals)):
            reader = SplitReader.open(dataset, dataset.schema, split, source)
            for batch in BatchLoader(reader, plan_epoch(reader.index, ORDER, 0), ahead=False):
                found += tensors(batch)
    catalogue = load_catalogue(dataset, dataset.schema)
    fields = catalogue.fields
    found += [catalogue.item_id, fields.ids, fields.numbers, fields.vectors["image"], catalogue.exposures.count]
    components = PrincipalComponents.load(signals / "components.safetensors")
    found += [components.mean, components.basis, torch.tensor(components.kept)]
    fitted = FittedEncodings.load(root, dataset.manifest.encodings)
    texts = [str(fitted.encode(f, pa.array([3, 4, 99]), None).array) for f in dataset.schema.fields if f.name == "item"]  # type: ignore[arg-type]
    texts += [str(teacher_numbers(dataset, ("click",), signals)), str(dataset.manifest), str(dataset.schema)]
    return [*(tensor.numpy().tobytes() for tensor in found), *(text.encode() for text in texts)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("content")
    dataset = build_dataset(Source(), folder / "data", progress=False)
    score(dataset, folder / "signals")
    return dataset.root, folder / "signals"


def flips(roots: tuple[Path, ...], count: int, seed: int) -> Iterator[Path]:
    """Flips one bit after the other, of files chosen evenly; each is mended before the next."""
    rng = random.Random(seed)
    files = sorted(path for root in roots for path in root.rglob("*") if path.is_file())
    for number in range(count):
        path = files[number % len(files)]
        data = path.read_bytes()
        bit = rng.randrange(8 * len(data))
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        yield path
        path.write_bytes(data)


def refused(read: Callable[[], object], expected: object) -> str | None:
    """Returns the error of a reading; without one it gives what is expected."""
    try:
        found = read()
    except DistillError as error:
        return str(error)
    assert found == expected
    return None


@pytest.mark.parametrize("count", slow_except([30, 160], 30))
def test_a_flipped_bit_of_any_file_is_an_error_that_names_it_or_changes_nothing(
    written: tuple[Path, Path], count: int
) -> None:
    expected = everything(*written)
    outcomes = {"error": 0, "the same": 0}
    for path in flips(written, count, seed=0):
        refusal = refused(lambda: everything(*written), expected)
        assert refusal is None or (path.name in refusal and path.parent.name in refusal), (path, refusal)
        outcomes["the same" if refusal is None else "error"] += 1
    assert everything(*written) == expected
    assert outcomes["error"] > 0.9 * count


@pytest.mark.slow
def test_a_dataset_of_an_adapter_is_mended(written: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    root, signals = written
    expected = everything(root, signals)
    kept = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    for path in flips((root,), 40, seed=1):
        with caplog.at_level(logging.WARNING):
            build_dataset(Source(), root.parent, progress=False)
        assert everything(root, signals) == expected
        assert path.read_bytes() == kept[path]
    assert "is prepared again" in caplog.text


@pytest.mark.slow
def test_every_bit_of_a_file(tmp_path: Path) -> None:
    """Page headers, pages, footer: also those bits that Parquet's own page checksums do not cover."""
    path = tmp_path / "a.parquet"
    table = pa.table({"a": pa.array([1, 2, 3], pa.int32()), "b": pa.array([[1.0], [], [2.0]], pa.list_(pa.float32()))})
    pq.write_table(
        table,
        path,
        row_group_size=2,
        compression="lz4",
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
    )
    checksums, data = FileChecksums.of(path), path.read_bytes()
    count = 0

    def read() -> pa.Table:
        return pa.concat_tables(CheckedFile.open(path, checksums).tables(["a", "b"]))

    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        refusal = refused(read, table)
        assert refusal is None or "a.parquet" in refusal
        count += refusal is not None
    assert count == 8 * len(data) - 32  # all but the magic bytes at the beginning, which nobody reads


@pytest.mark.parametrize("change", [("exposed", "all"), ("size: 32", "size: 9"), ("standardise", "identity")])
def test_another_schema_is_refused_and_an_adapter_prepares_again(tmp_path: Path, change: tuple[str, str]) -> None:
    class Staged(Source):
        def write_raw(self, directory: Path) -> RawDataset:
            raw = super().write_raw(directory)
            table = pq.read_table(raw.files[0])
            pq.write_table(table.append_column("stage", pa.array([3] * len(table))), raw.files[0])
            tasks = [{"name": "click", "observed": "exposed"}]
            data = {**raw.schema.model_dump(exclude_none=True), "tasks": tasks}
            data["keys"]["stage"] = {"column": "stage"}
            return replace(raw, schema=Schema.model_validate(data))

    dataset = build_dataset(Staged(), tmp_path, progress=False)
    path = dataset.root / SCHEMA_FILE
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(DataError, match=r"differs from the one that the data was prepared with(.|\n)*schema\.yaml"):
        load_dataset(dataset.root)
    assert build_dataset(Staged(), tmp_path, progress=False).schema == dataset.schema
    assert path.read_text() == text


def test_a_schema_that_cannot_be_read_is_prepared_again(tmp_path: Path) -> None:
    path = build_dataset(Source(), tmp_path, progress=False).root / SCHEMA_FILE
    text = path.read_text()
    for damage in ("", "[", "name: \x00", "{a: " * 5000):
        path.write_text(damage)
        build_dataset(Source(), tmp_path, progress=False)
        assert path.read_text() == text
    path.unlink()
    with pytest.raises(DataError, match=r"schema of a prepared dataset cannot be read(.|\n)*schema\.yaml"):
        load_dataset(path.parent)


def test_sizes_of_the_schema_are_those_of_the_encodings(written: tuple[Path, Path], tmp_path: Path) -> None:
    """Even where the fingerprint was made to fit."""
    from distill.data.dataset import write_manifest
    from distill.data.format import content_fingerprint

    root = shutil.copytree(written[0], tmp_path / "copy")
    data = yaml.safe_load((root / SCHEMA_FILE).read_text())
    data["fields"][2]["size"] = 9
    (root / SCHEMA_FILE).write_text(yaml.safe_dump(data))
    manifest = load_dataset(written[0]).manifest
    parts = {**manifest.splits, "items": manifest.items}
    fingerprint = content_fingerprint((root / SCHEMA_FILE).read_text(), manifest.encodings, parts)
    write_manifest(root, manifest.model_copy(update={"fingerprint": fingerprint}))
    with pytest.raises(DataError, match=r"field 'item'(.|\n)*size: 32(.|\n)*size: 9"):
        load_dataset(root)


def test_an_older_dataset_says_so_and_is_prepared_again_by_an_adapter(tmp_path: Path) -> None:
    dataset = build_dataset(Source(), tmp_path, progress=False)
    path = dataset.root / MANIFEST_FILE
    content = read_sealed(path)
    write_sealed(path, {**content, "format_version": 1})
    with pytest.raises(DataError, match=r"another version(.|\n)*format_version 4(.|\n)*format_version 1(.|\n)*again"):
        load_dataset(dataset.root)
    assert build_dataset(Source(), tmp_path, progress=False).manifest == dataset.manifest


def test_checksums_of_other_files_are_refused(written: tuple[Path, Path], tmp_path: Path) -> None:
    root = shutil.copytree(written[0], tmp_path / "copy")
    shutil.copy(root / "val" / CHECKSUMS_FILE, root / "test" / CHECKSUMS_FILE)
    dataset = load_dataset(root)
    with pytest.raises(DataError, match=r"do not match the part files(.|\n)*test"):
        dataset.open(dataset.parts("test")[0])


LENGTHS = [[3, 0, 2], [1, 4, 2, 2, 6, 1]]
BAD_IDS = [("user", 10_000), ("history", -1), ("item", -5), ("brand", 2**31 - 1), ("tags", 10_000), ("pair", 12_345)]


def set_value(dataset: Dataset, column: str, value: float) -> Dataset:
    """Gives the last value of a column of the second part file another value, as a faulty writer would."""
    path = dataset.root / dataset.parts("train")[1].path
    table = pq.read_table(path)
    array = inner = table[column].combine_chunks()
    levels = []
    while pa.types.is_list(inner.type) or pa.types.is_fixed_size_list(inner.type):
        levels.append(inner)
        inner = inner.values
    values = inner.to_numpy(zero_copy_only=False).copy()
    values[-1] = value
    array = pa.array(values, inner.type)
    for level in reversed(levels):
        if pa.types.is_list(level.type):
            array = pa.ListArray.from_arrays(level.offsets, array)
        else:
            array = pa.FixedSizeListArray.from_arrays(array, level.type.list_size)
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, column, array), path, row_group_size=4)
    return with_checksums(dataset)


def read_all(dataset: Dataset) -> int:
    reader = SplitReader.open(dataset, dataset.schema, "train")
    plan = plan_epoch(reader.index, ORDER, 0)
    return sum(batch.num_candidates for batch in BatchLoader(reader, plan, ahead=False))


@pytest.mark.parametrize(("field", "value"), BAD_IDS)
@pytest.mark.parametrize("layout", ["requests", "flat"])
def test_an_id_outside_its_table_is_named(tmp_path: Path, layout: str, field: str, value: int) -> None:
    lengths = LENGTHS if layout == "requests" else [[1] * len(file) for file in LENGTHS]
    dataset = set_value(make_dataset(tmp_path, lengths, layout), field_column(field), value)
    with pytest.raises(DataError) as caught:
        read_all(dataset)
    text = str(caught.value)
    assert f"part-00001.parquet, row group 1, column field_{field}, value" in text
    assert "0 to 9999" in text
    assert f"found:    {value}\n" in text


@pytest.mark.parametrize("field", ["age", "price", "count", "profile", "image"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named(tmp_path: Path, field: str, value: float) -> None:
    dataset = set_value(make_dataset(tmp_path, LENGTHS), field_column(field), value)
    with pytest.raises(DataError, match=rf"not finite(.|\n)*row group 1, column field_{field}(.|\n)*found: *{value}"):
        read_all(dataset)


def test_the_largest_numbers_and_ids_are_taken(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, LENGTHS)
    for field, value in (("item", 9_999), ("user", 0), ("age", 3.4e38), ("price", -3.4e38), ("image", -0.0)):
        dataset = set_value(dataset, field_column(field), value)
    assert read_all(dataset) == sum(map(sum, LENGTHS))


def test_an_item_of_the_catalogue_is_looked_at_too(tmp_path: Path) -> None:
    dataset = build_dataset(Source(), tmp_path, progress=False)
    (part,) = dataset.manifest.items
    path = dataset.root / part.path
    table = pq.read_table(path)
    ids = table["field_item"].to_numpy().copy()
    ids[4] = 32
    pq.write_table(table.set_column(1, "field_item", pa.array(ids)), path)
    checksums = replace(FileChecksums.of(path), blake2b=part.blake2b)
    write_sealed(path.parent / CHECKSUMS_FILE, {"files": {path.name: vars(checksums)}})
    with pytest.raises(DataError, match=r"items/part-00000.parquet, row group 0, column field_item, value 4(.|\n)*31"):
        load_catalogue(dataset, dataset.schema)


@pytest.mark.parametrize("path", ["../elsewhere.parquet", "/etc/elsewhere.parquet", "train/../../elsewhere.parquet"])
def test_a_part_that_lies_elsewhere_is_refused(written: tuple[Path, Path], tmp_path: Path, path: str) -> None:
    """Even where the manifest carries the hash of its own content."""
    root = shutil.copytree(written[0], tmp_path / "copy")
    manifest = read_sealed(root / MANIFEST_FILE)
    manifest["splits"]["train"][0]["path"] = path
    write_sealed(root / MANIFEST_FILE, manifest)
    with pytest.raises(DataError, match=r"manifest\.json"):
        load_dataset(root)
