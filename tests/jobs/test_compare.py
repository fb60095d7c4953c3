"""scripts/compare.py: any runs in one table, one picture and one file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from distill.reports.summary import Summary, load_summary
from tests.jobs.entry import run_script


def write_run(folder: Path, name: str, seed: int, auc: float, finished: bool = True) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text("")
    if finished:
        cost = {"model": {"candidate_flops": 2500.0, "item_bytes": 128.0, "ms_p50@1000": 0.25}}
        metrics = {"model": {"click/auc": auc, "click/logloss": 1 - auc, "click/gauc": auc - 0.1}}
        run = Summary(name, seed, metrics, {}, {}, {"model": 5}, {"model": 1.0}, {"model": 3}, [], name, "data")
        more = {
            "validation": {"model": {"val/click/auc": auc + 0.01}},
            "checkpoints": {"model": "checkpoints/best.ckpt"},
        }
        replace(run, cost=cost, **more).save(folder)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for i, (name, seed, auc) in enumerate([("a|b", 0, 0.6), ("a|b", 1, 0.62), ("best", 0, 0.7), ("best", 1, 0.74)]):
        write_run(tmp_path / "sweep" / str(i), name, seed, auc)
    write_run(tmp_path / "sweep" / "10", "killed", 0, 0.0, finished=False)
    write_run(tmp_path / "alone", "alone", 5, 0.5)
    return tmp_path


def test_table_picture_and_files(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = runs / "out"
    places = [str(runs / "sweep"), str(runs / "alone")]
    run_script("scripts/compare.py", *places, "--sort", "click/auc", "--out", str(out))
    printed = capsys.readouterr().out
    assert "5 runs" in printed
    assert "left out" in printed
    assert "0.7200" in printed
    rows = json.loads((out / "comparison.json").read_text())
    assert [(row["configuration"], row["seeds"]) for row in rows] == [("best", [0, 1]), ("a|b", [0, 1]), ("alone", [5])]
    lines = (out / "comparison.md").read_text().splitlines()
    assert lines[0] == "| configuration | model | seeds | click/auc | kFLOPs/cand. | bytes/item | ms for 1,000 |"
    assert lines[2] == "| best | model | 0, 1 | **0.7200 ± 0.0283**, val 0.7300 | 2.50 | 128 | 0.25 |"
    best = runs / "sweep" / "2"
    assert f"| best | model | 0 | `{best}` | `{best / 'checkpoints' / 'best.ckpt'}` |" in lines
    assert rows[0]["runs"][1]["checkpoint"] == str(runs / "sweep" / "3" / "checkpoints" / "best.ckpt")
    assert rows[0]["validation"]["click/auc"]["mean"] == pytest.approx(0.73)
    assert lines[3].startswith("| a\\|b | model |")
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert load_summary(runs / "alone").seed == 5


def test_folders_of_commands_that_train_nothing_are_not_missed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("prepare", "train"):
        folder = write_run(runs / "more" / name, "", 0, 0.0, finished=False)
        (folder / ".hydra" / "hydra.yaml").write_text(f"hydra:\n  job:\n    name: {name}\n")
    run_script("scripts/compare.py", str(runs / "alone"), str(runs / "more"))
    printed = "".join(capsys.readouterr().out.split())
    assert f"leftout:{runs / 'more' / 'train'}" in printed
    assert str(runs / "more" / "prepare") not in printed
    assert "--outFOLDER" in printed


def test_lower_is_better_sorts_the_other_way(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_script("scripts/compare.py", str(runs), "--sort", "click/logloss", "--metrics", "click/logloss")
    printed = capsys.readouterr().out
    assert printed.index("best") < printed.index("a|b") < printed.index("alone")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such folder"),
        (["empty"], "no finished run"),
        (["alone", "--metrics", "click/ndcg"], "click/auc"),
        (["alone", "--sort", "click/ndcg"], "lack a metric"),
    ],
)
def test_what_cannot_be_compared(
    arguments: list[str], message: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs / "empty").mkdir()
    with pytest.raises(SystemExit) as stop:
        run_script("scripts/compare.py", str(runs / arguments[0]), *arguments[1:])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_runs_on_different_data_are_refused_unless_told(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = load_summary(runs / "alone")
    replace(other, dataset="yesterday", metrics={"model": {"click/auc": 0.9}}).save(runs / "alone")
    places = [str(runs / "sweep"), str(runs / "alone"), "--metrics", "click/auc"]
    with pytest.raises(SystemExit) as stop:
        run_script("scripts/compare.py", *places)
    assert stop.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "The runs use different data" in said
    assert "data yester: alone (seed 5)" in said
    assert "--different-data" in said
    run_script("scripts/compare.py", *places, "--different-data", "--sort", "click/auc", "--out", str(runs / "out"))
    printed = " ".join(capsys.readouterr().out.split())
    assert "none is ranked with rows of other data" in printed
    rows = json.loads((runs / "out" / "comparison.json").read_text())
    assert [(row["configuration"], row["datasets"]) for row in rows] == [
        ("alone", ["yesterday"]),
        ("best", ["data"]),
        ("a|b", ["data"]),
    ]
    assert rows[0]["better"] == {"click/auc": "up"}
    assert "**0.9000**" not in (runs / "out" / "comparison.md").read_text()


def test_the_metrics_that_runs_were_asked_for_are_shown(runs: Path) -> None:
    for place in ("sweep/0", "alone"):
        found = load_summary(runs / place)
        replace(found, report=["click/logloss", "click/gauc"]).save(runs / place)
    run_script("scripts/compare.py", str(runs), "--out", str(runs / "out"))
    head = (runs / "out" / "comparison.md").read_text().splitlines()[0]
    assert head.startswith("| configuration | model | seeds | click/logloss | click/gauc |")


def test_a_target_sorts_by_distance_and_what_has_no_better_by_size(runs: Path) -> None:
    for place, pcoc in (("sweep/0", 0.4), ("sweep/1", 0.6), ("sweep/2", 1.2), ("sweep/3", 1.2), ("alone", 3.0)):
        found = load_summary(runs / place)
        replace(found, metrics={"model": {"click/pcoc": pcoc, "gini@20": pcoc}}).save(runs / place)
    for metric, expected in (("click/pcoc", ["best", "a|b", "alone"]), ("gini@20", ["alone", "best", "a|b"])):
        out = runs / f"out-{expected[0]}"
        run_script("scripts/compare.py", str(runs), "--metrics", metric, "--sort", metric, "--out", str(out))
        rows = json.loads((out / "comparison.json").read_text())
        assert [row["configuration"] for row in rows] == expected
