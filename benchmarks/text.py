"""Whether text helps: a made-up search log, in which a click depends on the words that query and title share.

Run from the repository: `python -m benchmarks.text --seeds 0 1 2`. Each seed draws a log of its own.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rich.table import Table

import distill
from distill.console import plain_console

METRIC = "click/auc"
_IDS: list[dict[str, Any]] = [
    {"name": "query", "side": "request", "kind": "id"},
    {"name": "item", "side": "candidate", "kind": "id"},
    {"name": "title", "side": "candidate", "kind": "id"},
]
_WORDS: list[dict[str, Any]] = [
    {"name": "query_words", "column": "query", "side": "request", "kind": "text", "table": "words"},
    {"name": "title_words", "column": "title", "side": "candidate", "kind": "text", "table": "words"},
]


def draw_log(seed: int, requests: int, candidates: int = 20, items: int = 1000, words: int = 60) -> pa.Table:
    """Draws a log of searches, a row each: titles of four to eight words, queries of two.

    Half of the candidates have a word of the query in their title. The odds of a click rise with each of the query's
    words that the title has, and with how good the item is.
    """
    rng = np.random.default_rng(seed)
    vocabulary = np.array([f"{a}{b}{c}" for a in "bdfglmnprs" for b in "aeiou" for c in "klmnrt"])[:words]
    titles = [rng.choice(words, rng.integers(4, 9), replace=False) for _ in range(items)]
    has = np.zeros((items, words), np.bool_)
    for item, title in enumerate(titles):
        has[item, title] = True
    quality = rng.normal(0, 0.7, items)
    shown = np.array([" ".join(vocabulary[title]).title() for title in titles])
    rows: dict[str, list[Any]] = {name: [] for name in ("search", "query", "ts", "item", "title", "click")}
    for request in range(requests):
        query = rng.choice(words, 2, replace=False)
        related = np.flatnonzero(has[:, query].any(1))
        chosen = np.concatenate([rng.choice(related, candidates // 2), rng.integers(0, items, candidates // 2)])
        odds = 2.5 * has[chosen][:, query].sum(1) + quality[chosen] - 2.5
        rows["search"].append(request)
        rows["query"].append(" ".join(vocabulary[query]))
        rows["ts"].append(request)
        rows["item"].append(chosen.tolist())
        rows["title"].append(shown[chosen].tolist())
        rows["click"].append((rng.random(candidates) < 1 / (1 + np.exp(-odds))).astype(int).tolist())
    return pa.table(rows)


def measure(folder: Path, seed: int, requests: int, epochs: int, with_text: bool) -> float:
    """Trains a two-tower on the log of a seed; returns its AUC on the test split."""
    name = "text" if with_text else "ids"
    schema = {
        "name": f"search-{name}",
        "layout": "requests",
        "keys": {"request": "search", "item": "item", "time": "ts"},
        "fields": [*_IDS, *(_WORDS if with_text else [])],
        "tasks": [{"name": "click"}],
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(schema))
    pq.write_table(draw_log(seed, requests), folder / "log.parquet")
    paths = [f"paths.{part}={folder / part}" for part in ("data", "cache", "runs")]
    data = folder / f"data-{name}-{seed}"
    source = [f"data.source={folder / 'log.parquet'}", f"data.schema={folder / f'{name}.yaml'}"]
    distill.prepare(["data=parquet", *source, f"out={data}", *paths])
    quiet = ["cost.enabled=false", "callbacks.progress_bar=false"]
    model = ["model=two_tower", "teacher=none", "loss=hard", "trainer=cpu", f"trainer.max_epochs={epochs}"]
    summary = distill.train(["data=prepared", f"data.root={data}", *model, f"seed={seed}", *quiet, *paths])
    (metrics,) = summary.metrics.values()
    return float(metrics[METRIC])


def main() -> None:
    """Prints the AUC of each seed, without and with text."""
    parser = argparse.ArgumentParser(
        description="A two-tower without and with fields of text, on a made-up search log."
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    table = Table("seed", "ids alone", "with text", "more", title=METRIC)
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            ids, text = (measure(Path(folder), seed, options.requests, options.epochs, w) for w in (False, True))
        table.add_row(str(seed), f"{ids:.4f}", f"{text:.4f}", f"{text - ids:+.4f}")
    plain_console().print(table)


if __name__ == "__main__":
    main()
