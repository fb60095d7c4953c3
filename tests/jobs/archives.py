"""A tiny archive in the layout of MovieLens 100K."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_movielens_100k(folder: Path, users: int = 30, items: int = 60, ratings_per_user: int = 24) -> Path:
    """Writes u.data, u.user and u.item; every user rates in several sessions."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = []
    for user in range(1, users + 1):
        rated = rng.permutation(items)[:ratings_per_user] + 1
        for i, item in enumerate(rated):
            time = 880_000_000 + 100_000 * user + 7_200 * (i // 6) + i
            rows.append(f"{user}\t{item}\t{rng.integers(1, 6)}\t{time}")
    (folder / "u.data").write_text("\n".join(rows) + "\n", encoding="latin-1")
    people = [f"{u}|{20 + u}|{'MF'[u % 2]}|writer|{10000 + u}" for u in range(1, users + 1)]
    (folder / "u.user").write_text("\n".join(people) + "\n", encoding="latin-1")
    films = []
    for item in range(1, items + 1):
        genres = "|".join(str(int(g)) for g in np.arange(19) % 7 == item % 7)
        films.append(f"{item}|Film é {item} (1995)|01-Jan-1995||http://x/{item}|{genres}")
    (folder / "u.item").write_text("\n".join(films) + "\n", encoding="latin-1")
    return folder


def write_letor(folder: Path, queries: int = 60) -> Path:
    """Graded documents of queries, as in LightGBM's learning-to-rank example."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name in ("rank.train", "rank.test"):
        sizes = rng.integers(3, 12, queries)
        values = rng.random((int(sizes.sum()), 6)).round(2)
        grades = (values[:, 0] * 4.9).astype(int)
        lines = [
            " ".join([str(grade), *(f"{i}:{value}" for i, value in enumerate(row) if value > 0.3)])
            for grade, row in zip(grades, values, strict=True)
        ]
        (folder / name).write_text("\n".join(lines) + "\n")
        (folder / f"{name}.query").write_text("\n".join(map(str, sizes)) + "\n")
    return folder


def write_mslr(folder: Path) -> Path:
    """A fold with qids and a ranker's scores of each line."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name in ("train", "vali", "test"):
        values = rng.random((300, 5)).round(3)
        grades = (values[:, 0] * 4.9).astype(int)
        lines = [
            " ".join([str(grade), f"qid:{i // 10 + 1}", *(f"{k + 1}:{value}" for k, value in enumerate(row))])
            for i, (grade, row) in enumerate(zip(grades, values, strict=True))
        ]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
        (folder / f"{name}.txt.scores").write_text("\n".join(map(str, values[:, 0])) + "\n")
    return folder
