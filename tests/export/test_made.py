"""Fields that are made of other columns are the same wherever they are computed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from distill.batch import FeatureBlock
from distill.data.format import Dataset
from distill.data.prepare.plan import open_files
from distill.data.prepare.progress import PassProgress
from distill.data.unlabelled import FeatureEncoder, RawUnits
from distill.data.unlabelled.uses import scoring_uses, shape_of
from distill.device import DeviceTopK
from distill.device.proof import compare
from distill.encodings.hashing import hash_strings, mix64
from distill.errors import DataError
from distill.export import BundleOptions, TopKOptions, Trained, write_bundle
from distill.jobs.export import ItemOptions, export_bundle
from distill.schema import Side, load_schema
from distill.service.openapi import described
from distill.service.options import Options
from distill.serving import Bundle
from tests.export.conftest import WHOLE, Log, prepared
from tests.export.made import CANDIDATE_COLUMNS, REQUEST_COLUMNS, as_pairs, draw_requests, schema
from tests.marks import slow_except
from tests.service.conftest import Client, client  # noqa: F401, a fixture

SHAPES = ("requests", "pairs", "flat")


@dataclass(frozen=True)
class Days:
    """A day that encodings were fitted to, and a bundle of a model of it.

    Attributes:
        root: Folder with a folder for each raw shape.
        log: The day.
        trained: A model with privileged fields.
        bundle: Of it.
        table: The raw rows of another day, with values that the first does not have, one for each request.
    """

    root: Path
    log: Log
    trained: Trained
    bundle: Bundle
    table: pa.Table

    def raw(self) -> tuple[dict[str, pa.Array], dict[str, pa.Array], np.ndarray]:
        """The other day as a server is given it: columns of requests and of candidates, candidates of each request."""
        columns = {name: self.table[name].combine_chunks() for name in self.table.column_names}
        request = {name: columns[name] for name in REQUEST_COLUMNS if name != "search"}
        names = [name for name in ("dwell", *CANDIDATE_COLUMNS) if name != "click"]
        counts = np.array([len(items) for items in columns["item"].to_pylist()])
        return request, {name: columns[name].flatten() for name in names}, counts

    def one(self, row: int = 0) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        """One request and its candidates as plain values."""
        request, candidates, counts = self.raw()
        first = int(counts[:row].sum())
        own = slice(first, first + int(counts[row]))
        plain = {name: values[own].to_pylist() for name, values in candidates.items()}
        return {name: values[row].as_py() for name, values in request.items()}, plain


def days(root: Path, seed: int) -> Days:
    """Prepares a day in one of the raw shapes, and writes another one in all of them."""
    for shape in SHAPES:
        (root / shape).mkdir()
        (root / shape / "schema.yaml").write_text(yaml.safe_dump(schema("flat" if shape == "flat" else "requests")))
        for name, table in (("first", draw_requests(2 * seed)), ("new", draw_requests(2 * seed + 1, new=True))):
            pq.write_table(table if shape == "requests" else as_pairs(table), root / shape / f"{name}.parquet")
    fitted = root / SHAPES[seed % len(SHAPES)]
    first = prepared(
        fitted,
        "first",
        "split@data.adapter.split=random",
        *(f"data.adapter.split.{part}=0.2" for part in ("val", "test")),
    )
    log = Log(fitted, first, first)
    trained = log.trained("lr")
    bundle = write_bundle(trained, root / "bundle", BundleOptions(exported=False))
    return Days(root, log, trained, bundle, draw_requests(2 * seed + 1, new=True))


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Days]:
    return functools.cache(lambda seed: days(tmp_path_factory.mktemp("made"), seed))


@pytest.fixture(scope="module", params=slow_except(range(4), 0))
def made(build: Callable[[int], Days], request: pytest.FixtureRequest) -> Days:
    return build(request.param)


@pytest.fixture(scope="module")
def first_days(build: Callable[[int], Days]) -> Days:
    return build(0)


def arrays_of(blocks: list[dict[Side, FeatureBlock]]) -> dict[str, np.ndarray]:
    """The ids and the numbers of all sides, by the names that programs know."""
    found = {}
    for side in Side:
        found[f"{side.value}_ids"] = np.concatenate([block[side].ids.numpy() for block in blocks])
        found[f"{side.value}_numbers"] = np.concatenate([block[side].numbers.numpy() for block in blocks])
    return found


def of_dataset(made: Days, dataset: Dataset) -> dict[str, np.ndarray]:
    view = dataset.schema.model_copy(update={"fields": made.trained.schema.fields})
    batches = made.log.batches(dataset, "test", view)
    return arrays_of([{side: getattr(batch, side.value) for side in Side} for batch in batches])


def of_raw_files(made: Days, shape: str, scratch: Path) -> dict[str, np.ndarray]:
    """What prediction reads."""
    fields = made.trained.schema.fields
    own = load_schema(made.root / shape / "schema.yaml").model_copy(update={"fields": fields})
    uses = scoring_uses(own)
    files = open_files([made.root / shape / "new.parquet"], own, uses)
    assert shape_of(own, files, uses) == shape
    with ThreadPoolExecutor(2) as pool, PassProgress(False) as bars:
        units = RawUnits.plan(files, own, uses, shape_of(own, files, uses), scratch, 1 << 28, bars, 7)
        encoder = FeatureEncoder(own, made.trained.fitted, pool)
        return arrays_of([dict(encoder.encode(chunk).sides) for _, chunk in units.stream(range(len(units)))])


def of_bundle(made: Days, shape: str, hashed: bool) -> dict[str, np.ndarray]:
    """What the bundle makes of the raw rows, in the order in which pairs are prepared if `hashed`."""
    table = made.table
    if hashed:
        keys = hash_strings(table["search"].combine_chunks()).view(np.int64)
        table = table.take(pa.array(np.lexsort((keys, mix64(keys)))))
    request, candidates, counts = replace(made, table=table).raw()
    if shape == "flat":
        index = pa.array(np.repeat(np.arange(len(counts)), counts))
        request, counts = {name: values.take(index) for name, values in request.items()}, np.ones(len(index), np.int64)
    return made.bundle.encode(request, candidates, counts)


@pytest.mark.parametrize("shape", SHAPES)
def test_prepare_prediction_and_a_bundle_encode_alike(made: Days, shape: str, tmp_path: Path) -> None:
    dataset = prepared(made.root / shape, "new", WHOLE, f"encodings={made.log.dataset.root}")
    for found, hashed in ((of_dataset(made, dataset), shape == "pairs"), (of_raw_files(made, shape, tmp_path), False)):
        wanted = of_bundle(made, shape, hashed)
        assert found["cross_numbers"].shape[1] == 11
        for name, array in found.items():
            np.testing.assert_array_equal(array, wanted[name], err_msg=f"{name}, {hashed}")


def test_one_request_is_scored_as_many_are(made: Days) -> None:
    request, candidates, counts = made.raw()
    scores = made.bundle.score_batch(request, candidates, counts).logits
    ends = np.cumsum(counts)
    for row in range(0, len(counts), 3):
        own = scores[ends[row] - counts[row] : ends[row]]
        np.testing.assert_allclose(made.bundle.score(*made.one(row)).logits, own, atol=1e-5)


def test_a_made_field_changes_the_score(first_days: Days) -> None:
    request, candidates = first_days.one()
    scores = first_days.bundle.score(request, candidates).logits
    for changed in ({"at": "2024-06-01"}, {"codes": [2**62]}, {"budget": 3.0}, {"city": "c\\1"}):
        assert (first_days.bundle.score({**request, **changed}, candidates).logits != scores).any(), changed


def test_golden_requests_and_the_service_name_the_columns(first_days: Days) -> None:
    golden = pq.read_table(first_days.bundle.root / "golden.parquet")
    kinds = {side: golden.schema.field(side).type for side in ("request", "candidates")}
    assert {field.name for field in kinds["request"]} == {*REQUEST_COLUMNS} - {"search"}
    assert {field.name for field in kinds["candidates"].value_type} == {"dwell", *CANDIDATE_COLUMNS} - {"click"}
    said = described({}, first_days.bundle, Options())["components"]["schemas"]["score"]["properties"]
    assert set(said["request"]["required"]) == {*REQUEST_COLUMNS} - {"search"}
    assert said["request"]["properties"]["codes"]["type"] == ["array", "null"]
    needed = {"dwell", "brand", "tags", "code", "town", "price", "added"}
    assert needed <= set(said["candidates"]["required"]) < set(said["candidates"]["properties"])
    assert "`past`, `brand`" in (first_days.bundle.root / "README.md").read_text()


def test_made_fields_are_scored_over_http(first_days: Days, client: Client) -> None:  # noqa: F811
    """Times are ISO 8601 text in JSON, ids beyond 2^53 whole numbers."""
    service = client(bundle=first_days.bundle.root)
    for row in range(3):
        request, candidates = first_days.one(row)
        for changed in ({}, {"budget": 3.0}, {"codes": [2**62 + 1]}, {"at": None}):
            body = {"request": {**request, **changed}, "candidates": candidates, "fields": ["logits"]}
            wanted = first_days.bundle.score(body["request"], candidates).logits
            answer = service.post("/score", content=json.dumps(body, default=lambda time: time.isoformat()))
            assert answer.status_code == 200, answer.text
            np.testing.assert_allclose(answer.json()["logits"], wanted, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["two_tower", "cold"])
def test_made_fields_are_those_of_the_best_on_a_device(first_days: Days, model: str, tmp_path: Path) -> None:
    """Fields of candidates alone come from the catalogue, those of pairs with the request."""
    request, candidates, counts = first_days.raw()
    keys = candidates["item"].to_pylist()
    firsts = pa.array(sorted({key: row for row, key in reversed(list(enumerate(keys)))}.values()))
    pq.write_table(pa.table(candidates).take(firsts), tmp_path / "items.parquet")
    options = BundleOptions(exported=False, top_k=TopKOptions(3, "float32"))
    with PassProgress(False) as bars:
        items = ItemOptions(str(tmp_path / "items.parquet"), torch.device("cpu"))
        export_bundle(first_days.log.trained(model), tmp_path / "bundle", options, items, bars)
    found = DeviceTopK.load(tmp_path / "bundle", trusted=True)
    ends = np.cumsum(counts)
    best = found.top_k(request, [keys[end - count : end] for end, count in zip(ends, counts, strict=True)], candidates)
    wanted = found.bundle.score_batch(request, candidates, counts, items=keys)
    assert compare(best, wanted, counts, "the device") <= 1e-5
    changed = {**request, "at": pa.array(["2024-06-01"] * len(counts))}
    assert (found.bundle.score_batch(changed, candidates, counts, items=keys).logits != wanted.logits).any()


@pytest.mark.parametrize(
    ("side", "changed", "said"),
    [
        (0, {"at": "noon"}, r"A time cannot be read(.|\n)*request, row 0, column 'at' \(field 'young'\)(.|\n)*noon"),
        (0, {"city": 1.5}, r"not whole(.|\n)*request, row 0, column 'city'"),
        (0, {"past": "b1"}, r"no lists(.|\n)*request, row 0, column 'past'"),
        (0, {"codes": ["x"]}, r"two types(.|\n)*candidates, row 0, column 'code'(.|\n)*text, as in column 'codes'"),
        (0, {"budget": float("nan")}, r"not finite(.|\n)*column 'budget'"),
        (1, {"seen": ["2024-01-01"]}, None),
        (1, {"added": [7.5]}, r"without a unit(.|\n)*candidates, row 0, column 'added'(.|\n)*epoch"),
        (1, {"tags": None}, r"raw column is missing(.|\n)*candidates, column 'tags'"),
        (0, {"born": None}, r"raw column is missing(.|\n)*request, column 'born'"),
    ],
)
def test_mistakes_are_named(first_days: Days, side: int, changed: dict[str, Any], said: str | None) -> None:
    request, candidates = first_days.one()
    own = {name: values[:1] for name, values in candidates.items()}
    own["code"] = [2**62]
    given = [{k: v for k, v in {**one, **(changed if n == side else {})}.items() if changed.get(k, 1) is not None}
             for n, one in enumerate((request, own))]  # fmt: skip
    if said is None:
        assert np.isfinite(first_days.bundle.score(given[0], given[1]).logits).all()
        return
    with pytest.raises(DataError, match=said):
        first_days.bundle.score(given[0], given[1])


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"otherwise": 2}, r"'same_town', made(.|\n)*otherwise 0(.|\n)*otherwise 2"), (None, "a column of its own")],
)
def test_encodings_of_another_making_are_refused(
    first_days: Days, changed: dict[str, Any] | None, said: str, tmp_path: Path
) -> None:
    data = yaml.safe_load((first_days.root / "requests" / "schema.yaml").read_text())
    (spec,) = (f for f in data["fields"] if f["name"] == "same_town")
    if changed is None:
        spec |= {"column": "price", "side": "candidate"}
        del spec["made"]
    else:
        spec["made"] |= changed
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(data))
    (tmp_path / "new.parquet").write_bytes((first_days.root / "requests" / "new.parquet").read_bytes())
    with pytest.raises(DataError, match=said):
        prepared(tmp_path, "new", WHOLE, f"encodings={first_days.log.dataset.root}")
