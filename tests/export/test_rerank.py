"""A bundle re-ranks as it was told at export, proves it when it is opened, and refuses what its model cannot have."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from distill.data.prepare.progress import PassProgress
from distill.errors import ConfigError, DataError
from distill.export import BundleOptions, Trained, write_bundle
from distill.export.golden import draw_requests, score_requests
from distill.export.rerank import check_rerank, golden_places, read_rerank
from distill.jobs.export import ItemOptions, export_bundle
from distill.models.score import RankingScore
from distill.serving import Bundle, Quota, Rerank
from distill.serving.diversity import Limit, mmr
from distill.serving.manifest import CARD, GOLDEN, hash_files
from distill.serving.proof import COUNT, PLACE, RANKING_SCORE, SCORES, check_golden
from distill.serving.ranking import category_codes
from tests.export.conftest import Log
from tests.export.raw import catalogue
from tests.marks import slow_except, some_fast

MMR = Rerank(
    type="mmr", trade_off=0.5, quotas=(Quota(column="brand", most=2, window=5), Quota(column="seller", most=3))
)
REQUEST: dict[str, Any] = {
    "user": 3, "city": 2, "past": ["i1"], "words": ["w1"], "taste": [0.1, 0.2, 0.3], "age": 41.0,
}  # fmt: skip
ITEMS = [f"i{n}" for n in range(30)]
COLUMNS: dict[str, Any] = {
    "bid": [1.0 + n % 3 for n in range(30)],
    "brand": [n % 4 for n in range(30)],
    "seller": [None if n % 5 == 0 else f"s{n % 7}" for n in range(30)],
}


@pytest.fixture(scope="module")
def trained(log: Log) -> Trained:
    return log.trained("two_tower")


@pytest.fixture(scope="module")
def bundle(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    root = tmp_path_factory.mktemp("reranked")
    pq.write_table(catalogue(), root / "items.parquet")
    items = ItemOptions(str(root / "items.parquet"), torch.device("cpu"))
    with PassProgress(False) as bars:
        export_bundle(trained, root / "b", BundleOptions(exported=False, rerank=MMR), items, bars)
    return Bundle.load(root / "b")


def wanted(bundle: Bundle, k: int) -> np.ndarray:
    scores = bundle.score(REQUEST, COLUMNS, ITEMS)
    assert scores.vectors is not None
    codes = [category_codes(pa.array(COLUMNS[name]), name) for name in ("brand", "seller")]
    limits = [Limit(codes[0], 2, 5), Limit(codes[1], 3)]
    return mmr(scores.ranking_score, scores.vectors.reshape(30, -1), k, 0.5, None, limits)


def test_top_k_re_ranks_as_the_bundle_says(bundle: Bundle) -> None:
    scores = bundle.score(REQUEST, COLUMNS, ITEMS)
    found = bundle.top_k(REQUEST, COLUMNS, ITEMS, k=12)
    np.testing.assert_array_equal(found.positions, wanted(bundle, 12))
    assert found.items == [ITEMS[place] for place in found.positions]
    np.testing.assert_array_equal(found.scores.logits, scores.logits[found.positions])
    np.testing.assert_array_equal(found.scores.ranking_score, scores.ranking_score[found.positions])
    assert found.positions.tolist() != scores.order()[:12].tolist()


def test_top_k_may_be_told_otherwise(bundle: Bundle) -> None:
    plain = bundle.score(REQUEST, COLUMNS, ITEMS).order()
    found = bundle.top_k(REQUEST, COLUMNS, pa.array(ITEMS), k=100, rerank=False)
    np.testing.assert_array_equal(found.positions, plain)
    assert found.items.to_pylist() == [ITEMS[place] for place in plain]
    alone = {"bid": COLUMNS["bid"]}
    np.testing.assert_array_equal(bundle.top_k(REQUEST, alone, ITEMS, k=3, rerank=False).positions, plain[:3])
    other = bundle.top_k(REQUEST, alone, ITEMS, k=30, rerank=Rerank(type="dpp", trade_off=0.5, window=3))
    assert sorted(other.positions.tolist()) == list(range(30))
    assert other.positions[0] == plain[0]
    assert other.positions.tolist() != plain.tolist()
    assert bundle.top_k(REQUEST, alone, ITEMS, k=0, rerank=False).positions.tolist() == []
    empty = bundle.top_k(REQUEST, {}, [], k=3)
    assert (empty.positions.tolist(), empty.items) == ([], [])


def test_vectors_of_tasks_are_taken_together(bundle: Bundle) -> None:
    scores = bundle.score(REQUEST, COLUMNS, ITEMS)
    assert scores.vectors is not None
    assert scores.vectors.ndim == 3
    means = Rerank(type="mmr", trade_off=0.2, vectors="mean")
    np.testing.assert_array_equal(
        bundle.best(scores, 30, rerank=means), mmr(scores.ranking_score, scores.vectors.mean(1), 30, 0.2)
    )


def test_a_column_of_a_quota_must_be_given(bundle: Bundle) -> None:
    with pytest.raises(DataError, match="column 'seller'"):
        bundle.top_k(REQUEST, {name: COLUMNS[name] for name in ("bid", "brand")}, ITEMS, k=5)
    with pytest.raises(DataError, match="column of lists"):
        bundle.top_k(REQUEST, {**COLUMNS, "seller": [["s1"]] * 30}, ITEMS, k=5)
    with pytest.raises(DataError, match="negative"):
        bundle.top_k(REQUEST, COLUMNS, ITEMS, k=-1)


def test_the_card_and_the_golden_requests_say_it(bundle: Bundle) -> None:
    card = (bundle.root / CARD).read_text(encoding="utf-8")
    assert "mmr with trade_off 0.5" in card
    assert "at most 2 of a `brand` in any 5 places" in card
    table = pq.read_table(bundle.root / GOLDEN)
    for count, rows in zip(table[COUNT].to_pylist(), table[SCORES].to_pylist(), strict=True):
        assert sorted(row[PLACE] for row in rows) == list(range(count))
    moved = [
        [row[PLACE] for row in rows] != np.argsort(np.argsort([-row[RANKING_SCORE] for row in rows])).tolist()
        for rows in table[SCORES].to_pylist()
    ]
    assert sum(moved) > 16  # of 32: re-ranking makes a difference


def copy_with(bundle: Bundle, to: Path, rerank: Rerank | None = None, places: Any = None) -> Path:
    """Copies a bundle with other options, or with other golden places, sealed and hashed as if they were its own."""
    root = Path(shutil.copytree(bundle.root, to / "copy"))
    update: dict[str, Any] = {} if rerank is None else {"rerank": rerank}
    if places is not None:
        table = pq.read_table(root / GOLDEN)
        scores = table[SCORES].to_pylist()
        changed = [[{**row, PLACE: places(row, rows)} for row in rows] for rows in scores]
        column = pa.array(changed, table[SCORES].type)
        pq.write_table(table.set_column(table.column_names.index(SCORES), SCORES, column), root / GOLDEN)
        update["files"] = {**bundle.manifest.files, **hash_files(root, [GOLDEN])}
    bundle.manifest.model_copy(update=update).write(root)
    return root


@pytest.mark.parametrize(
    "change",
    [
        {"trade_off": 0.6},
        {"window": 2},
        {"type": "dpp"},
        {"vectors": "mean"},
        {"quotas": MMR.quotas[:1]},
        {"quotas": (MMR.quotas[0], Quota(column="seller", most=2))},
    ],
)
def test_other_options_than_those_that_were_proven_are_refused(
    bundle: Bundle, tmp_path: Path, change: dict[str, Any]
) -> None:
    root = copy_with(bundle, tmp_path, MMR.model_copy(update=change))
    with pytest.raises(DataError, match="does not re-rank its golden requests"):
        Bundle.load(root)


@pytest.mark.parametrize(
    "places",
    [
        lambda row, rows: len(rows) - 1 - row[PLACE],
        lambda row, rows: sorted(-other[RANKING_SCORE] for other in rows).index(-row[RANKING_SCORE]),
        lambda row, rows: 0,
    ],
    ids=["reversed", "by score", "no order"],
)
def test_another_golden_order_is_refused(bundle: Bundle, tmp_path: Path, places: Any) -> None:
    with pytest.raises(DataError, match="does not re-rank its golden requests"):
        Bundle.load(copy_with(bundle, tmp_path, places=places))


class Shaken:
    """A bundle whose scores and vectors are off by as much as another machine's may be."""

    def __init__(self, bundle: Bundle, seed: int) -> None:
        self._bundle, self._rng = bundle, np.random.default_rng(seed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bundle, name)

    def score_batch(self, *arguments: Any) -> Any:
        scores = self._bundle.score_batch(*arguments)
        sign = self._rng.choice([-1, 1], scores.ranking_score.shape)
        object.__setattr__(scores, "ranking_score", (scores.ranking_score + 1e-5 * sign).astype(np.float32))
        if scores.vectors is not None:
            noise = self._rng.normal(size=scores.vectors.shape).astype(np.float32)
            object.__setattr__(scores, "vectors", scores.vectors * (1 + 1e-5 * noise))
        return scores


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    some_fast(
        [
            Rerank(type="dpp", trade_off=0.6, window=2, quotas=MMR.quotas),
            MMR,
            Rerank(type="mmr", trade_off=0.0),
            Rerank(type="dpp", trade_off=0.3),
            Rerank(type="quotas", quotas=MMR.quotas),
        ],
        5,
    ),
    ids=lambda options: options.text()[:30],
)
def test_near_ties_do_not_refuse_a_sound_bundle(
    bundle: Bundle, trained: Trained, tmp_path: Path, options: Rerank
) -> None:
    raw = draw_requests(trained.schema, trained.fitted, categories=MMR.columns)
    logits = score_requests(trained.model, trained.schema, trained.fitted, raw)
    order = RankingScore(trained.schema)(
        logits, {"bid": torch.from_numpy(raw.candidate["bid"].to_numpy().astype("f4"))}
    )
    places = iter(golden_places(trained, options, raw, logits, order).tolist())
    sound = Bundle.load(copy_with(bundle, tmp_path, options, lambda row, rows: next(places)))
    for seed in range(10):
        check_golden(Shaken(sound, seed))


@pytest.mark.slow
def test_equal_scores_are_one_long_tie(log: Log, tmp_path: Path) -> None:
    """A model whose output is constant: each order is as good as any other by relevance, and the bundle is sound."""
    trained = log.trained("two_tower")
    with torch.no_grad():
        for parameter in trained.model.parameters():
            parameter.zero_()
    sound = write_bundle(
        trained, tmp_path / "b", BundleOptions(exported=False, rerank=Rerank(type="mmr", trade_off=0.5))
    )
    check_golden(Shaken(sound, 0))


@pytest.mark.parametrize("name", slow_except(["cold", "quality_score"], "quality_score"))
def test_a_model_without_vectors_has_quotas_only(log: Log, tmp_path: Path, name: str) -> None:
    trained = log.trained(name)
    with pytest.raises(ConfigError, match="this model has none"):
        write_bundle(trained, tmp_path / "b", BundleOptions(exported=False, rerank=MMR))
    assert not (tmp_path / "b").exists()
    options = Rerank(type="quotas", quotas=(Quota(column="brand", most=1, window=3),))
    bundle = write_bundle(trained, tmp_path / "b", BundleOptions(exported=False, rerank=options))
    columns = catalogue(count=9).to_pydict() | {"bid": [1.0] * 9, "match": [0.1] * 9, "reason": ["r1"] * 9}
    scores = bundle.score(REQUEST, columns)
    assert scores.vectors is None
    brands = [columns["brand"][place] for place in bundle.top_k(REQUEST, columns, k=9).positions]
    assert all(len(set(brands[i : i + 3])) == 3 for i in range(4))
    with pytest.raises(DataError, match="this model has none"):
        bundle.top_k(REQUEST, columns, k=9, rerank=Rerank(type="dpp", trade_off=0.5))
    bundle.manifest.model_copy(update={"rerank": MMR}).write(bundle.root)
    with pytest.raises(DataError, match="this model has none"):
        Bundle.load(bundle.root)


@pytest.mark.slow
def test_a_model_whose_interaction_is_a_program_has_vectors(log: Log, tmp_path: Path) -> None:
    bundle = write_bundle(log.trained("late_mlp"), tmp_path / "b", BundleOptions(exported=False, rerank=MMR))
    columns = catalogue(count=30).to_pydict() | COLUMNS | {"match": [0.1] * 30, "reason": ["r1"] * 30}
    assert sorted(bundle.top_k(REQUEST, columns, k=30).positions.tolist()) == list(range(30))


def test_a_column_that_no_field_is_made_of_is_said(trained: Trained, caplog: pytest.LogCaptureFixture) -> None:
    """It may be one of the request's own, or misspelt."""
    quotas = Rerank(type="quotas", quotas=(Quota(column="brand", most=2), Quota(column="brnad", most=2)))
    check_rerank(trained, quotas)
    (said,) = caplog.messages
    assert "'brnad'" in said


def test_a_quota_of_lists_is_refused_at_export(trained: Trained) -> None:
    with pytest.raises(ConfigError, match=r"rerank.quotas(.|\n)*tags, a sequence"):
        check_rerank(trained, Rerank(type="quotas", quotas=(Quota(column="tags", most=1),)))


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"type": "mmr"}, "needs a trade_off"),
        ({"type": "mmr", "trade_off": 1.5}, "rerank.trade_off"),
        ({"type": "mmr", "trade_off": True}, "rerank.trade_off"),
        ({"type": "mmr", "trade_off": 0.5, "window": 0}, "rerank.window"),
        ({"type": "mmr", "trade_off": 0.5, "vectors": "sum"}, "rerank.vectors"),
        ({"type": "best"}, "rerank.type"),
        ({"type": "quotas"}, "needs quotas"),
        ({"type": "quotas", "trade_off": 0.5, "quotas": [{"column": "a", "most": 1}]}, "trade_off changes nothing"),
        ({"type": "quotas", "quotas": [{"column": "a", "most": 0}]}, r"rerank.quotas.0.most"),
        ({"type": "quotas", "quotas": [{"column": "a", "most": 3, "window": 3}]}, "never holds more"),
        ({"type": "dpp", "trade_off": 0.5, "surprise": 1}, "rerank.surprise"),
    ],
)
def test_wrong_options_are_named(given: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError, match=where):
        read_rerank(given)


def test_options_are_read_from_plain_data() -> None:
    assert read_rerank(None) is None
    quotas = [{"column": "brand", "most": 2, "window": 5}, {"column": "seller", "most": 3}]
    assert read_rerank({"type": "mmr", "trade_off": 0.5, "quotas": quotas}) == MMR
    assert read_rerank({"type": "dpp", "trade_off": 1, "window": None}) == Rerank(type="dpp", trade_off=1.0)
