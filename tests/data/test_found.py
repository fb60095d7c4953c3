"""Which files of a folder are read, which are left out, and what is said of them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from distill.data.file_kind import FileKind, file_kind
from distill.data.found import CATALOGUE, HIDDEN, OWN, UNKNOWN, find_files
from distill.data.partitions import folder_columns

TABLE = pa.table({"a": [1, 2]})


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a\n1\n")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.parquet", FileKind("Parquet")),
        ("x.PQ", FileKind("Parquet")),
        ("x.parquet.gzip", FileKind("Parquet")),
        ("part-0.c000.snappy.parquet", FileKind("Parquet")),
        ("x.csv", FileKind("CSV", ",")),
        ("2024.01.01.csv.gz", FileKind("CSV", ",", "gzip")),
        ("x.csv.zst", FileKind("CSV", ",", "zstd")),
        ("x.tsv.bz2", FileKind("CSV", "\t", "bz2")),
        ("x.tab", FileKind("CSV", "\t")),
        ("x.jsonl", FileKind("JSON")),
        ("x.ndjson.gz", FileKind("JSON", compression="gzip")),
        ("x.json", None),
        ("x.feather", FileKind("Arrow")),
        ("x.arrow", FileKind("Arrow")),
        ("x.ipc", FileKind("Arrow")),
        ("x.orc", FileKind("ORC")),
        ("x.csv.snappy", None),
        ("x.gz", None),
        ("README.md", None),
        ("part-0", None),
    ],
)
def test_the_suffix_says_the_kind(tmp_path: Path, name: str, kind: FileKind | None) -> None:
    touch(tmp_path, name)
    assert file_kind(tmp_path / name) == kind


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        ('{"a": 1}\n{"a": 2}\n', True),
        ('\n {"a": 1} \n\n{"a": 2', True),
        ('{"a": 1}\n', False),
        ('{\n"a": 1\n}\n', False),
        ('[{"a": 1},\n{"a": 2}]\n', False),
        ('"a"\n{"a": 2}\n', False),
        ("", False),
    ],
)
def test_json_is_read_if_its_lines_are_objects(tmp_path: Path, text: str, is_read: bool) -> None:
    (tmp_path / "x.json").write_text(text)
    (tmp_path / "y.JSON.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "z.json.gz").write_bytes(gzip.compress(text.encode())[:9])
    assert file_kind(tmp_path / "x.json") == (FileKind("JSON") if is_read else None)
    assert file_kind(tmp_path / "y.JSON.gz") == (FileKind("JSON", compression="gzip") if is_read else None)
    assert file_kind(tmp_path / "z.json.gz") is None


def test_files_without_a_suffix_are_looked_into(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "part-00000")
    feather.write_feather(TABLE, str(tmp_path / "part-00001-abc.c000"))
    orc.write_table(TABLE, str(tmp_path / "000000_0"))
    kinds = [file_kind(tmp_path / name) for name in ("part-00000", "part-00001-abc.c000", "000000_0", "missing")]
    assert kinds == [FileKind("Parquet"), FileKind("Arrow"), FileKind("ORC"), None]


def test_hidden_and_unknown_files_are_left_out_and_named(tmp_path: Path) -> None:
    hidden = [
        ".ipynb_checkpoints/a-checkpoint.csv",
        "_temporary/0/b.csv",
        "d/.b.csv.crc",
        "d/_SUCCESS",
        "_committed/0.json",
    ]
    touch(tmp_path, "a.csv", "d/b.csv", "README.md", "items.csv", *hidden)
    found = find_files(str(tmp_path), tmp_path / "items.csv")
    assert found.read == (tmp_path / "a.csv", tmp_path / "d/b.csv")
    assert {reason: len(files) for reason, files in found.left_out.items()} == {HIDDEN: 5, UNKNOWN: 1, CATALOGUE: 1}
    notes = "\n".join(found.notes(tmp_path))
    assert "1 file was not read (no kind that is read): README.md." in notes
    assert "5 files were not read (hidden" in notes
    assert "_temporary/0/b.csv" in notes


def test_many_left_out_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv", *(f"{i}.txt" for i in range(9)))
    (note,) = find_files(str(tmp_path)).notes(tmp_path)
    assert note == "9 files were not read (no kind that is read): 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 4 more."


def test_mixed_kinds_are_said_and_read(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"a\n1\n"))
    pq.write_table(TABLE, tmp_path / "c.pq")
    found = find_files(str(tmp_path))
    assert [path.name for path in found.read] == ["a.csv", "b.csv.gz", "c.pq"]
    assert found.notes(tmp_path) == [f"{tmp_path} mixes kinds of files, and all are read: 2 CSV, 1 Parquet."]


def test_a_source_that_names_a_hidden_folder_gets_it(tmp_path: Path) -> None:
    touch(tmp_path, "_raw/a.csv", "_raw/_tmp/b.csv", "x/_raw/c.csv", "x/.d/e.csv")
    assert [p.name for p in find_files(str(tmp_path / "_raw")).read] == ["a.csv"]
    assert [p.name for p in find_files(str(tmp_path / "*" / "_raw" / "*.csv")).read] == ["c.csv"]
    assert [p.name for p in find_files(str(tmp_path / "_raw" / "_tmp" / "b.csv")).read] == ["b.csv"]
    assert find_files(str(tmp_path / "x" / "**" / "*.csv")).left_out[HIDDEN] == (tmp_path / "x/_raw/c.csv",)


def test_a_pattern_of_folders_reads_what_is_below(tmp_path: Path) -> None:
    touch(tmp_path, "day=1/a.csv", "day=2/b.csv", "day=2/.c.csv", "week=1/d.csv")
    assert [p.name for p in find_files(str(tmp_path / "day=*")).read] == ["a.csv", "b.csv"]


def test_columns_of_folders() -> None:
    path = Path("logs/date=2024-01-01/country=a%20b/city=__HIVE_DEFAULT_PARTITION__/=x/part=0.parquet")
    assert folder_columns(path) == {"date": "2024-01-01", "country": "a b", "city": None}


@pytest.mark.parametrize(
    "own",
    [
        ("manifest.json", "schema.yaml", "train/part-0.parquet", "encodings/item.parquet"),
        ("provenance.json", "train/part-0.parquet"),
        ("model.json", "golden.parquet", "items/items.parquet"),
        ("items.json", "items.parquet"),
        ("features.json", "items.parquet", "ids.npy"),
    ],
)
def test_what_was_written_here_is_no_log(own: tuple[str, ...], tmp_path: Path) -> None:
    """Somebody who works in the folder of the logs prepares into it, and trains on it again."""
    touch(tmp_path, "a.csv", "more/b.csv", *(f"data/one/{name}" for name in own))
    found = find_files(str(tmp_path))
    assert [path.name for path in found.read] == ["a.csv", "b.csv"]
    assert len(found.left_out[OWN]) == len(own)
    assert set(found.left_out) == {OWN}
    assert find_files(str(tmp_path / "data" / "one")).read  # who names it means it
    (tmp_path / "data" / "one" / own[0]).unlink()
    assert len(find_files(str(tmp_path)).read) > 2  # part of it says nothing
