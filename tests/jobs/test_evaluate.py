"""Checkpoints are measured on any data, and what a run measured on its own test split comes out again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from distill.reports.summary import load_summary
from tests.jobs.days import SCHEMA, day, of_day, write_days
from tests.jobs.entry import path_arguments, run_dirs, run_script, train
from tests.jobs.test_mistakes import message_of

SMALL = ["trainer=cpu", "trainer.max_epochs=1", "callbacks.progress_bar=false", "cost.enabled=false"]
AGREEMENT = ["metrics.metrics.teacher_recall.ks=[4]", "metrics.metrics.teacher_recall.m=2"]
WHOLE = "split@data.adapter.split=whole"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Day 1 prepared, and a ranker, its student and a control trained on it."""
    root = tmp_path_factory.mktemp("evaluate")
    write_days(root, range(1, 5))
    run_script("scripts/prepare.py", *of_day(root, 1), *path_arguments(root), f"out={root / 'day1'}")
    data = ["data=prepared", f"data.root={root / 'day1'}", *path_arguments(root)]
    train(*data, *SMALL, "model=dcn_v2", "name=ranker")
    teacher = ["teacher=checkpoint", f"teacher.path={best(root, 'ranker')}", "control.enabled=false"]
    train(*data, *SMALL, *AGREEMENT, *teacher, "loss=listwise", "model=two_tower", "name=student")
    train(*data, *SMALL, "model=two_tower", "name=control")
    return root


def best(root: Path, name: str) -> Path:
    return run_dirs(root, name)[0] / "checkpoints" / "best.ckpt"


def evaluate(root: Path, *arguments: str) -> list[dict[str, Any]]:
    run_script("scripts/evaluate.py", "trainer=cpu", *AGREEMENT, *path_arguments(root), *arguments)
    folder = max((root / "runs" / "evaluate").iterdir())
    found: list[dict[str, Any]] = json.loads((folder / "evaluation.json").read_text())
    return found


def same(one: dict[str, float | None], other: dict[str, float]) -> None:
    for name, value in one.items():
        if name in other and value is not None and not math.isnan(other[name]):
            assert value == pytest.approx(other[name], abs=1e-6), name


def test_the_test_split_of_a_run_gives_what_the_run_measured(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = evaluate(
        root, "data=prepared", f"data.root={root / 'day1'}", f"path={run_dirs(root, 'student')[0]}",
        f"teacher_path={best(root, 'ranker')}",
    )  # fmt: skip
    summary = load_summary(run_dirs(root, "student")[0])
    assert list(found["metrics"]) == ["teacher", "student"]
    assert found["metrics"]["student"].keys() == summary.metrics["distilled"].keys()
    same(found["metrics"]["student"], summary.metrics["distilled"])
    same(found["metrics"]["teacher"], summary.metrics["teacher"])
    assert 0 < found["metrics"]["student"]["teacher_recall@4_2"] <= 1
    assert found["split"] == "test"
    text = capsys.readouterr().out
    assert "click/auc" in text
    assert "day1, test split" in text


@pytest.mark.slow
def test_raw_files_are_read_with_the_encodings_of_each_model(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Equal to preparing with those encodings and naming the dataset; both models see the same rows."""
    arguments = [
        f"path={{a: {best(root, 'student')}, b: {best(root, 'control')}}}",
        f"teacher_path={best(root, 'ranker')}",
    ]
    (found,) = evaluate(root, *of_day(root, 2), *arguments)
    assert "do not know" in capsys.readouterr().out
    assert found["split"] == "all"
    assert found["candidates"] == 480
    assert found["unknown"]["item"] > 0
    run_script("scripts/prepare.py", *of_day(root, 2), *path_arguments(root), f"out={root / 'day2'}",
               f"encodings={root / 'day1'}", WHOLE)  # fmt: skip
    (prepared,) = evaluate(root, "data=prepared", f"data.root={root / 'day2'}", *arguments)
    for name in ("a", "b", "teacher"):
        same(found["metrics"][name], prepared["metrics"][name])
    difference = found["differences"]["b"]["click/auc"]
    assert difference["mean"] == pytest.approx(
        found["metrics"]["a"]["click/auc"] - found["metrics"]["b"]["click/auc"], abs=1e-6
    )


@pytest.mark.slow
def test_days_one_by_one(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [a for a in of_day(root, "[234]") if not a.startswith("data.source")]
    source = f"data.source='{root / 'days' / '[234].parquet'}'"
    found = evaluate(root, *arguments, source, "each=true", f"path=[{best(root, 'student')},{best(root, 'control')}]")
    assert [one["data"] for one in found] == ["2.parquet", "3.parquet", "4.parquet"]
    assert {tuple(one["metrics"]) for one in found} == {("student", "control")}
    assert "teacher_recall@4_2" not in found[0]["metrics"]["student"]
    folder = max((root / "runs" / "evaluate").iterdir())
    assert (folder / "over_days.png").stat().st_size > 5000
    assert "3.parquet" in capsys.readouterr().out


@pytest.mark.slow
def test_several_sources_are_one_after_the_other(root: Path) -> None:
    arguments = [a for a in of_day(root, "[234]") if not a.startswith("data.source")]
    source = f"data.source=['{root / 'days' / '4.parquet'}','{root / 'days' / '[234].parquet'}']"
    found = evaluate(root, *arguments, source, "each=true", f"path={best(root, 'student')}")
    assert [one["data"] for one in found] == ["4.parquet", "2.parquet", "3.parquet"]
    (together,) = evaluate(root, *arguments, source, f"path={best(root, 'student')}")
    assert together["data"] == "4.parquet, [234].parquet"
    assert together["requests"] == sum(one["requests"] for one in found)


@pytest.mark.slow
def test_versions_of_a_table_one_by_one(root: Path) -> None:
    library = pytest.importorskip("deltalake")
    table = root / "lake" / "days"
    for number in (2, 3):
        library.write_deltalake(table, day(number), mode="append")
    arguments = [a for a in of_day(root, 2) if not a.startswith("data.source")]
    model = f"path={best(root, 'student')}"
    found = evaluate(root, *arguments, f"data.source=['{table}@1','{table}@0']", "each=true", model)
    assert [(one["data"], one["requests"]) for one in found] == [("days@1", 120), ("days@0", 60)]
    (alone,) = evaluate(root, *of_day(root, 2), model)
    same(found[1]["metrics"]["student"], alone["metrics"]["student"])


def test_logged_scores_are_agreed_with(root: Path, tmp_path: Path) -> None:
    table = day(5)
    logged = [[0.1 + 0.01 * i for i in range(8)] for _ in range(table.num_rows)]
    (tmp_path / "days").mkdir()
    pq.write_table(table.append_column("ctr", [logged]), tmp_path / "days" / "5.parquet")
    teacher = {"columns": {"click": "ctr"}, "kind": "probability"}
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump({**SCHEMA, "teacher": teacher}))
    (found,) = evaluate(root, *of_day(tmp_path, 5), f"path={best(root, 'student')}", "teacher_path=column")
    assert found["metrics"]["teacher"]["teacher_recall@4_2"] == 1.0
    assert found["metrics"]["student"]["teacher_recall@4_2"] < 1.0
    assert "click/logloss" in found["metrics"]["teacher"]


def test_logged_positions_are_an_order_and_no_probability(root: Path, tmp_path: Path) -> None:
    (tmp_path / "days").mkdir()
    table = day(5)
    places = [list(range(1, 9)) for _ in range(table.num_rows)]
    pq.write_table(table.append_column("place", [places]), tmp_path / "days" / "5.parquet")
    teacher = {"columns": {"click": "place"}, "kind": "position"}
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump({**SCHEMA, "teacher": teacher}))
    (found,) = evaluate(root, *of_day(tmp_path, 5), f"path={best(root, 'student')}", "teacher_path=column")
    assert found["metrics"]["teacher"]["teacher_recall@4_2"] == 1.0
    assert "click/auc" in found["metrics"]["teacher"]
    assert not {"click/logloss", "click/pcoc"} & found["metrics"]["teacher"].keys()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["path=nowhere.ckpt"], ["The checkpoint does not exist.", "nowhere.ckpt"]),
        ([], ["path", "path=FILE.ckpt"]),
        (["teacher_path=column"], ["The data holds no teacher scores.", "teacher_path=FILE"]),
        (["metric=nothing"], ["There is no such metric.", "click/auc", "nothing"]),
        (["data_split=all"], ["data_split", "train, val, test"]),
        (
            ["data=parquet", "data.schema={root}/schema.yaml", "data.source={train:'{root}/days/2.parquet',val:a}"],
            ["There are no data files.", "data.source.val"],
        ),
        (
            [
                "data=parquet",
                "data.schema={root}/schema.yaml",
                "data.source={train:'{root}/days/2.parquet',val:'{root}/days/3.parquet'}",
            ],
            ["have no splits", "files of train, val"],
        ),
        (
            ["data=parquet", "data.schema=a", "data.source={train:a}", "each=true"],
            ["The files of splits are not days.", "data.source"],
        ),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    root: Path, arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = [] if any(a.startswith("path") for a in arguments) or not arguments else [f"path={best(root, 'student')}"]
    data = ["data=prepared", f"data.root={root / 'day1'}"] if "data=parquet" not in arguments else []
    own = [argument.replace("{root}", str(root)) for argument in arguments]
    said = message_of(capsys, "scripts/evaluate.py", "trainer=cpu", *data, *path_arguments(root), *path, *own)
    assert all(part in said for part in parts), said


def test_a_schema_without_a_field_of_the_model_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = [f for f in SCHEMA["fields"] if f["name"] != "match"]
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump({**SCHEMA, "fields": fields}))
    arguments = [*of_day(root, 2)[:2], f"data.schema={tmp_path / 'schema.yaml'}", f"path={best(root, 'student')}"]
    said = message_of(capsys, "scripts/evaluate.py", "trainer=cpu", *path_arguments(root), *arguments)
    assert "without match" in said
