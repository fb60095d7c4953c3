"""What a checkpoint's config may name, and what happens to the rest."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from distill.errors import ConfigError, DataError, DistillError
from distill.jobs.identity import ABSENT, teacher_files
from distill.jobs.parts import build_model, load_model, model_card
from distill.plain import MAX_DEPTH, MAX_VALUES, plain_data
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


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="A folder is not a checkpoint"):
        load_model(tmp_path)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="do not fit"):
        load_model(save(tmp_path / "x.ckpt", {**NET, "vector_dim": 8}))


_EVIL = [
    "${trap:x}",
    "${oc.create:{_target_:os.mkdir,_args_:['TRAP']}}",
    "\\${trap:x}",
    "${oc.env:HOME}",
    "os.mkdir",
    "torch.load",
    "distill.models.TwoTower",
    "distill.jobs.train.run",
]
_KEYS = ["_target_", "_partial_", "_args_", "_convert_", "_recursive_", "body", "extra", "${trap:key}"]
_VALUES = st.recursive(
    st.sampled_from([*_EVIL, True, None, 3, "TRAP"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from([*_KEYS, *NET]), value=_VALUES, inside=st.booleans())
def test_no_card_is_executed(tmp_path: Path, key: str, value: Any, inside: bool) -> None:
    """Whatever a card holds: it is refused with an error of ours, or builds a model, and nothing in it is resolved."""
    trap, resolved = tmp_path / "trap", list[str]()
    OmegaConf.register_new_resolver("trap", lambda name: resolved.append(name) or "os.mkdir", replace=True)
    value = json.loads(json.dumps(value).replace("TRAP", str(trap)))
    body: dict[str, Any] = dict(NET["body"])
    net = {**NET, "body": {**body, key: value}} if inside else {**NET, key: value}
    path = save(tmp_path / "x.ckpt", net)
    with contextlib.suppress(DistillError):
        load_model(path)
    assert not resolved
    assert not trap.exists()


def test_text_that_a_config_would_resolve_is_named(tmp_path: Path) -> None:
    net = {**NET, "body": {**NET["body"], "norm": "${oc.create:{_target_:os.mkdir}}"}}  # type: ignore[dict-item]
    with pytest.raises(DataError) as caught:
        load_model(save(tmp_path / "x.ckpt", net))
    assert caught.value.where == f"{tmp_path / 'x.ckpt'}: net.body.norm"
    assert caught.value.found == "${oc.create:{_target_:os.mkdir}}"


def test_a_card_that_grows_without_end_is_refused(tmp_path: Path) -> None:
    deep: list[Any] = []
    for _ in range(40):
        deep = [deep, deep]
    with pytest.raises(DataError, match="more values"):
        load_model(save(tmp_path / "x.ckpt", {**NET, "body": deep}))


def test_what_is_no_plain_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="plain data") as caught:
        load_model(save(tmp_path / "x.ckpt", {**NET, "vector_dim": torch.ones(2)}))
    assert caught.value.where == f"{tmp_path / 'x.ckpt'}: net.vector_dim"


def test_unknown_arguments_name_their_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_model(save(tmp_path / "x.ckpt", {**NET, "vector_dims": 4}))
    assert caught.value.where == f"{tmp_path / 'x.ckpt'}: net"
    assert "vector_dims" in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [("_args_", []), ("_recursive_", False), ("_convert_", "object"), ("_partial_", 3), ("_partial_", "true")],
)
def test_options_of_a_node_that_are_not_known_are_refused(tmp_path: Path, option: str, value: Any) -> None:
    net = {**NET, "body": {**NET["body"], option: value}}  # type: ignore[dict-item]
    with pytest.raises(ConfigError) as caught:
        load_model(save(tmp_path / "x.ckpt", net))
    assert caught.value.where == f"{tmp_path / 'x.ckpt'}: net.body.{option}"


def test_plain_data_is_a_copy_and_its_limits_are_exact() -> None:
    def nested(depth: int) -> Any:
        return [nested(depth - 1)] if depth else 1

    data = {"a": [1, 2.5, True, None, "$x {y}"], "b": ({"c": "d"},)}
    copied = plain_data(data, "here")
    assert copied == {"a": [1, 2.5, True, None, "$x {y}"], "b": [{"c": "d"}]}
    assert copied["a"] is not data["a"]
    assert plain_data(nested(MAX_DEPTH), "here") == nested(MAX_DEPTH)
    with pytest.raises(DataError, match="deeper"):
        plain_data(nested(MAX_DEPTH + 1), "here")
    assert len(plain_data([0] * (MAX_VALUES - 1), "here")) == MAX_VALUES - 1
    with pytest.raises(DataError, match="more values"):
        plain_data([0] * MAX_VALUES, "here")
    for value in ({1: 2}, {"${a}": 1}, {"a": {b"x"}}, b"x"):
        with pytest.raises(DataError):
            plain_data(value, "here")


def test_a_run_folder_of_a_teacher_is_known_by_its_best_checkpoint(tmp_path: Path) -> None:
    best = tmp_path / "checkpoints" / "best.ckpt"
    best.parent.mkdir()
    best.write_bytes(b"weights")
    found = [teacher_files(OmegaConf.create({"path": str(path)})) for path in (tmp_path, best)]
    assert found[0] == found[1]
    assert set(found[0].values()) != {ABSENT}
