"""MovieLens: sessions, splits, histories and unrated films on tiny archives of all three layouts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from distill.data.datasets import MovieLensSource
from distill.data.datasets.movielens.negatives import UnratedSampler, train_popularity
from distill.data.datasets.movielens.sessions import make_sessions
from distill.data.prepare import prepare
from distill.errors import ConfigError, DataError

NUM_ITEMS = 12
TITLES = [f"Film {i}: The Café ({1980 + i})" for i in range(1, NUM_ITEMS)] + ["No year"]
# user 7: item, rating, time
RATINGS = [
    *((7, item, rating, 1000 + item) for item, rating in ((1, 5), (2, 4), (3, 3), (4, 5))),
    *((7, item, rating, 90_000) for item, rating in ((5, 4), (6, 1))),
    *((9, item, rating, 500) for item, rating in ((3, 4), (1, 2), (2, 5))),
]


def write_100k(folder: Path) -> None:
    rows = ["\t".join(map(str, row)) for row in reversed(RATINGS)]
    (folder / "u.data").write_text("\n".join(rows) + "\n")
    (folder / "u.user").write_text("9|17|F|writer|T8H1N\n7|35|M|other|02139\n")
    flags = "|".join("1" if place in (1, 5) else "0" for place in range(19))
    lines = [f"{i}|{title}|01-Jan-1995||http://x|{flags}" for i, title in enumerate(TITLES, 1)]
    (folder / "u.item").write_text("\n".join(lines) + "\n", encoding="latin-1")


def write_1m(folder: Path) -> None:
    (folder / "ratings.dat").write_text("".join("::".join(map(str, row)) + "\n" for row in RATINGS))
    (folder / "users.dat").write_text("7::M::35::0::02139\n9::F::1::20::98101-1234\n")
    lines = [f"{i}::{title}::Action|Comedy" for i, title in enumerate(TITLES, 1)]
    (folder / "movies.dat").write_text("\n".join(lines) + "\n", encoding="latin-1")


def write_latest(folder: Path) -> None:
    rows = ["userId,movieId,rating,timestamp", *(f"{u},{i},{float(r)},{t}" for u, i, r, t in RATINGS)]
    (folder / "ratings.csv").write_text("\n".join(rows) + "\n")
    lines = [f'{i},"{title}",Action|Comedy' for i, title in enumerate(TITLES[:-1], 1)]
    lines.append(f"{NUM_ITEMS},No year,(no genres listed)")
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *lines]) + "\n", encoding="utf-8")


WRITERS: dict[str, Callable[[Path], None]] = {"100k": write_100k, "1m": write_1m, "latest-small": write_latest}


def source(tmp_path: Path, variant: Any = "100k") -> MovieLensSource:
    folder = tmp_path / "archive"
    folder.mkdir(exist_ok=True)
    WRITERS[variant](folder)
    return MovieLensSource(variant, str(folder), negatives=2, eval_negatives=4)


def rows_of(config: MovieLensSource, out: Path) -> list[dict[str, Any]]:
    return pq.read_table(config.write_raw(out).files[0]).to_pylist()


def rated(row: dict[str, Any]) -> list[int]:
    return [item for item, stage in zip(row["item_id"], row["stage"], strict=True) if stage == 3]


@pytest.mark.parametrize("variant", WRITERS)
def test_requests_of_a_tiny_archive(tmp_path: Path, variant: str) -> None:
    rows = rows_of(source(tmp_path, variant), tmp_path / "raw")
    found = {(row["user_id"], row["time"]): row for row in rows}
    by_user = {
        user: [(row["split"], rated(row), row["history"]) for row in sorted(rows, key=lambda r: r["request_id"])
               if row["user_id"] == user]
        for user in (7, 9)
    }  # fmt: skip
    assert by_user[7] == [("train", [1, 2], []), ("val", [3, 4], [1, 2]), ("test", [5, 6], [1, 2, 4])]
    assert by_user[9] == [("train", [1], []), ("val", [2], []), ("test", [3], [])]
    first = found[(7, 1001)]
    labels = dict(zip(first["item_id"], zip(first["like"], first["love"], strict=True), strict=True))
    assert labels.pop(1) == (1, 1)
    assert labels.pop(2) == (1, 0)
    assert set(labels.values()) == {(None, None)}
    assert len(labels) == 2


@pytest.mark.parametrize("variant", WRITERS)
def test_unrated_candidates_are_never_rated_by_the_user(tmp_path: Path, variant: str) -> None:
    everything = {7: {1, 2, 3, 4, 5, 6}, 9: {1, 2, 3}}
    for row in rows_of(source(tmp_path, variant), tmp_path / "raw"):
        unrated = [item for item, stage in zip(row["item_id"], row["stage"], strict=True) if stage == 0]
        assert len(set(unrated)) == len(unrated) == (2 if row["split"] == "train" else 4)
        assert not everything[row["user_id"]] & set(unrated)
        assert row["item_id"] == sorted(row["item_id"])


def test_users_and_films_are_described(tmp_path: Path) -> None:
    rows = rows_of(source(tmp_path), tmp_path / "raw")
    people = {row["user_id"]: [row[name] for name in ("age", "gender", "occupation", "zip_prefix")] for row in rows}
    assert people == {7: ["35-44", "M", "other", "02"], 9: ["<18", "F", "writer", "T8"]}
    items = pq.read_table(tmp_path / "raw" / "items.parquet").to_pylist()
    assert items[0] == {"item_id": 1, "year": 1981, "genres": ["Action", "Comedy"]}
    assert items[-1]["year"] is None


def test_layouts_agree(tmp_path: Path) -> None:
    (tmp_path / "1m").mkdir()
    (tmp_path / "small").mkdir()
    first = rows_of(source(tmp_path / "1m", "1m"), tmp_path / "1m" / "raw")
    second = rows_of(source(tmp_path / "small", "latest-small"), tmp_path / "small" / "raw")
    for a, b in zip(first, second, strict=True):
        assert {name: a[name] for name in b if name != "genres"} == {n: v for n, v in b.items() if n != "genres"}
        assert a["occupation"] in (0, 20)
        assert a["age"] in ("35-44", "<18")


def test_sessions_end_at_a_pause_and_at_the_maximum() -> None:
    user = np.zeros(13, dtype=np.int64)
    time = np.array([0, 1, 2, 3, 4, 105, 106, 306, 307, 308, 309, 309, 310])
    got = make_sessions(user, time, user == 0, gap=100, max_size=3, max_history=99, val=0.1, test=0.1)
    assert got.start.tolist() == [0, 3, 5, 7, 10, 13]
    assert got.split.tolist() == [0, 0, 0, 1, 2]


def test_ratings_of_the_same_second_are_not_history() -> None:
    user = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    time = np.array([5, 5, 5, 6, 1, 2, 3, 4])
    liked = np.array([True, True, False, True, True, False, True, True])
    got = make_sessions(user, time, liked, gap=100, max_size=9, max_history=1, val=0.1, test=0.1)
    past = [got.history[a:b].tolist() for a, b in zip(got.history_start, got.history_end, strict=True)]
    assert past == [[], [], [], [1], [], [4], [4], [6]]


@pytest.mark.parametrize("count", range(1, 60))
def test_three_ratings_are_enough_for_three_splits(count: int) -> None:
    zero = np.zeros(count, dtype=np.int64)
    got = make_sessions(zero, zero, zero == 0, gap=9, max_size=10, max_history=9, val=0.1, test=0.1)
    assert sorted(set(got.split.tolist())) == ([0, 1, 2] if count >= 3 else [0])
    assert (np.diff(got.split) >= 0).all()


def test_negatives_follow_popularity_and_stop_at_what_is_left() -> None:
    sampler = UnratedSampler(np.array([0, 0]), np.array([0, 1]), np.array([5.0, 5.0, 3.0, 1.0]), 1)
    rng = np.random.default_rng(0)
    request, item = sampler.draw(np.zeros(4000, dtype=np.int64), 1, rng)
    assert request.tolist() == list(range(4000))
    assert (item == 2).mean() == pytest.approx(0.75, abs=0.03)
    assert sampler.draw(np.zeros(2, dtype=np.int64), 9, rng)[1].tolist() == [2, 3, 2, 3]
    assert sampler.draw(np.zeros(2, dtype=np.int64), 0, rng)[1].size == 0


def test_popularity_counts_the_training_split_only() -> None:
    user = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    item = np.array([2, 0, 1, 1, 2, 2, 0, 3])
    sessions = make_sessions(user, np.arange(8), user == 0, gap=100, max_size=9, max_history=9, val=0.1, test=0.1)
    assert sessions.split.tolist() == [0, 0, 1, 2, 0, 0, 1, 2]
    assert train_popularity(item, sessions, 5).tolist() == [2, 1, 4, 1, 1]


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    config = source(tmp_path)
    for name, each in (("a", config), ("b", config), ("c", replace(config, seed=1))):
        each.write_raw(tmp_path / name)
    first, same, other = ((tmp_path / name / "requests.parquet").read_bytes() for name in "abc")
    assert first == same
    assert first != other


def test_the_fingerprint_follows_arguments_and_files(tmp_path: Path) -> None:
    config = source(tmp_path)
    before = config.fingerprint()
    assert replace(config, negatives=3).fingerprint() != before
    (tmp_path / "archive").rename(tmp_path / "moved")
    moved = replace(config, source=str(tmp_path / "moved"))
    assert moved.fingerprint() == before
    with (tmp_path / "moved" / "u.data").open("a") as file:
        file.write("9\t4\t1\t501\n")
    assert moved.fingerprint() != before


@pytest.mark.parametrize("variant", WRITERS)
def test_it_can_be_prepared(tmp_path: Path, variant: str) -> None:
    dataset = prepare(source(tmp_path, variant).write_raw(tmp_path / "raw"), tmp_path / "ready", progress=False)
    assert [sum(part.rows for part in dataset.parts(split)) for split in ("train", "val", "test")] == [2, 2, 2]
    assert dataset.manifest.items[0].rows == NUM_ITEMS


def test_a_missing_file_names_the_archive(tmp_path: Path) -> None:
    config = source(tmp_path)
    (tmp_path / "archive" / "u.item").unlink()
    with pytest.raises(DataError) as caught:
        config.write_raw(tmp_path / "raw")
    assert caught.value.where == str(tmp_path / "archive" / "u.item")
    assert "u.data, u.user, u.item" in str(caught.value)
    assert "https://files.grouplens.org/datasets/movielens/ml-100k.zip" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "what"), [("7\t99\t5\t1", "film 99"), ("8\t1\t5\t1", "user 8"), ("7\t1\t5", "columns user, item")]
)
def test_a_damaged_archive_is_an_error(tmp_path: Path, row: str, what: str) -> None:
    config = source(tmp_path)
    (tmp_path / "archive" / "u.data").write_text(f"7\t1\t5\t1\n{row}\n")
    with pytest.raises(DataError, match=what) as caught:
        config.write_raw(tmp_path / "raw")
    assert "u.data" in str(caught.value)


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    config = source(tmp_path)
    with pytest.raises(ConfigError, match="max_session"):
        replace(config, max_session=0)
    with pytest.raises(ConfigError, match="val and test"):
        replace(config, test=1.0)
    with pytest.raises(DataError, match="100k, 1m, latest-small"):
        replace(config, variant="25m").fingerprint()  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "users", "ratings", "liked"), [("100k", 943, 100_000, 0.55375), ("latest-small", 610, 100_836, 0.4818)]
)
def test_the_real_archives(tmp_path: Path, variant: Any, users: int, ratings: int, liked: float) -> None:
    folder = os.environ.get("DISTILL_DATA")
    if not folder:
        pytest.skip("DISTILL_DATA does not name a folder with ml-100k and ml-latest-small")
    config = MovieLensSource(variant, str(Path(folder) / f"ml-{variant}"), negatives=5, eval_negatives=20)
    table = pq.read_table(config.write_raw(tmp_path).files[0])
    labels = table["like"].combine_chunks().flatten().drop_null().to_numpy()
    assert labels.size == ratings
    assert labels.mean() == pytest.approx(liked, abs=1e-4)
    splits = table.group_by("split").aggregate([("user_id", "count_distinct")]).to_pydict()
    assert splits["user_id_count_distinct"] == [users] * 3
