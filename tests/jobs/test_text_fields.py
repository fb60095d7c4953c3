"""Fields of text in what a model goes through after training: raw prediction, and a model that begins with another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from distill.data.dataset import load_dataset
from distill.data.stream import iterate_part
from distill.encodings import FittedEncodings
from distill.encodings.tables import FittedVocabulary
from distill.features import EmbeddingTables
from distill.jobs.parts import build_model, load_model
from distill.jobs.warm_start import warm_start
from tests.jobs.entry import path_arguments, run_dirs, run_script, train

WORDS = ["red", "blue", "shoe", "hat", "coat", "wool", "silk", "cap"]
SCHEMA = {
    "name": "search",
    "layout": "requests",
    "keys": {"request": "search", "item": "item"},
    "fields": [
        {"name": "query", "side": "request", "kind": "text", "table": "words"},
        {"name": "title", "side": "candidate", "kind": "text", "table": "words"},
        {"name": "letters", "column": "title", "side": "candidate", "kind": "text", "tokens": "characters"},
    ],
    "tasks": [{"name": "click"}],
}
pytestmark = pytest.mark.slow


def searches(seed: int, words: list[str], searches: int = 60) -> pa.Table:
    """A row per candidate, four in a request; some texts are null, empty or in capitals."""
    rng = np.random.default_rng(seed)

    def text(count: int) -> str | None:
        drawn = " ".join(rng.choice(words, count))
        return [None, "", drawn.upper(), drawn, drawn, drawn][rng.integers(6)]

    queries = [text(2) for _ in range(searches)]
    number = np.repeat(np.arange(searches), 4)
    return pa.table({
        "search": number,
        "query": [queries[i] for i in number],
        "item": np.arange(4 * searches),
        "title": [text(3) for _ in number],
        "click": rng.integers(0, 2, 4 * searches),
    })  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one day, and another day under its encodings and under encodings of its own."""
    root = tmp_path_factory.mktemp("texts")
    (root / "schema.yaml").write_text(yaml.safe_dump(SCHEMA))
    pq.write_table(searches(0, WORDS[:6]), root / "old.parquet")
    pq.write_table(searches(1, WORDS[2:]), root / "new.parquet")
    for out, day, *more in (("old", "old"), ("fresh", "new"), ("encoded", "new", f"encodings={root / 'old'}")):
        whole = ["split@data.adapter.split=whole"] if more else ["split@data.adapter.split=random"]
        source = [f"data.source={root / f'{day}.parquet'}", f"data.schema={root / 'schema.yaml'}"]
        run_script(
            "scripts/prepare.py", "data=parquet", *source, *whole, *path_arguments(root), f"out={root / out}", *more
        )
    train("data=prepared", f"data.root={root / 'old'}", *path_arguments(root), "trainer=cpu", "trainer.max_epochs=2",
          "callbacks.progress_bar=false", "cost.enabled=false", "model=two_tower", "name=old")  # fmt: skip
    return root


def best(root: Path) -> Path:
    return run_dirs(root, "old")[0] / "checkpoints" / "best.ckpt"


def test_raw_text_is_predicted_as_prepared_text_is(root: Path, tmp_path: Path) -> None:
    run_script("scripts/predict.py", "trainer=cpu", f"path={best(root)}", f"source={root / 'new.parquet'}",
               f"out={tmp_path / 'out'}", *path_arguments(root))  # fmt: skip
    parts = json.loads((tmp_path / "out" / "predictions.json").read_text())["parts"]
    table = pa.concat_tables([pq.read_table(tmp_path / "out" / part["path"]) for part in parts])
    dataset, loaded = load_dataset(root / "encoded"), load_model(best(root))
    wanted = {}
    with torch.no_grad():
        for batch in iterate_part(dataset, "test", 0, loaded.schema, 64):
            probability = loaded.model(batch).logits[:, 0].sigmoid().tolist()
            wanted.update(zip(batch.item_id.tolist(), probability, strict=True))
    found = dict(zip(table["item"].to_pylist(), table["pred_click"].to_pylist(), strict=True))
    assert found == pytest.approx(wanted, abs=1e-6)
    assert len(set(found.values())) > 20


def rows(model: torch.nn.Module, folder: Path, table: str) -> dict[str, torch.Tensor]:
    """Token to its embedding."""
    encoder = FittedEncodings.load(folder, load_dataset(folder).manifest.encodings).tables[table]
    assert isinstance(encoder, FittedVocabulary)
    (tables,) = (m for m in model.modules() if isinstance(m, EmbeddingTables))
    place = tables.places[table]
    weight = tables.weights[str(place.width)][place.first : place.first + place.size].detach()
    return dict(zip(encoder.values.to_pylist(), weight[2:].clone(), strict=True))


@pytest.mark.parametrize("table", ["words", "letters"])
def test_tokens_keep_their_rows_in_a_warm_start(root: Path, table: str) -> None:
    old, fresh = load_model(best(root)), load_dataset(root / "fresh")
    net = torch.load(best(root), weights_only=True)["distill"]["net"]
    model = build_model(net, fresh.schema.serving_view(), "net")
    initial = rows(model, fresh.root, table)
    taken = warm_start(model, fresh, best(root), "model.init_from")
    before, after = rows(old.model, root / "old", table), rows(model, fresh.root, table)
    assert set(before) & set(after)
    assert set(after) - set(before)
    assert list(before) != list(after)
    for token, row in after.items():
        assert torch.equal(row, before.get(token, initial[token])), token
    assert taken.rows[table] == (len(set(before) & set(after)) + 2, len(after) + 2)
