"""Reads the original MovieLens archives (100K, 1M, latest-small) into one form."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from distill.errors import DataError

Variant = Literal["100k", "1m", "latest-small"]
Ints = NDArray[np.int64]

FILES: dict[Variant, tuple[str, ...]] = {
    "100k": ("u.data", "u.user", "u.item"),
    "1m": ("ratings.dat", "users.dat", "movies.dat"),
    "latest-small": ("ratings.csv", "movies.csv"),
}
GENRES_100K = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]
_RATINGS = ["user", "item", "rating", "time"]
_USERS_100K = ["user", "age", "gender", "occupation", "zip"]
_USERS_1M = ["user", "gender", "age", "occupation", "zip"]
_ITEMS_100K = ["item", "title", "release", "video_release", "url", *GENRES_100K]
_ITEMS = ["item", "title", "genres"]
_AGE_BOUNDS = np.array([18, 25, 35, 45, 50, 56])
_AGE_NAMES = np.array(["<18", "18-24", "25-34", "35-44", "45-49", "50-55", "56+"])
_NO_GENRES = "(no genres listed)"


@dataclass(frozen=True)
class Archive:
    """A MovieLens data set. Users and items are places in `users` and `items`, which are sorted by id.

    Attributes:
        user: `[N]` of each rating.
        item: `[N]`.
        rating: `[N]`.
        time: `[N]` seconds.
        users: One row per user: `user_id` and, if known, `age`, `gender`, `occupation`, `zip_prefix`.
        items: One row per film: `item_id`, `year` (null if not in the title), `genres` (lists of names).
    """

    user: Ints
    item: Ints
    rating: NDArray[np.float64]
    time: Ints
    users: pa.Table
    items: pa.Table


def read_archive(variant: Variant, folder: Path) -> Archive:
    """Reads an unpacked archive.

    Args:
        variant: Which one.
        folder: Where its files are.

    Raises:
        DataError: A file is missing, cannot be parsed, or names a user or film that the others do not know.
    """
    paths = archive_files(variant, folder)
    if variant == "100k":
        ratings = _read(paths[0], _RATINGS, "\t")
        users = _read(paths[1], _USERS_100K, "|", {"zip": pa.string()})
        items = _items_100k(_read(paths[2], _ITEMS_100K, "|", {"title": pa.string()}))
    elif variant == "1m":
        ratings = _read(paths[0], _RATINGS, "::")
        users = _read(paths[1], _USERS_1M, "::", {"zip": pa.string()})
        items = _items(_read(paths[2], _ITEMS, "::", {"title": pa.string(), "genres": pa.string()}))
    else:
        ratings = _read(paths[0], None, ",").rename_columns(_RATINGS)
        users = None
        items = _items(_read(paths[1], None, ",").rename_columns(_ITEMS))
    columns = [ratings[name].to_numpy() for name in _RATINGS]
    known = np.unique(columns[0])
    table = pa.table({"user_id": known}) if users is None else _users(users)
    items = items.sort_by("item_id")
    return Archive(
        user=_places(columns[0], table["user_id"].to_numpy(), paths[0], "user"),
        item=_places(columns[1], items["item_id"].to_numpy(), paths[0], "film"),
        rating=columns[2].astype(np.float64),
        time=columns[3].astype(np.int64),
        users=table,
        items=items,
    )


def archive_files(variant: Variant, folder: Path) -> tuple[Path, ...]:
    """Returns the files of an archive that are read.

    Raises:
        DataError: The variant is unknown or a file is missing.
    """
    if variant not in FILES:
        raise DataError(
            "This MovieLens variant is unknown.",
            where="data.adapter.variant",
            expected=", ".join(FILES),
            found=repr(variant),
        )
    paths = tuple(folder / name for name in FILES[variant])
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise DataError(
            f"MovieLens {variant}: a file is missing.",
            where=str(missing),
            expected=f"the unpacked archive with {', '.join(FILES[variant])}",
            found="no such file" if folder.is_dir() else "no such folder",
            remedy=f"Unpack https://files.grouplens.org/datasets/movielens/ml-{variant}.zip and give its folder.",
        )
    return paths


def _read(path: Path, names: list[str] | None, mark: str, types: dict[str, pa.DataType] | None = None) -> pa.Table:
    """Reads a table without header, or with one if `names` is not given."""
    data = path.read_bytes()
    encoding = "utf-8" if mark == "," else "latin-1"
    if len(mark) > 1:
        data, mark = data.replace(mark.encode(), b"\x01"), "\x01"
    try:
        return csv.read_csv(
            io.BytesIO(data),
            read_options=csv.ReadOptions(column_names=names, encoding=encoding),
            parse_options=csv.ParseOptions(delimiter=mark, quote_char='"' if mark == "," else False),
            convert_options=csv.ConvertOptions(column_types=types),
        )
    except pa.ArrowInvalid as error:
        raise DataError(
            "The file cannot be read as a MovieLens table.",
            where=str(path),
            expected=f"columns {', '.join(names)}" if names else "a header and comma-separated columns",
            found=str(error).splitlines()[0],
            remedy="Unpack the original archive again.",
        ) from error


def _users(table: pa.Table) -> pa.Table:
    """Ages come in the seven bands of the 1M archive, zip codes as their first two characters."""
    table = table.sort_by("user")
    band = np.searchsorted(_AGE_BOUNDS, table["age"].to_numpy(), side="right")
    return pa.table(
        {
            "user_id": table["user"],
            "age": pa.array(_AGE_NAMES[band]),
            "gender": table["gender"],
            "occupation": table["occupation"],
            "zip_prefix": pc.utf8_slice_codeunits(table["zip"], 0, 2),
        }
    )


def _items_100k(table: pa.Table) -> pa.Table:
    flags = np.stack([table[name].to_numpy() for name in GENRES_100K], axis=1) == 1
    names = pa.array(GENRES_100K).take(pa.array(np.nonzero(flags)[1]))
    offsets = pa.array(np.concatenate([[0], np.cumsum(flags.sum(axis=1))]), pa.int32())
    return _with_year(table, pa.ListArray.from_arrays(offsets, names))


def _items(table: pa.Table) -> pa.Table:
    text = table["genres"].combine_chunks()
    text = pc.if_else(pc.equal(text, _NO_GENRES), "unknown", text)
    return _with_year(table, pc.split_pattern(text, "|"))


def _with_year(table: pa.Table, genres: pa.Array) -> pa.Table:
    found = pc.extract_regex(table["title"], r"\((?P<year>\d{4})\)\s*$")
    year = pc.cast(pc.struct_field(found, "year"), pa.int64())
    return pa.table({"item_id": table["item"], "year": year, "genres": genres})


def _places(ids: Ints, known: Ints, path: Path, what: str) -> Ints:
    place = np.minimum(np.searchsorted(known, ids), known.size - 1)
    wrong = np.flatnonzero(known[place] != ids)
    if wrong.size:
        raise DataError(
            f"A rating names a {what} that the archive does not describe.",
            where=f"{path}, row {wrong[0] + 1}",
            found=f"{what} {ids[wrong[0]]}",
            remedy="Unpack the original archive again.",
        )
    return place
