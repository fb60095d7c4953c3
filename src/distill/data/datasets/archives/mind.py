"""MIND: impressions of Microsoft News, train and dev in folders of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from distill.data.datasets.archives.source import Written
from distill.data.datasets.archives.tables import Lookup, archive_file, relisted, text_blocks, text_table, write_blocks
from distill.encodings.arrow import combine
from distill.errors import DataError

_ARCHIVE = "MIND (MINDsmall_train.zip and MINDsmall_dev.zip, or MINDlarge_…, each unpacked into a folder of its name)"
_BEHAVIORS = ["impression_id", "user_id", "time", "history", "impressions"]
_NEWS = ["news_id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities"]
_KNOWN = ["category", "subcategory"]
_SHOWN = r"^(?P<news_id>\S+)-(?P<click>[01])$"
_TIME = "%m/%d/%Y %I:%M:%S %p"


@dataclass(frozen=True)
class Mind:
    """`behaviors.tsv` and `news.tsv` of the training and the dev set; both number their impressions from 1.

    Train is divided into train and val by the rule, dev is test: labels of the published test set are not. The history
    of a user is the same in all impressions of a set, and ends before the first of them. Titles are left out.

    Attributes:
        train: Folder of the training set.
        dev: Folder of the dev set.
    """

    train: str = "MINDsmall_train"
    dev: str = "MINDsmall_dev"

    name = "mind"
    apart = ("test",)

    def columns(self) -> Sequence[str]:
        """Of the impressions, with lists of the news shown, their labels and categories."""
        return ["impression_id", "user_id", "time", "history", "news_id", "click", *_KNOWN]

    def files(self, folder: Path) -> Sequence[Path]:
        """Finds the four files."""
        names = [f"{part}/{name}.tsv" for part in (self.train, self.dev) for name in ("behaviors", "news")]
        return [archive_file(folder, name, _ARCHIVE) for name in names]

    def write(self, folder: Path, directory: Path) -> Written:
        """Takes impressions apart, and joins the categories of the news of both sets, which are held in memory."""
        paths = self.files(folder)
        types = dict.fromkeys(["news_id", *_KNOWN], pa.string())
        tables = [text_table(path, types, _ARCHIVE, delimiter="\t", header=_NEWS) for path in paths[1::2]]
        news = pa.concat_tables(tables).group_by("news_id", use_threads=False).aggregate([(n, "first") for n in _KNOWN])
        news = news.select(["news_id", *(f"{name}_first" for name in _KNOWN)]).rename_columns(["news_id", *_KNOWN])
        known = Lookup(news, "news_id")
        files = [
            write_blocks(_impressions(path, known), directory / f"{name}.parquet", path)
            for name, path in (("train", paths[0]), ("test", paths[2]))
        ]
        items = write_blocks([news], directory / "items.parquet", paths[1])
        return Written((files[0],), {"test": (files[1],)}, items)


def _impressions(path: Path, news: Lookup) -> Iterator[pa.Table]:
    types = {"impression_id": pa.int64(), **dict.fromkeys(_BEHAVIORS[1:], pa.string())}
    for block in text_blocks(path, types, _ARCHIVE, delimiter="\t", header=_BEHAVIORS):
        shown = pc.split_pattern(pc.utf8_trim_whitespace(combine(block["impressions"])), " ")
        found = pc.extract_regex(shown.flatten(), _SHOWN)
        if found.null_count:
            text = shown.flatten().filter(pc.is_null(found))[0].as_py()
            expected = "NEWS-0 or NEWS-1; the published test set, which has no labels, cannot be read"
            raise DataError("A shown article has no label.", where=str(path), expected=expected, found=repr(text)[:100])
        ids = relisted(pc.struct_field(found, "news_id"), shown)
        try:
            time = pc.strptime(block["time"], _TIME, "s")
        except pa.ArrowInvalid as error:
            expected = "times such as 11/15/2019 8:55:22 AM"
            raise DataError(
                "A value is not a time.", where=str(path), expected=expected, found=str(error)[:200]
            ) from error
        yield pa.table(
            {
                "impression_id": block["impression_id"],
                "user_id": block["user_id"],
                "time": time,
                "history": pc.fill_null(combine(block["history"]), ""),
                "news_id": ids,
                "click": relisted(pc.struct_field(found, "click").cast(pa.int8()), shown),
                **news.of_lists(ids),
            }
        )
