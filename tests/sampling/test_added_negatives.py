"""Negatives that are new rows: where they come from, how likely, and that nothing else of the batch changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from distill.batch import MISSING_KEY, Batch, FeatureBlock, Origin, Ragged, Stage, TeacherSignals
from distill.data.catalogue import Catalogue
from distill.data.popularity import ItemExposures
from distill.errors import ConfigError
from distill.losses.rows import parse_rows, select_rows
from distill.losses.setting import LossSetting, TaskInfo
from distill.sampling import InBatchNegatives, RandomNegatives, Sampler
from tests.batches import make_batch, make_schema

TASKS = [TaskInfo("click", 1.0), TaskInfo("like", 1.0)]
SIZES = (3, 0, 4, 1)
ITEMS = 40


def make() -> Batch:
    batch = make_batch(make_schema(("click", "like")), SIZES)
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
    exposures = ItemExposures(place[1:] * 10, place[1:])
    return Catalogue(place * 10, fields, exposures, ("item", "category")[: own.ids.shape[1]])


def ready(sampler: Sampler) -> Sampler:
    missing = make().cross.select(torch.zeros(1, dtype=torch.int64)).map(lambda t: torch.full_like(t, -7))
    sampler.setup(LossSetting(TASKS, catalogue=lambda: catalogue(make()), missing_cross=lambda: missing))
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
    assert added.cross.numbers.eq(-7).all()
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
        assert new.numel() == (200 if own.numel() else 0)  # request 2 has 4 of the 40 items, and draws again
        assert not own.numel() or new.unique().numel() > 20


def test_a_request_that_has_nearly_all_items_gets_what_eight_draws_find() -> None:
    batch = replace(make(), item_id=torch.tensor([0, 10, 20, 0, 30, 40, 50, 70]))
    of_two = catalogue(make())
    of_two = replace(of_two, item_id=of_two.item_id[[3, 4]], fields=of_two.fields.select(torch.tensor([3, 4])))
    sampler = RandomNegatives(per_request=5)
    missing = batch.cross.select(torch.zeros(1, dtype=torch.int64))
    sampler.setup(LossSetting(TASKS, catalogue=lambda: of_two, missing_cross=lambda: missing))
    found = sampler(batch, 0)  # request 2 has both items
    new = found.origin == Origin.RANDOM_NEGATIVE
    assert found.request_index[new].bincount(minlength=4).tolist() == [5, 0, 0, 5]
    one_of_two = replace(batch, item_id=torch.tensor([0, 10, 20, 0, 30, 41, 50, 70]))
    found = sampler(one_of_two, 0)
    assert found.log_q is not None
    of_request = (found.origin == Origin.RANDOM_NEGATIVE) & (found.request_index == 2)
    assert set(found.item_id[of_request].tolist()) == {40}
    np.testing.assert_allclose(found.log_q[of_request], 0.0, atol=1e-6)  # the only item that a draw can give


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
    q = mass * (np.arange(ITEMS) != 7)
    q = q / q.sum()
    counts = np.bincount(found.item_id[new].numpy() // 10, minlength=ITEMS)
    assert counts.sum() == 20_000
    np.testing.assert_allclose(counts, 20_000 * q, atol=5 * np.sqrt(20_000 * q.max()))
    assert found.log_q is not None
    np.testing.assert_allclose(found.log_q[new].exp().numpy(), q[found.item_id[new].numpy() // 10], rtol=1e-5)
    assert found.log_q[~(found.origin == Origin.RANDOM_NEGATIVE)].eq(0).all()


def test_strata_are_drawn_alike_and_their_items_alike() -> None:
    sampler = ready(RandomNegatives(distribution="stratified"))
    head, torso = catalogue(make()).exposures.bands((0.5, 0.8))
    band = np.digitize(np.arange(ITEMS), sorted({head, torso}))
    q = sampler.pool(make()).probability.numpy()
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
    share = {0: 1 / 2, 2: 1.0, 3: 1 / 2}  # of the positives that are not candidates of the request
    expected = [share[int(r)] for r in found.request_index[new]]
    np.testing.assert_allclose(found.log_q[new].exp(), expected, rtol=1e-5)
    assert found.request_index[new].bincount(minlength=4)[[0, 3]].tolist() == [50, 50]


def test_in_batch_negatives_leave_the_cross_fields_of_their_row_behind() -> None:
    found = ready(InBatchNegatives(per_request=9))(make(), 0)
    new = found.origin == Origin.IN_BATCH_NEGATIVE
    assert new.any()
    assert found.cross.numbers[new].eq(-7).all()
    assert torch.equal(found.cross.numbers[~new], make().cross.numbers)
    items = {int(i): row for row, i in enumerate(make().item_id)}
    rows = torch.tensor([items[int(i)] for i in found.item_id[new]])
    shared = found.item_id[new] != 0  # two rows hold item 0, with other fields here
    assert torch.equal(found.candidate.numbers[new][shared], make().candidate.numbers[rows][shared])


def test_a_row_is_found_as_often_as_its_item_is_positive() -> None:
    batch = make()
    labels = torch.zeros(8, 2)
    labels[[0, 3, 5], 0] = 1  # item 0 twice, item 40 once
    found = ready(InBatchNegatives(per_request=6000, tasks=["click"]))(replace(batch, labels=labels), 0)
    of_last = (found.request_index == 3) & (found.origin == Origin.IN_BATCH_NEGATIVE)
    assert found.log_q is not None
    for item, q in ((0, 2 / 3), (40, 1 / 3)):
        of_item = of_last & (found.item_id == item)
        np.testing.assert_allclose(found.log_q[of_item].exp(), q, rtol=1e-5)
        assert abs(int(of_item.sum()) - 6000 * q) < 5 * np.sqrt(6000 * q)


def test_without_positives_nothing_is_added() -> None:
    batch = replace(make(), labels=torch.zeros(8, 2))
    assert ready(InBatchNegatives())(batch, 0).num_candidates == 8


@pytest.mark.parametrize("options", [{"per_request": 0}, {"distribution": "zipf"}, {"alpha": -1.0}])
def test_what_cannot_be_drawn_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        RandomNegatives(**options)


def test_what_a_dataset_knows_of_its_items_and_of_missing_cross_fields(tmp_path) -> None:
    from distill.data.build import build_dataset
    from distill.data.catalogue import load_catalogue
    from distill.data.funnel import FunnelSource
    from distill.data.missing import missing_row
    from distill.schema import Side

    dataset = build_dataset(FunnelSource(requests=60, warmup=20, users=20, items=120), tmp_path)
    found = load_catalogue(dataset, dataset.schema.serving_view())
    (part,) = dataset.manifest.items
    table: pa.Table = pq.read_table(dataset.root / part.path)
    assert found.item_id.tolist() == table["key_item"].to_pylist()
    assert found.fields.ids[:, found.names.index("category")].tolist() == table["field_category"].to_pylist()
    missing = missing_row(dataset, dataset.schema.serving_view().side(Side.CROSS))
    fitted = dataset.manifest.encodings.numbers
    names = ("user_category_count", "user_category_ctr")  # those that serving knows
    assert missing.numbers.tolist() == [pytest.approx([fitted[name].fill for name in names])]


def test_positives_of_unknown_items_are_not_drawn() -> None:
    labels = torch.zeros(8, 2)
    labels[[0, 5, 7], 0] = 1
    batch = make()
    item_id = batch.item_id.clone()
    item_id[[5, 6]] = MISSING_KEY
    batch = replace(batch, labels=labels, observed=torch.ones(8, 2, dtype=torch.bool), item_id=item_id)
    found = ready(InBatchNegatives(per_request=50, tasks=["click"]))(batch, 0)
    new = found.origin == Origin.IN_BATCH_NEGATIVE
    assert set(found.item_id[new].tolist()) == {0, 70}
