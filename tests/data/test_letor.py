from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from distill.data.datasets.letor import LetorSource
from distill.errors import ConfigError, DataError

TRAIN = "2 0:0.5 3:1.5\n0 1:2\n1 2:-1 # a comment\n0 0:1\n3\n4 3:9\n"
TEST = "1 4:7\n0 0:3\n"


def write(folder: Path, train: str = TRAIN, sizes: str | None = "3\n2\n1\n") -> Path:
    (folder / "rank.train").write_text(train)
    (folder / "rank.test").write_text(TEST)
    (folder / "rank.test.query").write_text("2\n")
    if sizes is not None:
        (folder / "rank.train.query").write_text(sizes)
    return folder


def rows(folder: Path) -> dict[str, list[object]]:
    raw = LetorSource(str(folder)).write_raw(folder / "raw")
    return dict(pq.read_table(raw.files[0]).to_pydict())


def test_documents_queries_grades_and_left_out_indices(tmp_path: Path) -> None:
    found = rows(write(tmp_path))
    assert found["query"] == [0, 0, 0, 1, 1, 2, 3, 3]
    assert found["relevance"] == [2, 0, 1, 0, 3, 4, 1, 0]
    assert found["features"][0] == [0.5, 0, 0, 1.5, 0]
    assert found["features"][4] == [0] * 5
    assert found["features"][6] == [0, 0, 0, 0, 7]
    assert found["split"][6:] == ["test", "test"]


def test_whole_training_queries_are_held_out(tmp_path: Path) -> None:
    found = rows(write(tmp_path))
    of_query: dict[object, set[object]] = {}
    for query, split in zip(found["query"], found["split"], strict=True):
        of_query.setdefault(query, set()).add(split)
    assert sorted(map(sorted, of_query.values())) == [["test"], ["train"], ["train"], ["val"]]


def test_queries_by_qid(tmp_path: Path) -> None:
    text = "1 qid:7 0:1\n0 qid:7 1:1\n2 qid:3 0:2\n"
    assert rows(write(tmp_path, text, None))["query"][:3] == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "sizes", "said"),
    [
        ("1 0:1\nfoo 1:2\n", "2\n", "rank.train:2"),
        ("1 0:1\n\n", "2\n", "rank.train:2"),
        ("1 0:1:3\n", "1\n", "rank.train:1"),
        ("1 -1:3\n", "1\n", "negative index"),
        ("1 0:1\n0 1:1\n", "3\n", "do not add up"),
        ("1 0:1\n0 1:1\n", None, "do not say which query"),
        ("1 qid:1 0:1\n0 qid:2 1:1\n0 qid:1 1:1\n", None, "not together"),
        ("1 0:1\n", "x\n", "not a number"),
    ],
)
def test_bad_files_are_refused_with_their_place(tmp_path: Path, text: str, sizes: str | None, said: str) -> None:
    with pytest.raises(DataError, match=said):
        rows(write(tmp_path, text, sizes))


def test_a_missing_file_and_another_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        LetorSource(str(tmp_path)).fingerprint()
    write(tmp_path)
    assert LetorSource(str(tmp_path)).fingerprint() != LetorSource(str(tmp_path), seed=1).fingerprint()


def test_folds_test_every_training_query_once(tmp_path: Path) -> None:
    sizes = [3, 2, 1, 2, 4, 1, 2]
    folder = write(tmp_path, "1 0:1\n" * sum(sizes), "\n".join(map(str, sizes)))
    (folder / "rank.test").unlink()  # it is left alone
    tested = list[set[int]]()
    for seed in range(6):
        raw = LetorSource(str(folder), folds=3, seed=seed).write_raw(folder / str(seed))
        table = pq.read_table(raw.files[0])
        assert table.num_rows == sum(sizes)
        of_split: dict[str, set[int]] = {"train": set(), "val": set(), "test": set()}
        for query, split in zip(table["query"].to_pylist(), table["split"].to_pylist(), strict=True):
            of_split[split].add(query)
        assert all(of_split.values())
        assert sum(map(len, of_split.values())) == 7  # no query lies in two splits
        tested.append(of_split["test"])
    for cut in (tested[:3], tested[3:]):
        assert sorted(query for fold in cut for query in fold) == list(range(7))
    assert tested[:3] != tested[3:]
    with pytest.raises(DataError, match="too few queries"):
        LetorSource(str(folder), folds=8).write_raw(folder / "many")


def write_scored(folder: Path) -> Path:
    write(folder)
    (folder / "vali.txt").write_text("1 qid:9 0:1\n0 qid:9 0:2\n3 qid:4 1:1\n")
    for name, lines in (("rank.train", 6), ("rank.test", 2), ("vali.txt", 3)):
        (folder / f"{name}.scores").write_text("\n".join(f"{i}.5" for i in range(lines)) + "\n")
    return folder


def test_a_file_of_validation_and_a_teacher_s_scores(tmp_path: Path) -> None:
    source = LetorSource(str(write_scored(tmp_path)), val="vali.txt", scores=".scores")
    before = source.fingerprint()
    raw = source.write_raw(tmp_path / "raw")
    found = pq.read_table(raw.files[0]).to_pydict()
    assert found["split"] == ["train"] * 6 + ["test"] * 2 + ["val"] * 3
    assert found["query"] == [0, 0, 0, 1, 1, 2, 3, 3, 4, 4, 5]
    assert found["teacher_score"] == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 0.5, 1.5, 0.5, 1.5, 2.5]
    assert raw.schema.teacher is not None
    assert raw.schema.teacher.columns == {"relevance": "teacher_score"}
    (tmp_path / "vali.txt.scores").write_text("1 2 4")
    assert source.fingerprint() != before
    with pytest.raises(ConfigError, match="Folds are cut only from the training file"):
        LetorSource(str(tmp_path), val="vali.txt", folds=3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 2", "3 numbers, one for each line"),
        ("1 2 x", "not a number"),
        ("1 2 nan", "not finite"),
        (None, "a number for each"),
    ],
)
def test_scores_that_do_not_fit_are_refused(tmp_path: Path, text: str | None, said: str) -> None:
    file = write_scored(tmp_path) / "vali.txt.scores"
    file.unlink()
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataError, match=said):
        LetorSource(str(tmp_path), val="vali.txt", scores=".scores").write_raw(tmp_path / "raw")
