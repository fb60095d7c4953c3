"""Public data sets, from hand-made rows in the layouts of their archives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from distill.data.datasets.archives import (
    AliCcp,
    AliExpress,
    Archive,
    ArchiveSource,
    Avazu,
    Criteo,
    EbNerd,
    KuaiRand,
    KuaiVideo,
    Mind,
    RecFlow,
    TaobaoAd,
    YandexClicks,
)
from distill.data.format import SPLITS, Dataset
from distill.data.prepare import prepare
from distill.data.split import DateSplit, FileSplit, RandomSplit, SplitRule, TimeSplit
from distill.errors import ConfigError, DataError
from tests.data.archives import WRITERS

CHINA = DateSplit("2017-05-12T00:00:00+08:00", "2017-05-13T00:00:00+08:00", unit="s")
SOURCES: dict[str, tuple[Archive, SplitRule | None]] = {
    "criteo": (Criteo(), TimeSplit()),
    "avazu": (Avazu(), DateSplit("2014-10-29", "2014-10-30")),
    "aliexpress": (AliExpress(), RandomSplit()),
    "ebnerd": (EbNerd(max_history=5), TimeSplit()),
    "mind": (Mind(), TimeSplit()),
    "kuairand": (KuaiRand(), None),
    "kuaivideo": (KuaiVideo(), TimeSplit()),
    "taobao_ad": (TaobaoAd(), CHINA),
    "ali_ccp": (AliCcp(), RandomSplit()),
    "recflow": (RecFlow(), FileSplit(1, 1)),
    "yandex_clicks": (YandexClicks(), TimeSplit(0.05, 0.25)),
}


def _source(name: str, folder: Path) -> ArchiveSource:
    return ArchiveSource(str(folder), *SOURCES[name])


def _prepared(name: str, root: Path) -> tuple[Dataset, list[dict[str, object]]]:
    """A prepared dataset, and the raw rows (the first 60) that were written for it."""
    source = _source(name, WRITERS[name](root / "in"))
    assert source.raw_schema().name == name  # known without a file
    raw = source.write_raw(root / "raw")
    rows = [] if raw.files[0].suffix == ".csv" else pq.read_table(raw.files[0]).slice(0, 60).to_pylist()
    if rows:
        assert list(source.archive.columns()) == [c for c in rows[0] if c in source.archive.columns()]
    return prepare(raw, root / "out", progress=False), rows


def _rows(dataset: Dataset) -> list[int]:
    return [sum(part.rows for part in dataset.parts(name)) for name in SPLITS]


def test_criteo(tmp_path: Path) -> None:
    dataset, rows = _prepared("criteo", tmp_path)
    assert _rows(dataset) == [480, 60, 60]
    assert len(dataset.schema.fields) == 39
    assert [row["row"] for row in rows[:3]] == [0, 1, 2]
    assert any(row["I1"] is None for row in rows)
    assert {row["label"] for row in rows} == {0, 1}


def test_avazu(tmp_path: Path) -> None:
    dataset, rows = _prepared("avazu", tmp_path)
    assert _rows(dataset) == [480, 60, 60]  # eight days, one, and one
    assert {row["weekday"] for row in rows} == {1}  # 2014-10-21 was a Tuesday
    assert [field.name for field in dataset.schema.fields][-8:] == [f"C{i}" for i in range(14, 22)]


def test_aliexpress(tmp_path: Path) -> None:
    dataset, _ = _prepared("aliexpress", tmp_path)
    assert sum(_rows(dataset)[:2]) == 40
    assert _rows(dataset)[2] == 40
    assert dataset.manifest.counts["candidates/test"] == 320
    assert sum(field.side.value == "request" for field in dataset.schema.fields) == 35
    assert len(dataset.schema.fields) == 79


def test_ebnerd(tmp_path: Path) -> None:
    dataset, rows = _prepared("ebnerd", tmp_path)
    assert _rows(dataset) == [54, 6, 60]
    by_user = {row["user_id"]: row["history"] for row in rows}
    assert by_user[1] == [9_000_000, 9_000_001, 9_000_002]
    assert by_user[10] == list(range(9_000_025, 9_000_030))  # the last five
    assert by_user[11] is None
    for row in rows:
        for item, category, age in zip(row["article_ids_inview"], row["category"], row["age_hours"], strict=True):  # type: ignore[call-overload]
            place = item - 9_000_000
            assert category == (place % 5 if place < 39 else None)
            assert age == (row["impression_id"] + place if place < 39 else None)
    assert dataset.manifest.counts["candidates/train"] > 200
    assert sum(part.rows for part in dataset.manifest.items) == 39


def test_mind(tmp_path: Path) -> None:
    dataset, rows = _prepared("mind", tmp_path)
    assert _rows(dataset) == [54, 6, 60]
    assert str(rows[0]["time"]) == "2019-11-09 08:00:00"
    assert [row["history"] for row in rows[:3]] == ["", "N0", "N0 N1"]
    assert all(sum(row["click"]) == 1 for row in rows)  # type: ignore[call-overload]
    known = {news: topic for row in rows for news, topic in zip(row["news_id"], row["subcategory"], strict=True)}  # type: ignore[call-overload]
    assert known["N4"] == "golf1"
    assert known["N29"] is None
    lengths = pc.list_value_length(pq.read_table(dataset.root / dataset.parts("train")[0].path)["field_history"])
    assert lengths.to_pylist()[:5] == [0, 1, 2, 3, 0]


def test_kuairand(tmp_path: Path) -> None:
    dataset, rows = _prepared("kuairand", tmp_path)
    assert _rows(dataset) == [200, 200, 200]
    assert rows[25]["hour"] == 1
    assert {row["tag"] for row in rows if row["video_id"] == 5} <= {"2,1"}
    assert {row["onehot_feat0"] for row in rows if row["user_id"] == 11} == {None}  # no such user


def test_kuaivideo(tmp_path: Path) -> None:
    dataset, _ = _prepared("kuaivideo", tmp_path)
    assert _rows(dataset) == [540, 60, 600]
    table = pq.read_table(dataset.root / dataset.parts("train")[0].path)
    clicked, passed = (pc.list_value_length(table[f"field_{name}"]).to_pylist() for name in ("pos_items", "neg_items"))
    assert [a + b for a, b in zip(clicked, passed, strict=True)] == [row // 17 for row in range(540)]
    ids = pc.min_max(pc.list_flatten(table["field_neg_items"])).as_py()
    assert ids == {"min": 2, "max": 13}  # the twelve of item_id's own table


def test_taobao_ad(tmp_path: Path) -> None:
    dataset, rows = _prepared("taobao_ad", tmp_path)
    assert sum(_rows(dataset)) == 600
    assert min(_rows(dataset)) > 50
    assert {row["new_user_class_level"] for row in rows if row["user"] == 7} == {2}
    assert {row["brand"] for row in rows if row["adgroup_id"] == 9} <= {None}


def test_ali_ccp(tmp_path: Path) -> None:
    dataset, rows = _prepared("ali_ccp", tmp_path)
    assert _rows(dataset)[2] == 300
    assert [row["f_101"] for row in rows[:13]] == [*range(12), 0]
    assert all(row["f_207"] == row["f_205"] % 5 for row in rows)  # type: ignore[operator]
    assert [row["f_508"] for row in rows[:4]] == [None, 1, None, 3]
    assert dataset.manifest.counts["unobserved_labels/test/conversion"] > 100


def test_recflow(tmp_path: Path) -> None:
    dataset, rows = _prepared("recflow", tmp_path)
    assert _rows(dataset) == [20, 20, 20]
    assert [row["stage"] for row in rows[:18]] == [3] * 2 + [2] * 4 + [1] * 6 + [0] * 6
    assert [row["rank_index"] for row in rows[:7]] == [0, 1, 2, 3, 4, 5, None]
    assert dataset.manifest.counts["missing_teacher/train/effective_view"] == 20 * 12
    assert rows[0]["age_hours"] == rows[0]["video_id"]


def test_yandex_clicks(tmp_path: Path) -> None:
    dataset, rows = _prepared("yandex_clicks", tmp_path)
    assert sum(_rows(dataset)) == 80 // 3 * 6 + 3
    assert _rows(dataset)[2] == 39
    assert [(row["session"], row["place"]) for row in rows[:6]] == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    assert [row["search"] for row in rows] == list(range(60))
    for row in rows:
        odd = (row["session"] + row["place"]) % 2  # type: ignore[operator]
        assert row["click"] == [1 - odd] + [0] * 9
        assert row["position"] == list(range(10))


@pytest.mark.parametrize("name", SOURCES)
def test_a_missing_file_is_named_with_its_archive(name: str, tmp_path: Path) -> None:
    source = _source(name, tmp_path)
    assert source.archive.columns()
    with pytest.raises(DataError, match="A file of the archive is missing") as caught:
        source.fingerprint()
    assert str(tmp_path) in str(caught.value.where)
    assert "from " in str(caught.value.expected)


def _cut_column(folder: Path) -> None:
    path = folder / "train.txt"
    path.write_text("\n".join(line.rpartition("\t")[0] for line in path.read_text().splitlines()) + "\n")


def _rename_column(folder: Path) -> None:
    path = folder / "raw_sample.csv"
    path.write_text(path.read_text().replace("adgroup_id", "ad", 1))


def _unlabel(folder: Path) -> None:
    path = folder / "MINDsmall_dev" / "behaviors.tsv"
    path.write_text(path.read_text().replace("-0", ""))


def _cut_line(folder: Path) -> None:
    path = folder / "YandexRelPredChallenge.txt"
    path.write_text(path.read_text() + "80\t3\tQ\t5\t1\n")


def _drop_column(folder: Path) -> None:
    path = folder / "articles.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["premium"]), path)


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        ("criteo", _cut_column, "Expected 40 columns, got 39"),
        ("taobao_ad", _rename_column, "no adgroup_id among user, time_stamp, ad, pid"),
        ("mind", _unlabel, "N"),
        ("yandex_clicks", _cut_line, r"'80\t3\tQ\t5\t1'"),
        ("ebnerd", _drop_column, "no premium among article_id"),
    ],
)
def test_a_file_that_is_another_is_named(name: str, change: Callable[[Path], None], found: str, tmp_path: Path) -> None:
    folder = WRITERS[name](tmp_path / "in")
    change(folder)
    with pytest.raises(DataError) as caught:
        _source(name, folder).write_raw(tmp_path / "raw")
    assert found in str(caught.value.found)
    assert str(folder) in str(caught.value.where)


def test_what_the_archive_divides_needs_no_rule() -> None:
    with pytest.raises(ConfigError, match="divides its rows itself"):
        ArchiveSource("x", KuaiRand(), TimeSplit())
    with pytest.raises(ConfigError, match="how to divide"):
        ArchiveSource("x", Criteo())


def test_the_fingerprint_goes_by_options_rule_and_files(tmp_path: Path) -> None:
    folder = WRITERS["ebnerd"](tmp_path / "in")
    first = ArchiveSource(str(folder), EbNerd(), TimeSplit()).fingerprint()
    assert first == ArchiveSource(str(folder), EbNerd(), TimeSplit()).fingerprint()
    assert first != ArchiveSource(str(folder), EbNerd(max_history=3), TimeSplit()).fingerprint()
    assert first != ArchiveSource(str(folder), EbNerd(), TimeSplit(0.2)).fingerprint()
    pq.write_table(pa.table({"user_id": pa.array([1], pa.uint32())}), folder / "train" / "history.parquet")
    assert first != ArchiveSource(str(folder), EbNerd(), TimeSplit()).fingerprint()
