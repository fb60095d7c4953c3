"""A bundle scores raw text as the checkpoint scores the prepared text; its tokenizer is in it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from distill.data.dataset import load_dataset
from distill.data.prepare.progress import PassProgress
from distill.data.stream import iterate_part
from distill.encodings import PackedEncodings
from distill.encodings.id_values import to_keys
from distill.encodings.place import Place
from distill.errors import ConfigError, DataError
from distill.export import BundleOptions, Trained, write_bundle
from distill.jobs.export import ItemOptions, export_bundle
from distill.serving import Bundle
from tests.data.prepare.builders import pairs, prepare_quietly, schema_of, write
from tests.encodings.tokenizer import write_tokenizer
from tests.models.composing import build

QUERIES = ["Red shoes", "Red shoes", "blue HAT", "blue HAT", "blue HAT", None, "rouge é"]
TITLES = ["red Shoes", "blue hat", "hat, blue", None, "red", "new words", ""]


def text_fields(subwords: Path | None) -> list[dict[str, Any]]:
    """Query and title of one table, letters of their pair, and subwords if there is a tokenizer."""
    fields: list[dict[str, Any]] = [
        {"name": "query", "side": "request", "kind": "text", "table": "terms"},
        {"name": "title", "side": "candidate", "kind": "text", "table": "terms", "max_length": 3},
        {"name": "letters", "column": "title", "side": "cross", "kind": "text", "tokens": "characters",
         "encoding": {"type": "hash", "buckets": 30}},
    ]  # fmt: skip
    if subwords is not None:
        tokens = {"split": "subwords", "tokenizer": str(subwords)}
        fields.append({"name": "parts", "column": "title", "side": "candidate", "kind": "text", "tokens": tokens})
    return fields


def check(folder: Path, model: str, subwords: Path | None) -> Bundle:
    """Compares a bundle with its model on every row."""
    trained = _trained(folder, model, text_fields(subwords))
    dataset, net = load_dataset(folder / "data"), trained.model
    bundle = write_bundle(trained, folder / "bundle", BundleOptions(exported=False))
    compared = 0
    for split in ("train", "val", "test"):
        for batch in iterate_part(dataset, split, 0, dataset.schema, 1):
            logits = net(batch).logits.detach().numpy()[:, 0]
            query, titles = _raw_of(batch)
            scores = bundle.score({"query": query}, {"title": titles})
            np.testing.assert_allclose(scores.logits[:, 0], logits, rtol=1e-4, atol=1e-5)
            compared += len(logits)
    assert compared == len(TITLES)
    return bundle


def _trained(folder: Path, model: str, fields: list[dict[str, Any]]) -> Trained:
    """Prepares `data` in the folder; the weights of the model are drawn."""
    log = write(folder / "log.parquet", pairs(query=QUERIES, title=TITLES))
    dataset = load_dataset(prepare_quietly(log, folder / "data", schema_of(fields=fields)).root)
    torch.manual_seed(0)
    net = build(model, dataset.schema).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return Trained(net, dataset.schema, PackedEncodings.read(dataset.root, dataset.manifest.encodings))


def _raw_of(batch: Any) -> tuple[str | None, list[str | None]]:
    """The query and the titles of a request, found by its number of candidates and its user."""
    of_users = {"r1": slice(0, 2), "r2": slice(2, 5), "r3": slice(5, 6), "r4": slice(6, 7)}
    keys, _ = to_keys(pa.array(list(of_users)), Place("", ""))
    part = list(of_users.values())[keys.tolist().index(int(batch.request_id[0]))]
    return QUERIES[part][0], TITLES[part]


@pytest.mark.slow
def test_a_bundle_scores_raw_text(tmp_path: Path) -> None:
    check(tmp_path, "two_tower", None)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["two_tower", "cold"])
def test_stored_items_are_scored_as_their_raw_text(tmp_path: Path, model: str) -> None:
    """Vectors of a tower, and features of a model that reads both together."""
    trained = _trained(tmp_path, model, text_fields(None)[:2])
    pq.write_table(pa.table({"item": range(len(TITLES)), "title": TITLES}), tmp_path / "items.parquet")
    with PassProgress(False) as bars:
        items = ItemOptions(str(tmp_path / "items.parquet"), torch.device("cpu"))
        export_bundle(trained, tmp_path / "bundle", BundleOptions(exported=False), items, bars)
    bundle = Bundle.load(tmp_path / "bundle")
    keys = [6, 0, 3, 5, 0]
    for query in ("Red shoes", None, "HAT"):
        by_text = bundle.score({"query": query}, {"title": [TITLES[key] for key in keys]}).logits
        np.testing.assert_allclose(bundle.score({"query": query}, {}, items=keys).logits, by_text, atol=1e-6)
        assert len(np.unique(by_text)) > 2


@pytest.mark.slow
@pytest.mark.parametrize("model", ["two_tower", "cold"])
def test_a_bundle_has_its_tokenizer(tmp_path: Path, model: str) -> None:
    pytest.importorskip("tokenizers")
    tokenizer = write_tokenizer(tmp_path / "tokenizer.json")
    bundle = check(tmp_path, model, tokenizer)
    (kept,) = (bundle.root / "encodings").glob("tokenizer-*.json")
    assert kept.read_bytes() == tokenizer.read_bytes()
    tokenizer.unlink()
    Bundle.load(bundle.root)
    kept.write_bytes(kept.read_bytes() + b" ")
    with pytest.raises(DataError, match="is not the one that was written"):
        Bundle.load(bundle.root)


@pytest.mark.slow
def test_without_the_package_a_bundle_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tokenizers")
    bundle = check(tmp_path, "two_tower", write_tokenizer(tmp_path / "tokenizer.json"))
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"(?s)tokenizers, which is not installed.*pip install tokenizers"):
        Bundle.load(bundle.root)
