"""Negatives that are new rows: where they come from, how likely, and that nothing else of the batch changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from distill.batch import Batch, FeatureBlock, Origin, Ragged, Stage, TeacherSignals
from distill.data.catalogue import Catalogue
from distill.data.popularity import ItemExposures
from distill.errors import ConfigError
from distill.losses.rows import parse_rows, select_rows
from distill.sampling import InBatchNegatives, RandomNegatives, Sampler
from tests.batches import make_batch, make_schema

TASKS = ("click", "like")
SIZES = (3, 0, 4, 1)
ITEMS = 40


def make() -> Batch:
    batch = make_batch(make_schema(TASKS), SIZES)
    signals = TeacherSignals(torch.ones(8, 2), torch.ones(8, dtype=torch.bool), {"body": torch.ones(8, 3)})
    return replace(batch, item_id=torch.tensor([0, 10, 20, 0, 30, 40, 50, 70]), signals=signals)


def catalogue(batch: Batch) -> Catalogue:
    """Items 0, 10, …, 390; item 10·i was exposed i times and has the id i in the first field."""
    place = torch.arange(ITEMS)
    own = batch.candidate

    def rows(values: torch.Tensor) -> torch.Tensor:
        return place.view(-1, *[1] * (values.dim() - 1)).expand(ITEMS, *values.shape[1:]).to(values.dtype).contiguous()

    def ragged(value: Ragged) -> Ragged:
        return Ragged(place.clone(), torch.ones_like(place))

    fields = FeatureBlock(
        rows(own.ids),
        rows(own.numbers),
        {n: rows(v) for n, v in own.vectors.items()},
        {n: ragged(s) for n, s in own.sequences.items()},
    )
    one = batch.cross.select(torch.zeros(1, dtype=torch.int64)).map(torch.zeros_like)
    exposures = ItemExposures(place[1:] * 10, place[1:])
    return Catalogue(place * 10, fields, one, exposures, ("item", "category")[: own.ids.shape[1]])


def ready(sampler: Sampler) -> Sampler:
    sampler.setup(TASKS, has_signals=False)
    sampler.setup_items(catalogue(make()))
    return sampler


def test_new_rows_join_their_request_and_the_old_ones_stay() -> None:
    batch = make()
    found = ready(RandomNegatives(per_request=6, tasks=["like"], weight=0.5))(batch, 3)
    new = found.origin == Origin.RANDOM_NEGATIVE
    old = found.select((~new).nonzero().flatten())
    for name in ("request_index", "labels", "observed", "stage", "origin", "weight", "item_id", "row"):
        assert torch.equal(getattr(old, name), getattr(batch, name)), name
    assert torch.equal(old.candidate.ids, batch.candidate.ids)
    assert torch.equal(old.cross.numbers, batch.cross.numbers)
    assert (found.request_index.diff() >= 0).all()
    assert set(found.request_index[new].tolist()) == {0, 2, 3}  # request 1 has no candidate
    added = found.select(new.nonzero().flatten())
    assert added.labels.eq(0).all()
    assert added.observed.tolist() == [[False, True]] * int(new.sum())
    assert added.weight.eq(0.5).all()
    assert added.row.eq(-1).all()
    assert added.stage.eq(int(Stage.RECALLED)).all()
    assert torch.equal(added.candidate.ids[:, 0] * 10, added.item_id)
    assert added.cross.numbers.eq(0).all()
    assert added.signals is not None
    assert not added.signals.valid.any()
    assert old.signals is not None
    assert old.signals.valid.all()
    assert old.signals.hidden["body"].eq(1).all()
    assert torch.equal(select_rows(parse_rows("sampled", "here"), found, None), new)


def test_candidates_of_the_request_never_come_back() -> None:
    found = ready(RandomNegatives(per_request=200))(make(), 0)
    for request in range(4):
        of_request = found.request_index == request
        own = found.item_id[of_request & (found.origin == Origin.LOG)]
        new = found.item_id[of_request & (found.origin == Origin.RANDOM_NEGATIVE)]
        assert not torch.isin(new, own).any()
        assert new.numel() == 0 if not own.numel() else new.unique().numel() > 20


@pytest.mark.parametrize(
    ("options", "mass"),
    [
        ({"distribution": "uniform"}, np.ones(ITEMS)),
        ({"distribution": "frequency", "alpha": 0.5}, np.sqrt(1.0 + np.arange(ITEMS))),
        ({"distribution": "frequency", "alpha": 0.0}, np.ones(ITEMS)),
    ],
)
def test_draws_follow_their_probability_which_is_kept(options: dict[str, object], mass: np.ndarray) -> None:
    sampler = ready(RandomNegatives(per_request=20_000, **options))
    found = sampler(make(), 1)
    new = (found.origin == Origin.RANDOM_NEGATIVE) & (found.request_index == 3)  # its only candidate is item 70
    q = mass / mass.sum()
    allowed = np.arange(ITEMS) != 7
    counts = np.bincount(found.item_id[new].numpy() // 10, minlength=ITEMS)
    np.testing.assert_allclose(counts[allowed], 20_000 * q[allowed], atol=5 * np.sqrt(20_000 * q.max()))
    assert found.log_q is not None
    np.testing.assert_allclose(found.log_q[new].exp().numpy(), q[found.item_id[new].numpy() // 10], rtol=1e-5)
    assert found.log_q[~(found.origin == Origin.RANDOM_NEGATIVE)].eq(0).all()


def test_strata_are_drawn_alike_and_their_items_alike() -> None:
    sampler = ready(RandomNegatives(distribution="stratified"))
    head, torso = catalogue(make()).exposures.bands((0.5, 0.8))
    band = np.digitize(np.arange(ITEMS), sorted({head, torso}))
    q = sampler.log_q.exp().numpy()
    for one in np.unique(band):
        np.testing.assert_allclose(q[band == one], 1 / 3 / (band == one).sum(), rtol=1e-5)
    with pytest.raises(ConfigError, match=r"popularity, item"):
        ready(RandomNegatives(distribution="stratified", strata="colour"))


def test_draws_depend_on_seed_step_and_request_alone() -> None:
    first = ready(RandomNegatives(seed=1))(make(), 5)
    assert torch.equal(first.item_id, ready(RandomNegatives(seed=1))(make(), 5).item_id)
    assert not torch.equal(first.item_id, ready(RandomNegatives(seed=1))(make(), 6).item_id)
    assert not torch.equal(first.item_id, ready(RandomNegatives(seed=2))(make(), 5).item_id)
    alone = make().select(torch.arange(3, 7))
    found = ready(RandomNegatives(seed=1))(alone, 5)
    assert torch.equal(found.item_id, first.item_id[first.request_index == 2])


def test_positives_of_other_requests_become_negatives() -> None:
    labels = torch.zeros(8, 2)
    labels[[0, 5, 7], 0] = 1
    batch = replace(make(), labels=labels, observed=torch.ones(8, 2, dtype=torch.bool))
    found = ready(InBatchNegatives(per_request=50, tasks=["click"]))(batch, 0)
    new = found.origin == Origin.IN_BATCH_NEGATIVE
    drawn = {r: set(found.item_id[new & (found.request_index == r)].tolist()) for r in (0, 2, 3)}
    assert drawn == {0: {40, 70}, 2: {70}, 3: {0, 40}}  # item 0 is a candidate of request 2 too
    assert found.log_q is not None
    np.testing.assert_allclose(found.log_q[new].exp(), 1 / 3, rtol=1e-5)


def test_without_positives_nothing_is_added() -> None:
    batch = replace(make(), labels=torch.zeros(8, 2))
    assert ready(InBatchNegatives())(batch, 0).num_candidates == 8


@pytest.mark.parametrize("options", [{"per_request": 0}, {"distribution": "zipf"}, {"alpha": -1.0}])
def test_what_cannot_be_drawn_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        RandomNegatives(**options)


def test_the_catalogue_of_a_dataset_encodes_missing_cross_fields(tmp_path) -> None:
    from distill.data.build import build_dataset
    from distill.data.catalogue import load_catalogue
    from distill.data.funnel import FunnelSource

    dataset = build_dataset(FunnelSource(requests=60, warmup=20, users=20, items=120), tmp_path)
    found = load_catalogue(dataset, dataset.schema.serving_view())
    (part,) = dataset.manifest.items
    table: pa.Table = pq.read_table(dataset.root / part.path)
    assert found.item_id.tolist() == table["key_item"].to_pylist()
    assert found.fields.ids[:, found.names.index("category")].tolist() == table["field_category"].to_pylist()
    assert found.missing_cross.num_rows == 1
    assert found.missing_cross.numbers.shape[1] == 2  # of the two cross numbers that serving knows
