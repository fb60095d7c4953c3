"""A new user's logs: from files and a schema to a distilled student, on the command line alone."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml

from distill.data.dataset import load_dataset
from distill.reports.summary import load_summary
from tests.jobs.entry import path_arguments, run_dirs, run_script, train
from tests.marks import some_fast

SCHEMA = {
    "name": "shop",
    "layout": "requests",
    "keys": {
        "request": "search",
        "user": "user",
        "item": "item",
        "time": "ts",
        "stage": {"column": "state", "values": {"shown": "exposed", "cut": "ranked"}},
    },
    "fields": [
        {"name": "user", "side": "request", "kind": "id"},
        {"name": "item", "side": "candidate", "kind": "id", "encoding": {"type": "hash", "buckets": 64}},
        {"name": "price", "side": "candidate", "kind": "number", "encoding": "log"},
        {"name": "match", "side": "cross", "kind": "number"},
        {"name": "dwell", "side": "cross", "kind": "number", "privileged": True},
    ],
    "tasks": [{"name": "click", "observed": "exposed"}],
    "teacher": {"columns": {"click": "prod_ctr"}, "kind": "probability"},
}


def write_logs(folder: Path, requests: int = 200) -> None:
    """One row per (request, candidate), in two CSV files; a request's rows are in both."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    rows: list[list[object]] = []
    for request in range(requests):
        items = rng.choice(40, 8, replace=False)
        probs = 1 / (1 + np.exp(-np.sin(items + request % 10)))
        places = (-probs).argsort().argsort() + 1
        for item, prob, rank in zip(items, probs, places, strict=True):
            shown = rng.random() < 0.5
            click = int(rng.random() < prob) if shown else ""
            price, match = rng.exponential(10), rng.normal()
            dwell = rng.random() * 30 if shown else ""
            rows.append([f"s{request}", f"u{request % 10}", f"i{item}", 1000 + request, "shown" if shown else "cut",
                         f"{price:.3f}", f"{match:.3f}", dwell, click, f"{prob:.6f}",
                         rank if rank <= 6 else ""])  # fmt: skip
    header = ["search", "user", "item", "ts", "state", "price", "match", "dwell", "click", "prod_ctr", "prod_rank"]
    for i in range(2):
        with (folder / f"part{i}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows[i::2]])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own")
    write_logs(root / "logs")
    (root / "schema.yaml").write_text(yaml.safe_dump(SCHEMA))
    return root


def arguments(root: Path, schema: str = "schema.yaml") -> list[str]:
    return ["data=parquet", f"data.source={root / 'logs'}", f"data.schema={root / schema}", *path_arguments(root)]


def small(root: Path, name: str) -> list[str]:
    return ["trainer=cpu", "trainer.max_epochs=1", "callbacks.progress_bar=false", f"name={name}"]


def test_prepare_says_what_it_found(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = root / "prepared"
    run_script("scripts/prepare.py", *arguments(root), f"out={out}")
    text = capsys.readouterr().out
    assert "shop (requests)" in text
    assert "dwell (privileged)" in text
    assert "data.root=" in text
    dataset = load_dataset(out)
    assert sum(part.candidates for parts in dataset.manifest.splits.values() for part in parts) == 1600
    assert [sum(p.rows for p in dataset.parts(s)) for s in ("train", "val", "test")] == [160, 20, 20]


@pytest.mark.parametrize("teacher", ["column", "trained"])
@pytest.mark.slow
def test_logs_become_a_distilled_student(root: Path, teacher: str) -> None:
    chosen = [f"teacher={teacher}", *(["teacher.max_epochs=1"] if teacher == "trained" else [])]
    train(*arguments(root), *small(root, teacher), *chosen, "loss=listwise")
    summary = load_summary(run_dirs(root, teacher)[0])
    assert list(summary.metrics) == ["teacher", "control", "distilled"]
    if teacher == "column":
        assert summary.metrics["teacher"]["click/auc"] > 0.6
        assert "teacher" not in summary.parameters


def test_a_prepared_folder_is_used_as_it_is(root: Path) -> None:
    if not (root / "prepared").exists():
        run_script("scripts/prepare.py", *arguments(root), f"out={root / 'prepared'}")
    prepared = ["data=prepared", f"data.root={root / 'prepared'}", *path_arguments(root)]
    train(*prepared, *small(root, "prepared"), "model=two_tower")
    assert list(load_summary(run_dirs(root, "prepared")[0]).metrics) == ["model"]


@pytest.mark.slow
def test_flat_logs_train_too(root: Path) -> None:
    flat = {**SCHEMA, "layout": "flat", "keys": {"user": "user", "time": "ts"}, "tasks": [{"name": "click"}]}
    (root / "flat.yaml").write_text(yaml.safe_dump(flat))
    train(
        *arguments(root, "flat.yaml"), *small(root, "flat"), "teacher=trained", "teacher.max_epochs=1", "loss=pointwise"
    )
    assert "gap_recovered" in (run_dirs(root, "flat")[0] / "summary.json").read_text()


def test_generated_data_reads_no_files(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train("data=funnel_tiny", f"data.source={root}", *path_arguments(root), *small(root, "mistake"))
    assert "This data set reads no raw files." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "expected"),
    some_fast(
        [
            (["data.schema=/nowhere.yaml"], "The schema does not exist."),
            (["data.source=/nowhere"], "/nowhere"),
            (["model.net.hidden=[1]"], "Could not override 'model.net.hidden'"),
            (["+model.net.hidden=[1]"], "unexpected keyword argument 'hidden'"),
            (["model.net._target_=os.system"], "A model must be one of this package"),
            (["loss=listwise"], "needs teacher signals, but there is no teacher"),
            (["~loss.terms.hard._target_"], "not a loss term"),
            (["loss.terms.hard.tasks=[buy]"], "buy"),
            (["callbacks.monitor=val/nothing"], "The monitored metric is not measured."),
            (["data.main_task=buy"], "Set data.main_task."),
            (["trainer.max_epoch=1"], "max_epoch"),
            (["teacher=column", "loss.terms.hard.rows=shown"], "shown"),
            (["resume=/nowhere"], "There is no run to resume."),
            (["optimizer.lr=-1"], "optimizer.lr"),
        ],
        4,
    ),
)
def test_mistakes_end_with_one_message(
    root: Path, changes: list[str], expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    with pytest.raises(SystemExit) as ending:
        train(*arguments(root), *small(root, "mistake"), *changes)
    assert ending.value.code != 0
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message


def ranked_schema(root: Path, name: str) -> str:
    """The production ranker's score was not kept, only the place it gave to the first six candidates."""
    ranked = {**SCHEMA, "name": name, "teacher": {"columns": {"click": "prod_rank"}, "kind": "position"}}
    (root / f"{name}.yaml").write_text(yaml.safe_dump(ranked))
    return f"{name}.yaml"


@pytest.mark.slow
def test_an_order_alone_teaches(root: Path) -> None:
    order = ["loss=hard", "+loss_term@loss.terms.list=listmle"]
    train(*arguments(root, ranked_schema(root, "ranked")), *small(root, "ranked"), "teacher=column", *order)
    summary = load_summary(run_dirs(root, "ranked")[0])
    assert list(summary.metrics) == ["teacher", "control", "distilled"]
    assert summary.metrics["teacher"]["click/auc"] > 0.6
    assert "click/pcoc" in summary.metrics["distilled"]
    assert not {"click/logloss", "click/pcoc", "click/ece"} & summary.metrics["teacher"].keys()


@pytest.mark.slow
def test_an_order_alone_is_no_probability_until_it_is_calibrated(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [*arguments(root, ranked_schema(root, "ranked")), *small(root, "calibrated"), "teacher=column"]
    with pytest.raises(SystemExit):
        train(*own, "loss=pointwise")
    assert "loss.terms.soft" in " ".join(capsys.readouterr().err.split())
    train(*own, "loss=pointwise", "teacher.calibration=platt")
    summary = load_summary(run_dirs(root, "calibrated")[-1])
    assert 0.5 < summary.metrics["teacher"]["click/pcoc"] < 2


def test_a_place_before_the_first_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = {**SCHEMA, "teacher": {"columns": {"click": "price"}, "kind": "position"}}
    (root / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    with pytest.raises(SystemExit):
        train(*arguments(root, "wrong.yaml"), *small(root, "wrong"), "teacher=column", "loss=listwise")
    assert "cannot be a position" in " ".join(capsys.readouterr().err.split())
