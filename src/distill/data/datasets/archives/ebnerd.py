"""EB-NeRD (RecSys Challenge 2024): impressions of a news site, with histories and articles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distill.checks import require_integer
from distill.data.datasets.archives.source import Written
from distill.data.datasets.archives.tables import (
    Lookup,
    archive_file,
    list_lengths,
    lists_of,
    parquet_blocks,
    relisted,
    write_blocks,
)
from distill.encodings.arrow import combine

_ARCHIVE = "ebnerd_demo, ebnerd_small or ebnerd_large"
_USER = ["device_type", "is_sso_user", "gender", "postcode", "age", "is_subscriber"]
_REQUEST = ["impression_id", "user_id", "impression_time", *_USER, "session_id"]
_SHOWN, _CLICKED, _HISTORY = "article_ids_inview", "article_ids_clicked", "article_id_fixed"
_ARTICLE = ["category", "article_type", "premium", "sentiment_label"]


@dataclass(frozen=True)
class EbNerd:
    """`train` and `validation` with `behaviors.parquet` and `history.parquet` each, and `articles.parquet`.

    Train is divided into train and val by the rule; validation is test (the challenge's own test has no labels). A
    history holds what a user read in the 21 days before the impressions of its split. Articles' numbers of views and
    their reading times are left out: they are counted over days to come. `age_hours` is how old an article is.

    Attributes:
        max_history: Last articles of a history that are kept.
    """

    max_history: int = 50

    name = "ebnerd"
    apart = ("test",)

    def __post_init__(self) -> None:
        require_integer("data.adapter.archive.max_history", self.max_history, least=1)

    def columns(self) -> Sequence[str]:
        """Of the impressions, with a history and with lists of what is known of the articles shown."""
        return [*_REQUEST, _SHOWN, _CLICKED, "history", *_ARTICLE, "age_hours"]

    def files(self, folder: Path) -> Sequence[Path]:
        """Finds the five files."""
        names = [f"{split}/{name}.parquet" for split in ("train", "validation") for name in ("behaviors", "history")]
        return [archive_file(folder, name, _ARCHIVE) for name in (*names, "articles.parquet")]

    def write(self, folder: Path, directory: Path) -> Written:
        """Joins histories and articles to the impressions; both are held in memory."""
        *paths, articles = self.files(folder)
        known = pa.concat_tables(parquet_blocks(articles, ["article_id", "published_time", *_ARTICLE], _ARCHIVE))
        files = []
        for name, (behaviors, history) in (("train", paths[:2]), ("test", paths[2:])):
            blocks = self._joined(behaviors, self._histories(history), Lookup(known, "article_id"))
            files.append(write_blocks(blocks, directory / f"{name}.parquet", behaviors))
        catalogue = known.select(["article_id", *_ARTICLE]).rename_columns([_SHOWN, *_ARTICLE])
        items = write_blocks([catalogue], directory / "items.parquet", articles)
        return Written((files[0],), {"test": (files[1],)}, items)

    def _histories(self, path: Path) -> Lookup:
        blocks = parquet_blocks(path, ["user_id", _HISTORY], _ARCHIVE)
        return Lookup(pa.concat_tables(map(self._last, blocks)), "user_id")

    def _last(self, block: pa.Table) -> pa.Table:
        """Keeps the last articles of each history."""
        history = combine(block[_HISTORY])
        values, ends = history.flatten(), combine(pc.cumulative_sum(list_lengths(history)))
        behind = pc.subtract(ends.take(pc.list_parent_indices(history)), pa.array(np.arange(len(values))))
        kept = values.filter(pc.less_equal(behind, self.max_history))
        counts = pc.min_element_wise(list_lengths(history), self.max_history)
        return pa.table({"user_id": block["user_id"], "history": lists_of(kept, counts)})

    def _joined(self, path: Path, histories: Lookup, articles: Lookup) -> Iterator[pa.Table]:
        for block in parquet_blocks(path, [*_REQUEST, _SHOWN, _CLICKED], _ARCHIVE):
            shown = combine(block[_SHOWN])
            known = articles.of_lists(shown)
            published = known.pop("published_time")
            at = combine(block["impression_time"]).take(pc.list_parent_indices(shown))
            seconds = pc.subtract(_seconds(at), _seconds(published.flatten()))
            age = relisted(pc.divide(seconds.cast(pa.float64()), 3600.0), shown)
            history = histories.of(block["user_id"])["history"]
            yield pa.table({**{n: block[n] for n in block.column_names}, "history": history, **known, "age_hours": age})


def _seconds(times: pa.Array) -> pa.Array:
    return times.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
