"""Tables of Delta Lake and Iceberg: the rows of a version and no others, with the columns that the table has."""

from __future__ import annotations

import base64
import json
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.data.datasets import ParquetSource
from distill.data.datasets.fingerprint import fingerprint_files
from distill.data.found import CATALOGUE, each_match, find_all, find_files
from distill.data.prepare.source import RawFiles
from distill.data.split import ColumnSplit
from distill.errors import ConfigError, DataError
from tests.data.prepare.builders import pairs, prepare_quietly, rows, write

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
B85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"


def read(path: Path | str, *columns: str) -> list[dict[str, Any]]:
    """Reads columns of the only file of a source."""
    (file,) = find_files(str(path)).read
    raw = RawFiles([file], columns, ())
    tables = [pa.table(batch.columns) for batch in raw.batches(columns)]
    found = pa.concat_tables(tables).to_pylist() if tables else []
    assert len(found) == raw.num_rows
    for start in range(len(found)):  # from any row on
        rest = [row for batch in raw.batches(columns, start=start) for row in pa.table(batch.columns).to_pylist()]
        assert rest == found[start:]
    return found


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    """A table of which a file was deleted, and the last one has a column more."""
    library = pytest.importorskip("deltalake")
    folder = tmp_path / "clicks"
    first = pa.table({"day": ["1/2 %", "2", None], "item": [1, 2, 3], "tags": [["a"], [], None]})
    library.write_deltalake(folder, first, partition_by=["day"])
    library.write_deltalake(
        folder, pa.table({"day": ["2"], "item": [4], "price": [0.5]}), mode="append", schema_mode="merge"
    )
    library.DeltaTable(folder).delete("item = 1")
    return folder


def test_a_delta_table_is_what_its_log_says(delta: Path) -> None:
    assert find_files(str(delta)).read == (Path(f"{delta}@2"),)
    assert sorted(read(delta, "item", "day", "price", "tags"), key=lambda row: row["item"]) == [
        {"item": 2, "day": "2", "price": None, "tags": []},
        {"item": 3, "day": None, "price": None, "tags": None},
        {"item": 4, "day": "2", "price": 0.5, "tags": None},
    ]


def test_an_old_version_can_be_named(delta: Path) -> None:
    assert sorted(row["item"] for row in read(f"{delta}@0", "item", "day")) == [1, 2, 3]
    assert {row["day"] for row in read(f"{delta}@0", "day")} == {"1/2 %", "2", None}
    with pytest.raises(DataError, match="The Delta table cannot be read"):
        find_files(f"{delta}@7")


def test_a_table_at_a_version_is_a_match_of_its_own(delta: Path) -> None:
    other = write(delta.parent / "cold.parquet", {"item": [5]})
    versions = [f"{delta}@1", f"{delta}@0"]
    assert each_match([*versions, f"{delta.parent}/c*", versions[0]]) == (*versions, str(delta), str(other))
    with pytest.raises(DataError, match="Nothing matches") as caught:
        each_match([f"{delta.parent}/x*@1"])
    assert "FOLDER@VERSION without wildcards" in str(caught.value.expected)


def test_tables_below_a_folder_are_found_whole(delta: Path) -> None:
    other = write(delta.parent / "more.parquet", {"item": [5]})
    assert find_files(str(delta.parent)).read == (Path(f"{delta}@2"), other)
    found = find_files(str(delta.parent), catalogue=Path(f"{delta}@0"))
    assert found.read == (other,)
    assert found.left_out == {CATALOGUE: (delta,)}
    assert find_all([str(delta.parent / "c*"), str(other)], "source").kinds == {"Delta": 1, "Parquet": 1}


def test_the_fingerprint_follows_the_rows(delta: Path) -> None:
    library = pytest.importorskip("deltalake")
    before, of_version = (fingerprint_files(find_files(s).read, delta.parent) for s in (str(delta), f"{delta}@2"))
    assert before == of_version
    library.DeltaTable(delta).delete("item = 2")
    assert fingerprint_files(find_files(str(delta)).read, delta.parent) != before
    assert fingerprint_files(find_files(f"{delta}@2").read, delta.parent) == before


def _inline(deleted: list[int]) -> str:
    """Rows as Delta's inline deletion vector: a roaring bitmap of one array, in the alphabet of ZeroMQ."""
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(deleted) - 1, 16) + struct.pack(f"<{len(deleted)}H", *deleted)
    content = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    return base64.b85encode(content, pad=True).decode().translate(str.maketrans(B85, Z85))


def _delete_by_vector(folder: Path, deleted: list[int]) -> None:
    """Commits that rows of the only file are deleted, as engines do that leave the file alone."""
    (file,) = folder.glob("*.parquet")
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    of_file = {"path": file.name, "partitionValues": {}, "size": file.stat().st_size, "modificationTime": 0}
    vector = {"storageType": "i", "pathOrInlineDv": _inline(deleted), "sizeInBytes": 36, "cardinality": len(deleted)}
    commit = [
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}},
        {"remove": {**of_file, "deletionTimestamp": 0, "dataChange": True, "extendedFileMetadata": True}},
        {"add": {**of_file, "dataChange": True, "stats": '{"numRecords": 6}', "deletionVector": vector}},
    ]
    log = folder / "_delta_log" / f"{1:020}.json"
    log.write_text("".join(json.dumps(action) + "\n" for action in commit))


def test_rows_that_a_deletion_vector_names_are_not_read(tmp_path: Path) -> None:
    pytest.importorskip("deltalake").write_deltalake(tmp_path / "t", pa.table({"item": [0, 1, 2, 3, 4, 5]}))
    before = fingerprint_files(find_files(f"{tmp_path / 't'}@0").read, tmp_path)
    _delete_by_vector(tmp_path / "t", [0, 3])
    assert [row["item"] for row in read(tmp_path / "t", "item")] == [1, 2, 4, 5]
    assert [row["item"] for row in read(f"{tmp_path / 't'}@0", "item")] == [0, 1, 2, 3, 4, 5]
    assert fingerprint_files(find_files(str(tmp_path / "t")).read, tmp_path) != before


def test_columns_under_other_names_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("deltalake").write_deltalake(tmp_path / "t", pa.table({"item": [1]}))
    log = tmp_path / "t" / "_delta_log" / f"{0:020}.json"
    changed = log.read_text().replace('"configuration":{}', '"configuration":{"delta.columnMapping.mode":"name"}')
    assert changed != log.read_text()
    log.write_text(changed)
    with pytest.raises(DataError, match=r"(?s)feature that is not read.*columnMapping"):
        find_files(str(tmp_path / "t"))


def test_a_file_that_is_gone_is_named(delta: Path) -> None:
    for file in delta.glob("day=2/*.parquet"):
        file.unlink()
    with pytest.raises(DataError, match="The Delta table cannot be read"):
        find_files(str(delta))


@pytest.fixture
def iceberg(tmp_path: Path) -> Any:
    """A table that was appended to, deleted from, and one of whose columns has another name since."""
    library = pytest.importorskip("pyiceberg.catalog.memory")
    catalog = library.InMemoryCatalog("test", warehouse=(tmp_path / "lake").as_uri())
    catalog.create_namespace("shop")
    first = pa.table({"day": ["1/2 %", "2", "2"], "item": [1, 2, 3], "tags": [["a"], [], None]})
    table = catalog.create_table("shop.clicks", schema=first.schema)
    with table.update_spec() as spec:
        spec.add_identity("day")
    table.append(first)
    table.delete("item = 1")
    with table.update_schema() as schema:
        schema.rename_column("item", "sku")
    table.append(pa.table({"day": ["3"], "sku": [4], "tags": [["b", "c"]]}))
    return table


def _folder(table: Any) -> Path:
    return Path(table.metadata_location.removeprefix("file://")).parent.parent


def test_an_iceberg_table_is_what_its_snapshot_says(iceberg: Any) -> None:
    folder, newest = _folder(iceberg), iceberg.current_snapshot().snapshot_id
    assert find_files(str(folder)).read == (Path(f"{folder}@{newest}"),)
    assert sorted(read(folder, "sku", "day", "tags"), key=lambda row: row["sku"]) == [
        {"sku": 2, "day": "2", "tags": []},
        {"sku": 3, "day": "2", "tags": None},
        {"sku": 4, "day": "3", "tags": ["b", "c"]},
    ]
    first = iceberg.history()[0].snapshot_id
    assert sorted(row["item"] for row in read(f"{folder}@{first}", "item")) == [1, 2, 3]
    named = folder / "metadata" / Path(iceberg.metadata_location).name
    assert len(read(named, "sku")) == 3
    with pytest.raises(DataError, match="The Iceberg table cannot be read"):
        find_files(f"{folder}@7")


def test_rows_that_deletion_files_name_are_not_read(iceberg: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.table import DataScan

    plan: Callable[[Any], Iterator[Any]] = DataScan.plan_files
    folder = _folder(iceberg)
    (last,) = [task for task in iceberg.scan().plan_files() if "day=3" in task.file.file_path]
    deletions = write(folder / "gone.parquet", {"file_path": [last.file.file_path], "pos": [0]})
    entry = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES, file_path=deletions.as_uri(), file_format=FileFormat.PARQUET
    )

    def planned(self: Any) -> Iterator[Any]:
        for task in plan(self):
            if "day=3" in task.file.file_path:
                task.delete_files.add(entry)
            yield task

    monkeypatch.setattr(DataScan, "plan_files", planned)
    assert sorted(row["sku"] for row in read(folder, "sku")) == [2, 3]


def test_two_newest_metadata_files_are_refused(iceberg: Any) -> None:
    metadata = Path(iceberg.metadata_location.removeprefix("file://"))
    other = metadata.with_name(metadata.name.replace(".metadata.json", "-other.metadata.json"))
    other.write_bytes(metadata.read_bytes())
    with pytest.raises(DataError, match="cannot be determined"):
        find_files(str(_folder(iceberg)))


@pytest.mark.parametrize("form", ["delta", "iceberg"])
def test_a_table_is_prepared_as_its_rows_are(tmp_path: Path, form: str) -> None:
    columns = pa.table(pairs())
    if form == "delta":
        pytest.importorskip("deltalake").write_deltalake(tmp_path / "log", columns)
    else:
        library = pytest.importorskip("pyiceberg.catalog.memory")
        catalog = library.InMemoryCatalog("test", warehouse=tmp_path.as_uri())
        catalog.create_namespace("n")
        catalog.create_table("n.log", schema=columns.schema, location=(tmp_path / "log").as_uri()).append(columns)
    table = prepare_quietly(find_files(str(tmp_path / "log")).read, tmp_path / "of_table")
    plain = prepare_quietly(write(tmp_path / "plain.parquet", pairs()), tmp_path / "of_file")
    assert rows(table, "train") == rows(plain, "train")
    assert table.fingerprint == plain.fingerprint
    (of_table,) = table.manifest.source["files"]
    assert of_table["table"]["format"] == form.title()
    assert f"@{of_table['table']['version']}" in of_table["name"]
    assert [set(file) >= {"name", "bytes", "blake2b"} for file in of_table["table"]["files"]] == [True]
    assert table.manifest.contents is not None
    assert table.manifest.contents.files.bytes == of_table["bytes"]


def test_a_table_is_a_source_and_a_catalogue(tmp_path: Path) -> None:
    library = pytest.importorskip("deltalake")
    library.write_deltalake(tmp_path / "log", pa.table(pairs()))
    library.write_deltalake(tmp_path / "log" / "items", pa.table({"item": [10, 11, 12], "price": [1.0, 2.0, 3.0]}))
    (tmp_path / "schema.yaml").write_text(
        "name: shop\nlayout: requests\nkeys: {request: rid, item: item}\n"
        "fields: [{name: item, side: candidate, kind: id}, {match: p*, side: candidate, kind: number}]\n"
        "tasks: [{name: click}]\n"
    )
    (tmp_path / "all").mkdir()
    (tmp_path / "log" / "items").rename(tmp_path / "all" / "items")
    (tmp_path / "log").rename(tmp_path / "all" / "log")
    source = ParquetSource(
        str(tmp_path / "all"), str(tmp_path / "schema.yaml"), ColumnSplit("part"), str(tmp_path / "all" / "items")
    )
    raw = source.write_raw(tmp_path / "unused")
    assert raw.files == (tmp_path / "all" / "log@0",)
    assert raw.items == tmp_path / "all" / "items@0"
    assert [spec.name for spec in raw.schema.fields] == ["item", "price"]
    assert len(source.fingerprint()) == 32


@pytest.mark.parametrize(
    ("package", "inner"), [("deltalake", "_delta_log/0.json"), ("pyiceberg", "metadata/v1.metadata.json")]
)
def test_a_table_without_its_reader_is_no_folder_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, inner: str
) -> None:
    (tmp_path / "log" / inner).parent.mkdir(parents=True)
    (tmp_path / "log" / inner).write_text("{}")
    pq.write_table(pa.table({"item": [1]}), tmp_path / "log" / "dead.parquet")
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    for source in (tmp_path, tmp_path / "log"):
        with pytest.raises(ConfigError, match=rf"(?s)package {package}, which is not.*pip install 'distill-ranker\["):
            find_files(str(source))
    for part in ("log/*.parquet", "log/**/*.parquet"):
        with pytest.raises(DataError, match=r"(?s)only a part of a.*the whole table"):
            find_files(str(tmp_path / part))
    assert find_files(str(tmp_path / "log" / "dead.parquet")).read == (tmp_path / "log" / "dead.parquet",)
