"""What a checkpoint's config may name, and what happens to the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from distill.errors import ConfigError, DataError
from distill.jobs.parts import build_model, load_model, model_card
from tests.batches import make_batch, make_schema

NET = {
    "_target_": "distill.models.TwoTower",
    "embedding_dim": 4,
    "embedding_std": 0.05,
    "body": {
        "_target_": "distill.models.bodies.dnn.DNN",
        "_partial_": True,
        "hidden_units": [8],
        "norm": "none",
        "dropout": 0.0,
        "residual": False,
    },
    "vector_dim": 4,
    "similarity": "cosine",
    "temperature": None,
    "shared_item_vector": False,
    "sequence": {"_target_": "distill.features.MeanPooling"},
    "distinct_candidates": False,
}


def save(path: Path, net: dict[str, Any], **changes: Any) -> Path:
    schema = make_schema().serving_view()
    model = build_model(NET, schema, "net")
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "distill": model_card(net, schema, "f"), **changes}, path)
    return path


def test_model_scores_the_same_after_loading(tmp_path: Path) -> None:
    torch.manual_seed(0)
    schema = make_schema().serving_view()
    model = build_model(NET, schema, "net").eval()
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "distill": model_card(NET, schema, "f")}, tmp_path / "x.ckpt")
    loaded = load_model(tmp_path / "x.ckpt")
    batch = make_batch(schema)
    assert torch.equal(loaded.model(batch).logits, model(batch).logits)
    assert loaded.schema == schema


@pytest.mark.parametrize(
    "change",
    [
        {"_target_": "os.mkdir", "path": "TRAP"},
        {"_target_": "torch.load"},
        {"_target_": "distill.jobs.train.run"},
        {"body": {"_target_": "os.mkdir", "_partial_": True, "path": "TRAP"}},
        {"_target_": "distill.features.MeanPooling"},
        {"sequence": {"_target_": "distill.features.encoder.dataclass"}},
        {"vector_dim": [{"deeper": {"_target_": "pathlib.Path.mkdir"}}]},
        {"_target_": "distill.models.prerankers.two_tower.math"},
    ],
)
def test_foreign_targets_are_refused_before_anything_is_called(tmp_path: Path, change: dict[str, Any]) -> None:
    trap = tmp_path / "trap"
    net = {**NET, **{k: v if v != "TRAP" else str(trap) for k, v in change.items()}}
    if "path" in net["body"]:
        net["body"]["path"] = str(trap)
    with pytest.raises(ConfigError):
        load_model(save(tmp_path / "x.ckpt", net))
    assert not trap.exists()


def test_checkpoint_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not say which model"):
        load_model(save(tmp_path / "x.ckpt", NET, distill=None))


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="do not fit"):
        load_model(save(tmp_path / "x.ckpt", {**NET, "vector_dim": 8}))
