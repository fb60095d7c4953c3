"""distill schema init: from raw files to a schema that `prepare` takes as it is."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.console import plain_console
from distill.data.dataset import load_dataset
from distill.data.datasets.parquet import ParquetSource
from distill.data.prepare import prepare
from distill.data.propose import Line, propose, read_sample
from distill.jobs.schema import one_source, table_of
from distill.jobs.schema_options import arguments
from distill.jobs.split_names import splits_by_name
from distill.schema import load_schema
from tests.jobs.entry import path_arguments, run_script

ROWS = 400


def log(folder: Path, name: str = "log.parquet", offset: int = 0) -> Path:
    rng = np.random.default_rng(offset)
    request = offset + np.repeat(np.arange(ROWS // 4), 4)
    table = pa.table(
        {
            "search_id": request,
            "user_id": [f"u{r % 30}" for r in request],
            "ts": 1_740_000_000 + 3600 * request,
            "item_id": rng.integers(0, 40, ROWS),
            "item price": rng.lognormal(1, 2, ROWS),
            "tags: #1": [[int(i) for i in rng.integers(0, 9, 3)] for _ in range(ROWS)],
            "cat_id": pa.array([None, *rng.integers(0, 5, ROWS - 1).astype(float)]),
            "is_new": rng.integers(0, 2, ROWS) == 1,
            "dwell": rng.random(ROWS),
            "click": rng.integers(0, 2, ROWS),
        }
    )
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / name)
    return folder / name


def test_a_proposal_is_prepared_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = log(tmp_path / "logs"), tmp_path / "schema.yaml"
    run_script("scripts/schema.py", "init", str(path), "--out", str(out), "--name", "shop")
    printed = capsys.readouterr().out
    assert "Checked: 1 file" in printed
    command = shlex.split(printed.splitlines()[-1])
    assert command[:3] == ["python", "scripts/prepare.py", "data=parquet"]
    assert command[3:] == [
        f"data.source={path}",
        f"data.schema={out}",
        "data.main_task=click",
        "split@data.adapter.split=time",
    ]
    schema = load_schema(out)
    assert (schema.name, schema.keys.item, len(schema.fields)) == ("shop", "item_id", 7)
    source = ParquetSource(str(path), str(out))
    dataset = prepare(source.write_raw(tmp_path / "raw"), tmp_path / "prepared", progress=False)
    assert dataset.manifest.counts["rows_read"] == ROWS
    assert dataset.schema.field("cat_id").size is not None


def test_files_named_after_splits_are_these_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A test file that was published is not mixed into the training rows."""
    logs = tmp_path / "logs"
    train, test = log(logs, "train.parquet"), log(logs, "test.parquet", offset=ROWS)
    for given in ([str(train), str(test)], [str(logs)]):
        run_script("scripts/schema.py", "init", *given, "--out", str(tmp_path / "schema.yaml"), "--force")
        command = shlex.split(capsys.readouterr().out.splitlines()[-1])
        said = [f"train: {train}", f"test: {test}"]
        assert command[3] in {f"data.source={{{', '.join(order)}}}" for order in (said, said[::-1])}
        assert load_schema(tmp_path / "schema.yaml").name == "logs"
    run_script(*command[1:], f"out={tmp_path / 'out'}", *path_arguments(tmp_path))
    contents = load_dataset(tmp_path / "out").manifest.contents
    assert contents is not None
    assert contents.splits["test"].rows == ROWS
    assert splits_by_name(["train.csv"]) == splits_by_name(["train.csv", "a.csv"]) == {}
    assert splits_by_name(["test.csv", "val.csv"]) == splits_by_name(["train.a.csv", "train.b.csv", "test"]) == {}


def test_the_table_fits_a_narrow_terminal(tmp_path: Path) -> None:
    """Names of columns stay whole and rows short, as they are read beside the file."""
    name = "hours_since_the_last_purchase"
    why = "float, 1,755 different, 0 to 0.537148; one value in each request"
    fields = (
        Line(name, {"name": name, "side": "request", "kind": "number", "encoding": "log"}, why),
        Line("dwell", {"name": "dwell", "side": "cross", "kind": "number", "privileged": True}, why),
        Line("user.id", {"name": "user_id", "side": "request", "kind": "id", "encoding": {"type": "hash"}}, why),
        Line("host", {"name": "host", "side": "request", "kind": "id"}, why, used=False),
    )
    tasks = (Line("click", {"name": "click"}, why),)
    console = plain_console(width=80)
    with console.capture() as printed:
        console.print(
            table_of(replace(propose(read_sample([log(tmp_path)], ROWS)), fields=fields, tasks=tasks), "schema")
        )
    lines = printed.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 3 + 4 * len([*fields, *tasks])
    text = printed.get()
    for words in (name, "request number, log", "cross number,", "privileged", "user_id:", "hash", "—", "task, binary"):
        assert words in text


def test_a_file_that_is_there_is_overwritten_only_by_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = log(tmp_path / "logs"), tmp_path / "schema.yaml"
    out.write_text("mine")
    with pytest.raises(SystemExit) as stopped:
        run_script("scripts/schema.py", "init", str(path), "--out", str(out))
    assert stopped.value.code == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "mine"
    run_script("scripts/schema.py", "init", str(path), "--out", str(out), "--force", "--no-check")
    assert load_schema(out).layout == "requests"


def test_what_the_sample_did_not_show_is_found_by_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "log.csv", tmp_path / "schema.yaml"
    path.write_text("size_mm,click\n" + "0.5,1\n0.7,0\n" * 5 + "large,1\n")
    with pytest.raises(SystemExit):
        run_script("scripts/schema.py", "init", str(path), "--out", str(out), "--rows", "8")
    error = capsys.readouterr().err
    assert "A value is not a number" in error
    assert "'large'" in error
    assert load_schema(out).fields[0].name == "size_mm"


def test_missing_tasks_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "log.csv", tmp_path / "schema.yaml"
    path.write_text("price,brand\n1.5,a\n2.5,b\n")
    run_script("scripts/schema.py", "init", str(path), "--out", str(out))
    assert "declare tasks" in capsys.readouterr().out


def test_no_files_and_no_folder_are_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_script("scripts/schema.py", "init", str(tmp_path / "none.csv"), "--out", str(tmp_path / "s.yaml"))
    assert "no data files" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_script("scripts/schema.py", "init", str(log(tmp_path / "a")), "--out", str(tmp_path / "b" / "s.yaml"))
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("rows", ["0", "-1", "many", "1.5"])
def test_a_number_of_rows_that_is_none_is_refused(rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        arguments(["init", "log.csv", f"--rows={rows}"])
    assert stopped.value.code == 2
    assert repr(rows) in capsys.readouterr().err


def test_several_files_are_one_source_if_a_folder_or_a_pattern_says_them(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    files = [log(logs, f"{name}.parquet") for name in ("day_1", "day_2")]
    assert one_source([str(logs)], files) == str(logs)
    assert one_source([str(f) for f in files], files) == str(logs)
    log(logs, "other.parquet")
    assert one_source([str(f) for f in files], files) == f"{logs}/day_*.parquet"
    log(logs, "day_3.parquet")
    assert one_source([str(f) for f in files], files) is None


def test_files_that_no_pattern_says_are_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = tmp_path / "logs"
    files = [str(log(logs, f"day_{i}.parquet")) for i in range(3)][:2]
    run_script("scripts/schema.py", "init", *files, "--out", str(tmp_path / "schema.yaml"), "--no-check")
    command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert command[3] == f"data.source=['{files[0]}','{files[1]}']"
    run_script(*command[1:], f"out={tmp_path / 'out'}", *path_arguments(tmp_path))
    assert load_dataset(tmp_path / "out").manifest.counts["rows_read"] == 2 * ROWS
