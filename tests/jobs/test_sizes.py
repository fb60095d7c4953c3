"""What `auto` stands for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from distill.jobs.sizes import batch_of, epochs_of
from distill.reports.summary import load_summary
from tests.jobs.entry import path_arguments, run_dirs, train

RUN = ["data=funnel_tiny", "trainer=cpu", "cost.enabled=false", "logger=none", "callbacks.progress_bar=false"]


@pytest.mark.parametrize(
    ("rows", "requests", "divided", "batch"),
    [
        (1_000, 1_000, 1, 256),
        (56_000, 56_000, 1, 256),
        (200_000, 200_000, 1, 512),
        (200_000, 200_000, 4, 256),
        (2_000_000, 2_000_000, 1, 4096),
        (10**9, 10**9, 1, 4096),
        (10**9, 10**9, 64, 4096),
        (40_000, 400, 1, 512),  # 4 requests of 100
        (10**6, 100, 1, 4096),
        (0, 0, 1, 256),
    ],
)
def test_a_batch_is_a_part_of_the_rows(rows: int, requests: int, divided: int, batch: int) -> None:
    assert batch_of(rows, requests, divided) == batch


@pytest.mark.parametrize(
    ("steps", "epochs"), [(1, 31), (258, 31), (259, 15), (533, 15), (1200, 3), (2667, 1), (10**6, 1)]
)
def test_epochs_end_where_a_cycle_does(steps: int, epochs: int) -> None:
    assert epochs_of(steps) == epochs


@pytest.mark.slow
def test_a_run_says_and_keeps_what_it_chose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["data.loader.batch_candidates=auto", "optimizer.embedding_dense_rows=auto"]
    arguments = [*RUN, "model=logistic", *wanted, *path_arguments(tmp_path)]
    train(*arguments, "trainer.max_steps=40")
    (folder,) = run_dirs(tmp_path, "logistic")
    chosen = {"data.loader.batch_candidates": 256, "trainer.max_epochs": 31, "callbacks.patience": 2}
    chosen["optimizer.embedding_dense_rows"] = 256
    by = {"callbacks.monitor": "val/click/auc", "callbacks.mode": "max"}
    assert json.loads((folder / "manifest.json").read_text())["auto"] == {**by, **chosen}
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["data"]["loader"]["batch_candidates"], config["callbacks"]["patience"]) == (256, 2)
    said = ", ".join(f"{key}={number}" for key, number in chosen.items())
    assert f"auto: {said}, as there are " in (folder / "train.log").read_text()
    before = load_summary(folder).metrics
    train(*arguments, "trainer.max_steps=40", "resume=last")
    assert load_summary(folder).metrics == before
    train(*arguments, "trainer.max_steps=40", "resume=last", "data.loader.batch_candidates=256")  # the same, in numbers
    train(*arguments, "trainer.max_steps=40", "resume=last")
    with pytest.raises(SystemExit):
        train(*arguments, "trainer.max_steps=40", "resume=last", "data.loader.batch_candidates=512")
    assert "data.loader.batch_candidates=256" in capsys.readouterr().err
    text = (folder / "config.yaml").read_text()
    for damaged in ("${oc.env:HOME}", "many", "true"):  # of a file nothing is resolved
        (folder / "config.yaml").write_text(text.replace("patience: 2", f"patience: {damaged}"))
        with pytest.raises(SystemExit):
            train(*arguments, "trainer.max_steps=40", "resume=last")
        said = " ".join(capsys.readouterr().err.split())
        assert "callbacks.patience" in said
        assert str(Path.home()) not in said
