"""Ali-CCP: impressions of Taobao with clicks and conversions; features of the user are in a file of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from distill.data.datasets.archives.source import Written
from distill.data.datasets.archives.tables import Lookup, archive_file, text_blocks, write_blocks
from distill.encodings.arrow import combine

_ARCHIVE = "Ali-CCP (sample_train.tar.gz and sample_test.tar.gz, unpacked into one folder)"
_SKELETON = ["sample_id", "click", "conversion", "common_feature_index", "feature_num", "feature_list"]
_READ = {"click": pa.int8(), "conversion": pa.int8(), "common_feature_index": pa.string(), "feature_list": pa.string()}
_USER = ["101", "121", "122", "124", "125", "126", "127", "128", "129"]
_SAMPLE = ["205", "206", "207", "216", "508", "509", "702", "853", "301"]


@dataclass(frozen=True)
class AliCcp:
    """`sample_skeleton_…` and `common_features_…` of train and test, without headers.

    A list of features is `FIELD\\x02ID\\x03VALUE`, with \\x01 between them. Of the 24 fields the 18 that have one id in
    a row are read (columns `f_205`, …; the first id, should there be more), of which the user's are in the other file,
    found by `common_feature_index`. Conversions without a click are kept: they are not observed.
    """

    name = "ali_ccp"
    apart = ("test",)

    def columns(self) -> Sequence[str]:
        """The labels and the fields."""
        return ["click", "conversion", *(f"f_{field}" for field in (*_USER, *_SAMPLE))]

    def files(self, folder: Path) -> Sequence[Path]:
        """Finds the four files."""
        names = [
            f"{kind}_{split}.csv" for split in ("train", "test") for kind in ("sample_skeleton", "common_features")
        ]
        return [archive_file(folder, name, _ARCHIVE) for name in names]

    def write(self, folder: Path, directory: Path) -> Written:
        """Joins the users, whose 9 fields are held in memory, to the impressions."""
        paths = self.files(folder)
        train, test = (
            write_blocks(_joined(paths[i], paths[i + 1]), directory / f"{name}.parquet", paths[i])
            for i, name in ((0, "train"), (2, "test"))
        )
        return Written((train,), {"test": (test,)})


def _joined(skeleton: Path, common: Path) -> Iterator[pa.Table]:
    users = Lookup(pa.concat_tables(_users(common)), "common_feature_index")
    for block in text_blocks(skeleton, _READ, _ARCHIVE, header=_SKELETON):
        labels = {name: block[name] for name in ("click", "conversion")}
        own = _fields(block["feature_list"], _SAMPLE)
        yield pa.table({**labels, **users.of(block["common_feature_index"]), **own})


def _users(path: Path) -> Iterator[pa.Table]:
    for block in text_blocks(path, dict.fromkeys(_SKELETON[3::2], pa.string()), _ARCHIVE, header=_SKELETON[3:]):
        index = block["common_feature_index"]
        yield pa.table({"common_feature_index": index, **_fields(block["feature_list"], _USER)})


def _fields(features: pa.ChunkedArray, fields: Sequence[str]) -> dict[str, pa.Array]:
    text = combine(features)
    found = {}
    for name in fields:
        match = pc.extract_regex(text, f"(?:^|\\x01){name}\\x02(?P<id>[0-9]+)\\x03")
        found[f"f_{name}"] = pc.struct_field(match, "id").cast(pa.int64())
    return found
