"""A model of a log that kept a tenth of its negatives: what it says of the whole log, wherever it says it."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from distill.data.dataset import load_dataset
from distill.jobs.ensemble import ensemble_signals
from distill.reports.summary import load_summary
from distill.serving import Bundle
from distill.signals.provenance import PROVENANCE_FILE, finish_signals, read_provenance
from distill.training.checkpoint_io import read_checkpoint
from tests.jobs.entry import path_arguments, run_dirs, run_script, train

pytestmark = pytest.mark.slow  # whole runs; the parts are held where they are

REQUESTS, CANDIDATES, ITEMS, RATE = 2500, 10, 12, 0.1
SMALL = ["trainer=cpu", "trainer.max_epochs=1", "callbacks.progress_bar=false", "cost.enabled=false"]
SCHEMA: dict[str, Any] = {
    "name": "ads",
    "layout": "requests",
    "keys": {"request": "search", "user": "user", "item": "item", "time": "ts"},
    "fields": [
        {"name": "user", "side": "request", "kind": "id"},
        {"name": "item", "side": "candidate", "kind": "id"},
    ],
    "tasks": [{"name": "click"}],
}


def log(seed: int) -> pa.Table:
    """One row per candidate; a click has a probability that depends on the item, a tenth on average."""
    rng = np.random.default_rng(seed)
    request = np.repeat(np.arange(REQUESTS), CANDIDATES)
    item = rng.integers(0, ITEMS, len(request))
    click = rng.random(len(request)) < 0.1 + 0.08 * np.sin(item)
    kept = click | (rng.random(len(request)) < RATE)
    columns = {"search": request, "user": request % 50, "item": item, "ts": request, "click": click.astype(np.int8)}
    return pa.table({**columns, "kept": kept})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sampled")
    first = log(0)
    pq.write_table(first.filter(first["kept"]).drop_columns(["kept"]), root / "sampled.parquet")
    pq.write_table(log(1).drop_columns(["kept"]), root / "whole.parquet")
    (root / "sampled.yaml").write_text(yaml.safe_dump({**SCHEMA, "negative_sampling": {"click": RATE}}))
    (root / "whole.yaml").write_text(yaml.safe_dump(SCHEMA))
    train(*data(root, "sampled"), *SMALL, *path_arguments(root), "model=quality_score", "name=rate", "export=true")
    return root


def data(root: Path, name: str) -> list[str]:
    return ["data=parquet", f"data.source={root / f'{name}.parquet'}", f"data.schema={root / f'{name}.yaml'}"]


def run_of(root: Path) -> Path:
    return run_dirs(root, "rate")[0]


def predicted(root: Path, model: Path, name: str) -> pa.Table:
    out = root / name
    arguments = ["trainer=cpu", f"path={model}", f"source={root / 'whole.parquet'}", f"out={out}", "keep=[click]"]
    run_script("scripts/predict.py", *arguments, *path_arguments(root))
    parts = json.loads((out / "predictions.json").read_text())["parts"]
    return pa.concat_tables([pq.read_table(out / part["path"]) for part in parts])


def pcoc_of(table: pa.Table) -> float:
    return float(table["pred_click"].to_numpy().sum() / table["click"].to_numpy().sum())


def evaluated(root: Path, name: str) -> dict[str, float]:
    arguments = [f"path={run_of(root)}", *data(root, name), *path_arguments(root)]
    run_script("scripts/evaluate.py", "trainer=cpu", *arguments)
    (found,) = json.loads((max((root / "runs" / "evaluate").iterdir()) / "evaluation.json").read_text())
    (metrics,) = found["metrics"].values()
    return metrics


def test_checkpoint_bundle_and_evaluation_say_the_probabilities_of_the_whole_log(root: Path) -> None:
    of_checkpoint = predicted(root, run_of(root), "by_checkpoint")
    assert pcoc_of(of_checkpoint) == pytest.approx(1, abs=0.12)  # two logs of about 2,500 clicks: 3 % each
    of_bundle = predicted(root, run_of(root) / "bundle", "by_bundle")
    for name in ("pred_click", "ranking_score"):
        np.testing.assert_allclose(of_bundle[name].to_numpy(), of_checkpoint[name].to_numpy(), atol=1e-5)
    scores = Bundle.load(run_of(root) / "bundle").score({"user": 3}, {"item": list(range(ITEMS))})
    by_item = dict(zip(of_checkpoint["item"].to_pylist(), of_checkpoint["pred_click"].to_pylist(), strict=True))
    np.testing.assert_allclose(scores.predictions["click"], [by_item[item] for item in range(ITEMS)], atol=1e-5)
    np.testing.assert_allclose(scores.ranking_score, np.log(scores.predictions["click"]), atol=1e-5)
    whole = evaluated(root, "whole")
    assert whole["click/pcoc"] == pytest.approx(pcoc_of(of_checkpoint), rel=1e-4)
    assert whole["click/ece"] < 0.02


def test_a_sampled_log_is_measured_by_its_own_odds(root: Path) -> None:
    assert load_summary(run_of(root)).metrics["model"]["click/pcoc"] == pytest.approx(1, abs=0.1)
    assert evaluated(root, "sampled")["click/pcoc"] == pytest.approx(1, abs=0.1)


def test_without_the_declared_rate_a_model_says_the_odds_of_the_sampled_log(root: Path) -> None:
    """The same model on a log that is wrongly said to be sampled: its probabilities are several times too high."""
    (root / "wrong.yaml").write_text((root / "sampled.yaml").read_text())
    (root / "wrong.parquet").write_bytes((root / "whole.parquet").read_bytes())
    assert evaluated(root, "wrong")["click/pcoc"] > 3


@pytest.mark.parametrize("signals", ["cached", "online"])
def test_a_teacher_of_a_sampled_log_teaches_a_student_of_a_whole_one(root: Path, signals: str) -> None:
    card = read_checkpoint(run_of(root) / "checkpoints" / "best.ckpt")["distill"]
    assert card["schema"]["negative_sampling"] == {"click": RATE}
    prepared = root / f"day-{signals}"
    encodings = f"encodings={run_of(root) / 'checkpoints' / 'best.ckpt'}"
    run_script("scripts/prepare.py", *data(root, "whole"), *path_arguments(root), f"out={prepared}", encodings)
    teacher = ["teacher=checkpoint", f"teacher.path={run_of(root)}"]
    own = ["data=prepared", f"data.root={prepared}", f"teacher.signals={signals}", "control.enabled=false"]
    train(*own, *teacher, *SMALL, *path_arguments(root), "model=two_tower", "loss=pointwise", f"name={signals}")
    metrics = load_summary(run_dirs(root, signals)[0]).metrics
    assert metrics["teacher"]["click/pcoc"] == pytest.approx(1, abs=0.15)
    if signals == "cached":
        (folder,) = (path.parent for path in (root / "cache" / "signals").glob(f"*/{PROVENANCE_FILE}"))
        assert read_provenance(folder).negative_sampling == {"click": RATE}
        check_ensemble(root, prepared, folder)


def check_ensemble(root: Path, prepared: Path, folder: Path) -> None:
    """Members of other rates are brought to the odds of the dataset's log before their mean is taken."""
    dataset, found, other = load_dataset(prepared), read_provenance(folder), root / "other"
    shutil.copytree(folder, other)
    finish_signals(other, replace(found, teacher="b" * 32, negative_sampling={"click": 0.5}), found.parts)
    joint = ensemble_signals([folder, other], [1.0, 3.0], "logits", dataset, root / "cache")
    assert read_provenance(joint).negative_sampling == {}
    name = next(iter(found.parts))
    before, after = (pc.list_flatten(pq.read_table(f / name)["teacher_click"]).to_numpy() for f in (folder, joint))
    shift = (math.log(RATE) + 3 * math.log(0.5)) / 4
    np.testing.assert_allclose(after, before + shift, atol=1e-5)
