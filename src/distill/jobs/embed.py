"""Vectors of the texts of raw files by a frozen encoder, part by part: a kill loses at most one part."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from distill.console import plain_console
from distill.data.datasets.fingerprint import fingerprint_files
from distill.data.prepare.source import RawFiles
from distill.encodings.arrow import null_mask
from distill.encodings.id_values import to_id_values
from distill.encodings.place import Place
from distill.encodings.values import first
from distill.errors import DataError
from distill.files import atomic_file
from distill.jobs.planned_folder import begin
from distill.jobs.schema import found_files
from distill.jobs.text_encoder import Pooled, TextEncoder, model_digest
from distill.schema import RawColumns

ID, VECTOR = "id", "vector"
VECTORS_FILE = "vectors.parquet"


def run(options: argparse.Namespace) -> Path:
    """Writes `vectors.parquet`: a row for each id, in the order in which ids come first.

    Raises:
        ConfigError: A package is missing, or the encoder makes vectors in a way that is not known.
        DataError: A file, a column or the encoder cannot be read, an id is null, or the folder holds other vectors.
    """
    files = found_files(options.files)
    pooled = Pooled.of(options.model, options.pooling, options.normalise)
    console = plain_console()
    begin(options.out, _plan(options, files, pooled), "vectors")
    path: Path = options.out / VECTORS_FILE
    if path.is_file():
        console.print(f"There already: {path}", soft_wrap=True, highlight=False)
        return path
    encoder = TextEncoder(options.model, pooled, options.max_tokens, torch.device(options.device))
    ids, texts = read_texts(files, options.id, options.text, options.prefix)
    if len(ids) == 0:
        raise DataError("The files hold no rows.", where=", ".join(map(str, files[:3])))
    _announce(options, pooled, len(ids), texts.null_count)
    parts = []
    for number, start in enumerate(range(0, len(ids), options.part_rows)):
        part = options.out / f"part-{number:05d}.parquet"
        if not part.is_file():
            rows = slice(start, start + options.part_rows)
            _write_whole(part, iter([_embedded(encoder, ids[rows], texts[rows], options)]))
            console.print(f"{min(rows.stop, len(ids)):,} of {len(ids):,}", soft_wrap=True, highlight=False)
        parts.append(part)
    _write_whole(path, map(_read_part, parts))
    for part in parts:
        part.unlink()
    console.print(f"Written: {path}", soft_wrap=True, highlight=False)
    return path


def read_texts(files: Sequence[Path], id_column: str, columns: Sequence[str], prefix: str) -> tuple[pa.Array, pa.Array]:
    """Returns each id once, and the text of the first row with it: its columns, by a space; null if all are.

    Raises:
        DataError: A column is missing, or an id is null or of a type that cannot be one.
    """
    wanted = list(dict.fromkeys([id_column, *columns]))
    raw = RawFiles(files, wanted, (), raw=RawColumns(columns=dict.fromkeys(columns, "text")))
    for file in raw.files:
        if missing := [name for name in wanted if name not in file.schema.names]:
            raise DataError(
                "A raw column is missing.",
                where=f"{file.path}, column {missing[0]!r}",
                found=f"columns {', '.join(file.schema.names[:30])}",
                remedy="Correct --id or --text.",
            )
    ids, texts = [], []
    for batch in raw.batches(wanted):
        place = Place(id_column, "--id", partial(_located, raw, batch.start))
        values = to_id_values(batch.columns[id_column], place)
        if (row := first(null_mask(values))) >= 0:
            raise DataError("A text has no id.", where=place.at(row), found="null", remedy="Leave such rows out.")
        ids.append(values)
        texts.append(_joined([batch.columns[name] for name in columns], prefix))
    all_ids = pa.chunked_array(ids).combine_chunks() if ids else pa.array([], pa.int64())
    _, firsts = np.unique(all_ids.dictionary_encode().indices.to_numpy(zero_copy_only=False), return_index=True)
    kept = pa.array(np.sort(firsts))
    return all_ids.take(kept), pa.chunked_array(texts, pa.string()).combine_chunks().take(kept)


def _located(raw: RawFiles, start: int, row: int) -> str:
    return raw.locate(start + row)


def _joined(columns: Sequence[pa.Array], prefix: str) -> pa.Array:
    joined = columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, " ", null_handling="skip")
    nothing = np.logical_and.reduce([null_mask(column) for column in columns])
    whole = pc.binary_join_element_wise(pa.scalar(prefix), joined, "") if prefix and len(joined) else joined
    return pc.if_else(pa.array(nothing), pa.scalar(None, pa.string()), whole)


def _embedded(encoder: TextEncoder, ids: pa.Array, texts: pa.Array, options: argparse.Namespace) -> pa.Table:
    """Returns ids and their vectors; a text that is null has a null vector."""
    known = ~null_mask(texts)
    found = encoder.embed(texts.filter(pa.array(known)).to_pylist(), options.batch_size)
    if not bool(torch.isfinite(found).all()):
        raise DataError("The encoder makes numbers that are not finite.", where=str(options.model))
    dense = np.zeros((len(texts), encoder.width), np.dtype(options.type))
    dense[known] = found.numpy()
    mask = None if known.all() else pa.array(~known)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(dense.reshape(-1)), encoder.width, mask=mask)
    return pa.table({ID: ids, VECTOR: vectors})


def _read_part(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            "A part of the vectors is damaged.",
            where=str(path),
            found=str(error).splitlines()[0][:200],
            remedy="Remove this file and give the same command again.",
        ) from error


def _write_whole(path: Path, tables: Iterator[pa.Table]) -> None:
    """Writes tables one after the other; the file is there whole or not at all."""
    with atomic_file(path) as beside, ExitStack() as open_writer:
        writer: pq.ParquetWriter | None = None
        for table in tables:
            if writer is None:
                writer = pq.ParquetWriter(beside, table.schema, compression="zstd", write_page_checksum=True)
                open_writer.callback(writer.close)
            writer.write_table(table)
        open_writer.close()


def _plan(options: argparse.Namespace, files: Sequence[Path], pooled: Pooled) -> dict[str, object]:
    """What decides the bytes that are written."""
    return {
        "files": [fingerprint_files([file.absolute()], file.absolute().parent) for file in files],
        "model": model_digest(options.model),
        "id": options.id,
        "text": list(options.text),
        "prefix": options.prefix,
        "pooling": pooled.pooling,
        "normalise": pooled.normalise,
        "type": options.type,
        "max_tokens": options.max_tokens,
        "batch_size": options.batch_size,
        "part_rows": options.part_rows,
    }


def _announce(options: argparse.Namespace, pooled: Pooled, count: int, missing: int) -> None:
    said = f"{count:,} ids, {missing:,} of them without text; pooling {pooled.pooling}"
    plain_console().print(said + (", one long" if pooled.normalise else ""), soft_wrap=True, highlight=False)
