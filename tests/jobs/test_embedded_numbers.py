"""A linear model learns a curve of a number that is embedded, and its bundle draws it from raw values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from distill.data.dataset import load_dataset
from distill.jobs.parts import build_model
from distill.jobs.warm_start import warm_start
from distill.reports.summary import load_summary
from distill.serving import Bundle
from tests.jobs.entry import path_arguments, run_dirs, train

ENCODINGS = {
    "piecewise_linear": {"type": "piecewise_linear", "bins": 8},
    "autodis": {"type": "autodis", "buckets": 8},
    "standardise": {"type": "standardise"},
}


def _write(root: Path, encoding: str) -> None:
    """Clicks where x is near 0, and none where it is missing: no line through x tells the two apart."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=4000)
    known = rng.random(4000) > 0.2
    click = rng.random(4000) < np.where(known & (np.abs(x) < 0.67), 0.9, 0.1)
    table = {"x": pa.array(x, mask=~known), "click": click.astype(int), "place": np.arange(4000) % 7}
    pq.write_table(pa.table(table), root / "log.parquet")
    fields = [
        {"name": "x", "side": "candidate", "kind": "number", "encoding": ENCODINGS[encoding]},
        {"name": "place", "side": "request", "kind": "id"},
    ]
    schema = {"name": "curve", "layout": "flat", "fields": fields, "tasks": [{"name": "click"}]}
    (root / "schema.yaml").write_text(yaml.safe_dump(schema))


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_linear_model_learns_a_curve(encoding: str, tmp_path: Path) -> None:
    _write(tmp_path, encoding)
    train(
        "data=parquet", f"data.source={tmp_path / 'log.parquet'}", f"data.schema={tmp_path / 'schema.yaml'}",
        "split@data.adapter.split=random", *path_arguments(tmp_path), "trainer=cpu", "callbacks.progress_bar=false",
        "cost.enabled=false", "model=logistic", "name=curve", "optimizer.lr=0.03", "trainer.max_epochs=8",
        "data.loader.batch_candidates=128", "scheduler=cosine", "callbacks.patience=null", "export=true",
    )  # fmt: skip
    (run,) = run_dirs(tmp_path, "curve")
    auc = load_summary(run).metrics["model"]["click/auc"]
    if encoding == "standardise":
        assert auc < 0.75
        return
    assert auc > 0.8
    bundle = Bundle.load(run / "bundle")
    near, far, missing = bundle.score({"place": 3}, {"x": [0.0, 2.5, None]}).predictions["click"].tolist()
    assert near > 0.75
    assert max(far, missing) < 0.25
    _check_warm_start(tmp_path, run)


def _check_warm_start(root: Path, run: Path) -> None:
    (manifest,) = (root / "data").rglob("manifest.json")
    dataset, checkpoint = load_dataset(manifest.parent), run / "checkpoints" / "best.ckpt"
    net = torch.load(checkpoint, weights_only=True)["distill"]["net"]
    taken = warm_start(build_model(net, dataset.schema, "net"), dataset, checkpoint, "model.init_from")
    assert any("number_embeddings" in name for name in taken.dense)
    assert not taken.fresh
