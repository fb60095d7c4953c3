"""Writes the vectors of a catalogue."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from distill.data.prepare.progress import PassProgress
from distill.export import Trained
from distill.export.catalogue import Catalogue
from distill.export.item_vectors import Written, write_items
from distill.serving import ItemVectors
from distill.serving.items import ItemType


def written(
    trained: Trained,
    root: Path,
    table: pa.Table,
    kind: ItemType = "float32",
    base: ItemVectors | None = None,
    is_whole: bool = False,
    rows: int = 7,
) -> Written:
    root.mkdir()
    pq.write_table(table, root.with_suffix(".parquet"))
    source = Catalogue(trained, str(root.with_suffix(".parquet")), torch.device("cpu"), rows=rows)
    return write_items(root, source, kind, PassProgress(False), base, is_whole)
