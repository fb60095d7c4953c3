"""Every mistake in the raw data is one error that says where, and nothing is left behind."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.errors import DataError, DistillError, SchemaError
from tests.data.prepare.builders import pairs, prepare_quietly, schema_of, write

NAN, INF = float("nan"), float("inf")
NAMES_A_ROW = r"raw\.parquet, row group 1, row 0, column "


def _fails(tmp_path: Path, columns: dict[str, Any], match: str, **schema: Any) -> DistillError:
    raw = write(tmp_path / "raw.parquet", columns, row_group_size=3)
    with pytest.raises(DistillError, match=match) as caught:
        prepare_quietly(raw, tmp_path / "out", schema_of(**schema))
    assert [path.name for path in tmp_path.iterdir()] == ["raw.parquet"]
    return caught.value


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("click", 2, r"'click' \(label of task 'click'\)(.|\n)*0 or 1(.|\n)*2\.0"),
        ("price", NAN, r"'price' \(field 'price'\)(.|\n)*finite(.|\n)*nan"),
        ("price", INF, r"'price' \(field 'price'\)(.|\n)*inf"),
        ("rid", None, r"'rid' \(keys.request\)(.|\n)*null"),
        ("part", "valid", r"'part' \(split column\)(.|\n)*train or val or test(.|\n)*'valid'"),
        ("part", None, r"'part' \(split column\)(.|\n)*'null'"),
        ("uid", 5, r"'uid' \(keys.user\), request 'r2'(.|\n)*8, as in .*row 2(.|\n)*5"),
    ],
)
def test_wrong_values_are_located(tmp_path: Path, column: str, value: object, match: str) -> None:
    columns = pairs()
    columns[column] = [*columns[column][:3], value, *columns[column][4:]]
    _fails(tmp_path, columns, NAMES_A_ROW + match)


@pytest.mark.parametrize(
    ("changes", "schema", "match"),
    [
        (
            {"stage": [3, 3, 3, 7, 3, 3, 3]},
            {"keys": {"request": "rid", "stage": "stage"}},
            "'stage'(.|\n)*exposed(.|\n)*7",
        ),
        (
            {"stage": [3, 3, 3, None, 3, 3, 3]},
            {"keys": {"request": "rid", "stage": "stage"}},
            "'stage'(.|\n)*null(.|\n)*`keys.stage`(.|\n)*`missing: recalled`",
        ),
        ({"click": [1, 1, 1, NAN, 1, 1, 1]}, {}, "'click'(.|\n)*nan(.|\n)*`nan: missing` on the task"),
        (
            {"s": [0.5, 0.5, 0.5, NAN, 0.5, 0.5, 0.5]},
            {"teacher": {"columns": {"click": "s"}, "kind": "probability"}},
            "'s'(.|\n)*nan(.|\n)*`nan: missing` on `teacher`",
        ),
        (
            {"bid": [1, 1, 1, NAN, 1, 1, 1]},
            {"score": {"columns": {"bid": 1}}},
            "'bid'(.|\n)*Write null[a-z ]*known\\.$",
        ),
        ({"bid": [1, 1, 1, 0, 1, 1, 1]}, {"score": {"columns": {"bid": 1}}}, "'bid'(.|\n)*above 0(.|\n)*0.0"),
        ({"bid": [1, 1, 1, None, 1, 1, 1]}, {"score": {"columns": {"bid": 1}}}, "'bid'(.|\n)*above 0(.|\n)*null"),
        ({"u": [1, 1, 1, NAN, 1, 1, 1]}, {"evaluation": ["u"]}, "'u' .evaluation column.(.|\n)*finite"),
        (
            {"s": [0.5, 0.5, 0.5, 1.5, 0.5, 0.5, 0.5]},
            {"teacher": {"columns": {"click": "s"}, "kind": "probability"}},
            "'s' .teacher of task 'click'.(.|\n)*1.5(.|\n)*logit",
        ),
        (
            {"grade": [1, 1, 1, 1.5, 1, 1, 1]},
            {"tasks": [{"name": "grade", "kind": "graded"}]},
            "'grade'(.|\n)*0, 1, 2(.|\n)*1.5",
        ),
    ],
)
def test_wrong_targets_are_located(tmp_path: Path, changes: dict[str, Any], schema: dict[str, Any], match: str) -> None:
    _fails(tmp_path, pairs(**changes), NAMES_A_ROW + match, **schema)


def test_missing_column_lists_close_names(tmp_path: Path) -> None:
    columns = pairs()
    columns["pricee"] = columns.pop("price")
    _fails(tmp_path, columns, r"'price' \(field 'price'\)(.|\n)*Did you mean 'pricee'")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"price": ["1"] * 7}, r"'price'(.|\n)*int or float or bool(.|\n)*string"),
        ({"click": ["yes"] * 7}, r"'click'(.|\n)*string"),
        ({"item": [[1]] * 7}, r"'item'(.|\n)*list of int"),
        ({"item": [1.5] * 7}, r"not whole(.|\n)*'item'"),
    ],
)
def test_wrong_types(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    _fails(tmp_path, pairs(**changes), match)


def test_candidate_lists_of_unequal_length(tmp_path: Path) -> None:
    columns = {
        "rid": [1, 2, 3, 4],
        "uid": [1, 2, 3, 4],
        "item": [[1], [1], [1], [1, 2]],
        "price": [[1.0], [1.0], [1.0], [1.0]],
        "click": [[1], [1], [1], [1]],
        "part": ["train", "train", "val", "test"],
    }
    error = _fails(tmp_path, columns, NAMES_A_ROW)
    assert error.expected == "2 values, as in column 'item'"
    assert error.found == "1 values"


def test_values_inside_raw_requests_are_located(tmp_path: Path) -> None:
    columns = {
        "rid": [1, 2, 3, 4],
        "uid": [1, 2, 3, 4],
        "item": [[1], [1], [1], [1, 2]],
        "price": [[1.0], [1.0], [1.0], [1.0, INF]],
        "click": [[1], [1], [1], [1, 1]],
        "part": ["val", "test", "train", "train"],
    }
    _fails(tmp_path, columns, r"row group 1, row 0, candidate 1, column 'price'")


def test_layout_must_fit_the_labels(tmp_path: Path) -> None:
    columns = {"item": [[1]], "price": [[1.0]], "click": [[1]], "part": ["train"], "rid": [1], "uid": [1]}
    _fails(tmp_path, columns, "layout is flat, but labels are lists", layout="flat")


def test_pairs_need_a_request_id(tmp_path: Path) -> None:
    assert isinstance(_fails(tmp_path, pairs(), "keys.request", keys={}), SchemaError)


def test_circle_of_observed_tasks(tmp_path: Path) -> None:
    tasks = [{"name": "click", "observed": "buy"}, {"name": "buy", "observed": "click"}]
    _fails(tmp_path, pairs(buy=[0] * 7), "circular", tasks=tasks)


def test_shared_table_of_two_types(tmp_path: Path) -> None:
    fields = [
        {"name": "uid", "side": "request", "kind": "id", "table": "t"},
        {"name": "word", "side": "candidate", "kind": "id", "table": "t"},
    ]
    _fails(tmp_path, pairs(word=["a"] * 7), "'word', table 't'(.|\n)*int, as field 'uid'", fields=fields)


def test_files_must_agree(tmp_path: Path) -> None:
    one = write(tmp_path / "one.parquet", pairs())
    two = write(tmp_path / "two.parquet", pairs(item=["a"] * 7))
    with pytest.raises(DataError, match=r"two\.parquet, column 'item'(.|\n)*int, as in .*one\.parquet"):
        prepare_quietly((one, two), tmp_path / "out")
    three = write(tmp_path / "three.parquet", {k: v for k, v in pairs().items() if k != "uid"})
    with pytest.raises(DataError, match=r"three\.parquet, column 'uid'"):
        prepare_quietly((one, three), tmp_path / "out")


def test_files_may_differ_in_width_and_nulls(tmp_path: Path) -> None:
    one = write(tmp_path / "one.parquet", pairs(price=[None] * 7, uid=pa.array([1, 1, 2, 2, 2, 3, 4], pa.int32())))
    two = write(tmp_path / "two.parquet", pairs(price=[1] * 7, rid=[f"s{i}" for i in (1, 1, 2, 2, 2, 3, 4)]))
    dataset = prepare_quietly((one, two), tmp_path / "out")
    assert dataset.manifest.counts["requests/train"] == 4
    assert dataset.manifest.counts["missing/train/price"] == 5


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no raw files"):
        prepare_quietly((), tmp_path / "out")
    with pytest.raises(DataError, match=r"does not exist(.|\n)*nothing\.parquet"):
        prepare_quietly(tmp_path / "nothing.parquet", tmp_path / "out")
    (tmp_path / "a.xlsx").touch()
    with pytest.raises(DataError, match=r"unknown kind(.|\n)*\.parquet"):
        prepare_quietly(tmp_path / "a.xlsx", tmp_path / "out")


@pytest.mark.parametrize("keep", [0, 100, -20])
def test_truncated_parquet(tmp_path: Path, keep: int) -> None:
    raw = write(tmp_path / "raw.parquet", pairs())
    raw.write_bytes(raw.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"cannot be read(.|\n)*raw\.parquet"):
        prepare_quietly(raw, tmp_path / "out")


def test_damaged_row_group(tmp_path: Path) -> None:
    raw = tmp_path / "raw.parquet"
    pq.write_table(pa.table(pairs()), raw, row_group_size=3, compression="zstd", use_dictionary=False)
    metadata = pq.read_metadata(raw)
    names = [metadata.row_group(1).column(i).path_in_schema for i in range(metadata.num_columns)]
    column = metadata.row_group(1).column(names.index("price"))
    data = bytearray(raw.read_bytes())
    start, size = column.data_page_offset, column.total_compressed_size
    data[start : start + size] = b"\xff" * size
    raw.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"raw\.parquet, row group 1"):
        prepare_quietly(raw, tmp_path / "out")


def _csv(tmp_path: Path, columns: dict[str, list[object]], extra: str = "") -> Path:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path = tmp_path / "raw.csv"
    path.write_text("\n".join(lines) + "\n" + extra)
    return path


def test_csv_with_a_short_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"CSV(.|\n)*raw\.csv(.|\n)*got 2"):
        prepare_quietly(_csv(tmp_path, pairs(), "r9,7\n"), tmp_path / "out")


def test_csv_with_a_word_among_numbers(tmp_path: Path) -> None:
    path = _csv(tmp_path, pairs(price=[1, 2, "cheap", 3, 4, 5, 6]))
    with pytest.raises(DataError, match=r"raw\.csv, line 4, column 'price'(.|\n)*'cheap'"):
        prepare_quietly(path, tmp_path / "out")


def test_lists_in_csv_want_a_delimiter(tmp_path: Path) -> None:
    fields = [{"name": "uid", "side": "request", "kind": "sequence"}]
    with pytest.raises(DataError, match=r"raw\.delimiters: {uid: "):
        prepare_quietly(_csv(tmp_path, pairs()), tmp_path / "out", schema_of(fields=fields))


def test_empty_csv(tmp_path: Path) -> None:
    (tmp_path / "raw.csv").touch()
    with pytest.raises(DataError, match=r"raw\.csv"):
        prepare_quietly(tmp_path / "raw.csv", tmp_path / "out")


def test_repeated_item_of_the_catalogue(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw.parquet", pairs())
    items = write(tmp_path / "items.parquet", {"item": [1, 2, 1], "price": [1.0] * 3})
    with pytest.raises(DataError, match=r"twice(.|\n)*items\.parquet, row group 0, row 2(.|\n)*row 0"):
        prepare_quietly(raw, tmp_path / "out", items=items)
    nameless = write(tmp_path / "nameless.parquet", {"item": [1, None], "price": [1.0] * 2})
    with pytest.raises(DataError, match=r"no key(.|\n)*row 1"):
        prepare_quietly(raw, tmp_path / "out", items=nameless)


def test_the_output_is_never_overwritten(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw.parquet", pairs())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="nothing was overwritten"):
        prepare_quietly(raw, tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"


def test_column_twice(tmp_path: Path) -> None:
    table = pa.table(pairs())
    pq.write_table(table.append_column("price", table["price"]), tmp_path / "raw.parquet")
    with pytest.raises(DataError, match=r"twice(.|\n)*'price'"):
        prepare_quietly(tmp_path / "raw.parquet", tmp_path / "out")
