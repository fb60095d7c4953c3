"""`MovieLensSource`: MovieLens 100K, 1M and latest-small."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.datasets.fingerprint import fingerprint_files
from distill.data.datasets.movielens.archive import Archive, Variant, archive_files, read_archive
from distill.data.datasets.movielens.negatives import UnratedSampler, train_popularity
from distill.data.datasets.movielens.sessions import make_sessions
from distill.data.datasets.movielens.tables import SPLIT, movielens_schema, requests_table
from distill.data.format import SPLITS
from distill.data.raw import RawDataset
from distill.data.split import ColumnSplit, UserTimeSplit
from distill.errors import ConfigError
from distill.schema import Schema

_LIKED = 4.0
_BLOCK_CELLS = 4_000_000


@dataclass(frozen=True)
class MovieLensSource:
    """MovieLens ratings as requests.

    A rating session of a user is a request. Its candidates are the films that the user rated in it (stage `exposed`;
    tasks `like`: rating ≥ 4, and `love`: rating 5) and films that the user has not rated (stage `recalled`, labels
    null), drawn without replacement with chances proportional to 1 + the number of ratings in the training split.
    Films that the user rates anywhere, earlier or later, are never drawn: an unrated candidate is unrated for good.
    The split is by time within each user. Ratings of the same second are ordered by film.

    Attributes:
        variant: 100k, 1m or latest-small.
        source: Folder of the unpacked original archive.
        negatives: Unrated films per request in train.
        eval_negatives: Unrated films per request in val and test.
        session_gap: Seconds without a rating that end a session.
        max_session: Most ratings of a session.
        max_history: Most liked films of a history, the last ones.
        val: Share of a user's requests, before the test share, that are val; at least one of three or more.
        test: Share of a user's last requests that are test; at least one of three or more.
        seed: Of the drawn films.
    """

    variant: Variant
    source: str
    negatives: int = 50
    eval_negatives: int = 500
    session_gap: float = 3600.0
    max_session: int = 10
    max_history: int = 50
    val: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        UserTimeSplit(self.val, self.test)
        least = {"negatives": 0, "eval_negatives": 0, "session_gap": 0, "max_session": 1, "max_history": 1, "seed": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ConfigError(
                    "An argument is too small.",
                    where=f"data.adapter.{name}",
                    expected=f"at least {bound}",
                    found=str(getattr(self, name)),
                )

    @property
    def name(self) -> str:
        """`movielens-<variant>`."""
        return f"movielens-{self.variant}"

    def fingerprint(self) -> str:
        """Hash of the arguments and of the archive's files."""
        folder = self._folder()
        arguments = {name: value for name, value in asdict(self).items() if name != "source"}
        content = fingerprint_files(archive_files(self.variant, folder), folder)
        return hashlib.blake2b(json.dumps([arguments, content]).encode(), digest_size=16).hexdigest()

    def write_raw(self, directory: Path) -> RawDataset:
        """Writes `requests.parquet` and `items.parquet`.

        Raises:
            DataError: The archive is incomplete or damaged.
        """
        directory.mkdir(parents=True, exist_ok=True)
        archive = _sorted(read_archive(self.variant, self._folder()))
        items = directory / "items.parquet"
        pq.write_table(archive.items, items)
        requests = directory / "requests.parquet"
        tables = self._tables(archive)
        first = next(tables)
        with pq.ParquetWriter(requests, first.schema, compression="zstd") as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table)
        schema = movielens_schema(self.name, tuple(archive.users.column_names), self.max_history)
        return RawDataset((requests,), schema, ColumnSplit(SPLIT), items)

    def raw_schema(self) -> Schema:
        """What the ratings hold; which fields of the users, only the archive says."""
        return movielens_schema(self.name, ("user_id",), self.max_history)

    def _folder(self) -> Path:
        return Path(self.source).expanduser()

    def _tables(self, archive: Archive) -> Iterator[pa.Table]:
        """Yields blocks of requests of one split each, so that their negatives are equally many."""
        sessions = make_sessions(
            archive.user,
            archive.time,
            archive.rating >= _LIKED,
            gap=self.session_gap,
            max_size=self.max_session,
            max_history=self.max_history,
            val=self.val,
            test=self.test,
        )
        popularity = train_popularity(archive.item, sessions, archive.items.num_rows)
        sampler = UnratedSampler(archive.user, archive.item, popularity, archive.users.num_rows)
        rng = np.random.default_rng(self.seed)
        block = max(_BLOCK_CELLS // archive.items.num_rows, 1)
        for split, name in enumerate(SPLITS):
            count = self.negatives if name == "train" else self.eval_negatives
            members = np.flatnonzero(sessions.split == split)
            for start in range(0, members.size, block):
                chosen = members[start : start + block]
                unrated = sampler.draw(sessions.user[chosen], count, rng)
                yield requests_table(archive, sessions, chosen, unrated, name)


def _sorted(archive: Archive) -> Archive:
    order = np.lexsort((archive.item, archive.time, archive.user))
    return Archive(
        user=archive.user[order],
        item=archive.item[order],
        rating=archive.rating[order],
        time=archive.time[order],
        users=archive.users,
        items=archive.items,
    )
