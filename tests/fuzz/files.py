"""Writes the tables of a case as Parquet or CSV, in odd but legal ways, and damages them."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.cases import Case


def write_case(rng: random.Random, case: Case, folder: Path) -> tuple[tuple[Path, ...], Path | None]:
    """Writes the raw files and the catalogue, and sometimes damages one.

    Raises:
        pa.ArrowException: Arrow cannot write the tables.
    """
    as_csv = case.shape != "requests" and rng.random() < 0.3
    paths = []
    for number, table in enumerate(case.tables):
        path = folder / f"raw{number}.{'csv' if as_csv else 'parquet'}"
        if as_csv:
            _write_csv(rng, case, table, path)
        else:
            _write_parquet(rng, table, path)
        paths.append(path)
    items = folder / "items.parquet" if case.items is not None else None
    if case.items is not None and items is not None:
        _write_parquet(rng, case.items, items)
    if rng.random() < 0.15:
        _damage(rng, case, rng.choice(paths))
    return tuple(paths), items


def _write_parquet(rng: random.Random, table: pa.Table, path: Path) -> None:
    pq.write_table(
        table,
        path,
        row_group_size=rng.choice([1, 3, 1000]),
        use_dictionary=rng.random() < 0.7,
        compression=rng.choice(["none", "snappy", "zstd", "gzip"]),
        version=rng.choice(["1.0", "2.4", "2.6"]),
        data_page_version=rng.choice(["1.0", "2.0"]),
        store_schema=rng.random() < 0.7,
        use_deprecated_int96_timestamps=rng.random() < 0.1,
        write_page_checksum=rng.random() < 0.2,
        data_page_size=rng.choice([1, 1 << 20]),
    )


def _cell(rng: random.Random, value: object, delimiter: str) -> str:
    if value is None:
        return rng.choice(["", "null"])
    text = value.decode("latin1") if isinstance(value, bytes) else str(value)
    quoted = isinstance(value, str) and (text in ("", "NULL", "null") or any(c in text for c in f'{delimiter}"\r\n'))
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if quoted else text


def _write_csv(rng: random.Random, case: Case, table: pa.Table, path: Path) -> None:
    table = table.select([i for i, column in enumerate(table.schema) if not pa.types.is_nested(column.type)])
    names = table.column_names
    delimiter = ","
    lines = [delimiter.join(_cell(rng, name, delimiter) for name in names)]
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    lines += [delimiter.join(_cell(rng, value, delimiter) for value in row) for row in rows]
    case.damaged = True  # types are found anew and empty text is null: the tables do not say what is read
    if rng.random() < 0.5:
        lines = _spoil(rng, case, lines)
    end = rng.choice(["\n", "\r\n"])
    data = (end.join(lines) + rng.choice(["", end])).encode("utf-8", "surrogatepass")
    path.write_bytes((b"\xef\xbb\xbf" if rng.random() < 0.1 else b"") + data)


def _spoil(rng: random.Random, case: Case, lines: list[str]) -> list[str]:
    at = rng.randrange(len(lines))
    cells = lines[at].split(",")
    cell = rng.randrange(len(cells))
    odd = [
        "x",
        "1.5",
        "1e400",
        "9" * 30,
        "-0",
        "0x1",
        "nan",
        "inf",
        "\0",
        '"',
        '"a',
        'a"b',
        "2020-01-01",
        "TRUE",
        " 1 ",
    ]
    how = rng.choice(
        ["ragged", "empty line", "delimiter", "no header", "only header", "cell", "cell", "cell", "double"]
    )
    case.notes.append(f"csv {how}")
    if how == "ragged":
        lines[at] += ",7" if rng.random() < 0.5 else ""
        lines[at] = lines[at] if rng.random() < 0.5 else lines[at].rpartition(",")[0]
    elif how == "empty line":
        lines.insert(at, "")
    elif how == "delimiter":
        lines = [line.replace(",", rng.choice([";", "\t", "|"])) for line in lines]
    elif how == "no header":
        lines = lines[1:]
    elif how == "only header":
        lines = lines[:1]
    elif how == "double":
        lines = [f"{line},{line}" for line in lines]
    else:
        cells[cell] = rng.choice(odd)
        lines[at] = ",".join(cells)
    return lines


def _damage(rng: random.Random, case: Case, path: Path) -> None:
    data = bytearray(path.read_bytes())
    how = rng.choice(["flip", "flip", "flip", "flips", "cut", "zeros", "append", "empty", "text", "gone", "footer"])
    case.notes.append(f"bytes {how}")
    case.damaged = True
    at = rng.randrange(max(1, len(data)))
    if how == "gone":
        path.unlink()
        return
    if how in ("flip", "flips") and data:
        for _ in range(1 if how == "flip" else 20):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == "footer" and data:
        data[-rng.randint(1, min(len(data), 2000))] = rng.randrange(256)
    elif how == "cut":
        data = data[:at]
    elif how == "zeros":
        data[at : at + 50] = bytes(len(data[at : at + 50]))
    elif how == "append":
        data += bytes(rng.randrange(256) for _ in range(40))
    else:
        data = bytearray(b"hello, world\n" if how == "text" else b"")
    path.write_bytes(bytes(data))
