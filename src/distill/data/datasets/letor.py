"""`LetorSource`: learning-to-rank files in svmlight form, graded documents of queries."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from distill.checks import require_integer, require_number
from distill.data.datasets.fingerprint import fingerprint_files
from distill.data.datasets.letor_scores import read_scores, scores_file
from distill.data.raw import RawDataset
from distill.data.split import ColumnSplit
from distill.errors import ConfigError, DataError
from distill.schema import Schema

_SPLIT, _SCORE = "split", "teacher_score"
FEATURES = "features"
TASK = "relevance"


@dataclass(frozen=True)
class LetorSource:
    """Queries with graded documents, as LightGBM's, LETOR's and MSLR's files: one document a line.

    A line is `grade [qid:QUERY] index:value … [# comment]`. Without `qid` a file `NAME.query` beside it holds the
    number of documents of each query. A query is a request, its documents are candidates, all exposed; the task
    `relevance` is graded. Indices start where the file starts them; an index that a line leaves out is 0. Some of the
    training queries are held out for validation.

    With `folds` the test file is left alone: the training queries are cut into so many folds, and fold `seed` modulo
    `folds` is the test split. Seeds 0 to `folds` - 1 test every query once, the next `folds` seeds another cut.

    Attributes:
        source: Folder of the files.
        train: Name of the training file.
        test: Name of the test file.
        val: Share of the training queries (those outside the test fold) that are held out; or the name of a file of
            queries, as MSLR's and Istella's `vali.txt`.
        seed: Of the draw of those, and of the folds.
        folds: Folds of a cross-validation; None for the test file.
        name: Of the prepared dataset.
        scores: What is appended to the name of each file for that of a ranker's scores of it, a number a line, which
            are the teacher's logits: LightGBM's predictions, or those of RD-Suite written so. None without any.
    """

    source: str
    train: str = "rank.train"
    test: str = "rank.test"
    val: float | str = 0.15
    seed: int = 0
    folds: int | None = None
    name: str = "letor"
    scores: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.val, str):
            require_number("data.adapter.val", self.val, 0, 1)
        elif self.folds is not None:
            raise ConfigError(
                "Folds are cut only from the training file.",
                where="data.adapter.val",
                expected="a share of it",
                found=self.val,
            )
        require_integer("data.adapter.seed", self.seed, least=0, most=2**63 - 2)
        if self.folds is not None:
            require_integer("data.adapter.folds", self.folds, least=2, most=2**31 - 1)

    def fingerprint(self) -> str:
        """Hash of the arguments and of the files."""
        folder = self._folder()
        arguments = {name: value for name, value in asdict(self).items() if name != "source"}
        files = [file for name in self._names for file in _files(folder / name, self.scores)]
        return hashlib.blake2b(
            json.dumps([arguments, fingerprint_files(files, folder)]).encode(), digest_size=16
        ).hexdigest()

    def write_raw(self, directory: Path) -> RawDataset:
        """Writes `documents.parquet`.

        Raises:
            DataError: A file is missing, or a line of it cannot be read.
        """
        files = [_read(self._folder() / name, self.scores) for name in self._names]
        width = max(file.width for file in files)
        train, *others = files
        offset = int(train.query.max()) + 1  # the files number their queries alike
        tables = [train.table(width, self._split(train.query), 0)]
        for file, split in zip(others, ("test", "val"), strict=False):
            tables.append(file.table(width, np.full(file.query.size, split), offset))
            offset += int(file.query.max()) + 1
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "documents.parquet"
        pq.write_table(pa.concat_tables(tables), path, compression="zstd")
        return RawDataset((path,), self._schema(width), ColumnSplit(_SPLIT))

    def raw_schema(self) -> Schema:
        """What the documents hold; how many numbers, only their files say."""
        return self._schema(1)

    def _schema(self, width: int) -> Schema:
        return letor_schema(self.name, width, self.scores is not None)

    @property
    def _names(self) -> tuple[str, ...]:
        val = (self.val,) if isinstance(self.val, str) else ()
        return (self.train, self.test, *val) if self.folds is None else (self.train,)

    def _split(self, query: NDArray[np.int64]) -> NDArray[np.str_]:
        """Split of each document of the training file.

        Raises:
            DataError: There are not enough queries for the folds.
        """
        folds = self.folds
        if folds is None:
            if isinstance(self.val, str):
                return np.full(query.size, "train")
            return np.where(_held_out(query, self.val, self.seed), "val", "train")
        assert not isinstance(self.val, str)
        queries = np.unique(query)
        largest = -(-queries.size // folds)
        if queries.size < folds or queries.size - largest < 2:
            raise DataError(
                "The training file holds too few queries for so many folds.",
                where="data.adapter.folds",
                expected="a query in each fold, and two outside the largest",
                found=f"{folds} folds of {queries.size} queries",
            )
        cut, fold = divmod(self.seed, folds)
        shuffled = np.random.default_rng((cut, folds)).permutation(queries)
        test = np.isin(query, shuffled[fold::folds])
        split = np.full(query.size, "test", dtype="<U5")
        split[~test] = np.where(_held_out(query[~test], self.val, self.seed), "val", "train")
        return split

    def _folder(self) -> Path:
        return Path(self.source).expanduser()


def letor_schema(name: str, width: int, is_scored: bool = False) -> Schema:
    """Returns the schema of the written rows: a vector of `width` numbers of the pair, one graded task, and perhaps its
    teacher's logits."""
    teacher = {"teacher": {"columns": {TASK: _SCORE}, "kind": "logit"}}
    return Schema.model_validate(
        {
            **(teacher if is_scored else {}),
            "name": name,
            "layout": "requests",
            "keys": {"request": "query"},
            "fields": [{"name": FEATURES, "side": "cross", "kind": "vector", "width": width}],
            "tasks": [{"name": TASK, "kind": "graded"}],
        }
    )


@dataclass(frozen=True)
class _Documents:
    """Lines of a file: query `[N]` from 0, grade `[N]`, perhaps a score `[N]`, and the entries of all lines by line,
    column and value."""

    query: NDArray[np.int64]
    grade: NDArray[np.float64]
    line: NDArray[np.int32]
    column: NDArray[np.int32]
    value: NDArray[np.float32]
    score: NDArray[np.float64] | None

    @property
    def width(self) -> int:
        return int(self.column.max(initial=0)) + 1

    def table(self, width: int, split: NDArray[np.str_], first_query: int) -> pa.Table:
        dense = np.zeros((self.query.size, width), np.float32)
        dense[self.line, self.column] = self.value
        scores = {} if self.score is None else {_SCORE: self.score}
        return pa.table(
            {
                **scores,
                "query": self.query + first_query,
                TASK: self.grade,
                FEATURES: pa.FixedSizeListArray.from_arrays(pa.array(dense.reshape(-1)), width),
                _SPLIT: split.astype(object),
            }
        )


def _files(path: Path, scores: str | None) -> Iterator[Path]:
    if not path.is_file():
        raise DataError("The file of graded documents does not exist.", where=str(path), remedy="Check data.source.")
    yield path
    if (sizes := path.with_name(path.name + ".query")).is_file():
        yield sizes
    if scores is not None:
        yield scores_file(path, scores)


def _read(path: Path, scores: str | None) -> _Documents:
    beside = [file for file in _files(path, None) if file != path]
    grades, queries = list[float](), list[str]()
    line, column, value = array("i"), array("i"), array("f")  # of MSLR there are 300 million of each
    for number, text in enumerate(_lines(path)):
        words = text.partition("#")[0].split()
        try:
            grades.append(float(words[0]))
            if len(words) > 1 and words[1].startswith("qid:"):
                queries.append(words.pop(1))
            entries = [word.split(":") for word in words[1:]]
            column.extend(int(index) for index, _ in entries)
            value.extend(float(number) for _, number in entries)
        except (ValueError, IndexError, OverflowError) as error:
            raise DataError(
                "A line is not a graded document.",
                where=f"{path}:{number + 1}",
                expected="grade [qid:QUERY] index:value …",
                found=text[:80] or "an empty line",
            ) from error
        line.extend(repeat(number, len(entries)))
    if not grades or min(column, default=0) < 0:
        raise DataError("The file holds no documents, or a negative index.", where=str(path))
    sizes = _sizes(beside, queries, len(grades), path)
    return _Documents(
        np.repeat(np.arange(len(sizes)), sizes),
        np.asarray(grades),
        np.asarray(line),
        np.asarray(column),
        np.asarray(value),
        None if scores is None else read_scores(path, scores, len(grades)),
    )


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as stream:
        yield from (line.rstrip("\n") for line in stream)


def _sizes(beside: list[Path], queries: list[str], lines: int, path: Path) -> NDArray[np.int64]:
    """Counts the documents of each query, from `qid` or from the file beside."""
    if len(queries) == lines:
        changed = np.flatnonzero(np.asarray(queries[1:]) != np.asarray(queries[:-1])) + 1
        if len({queries[i] for i in (0, *changed)}) < changed.size + 1:
            raise DataError("The documents of a query are not together.", where=str(path))
        return np.diff(np.concatenate([[0], changed, [lines]]))
    if queries or not beside:
        raise DataError(
            "The files do not say which query each document belongs to.",
            where=str(path),
            expected=f"qid:QUERY in every line, or {path.name}.query with the documents of each query",
            found=f"qid in {len(queries)} of {lines} lines" if queries else "neither",
        )
    try:
        sizes = np.asarray([int(word) for word in beside[0].read_text(encoding="utf-8").split()], np.int64)
    except ValueError as error:
        raise DataError("A number of documents is not a number.", where=str(beside[0]), found=str(error)) from error
    if int(sizes.sum()) != lines or sizes.min(initial=1) < 0:
        raise DataError(
            "The queries do not add up to the documents.",
            where=str(beside[0]),
            expected=f"{lines} documents, as {path.name}",
            found=str(int(sizes.sum())),
        )
    return sizes


def _held_out(query: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_]:
    """Whether each document is of one of the drawn queries; at least one query of two or more."""
    queries = np.unique(query)
    count = min(max(round(share * queries.size), 1), queries.size - 1)
    drawn = np.random.default_rng(seed).permutation(queries)[:count]
    return np.isin(query, drawn)
