"""A model through the days of a log, with the commands of everyday work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill.data.funnel import source
from tests.jobs.days import write_days
from tests.jobs.entry import run_script
from tests.jobs.test_mistakes import message_of

SMALL = ["trainer=cpu", "trainer.max_epochs=1", "callbacks.progress_bar=false", "cost.enabled=false", "model=two_tower"]


def evaluated(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / "evaluation.json").read_text())
    return found


@pytest.mark.slow
def test_files_of_days(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_days(tmp_path, range(1, 6))
    out = tmp_path / "out"
    data = [
        "data=parquet",
        f"data.schema={tmp_path / 'schema.yaml'}",
        f"data.source='{tmp_path / 'days' / '*.parquet'}'",
    ]
    run_script("scripts/backtest.py", "--first", "2", "--out", str(out), *data, *SMALL)
    found = evaluated(out)
    assert [one["data"] for one in found] == ["3.parquet", "4.parquet", "5.parquet"]
    assert all(list(one["metrics"]) == ["frozen", "daily", "scratch"] for one in found)
    first, *later = found
    assert first["metrics"]["frozen"] == first["metrics"]["daily"] == first["metrics"]["scratch"]
    assert all(one["metrics"]["frozen"] != one["metrics"]["scratch"] for one in later)
    with pytest.raises(SystemExit):  # what was trained with other settings is not taken for this
        run_script("scripts/backtest.py", "--first", "2", "--out", str(out), *data, *SMALL, "seed=1")
    assert "other backtests" in capsys.readouterr().err
    run_script("scripts/backtest.py", "--first", "2", "--out", str(out), *data, *SMALL)
    assert evaluated(out) == found
    assert (out / "over_days.png").stat().st_size > 5000
    log = next((out / "runs" / "daily-004").glob("*/train.log")).read_text()
    assert "by raw value" in log
    said = capsys.readouterr().out
    assert "click/auc" in said
    content = json.loads((out / "backtest.json").read_text())
    values = [one["metrics"]["daily"]["click/auc"] for one in found]
    assert content["metrics"]["click/auc"]["daily"]["days"] == [[value, None] for value in values]
    assert content["metrics"]["click/auc"]["daily"]["mean"] == [pytest.approx(sum(values) / 3), None]
    assert content["seconds"]["frozen"][0] < 0.1 < content["seconds"]["daily"][0]
    assert json.loads((out / "seconds.json").read_text()).keys() >= {"first", "daily-004", "scratch-003"}
    encodings = json.loads((out / "datasets" / "daily-003" / "manifest.json").read_text())["source"]["encodings"]
    assert encodings["grown"]


@pytest.mark.slow
def test_seeds_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_days(tmp_path, range(1, 5))
    data = [
        "data=parquet",
        f"data.schema={tmp_path / 'schema.yaml'}",
        f"data.source='{tmp_path / 'days' / '*.parquet'}'",
    ]
    out = tmp_path / "out"
    command = ["--first", "2", "--arms", "frozen", "daily", "--seeds", "0", "1", "--out", str(out), *data, *SMALL]
    run_script("scripts/backtest.py", *command)
    each = [evaluated(out / f"seed-{seed}") for seed in (0, 1)]
    content = json.loads((out / "backtest.json").read_text())
    assert content["seeds"] == [0, 1]
    one, other = (found[1]["metrics"]["daily"]["click/auc"] for found in each)
    mean, deviation = content["metrics"]["click/auc"]["daily"]["days"][1]
    assert mean == pytest.approx((one + other) / 2)
    assert deviation == pytest.approx(abs(one - other) / 2**0.5)
    assert (out / "over_days.png").stat().st_size > 5000
    assert "±" in capsys.readouterr().out
    before = content["seconds"]
    run_script("scripts/backtest.py", *command)
    assert json.loads((out / "backtest.json").read_text())["seconds"] == before  # not those of looking at what is there
    assert "given once" in message_of(capsys, "scripts/backtest.py", *command, "seed=3")


@pytest.mark.slow
def test_the_generated_log_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BLOCK_REQUESTS", 16)
    out = tmp_path / "out"
    small = ["data=funnel_drift", "data.adapter.requests=400", "data.adapter.warmup=50", "data.adapter.days=4",
             "data.adapter.users=50", "data.adapter.items=400"]  # fmt: skip
    command = ["--first", "2", "--arms", "frozen", "daily", "--out", str(out), *small, *SMALL]
    run_script("scripts/backtest.py", *command)
    found = evaluated(out)
    assert [one["data"] for one in found] == ["day 2", "day 3"]
    assert found[0]["unknown"]["item_id"] > 0  # items that arrived
    times = {path: path.stat().st_mtime_ns for path in out.rglob("best.ckpt")}
    run_script("scripts/backtest.py", *command)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("best.ckpt")} == times
    assert evaluated(out) == found


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["data=funnel_drift", "data.adapter.days=3"], "--first"),
        (["model=two_tower"], "The log has no days."),
        (["data=parquet", "data.schema=x", "data.source='nowhere/*'"], "Nothing matches."),
        (["data=parquet", "data.schema=x", "data.source={train:a,test:b}"], "The files of splits are not days."),
    ],
)
def test_what_is_no_log_of_days(
    tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in message_of(capsys, "scripts/backtest.py", "--first", "5", "--out", str(tmp_path / "o"), *arguments)
