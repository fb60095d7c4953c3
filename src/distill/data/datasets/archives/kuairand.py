"""KuaiRand: videos shown in an app, a part of them drawn at random, which is an unbiased test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from distill.data.datasets.archives.source import Written
from distill.data.datasets.archives.tables import Lookup, archive_file, text_blocks, text_table, write_blocks

_LOGS = {"train": "log_standard_4_08_to_4_21", "val": "log_standard_4_22_to_5_08", "test": "log_random_4_22_to_5_08"}
_LABELS = ["is_click", "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "long_view"]
_LOG = {
    **dict.fromkeys(["user_id", "video_id", "hourmin", "time_ms", "tab"], pa.int64()),
    **dict.fromkeys(_LABELS, pa.int8()),
}
_RANGES = ["follow_user_num_range", "fans_user_num_range", "friend_user_num_range", "register_days_range"]
_FLAGS = ["is_lowactive_period", "is_live_streamer", "is_video_author"]
_ONE_HOT = [f"onehot_feat{i}" for i in range(18)]
_USER = {
    "user_id": pa.int64(),
    **dict.fromkeys(["user_active_degree", *_RANGES, *_FLAGS, *_ONE_HOT], pa.string()),
}
_VIDEO = {
    "video_id": pa.int64(),
    **dict.fromkeys(["author_id", "video_type", "upload_type", "music_id", "music_type", "tag"], pa.string()),
    "video_duration": pa.float64(),
}


@dataclass(frozen=True)
class KuaiRand:
    """The logs, users and videos of KuaiRand-Pure or KuaiRand-1K (the folder `data` of either).

    Train is the standard log of two weeks, val that of the next two, and test the videos of these weeks that were drawn
    at random (`is_rand`). Statistics of the videos are left out: they are averages over the whole month.

    Attributes:
        part: Of which the files are.
    """

    part: Literal["pure", "1k"] = "pure"

    name = "kuairand"
    apart = ("val", "test")

    def columns(self) -> Sequence[str]:
        """Of the log, of the user and of the video."""
        return [*_LOG, "hour", *list(_USER)[1:], *list(_VIDEO)[1:]]

    def files(self, folder: Path) -> Sequence[Path]:
        """Finds the five files."""
        names = [*_LOGS.values(), "user_features", "video_features_basic"]
        return [archive_file(folder, f"{name}_{self.part}.csv", self._archive) for name in names]

    def write(self, folder: Path, directory: Path) -> Written:
        """Joins users and videos, which are held in memory, to the logs."""
        *logs, users, videos = self.files(folder)
        known = Lookup(text_table(videos, _VIDEO, self._archive), "video_id")
        of_user = Lookup(text_table(users, _USER, self._archive), "user_id")
        files = {
            name: (write_blocks(self._joined(path, of_user, known), directory / f"{name}.parquet", path),)
            for name, path in zip(_LOGS, logs, strict=True)
        }
        return Written(files.pop("train"), files)

    def _joined(self, path: Path, users: Lookup, videos: Lookup) -> Iterator[pa.Table]:
        for block in text_blocks(path, _LOG, self._archive):
            columns = {name: block[name] for name in _LOG}
            hour = pc.divide(block["hourmin"], 100)
            yield pa.table({**columns, "hour": hour, **users.of(block["user_id"]), **videos.of(block["video_id"])})

    @property
    def _archive(self) -> str:
        return f"KuaiRand-{self.part.capitalize()} (its folder data)"
