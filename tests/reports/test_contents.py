"""What is said of a prepared dataset."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from distill.data.contents import (
    Contents,
    Duplicates,
    FieldNumbers,
    FilesRead,
    LabelNumbers,
    RepeatedCandidate,
    SplitContents,
    TimeRange,
)
from distill.data.format import Dataset, Manifest
from distill.encodings import SavedEncodings
from distill.jobs.prepare import describe
from distill.reports.contents import contents_lines
from distill.reports.contents_warnings import contents_warnings
from tests.data.prepare.builders import pairs, prepare_quietly, schema_of, write

FIELDS = {name: FieldNumbers(rows=100, values=100) for name in ("uid", "item", "price")}
LABELS = {"click": LabelNumbers(candidates=1000, labelled=1000, positive=100, low=0.0, mean=0.1, high=1.0)}
SPLIT = SplitContents(rows=1000, requests=100, candidates=1000, labels=LABELS, fields=FIELDS)


def made_of(
    rule: str = "RandomSplit",
    schema: dict[str, Any] | None = None,
    apart: dict[str, int] | None = None,
    **splits: SplitContents,
) -> Dataset:
    contents = Contents(
        files=FilesRead(count=7, rows=3000, bytes=12_345_678, names=tuple(f"{i}.parquet" for i in range(7))),
        splits={name: splits.get(name, SPLIT) for name in ("train", "val", "test")},
    )
    manifest = Manifest(
        fingerprint="", source={"split": {"rule": rule}, "apart": apart or {}}, splits={}, encodings=SavedEncodings(),
        ranges={}, counts={}, contents=contents,
    )  # fmt: skip
    return Dataset(Path("d"), schema_of(**(schema or {})), manifest)


def changed(**changes: Any) -> SplitContents:
    return SPLIT.model_copy(update=changes)


def field(**numbers: Any) -> SplitContents:
    return changed(fields={**FIELDS, "item": FieldNumbers(**{"rows": 100, "values": 100, **numbers})})


def labels(**numbers: int) -> SplitContents:
    return changed(labels={"click": LabelNumbers(candidates=1000, **numbers)})


def times(first: str | None, last: str | None, **more: Any) -> SplitContents:
    return changed(time=TimeRange(first=first, last=last, **more))


def test_nothing_is_wrong_with_data_as_it_should_be() -> None:
    assert contents_warnings(made_of()) == []


@pytest.mark.parametrize(
    ("splits", "warning"),
    [
        ({"test": field(unknown=20)}, "field item are unknown to its encoding: 20.0% in test. Check"),
        ({"test": field(unknown=19)}, None),
        ({"test": field(rows=19, values=19, unknown=19)}, None),
        ({"train": field(unknown=30), "val": field(unknown=87)}, "30.0% in train, 87.0% in val. Check.*`min_count`"),
        ({"test": field(missing=100, values=0)}, "Field item has no value in test"),
        ({"test": field(missing=20, values=80)}, "Field item is missing in 0.0% of train, in 20.0% of test"),
        ({"test": field(missing=19, values=81)}, None),
        ({"train": field(missing=50, values=50)}, "missing in 50.0% of train, in 0.0% of val"),
        ({"train": field(constant=True)}, "Field item has one value in all of train"),
        ({"test": field(constant=True)}, None),
        ({"val": labels()}, "val has no label of task click"),
        ({"val": labels(labelled=50)}, r"val has no positive of task click \(50 labelled candidates\)"),
        ({"test": labels(labelled=50, positive=50)}, "All 50 labelled candidates of test are positive"),
        ({"test": labels(labelled=1000, positive=33)}, "10.00% of the labels of task click .* in train, 3.30% in test"),
        ({"test": labels(labelled=1000, positive=34)}, None),
        (
            {"test": labels(labelled=100, positive=3)},
            r"^test has 3 positives of .* in 100 labels: .* 0\.5 ± 0\.17 .* models",
        ),
        ({"val": labels(labelled=300, positive=27)}, None),
        ({"train": changed(without_candidates=5)}, "5.0% of the requests of train have no candidates"),
        ({"test": changed(without_user=5)}, "5.0% of the requests of test have no user: each"),
        ({"test": changed(without_item=50)}, "5.0% of the candidates of test have no item key"),
        ({"test": changed(without_item=49, without_user=4, without_candidates=4)}, None),
    ],
)
def test_shares_above_a_threshold_are_warned_of(splits: dict[str, SplitContents], warning: str | None) -> None:
    found = contents_warnings(made_of(**splits))
    if warning is None:
        assert found == []
    else:
        assert re.search(warning, found[0])


@pytest.mark.parametrize(
    ("ranges", "overlap"),
    [
        ((("1", "5"), ("5", "6"), ("7", "9")), None),
        ((("1", "10"), ("9", "20"), ("30", "40")), "train lasts until 10, but val begins at 9"),
        ((("1.5", "2"), ("10", "12"), ("11.5", "14")), "val lasts until 12, but test begins at 11.5"),
        (
            (
                ("2024-01-01", "2024-01-02 12:00:00"),
                ("2024-01-02 11:00:00", "2024-01-03"),
                ("2024-01-04", "2024-01-05"),
            ),
            "train lasts until 2024-01-02 12:00:00, but val begins at 2024-01-02 11:00:00",
        ),
        (((None, None), ("1", "2"), ("3", "4")), None),
    ],
)
def test_overlapping_times_are_warned_of_where_the_split_is_of_times(
    ranges: tuple[tuple[str | None, str | None], ...], overlap: str | None
) -> None:
    splits = {name: times(*limits) for name, limits in zip(("train", "val", "test"), ranges, strict=True)}
    assert contents_warnings(made_of("UserTimeSplit", **splits)) == []
    found = contents_warnings(made_of("ColumnSplit", **splits))
    assert [line.split(":")[0] for line in found] == ([] if overlap is None else [found[0].split(":")[0]])
    assert overlap is None or overlap in found[0]
    apart = contents_warnings(made_of("RandomSplit", apart={"test": 1}, **splits))
    assert apart == [line for line in found if "test" in line]


def test_times_that_are_none_are_warned_of() -> None:
    assert "`keys.time` are not times" in contents_warnings(made_of(test=times(None, None, unreadable=True)))[0]


def test_an_item_twice_is_a_warning_or_a_line() -> None:
    example = RepeatedCandidate(request="r17", item="sku5")
    repeated = changed(duplicates=Duplicates(candidates=400, other_label=30, examples=(example,)))
    (found,) = contents_warnings(made_of(val=repeated))
    assert found.startswith(
        "400 candidates are in their request twice, 30 with another label (val 400), such as item sku5 in request r17."
    )
    merged = made_of(schema={"duplicates": "merge"}, val=repeated)
    assert contents_warnings(merged) == []
    assert (
        "400 candidates were in their request twice, 30 with another label; under `duplicates: merge`"
        in (contents_lines(merged)[1])
    )


def test_files_are_named_up_to_a_few() -> None:
    (line,) = contents_lines(made_of())
    assert line == (
        "Read 3,000 rows of 7 files (12.3 MB): 0.parquet, 1.parquet, 2.parquet, 3.parquet, 4.parquet and 2 more"
    )


def test_all_of_it_fits_into_a_hundred_columns(tmp_path: Path) -> None:
    tasks = [{"name": "click"}, {"name": "seconds_of_dwelling", "kind": "value"}]
    columns = pairs(
        uid=[None, None, 8, 8, 8, 9, 7],
        seconds_of_dwelling=[1.25e6, -4.125e-3, 3.0, None, 0.5, 7.25, 8.0],
        ts=[f"2024-01-0{day}T00:00:00" for day in (2, 2, 1, 1, 1, 3, 4)],
    )
    keys = {"request": "rid", "user": "uid", "item": "item", "time": "ts"}
    raw = write(tmp_path / "a [x].parquet", columns)
    dataset = prepare_quietly(raw, tmp_path / "out", schema_of(tasks=tasks, keys=keys))
    printed = Console(file=io.StringIO(), width=100)
    describe(dataset, printed)
    assert isinstance(printed.file, io.StringIO)
    text = printed.file.getvalue()
    lines = text.splitlines()
    assert all(len(line) <= 100 for line in lines if line.startswith(("│", "┃")))
    assert "…│" not in text.replace(" ", "")  # no cell was cut
    for part in ("2024-01-02 00:00:00", "40.00%", "of 5", "50.0%", "100.0%", "a [x].parquet", "WARNING: 1 candidates"):
        assert part in text
