"""Avazu's click-through rate challenge (Kaggle, 2014): ten days of ads on sites and in apps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from distill.data.datasets.archives.source import Written
from distill.data.datasets.archives.tables import archive_file, text_blocks, write_blocks
from distill.errors import DataError

_ARCHIVE = "the Avazu click-through rate challenge (train.gz of Kaggle, or train.csv unpacked)"
_CONTEXT = ["C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category"]
_DEVICE = ["device_id", "device_ip", "device_model", "device_type", "device_conn_type"]
_IDS = [*_CONTEXT, *_DEVICE, *(f"C{i}" for i in range(14, 22))]
_TYPES = {"click": pa.int8(), "hour": pa.string(), **dict.fromkeys(_IDS, pa.string())}


@dataclass(frozen=True)
class Avazu:
    """`train.csv`, or `train.gz` as it comes: a header and comma-separated cells; `hour` is YYMMDDHH.

    `time` is the hour as a time (the zone is not said), `hour_of_day` and `weekday` are of it.
    """

    name = "avazu"
    apart = ()

    def columns(self) -> Sequence[str]:
        """What is made of `hour`, and the other columns but `id`."""
        return ["time", "hour_of_day", "weekday", "click", *_IDS]

    def files(self, folder: Path) -> Sequence[Path]:
        """Finds `train.csv` or `train.gz`; the folder may be the file itself."""
        if folder.is_file():
            return [folder]
        packed = folder / "train.gz"
        return [packed if packed.is_file() else archive_file(folder, "train.csv", _ARCHIVE)]

    def write(self, folder: Path, directory: Path) -> Written:
        """Makes times of hours."""
        (path,) = self.files(folder)
        return Written((write_blocks(_timed(path), directory / "train.parquet", path),))


def _timed(path: Path) -> Iterator[pa.Table]:
    for block in text_blocks(path, _TYPES, _ARCHIVE):
        try:
            time = pc.strptime(pc.binary_join_element_wise("20", block["hour"], ""), "%Y%m%d%H", "s")
        except pa.ArrowInvalid as error:
            raise DataError(
                "A value is not an hour.",
                where=str(path),
                expected="YYMMDDHH, such as 14102100",
                found=str(error)[:200],
            ) from error
        made = {"time": time, "hour_of_day": pc.hour(time), "weekday": pc.day_of_week(time)}
        yield pa.table({**made, **{name: block[name] for name in ("click", *_IDS)}})
