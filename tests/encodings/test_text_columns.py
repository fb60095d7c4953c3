"""Text that is read as the dictionary it is stored as."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.data.prepare.source import RawFiles
from distill.data.prepare.value_counter import ValueCounter
from distill.encodings.place import Place
from distill.encodings.tables import FittedHash, vocabulary_from_counts
from distill.errors import DataError

_WORDS = ["pear", None, "fig", "fig", "", "pear", "žluť", None, "fig", "kiwi"] * 20
_PLACE = Place("word", "test")


def _files(path: Path, values: pa.Array, batch_bytes: int = 1 << 20, dictionary: bool = True) -> RawFiles:
    pq.write_table(pa.table({"word": values}), path, row_group_size=70, use_dictionary=dictionary)
    return RawFiles([path], ["word"], [], batch_bytes)


@pytest.mark.parametrize("stored", ["text", "dictionary of Arrow", "text without a dictionary", "large text"])
def test_dictionaries_count_and_encode_like_text(tmp_path: Path, stored: str) -> None:
    values = pa.array(_WORDS, pa.large_string() if stored == "large text" else pa.string())
    if stored == "dictionary of Arrow":
        values = values.dictionary_encode()
    files = _files(tmp_path / "raw.parquet", values, dictionary=stored != "text without a dictionary")
    batches = [batch.columns["word"] for batch in files.batches(["word"], ["word"])]
    assert [word for batch in batches for word in batch.to_pylist()] == _WORDS
    assert any(pa.types.is_dictionary(batch.type) for batch in batches) == (stored != "large text")

    plain = pa.array(_WORDS)
    keep = np.arange(len(_WORDS)) % 3 > 0
    counted, expected = ValueCounter(), ValueCounter()
    expected.add(plain, keep)
    start = 0
    for batch in batches:
        counted.add(batch, keep[start : start + len(batch)])
        start += len(batch)
    assert sorted(map(str, counted.result().to_pylist())) == sorted(map(str, expected.result().to_pylist()))

    for encoder in (vocabulary_from_counts(expected.result(), 1, 3), FittedHash(5, "string")):
        ids = np.concatenate([encoder.encode(batch, _PLACE, "error") for batch in batches])
        assert ids.tolist() == encoder.encode(plain, _PLACE, "error").tolist()


def test_other_columns_stay_plain(tmp_path: Path) -> None:
    files = _files(tmp_path / "raw.parquet", pa.array(_WORDS).dictionary_encode())
    assert {batch.columns["word"].type for batch in files.batches(["word"])} == {pa.string()}


def test_a_dictionary_longer_than_the_batch_is_not_kept(tmp_path: Path) -> None:
    words = [f"word {i:05}" for i in range(200)]
    path = tmp_path / "raw.parquet"
    pq.write_table(pa.table({"word": words}), path)
    files = RawFiles([path], ["word"], [], batch_bytes=64)  # batches of 64 rows
    batches = [batch.columns["word"] for batch in files.batches(["word"], ["word"])]
    assert [len(batch) for batch in batches] == [64, 64, 64, 8]
    assert {batch.type for batch in batches} == {pa.string()}
    assert [word for batch in batches for word in batch.to_pylist()] == words


def test_text_of_a_dictionary_must_be_utf8(tmp_path: Path) -> None:
    path = tmp_path / "raw.parquet"
    raw = pa.array([b"good", b"\xff\xfe"] * 50).view(pa.string())
    pq.write_table(pa.table({"word": raw}), path)
    with pytest.raises(DataError, match="UTF-8"):
        list(RawFiles([path], ["word"], []).batches(["word"], ["word"]))
