"""Ad display and click data of Taobao: eight days of ads, joined with users and ads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from distill.data.datasets.archives.source import Written
from distill.data.datasets.archives.tables import Lookup, archive_file, text_blocks, text_table, write_blocks

_ARCHIVE = "the Taobao display ad data (raw_sample.csv, ad_feature.csv and user_profile.csv, unpacked)"
_SAMPLE = {"user": pa.int64(), "time_stamp": pa.int64(), "adgroup_id": pa.int64(), "pid": pa.string(), "clk": pa.int8()}
_AD = {
    **dict.fromkeys(["adgroup_id", "cate_id", "campaign_id", "customer", "brand"], pa.int64()),
    "price": pa.float64(),
}
_SEGMENTS = ["cms_segid", "cms_group_id", "final_gender_code", "age_level", "pvalue_level", "shopping_level"]
_USER = dict.fromkeys(["userid", *_SEGMENTS, "occupation", "new_user_class_level"], pa.int64())


@dataclass(frozen=True)
class TaobaoAd:
    """`raw_sample.csv`, `ad_feature.csv` and `user_profile.csv`; `behavior_log.csv` is not read.

    Users without a profile and ads without features keep their rows, with nulls.
    """

    name = "taobao_ad"
    apart = ()

    def columns(self) -> Sequence[str]:
        """Of the log, of the user and of the ad."""
        return [*_SAMPLE, *list(_USER)[1:], *list(_AD)[1:]]

    def files(self, folder: Path) -> Sequence[Path]:
        """Finds the three files."""
        names = ("raw_sample.csv", "ad_feature.csv", "user_profile.csv")
        return [archive_file(folder, name, _ARCHIVE) for name in names]

    def write(self, folder: Path, directory: Path) -> Written:
        """Joins users and ads, which are held in memory, to the log."""
        log, ads, users = self.files(folder)
        of_ad = Lookup(text_table(ads, _AD, _ARCHIVE), "adgroup_id")
        of_user = Lookup(text_table(users, _USER, _ARCHIVE), "userid")
        return Written((write_blocks(_joined(log, of_user, of_ad), directory / "train.parquet", log),))


def _joined(path: Path, users: Lookup, ads: Lookup) -> Iterator[pa.Table]:
    for block in text_blocks(path, _SAMPLE, _ARCHIVE):
        columns = {name: block[name] for name in _SAMPLE}
        yield pa.table({**columns, **users.of(block["user"]), **ads.of(block["adgroup_id"])})
