"""Fields that are made of other columns are the same wherever they are computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from distill.encodings.hashing import hash_strings, mix64
from distill.export import BundleOptions, write_bundle
from tests.export.conftest import WHOLE, Log, prepared
from tests.export.made import CANDIDATE_COLUMNS, REQUEST_COLUMNS, as_pairs, draw_requests, schema
from tests.marks import slow_except

SHAPES = ("requests", "pairs", "flat")


def write(root: Path, shape: str, seed: int, name: str, new: bool) -> pa.Table:
    """Writes a log, and returns it with a row for each request (for each candidate if flat)."""
    table = draw_requests(seed, new=new)
    pq.write_table(table if shape == "requests" else as_pairs(table), root / f"{name}.parquet")
    return as_pairs(table) if shape == "flat" else table


def log_of(root: Path, shape: str, seed: int) -> tuple[Log, pa.Table]:
    """Prepares two days of a log; returns the raw rows of the second too."""
    layout = "flat" if shape == "flat" else "requests"
    (root / "schema.yaml").write_text(yaml.safe_dump(schema(layout)))
    write(root, shape, 2 * seed, "first", new=False)
    table = write(root, shape, 2 * seed + 1, "new", new=True)
    first = prepared(root, "first", "split@data.adapter.split=random")
    if shape == "pairs":  # are prepared in the order of their hashes
        keys = hash_strings(table["search"].combine_chunks()).view(np.int64)
        table = table.take(pa.array(np.lexsort((keys, mix64(keys)))))
    return Log(root, first, prepared(root, "new", WHOLE, f"encodings={root / 'first'}")), table


def raw_of(table: pa.Table, shape: str) -> tuple[dict[str, pa.Array], dict[str, pa.Array], np.ndarray]:
    """Raw columns of requests and of candidates as a server is given them, and candidates of each request."""
    table = table.combine_chunks()
    flat = shape == "flat"
    counts = np.ones(len(table), np.int64) if flat else np.array([len(i) for i in table["item"].to_pylist()])
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    request = {name: columns[name] for name in REQUEST_COLUMNS if name != "search"}
    names = [name for name in ("dwell", *CANDIDATE_COLUMNS) if name != "click"]
    return request, {name: columns[name] if flat else columns[name].flatten() for name in names}, counts


@pytest.mark.parametrize(
    ("shape", "seed"),
    slow_except([(shape, seed) for shape in SHAPES for seed in range(5)], ("pairs", 0), ("requests", 0)),
)
def test_prepare_and_a_bundle_encode_alike(tmp_path: Path, shape: str, seed: int) -> None:
    log, table = log_of(tmp_path, shape, seed)
    trained = log.trained("lr")
    bundle = write_bundle(trained, tmp_path / "b", BundleOptions(exported=False))
    request, candidates, counts = raw_of(table, shape)
    found = bundle.encode(request, candidates, counts)
    batches = log.batches(log.new, "test", trained.schema)
    for side in ("request", "candidate", "cross"):
        for what in ("ids", "numbers"):
            wanted = np.concatenate([getattr(getattr(batch, side), what).numpy() for batch in batches])
            np.testing.assert_array_equal(found[f"{side}_{what}"], wanted, err_msg=f"{side}, {what}")
    scores = log.expected(trained)
    np.testing.assert_allclose(bundle.score_batch(request, candidates, counts).logits, scores, atol=1e-5)
    ends = np.cumsum(counts)
    for row in range(len(counts)):
        one = {name: values[row].as_py() for name, values in request.items()}
        own = slice(ends[row] - counts[row], ends[row])
        few = {name: values[own].to_pylist() for name, values in candidates.items()}
        np.testing.assert_allclose(bundle.score(one, few).logits, scores[own], atol=1e-5)
