from pathlib import Path

import pyarrow as pa
import pytest

from distill.data.prepare import csv_file
from distill.data.prepare.csv_file import CsvFile
from distill.data.prepare.source import RawFiles
from distill.errors import DataError


def _types(path: Path, numeric: tuple[str, ...] = ()) -> dict[str, str]:
    file = CsvFile(path, ["a", "b"], numeric)
    return {field.name: str(field.type) for field in file.schema}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.csv"


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "_BLOCK_BYTES", 200)
    monkeypatch.setattr(csv_file, "_SMALLEST_BLOCK", 200)


LATE = "1,1\n" * 200


@pytest.mark.parametrize(
    ("late", "kind"),
    [("7", "int64"), ("7.5", "double"), ("x7", "string"), ("99999999999999999999", "string"), ("", "int64")],
)
def test_types_hold_for_the_whole_file(path: Path, late: str, kind: str) -> None:
    path.write_text(f"a,b\n{LATE}{late},1\n")
    assert _types(path) == {"a": kind, "b": "int64"}
    assert CsvFile(path, ["a"], ()).num_rows == 201


def test_unsigned_integers_at_the_start(path: Path) -> None:
    path.write_text("a,b\n18446744073709551615,1.0\n1,2.0\n")
    assert _types(path) == {"a": "uint64", "b": "double"}


def test_leading_zeros_survive_if_the_column_is_text(path: Path) -> None:
    path.write_text(f"a,b\n007,1\n{LATE}x,1\n")
    file = CsvFile(path, ["a", "b"], ())
    values = [value for batch in file.batches(["a"], 1 << 20) for value in batch.column(0).to_pylist()]
    assert (values[0], values[-1]) == ("007", "x")


def test_a_column_that_begins_empty(path: Path) -> None:
    path.write_text("a,b\n" + ",1\n" * 200 + "word,1\n")
    assert _types(path)["a"] == "string"


def test_numeric_columns_are_numbers_from_the_start(path: Path) -> None:
    path.write_text("a,b\n" + "1,NaN\n" * 5)
    assert _types(path, ("a", "b")) == {"a": "int64", "b": "double"}
    path.write_text(f"a,b\n{LATE}many,1\n")
    with pytest.raises(DataError, match=r"x\.csv, line 202, column 'a'(.|\n)*'many'"):
        _types(path, ("a",))


def test_country_na_is_a_word(path: Path) -> None:
    path.write_text("a,b\nNA,1\nnull,1\n")
    (batch,) = CsvFile(path, ["a"], ()).batches(["a"], 1 << 20)
    assert batch.column(0).to_pylist() == ["NA", None]


def test_unread_columns_may_hold_anything(path: Path) -> None:
    path.write_text(f"a,b,c\n{LATE.replace('1,1', '1,1,1')}1,1,word\n")
    assert CsvFile(path, ["a", "b"], ()).num_rows == 201


@pytest.mark.parametrize("rows", [1, 200])
def test_text_that_is_not_utf8(path: Path, rows: int) -> None:
    path.write_bytes(b"a,b\n" + b"x,1\n" * rows + "Zürich,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"x\.csv(.|\n)*(?i:utf)"):
        list(RawFiles([path], ["a"], []).batches(["a"]))


def test_cells_with_line_breaks(path: Path) -> None:
    path.write_text("a,b\n" + '"two\nlines",1\n' * 50)
    assert CsvFile(path, ["a"], ()).num_rows == 50


def test_files_agree_on_the_wider_type(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n007,1\n")
    (tmp_path / "2.csv").write_text("a,b\nx,1.5\n")
    files = RawFiles([tmp_path / "1.csv", tmp_path / "2.csv"], ["a", "b"], [])
    columns = [batch.columns for batch in files.batches(["a", "b"])]
    assert [c["a"].to_pylist() for c in columns] == [["007"], ["x"]]
    assert columns[0]["b"].type == columns[1]["b"].type == pa.float64()
    assert files.locate(1) == f"{tmp_path / '2.csv'}, line 2"
