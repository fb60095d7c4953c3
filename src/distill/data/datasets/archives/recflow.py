"""RecFlow: all stages of a cascade that shows videos, a file a day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from distill.data.datasets.archives.source import Written
from distill.data.datasets.archives.tables import write_blocks
from distill.encodings.arrow import combine
from distill.errors import DataError

_ARCHIVE = "RecFlow (the folder that holds all_stage, with a feather file for each day)"
_REQUEST = ["request_id", "request_timestamp", "user_id", "device_id", "age", "gender", "province"]
_VIDEO = ["video_id", "author_id", "category_level_one", "category_level_two", "upload_type", "duration"]
_LABELS = ["effective_view", "long_view", "like", "follow", "forward", "comment"]
_RANKED = ["rerank_pos", "rerank_neg", "rank_pos", "rank_neg"]
_FLAGS = ["realshow", *_RANKED, "coarse_neg", "prerank_neg"]
_READ = [*_REQUEST, *_VIDEO, "upload_timestamp", *_LABELS, *_FLAGS, "rank_index"]


@dataclass(frozen=True)
class RecFlow:
    """`all_stage/DATE.feather`; a file is written for each, with its name.

    The stage follows from the flags: shown is exposed; else ranked or reranked is ranked; what the coarse ranking
    dropped (`coarse_neg`) is preranked; the rest is recalled. No scores of the ranker are published, only its order:
    `rank_index` of what it ranked, null of the rest. Labels are those of what was shown. `age_hours` is how old a video
    is. The sequences (`seq_effective_50_dict`) are pickles, which are not read.
    """

    name = "recflow"
    apart = ()

    def columns(self) -> Sequence[str]:
        """Of the files, with what is made of the flags and times."""
        return [*_REQUEST, *_VIDEO, *_LABELS, "stage", "rank_index", "age_hours"]

    def files(self, folder: Path) -> Sequence[Path]:
        """Finds the files of the days."""
        found = sorted((folder / "all_stage").glob("*.feather"))
        if not found:
            raise DataError(
                "A file of the archive is missing.",
                where=str(folder / "all_stage" / "2024-01-13.feather"),
                expected=f"all_stage/DATE.feather, from {_ARCHIVE}",
                found="no feather file there" if folder.is_dir() else "no such folder",
                remedy="Unpack the original archive and give its folder: data.source=DIR.",
            )
        return found

    def write(self, folder: Path, directory: Path) -> Written:
        """Writes a file for each day."""
        paths = self.files(folder)
        return Written(
            tuple(write_blocks(map(_staged, _blocks(path)), directory / f"{path.stem}.parquet", path) for path in paths)
        )


def _blocks(path: Path) -> Iterator[pa.Table]:
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            missing = [name for name in _READ if name not in file.schema.names]
            for i in range(file.num_record_batches if not missing else 0):
                yield pa.Table.from_batches([file.get_batch(i)]).select(_READ)
            found = f"no {', '.join(missing[:5])} among {', '.join(file.schema.names)}" if missing else ""
    except (pa.ArrowException, OSError) as error:
        found = str(error).splitlines()[0]
    if found:
        expected = f"a feather file (version 2) of {_ARCHIVE}, with {', '.join(_READ)}"
        raise DataError(
            "A file differs from that of its archive.", where=str(path), expected=expected, found=found[:300]
        )


def _staged(block: pa.Table) -> pa.Table:
    flags = {name: pc.equal(pc.fill_null(combine(block[name]), 0), 1) for name in _FLAGS}
    shown, ranked = flags["realshow"], flags["realshow"]
    for name in _RANKED:
        ranked = pc.or_(ranked, flags[name])
    codes = [pa.scalar(code, pa.int8()) for code in (3, 2, 1, 0)]
    stage = pc.case_when(pc.make_struct(shown, ranked, flags["coarse_neg"]), *codes)
    seconds = pc.divide(block["request_timestamp"].cast(pa.float64()), 1000.0)
    age = pc.divide(pc.subtract(seconds, block["upload_timestamp"].cast(pa.float64())), 3600.0)
    made = {"stage": stage, "rank_index": pc.if_else(ranked, block["rank_index"], None), "age_hours": age}
    return pa.table({**{name: block[name] for name in (*_REQUEST, *_VIDEO, *_LABELS)}, **made})
