"""Places of values in a vocabulary that were known since the values were counted."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill.data.prepare import value_counter
from distill.data.prepare.value_counter import ValueCounter
from distill.encodings.found_before import FoundBefore
from distill.encodings.key_table import KeyTable
from distill.encodings.place import Place
from distill.encodings.tables import FittedVocabulary, vocabulary_from_counts

_PLACE = Place("sku", "sku")
_WORDS = st.lists(st.one_of(st.none(), st.sampled_from(["", "a", "ab", "b", "ü", "long " * 9])), max_size=12)
_NUMBERS = st.lists(st.one_of(st.none(), st.integers(-3, 4), st.just(2**63 - 1)), max_size=12)


def _fitted(chunks: list[pa.Array], path: Path | None, keep: bool = True) -> FittedVocabulary:
    counter = ValueCounter(FoundBefore(path) if path is not None else None)
    for chunk in chunks:
        counter.add(chunk, np.full(len(chunk), keep))
    return vocabulary_from_counts(counter.result(), 2, 4, counter.found)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.tuples(st.just(pa.string()), st.lists(_WORDS, max_size=6)),
        st.tuples(st.just(pa.int64()), st.lists(_NUMBERS, max_size=6)),
    ),
    st.sampled_from([1, 1 << 20]),
)
def test_ids_are_those_of_a_search(
    tmp_path: Path, drawn: tuple[pa.DataType, list[list[object]]], merged_at: int
) -> None:
    kind, raw = drawn
    chunks = [pa.array(values, kind) for values in raw]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(value_counter, "_FEWEST", merged_at)
        path = tmp_path / "found"
        path.unlink(missing_ok=True)
        remembering, searching = _fitted(chunks, path), _fitted(chunks, None)
    if any(chunk.null_count < len(chunk) for chunk in chunks):
        assert remembering.values.equals(searching.values)
    assert remembering.counts.tolist() == searching.counts.tolist()
    new = pa.array(raw[0][::-1] if raw else [], kind)  # other lists than those that were counted
    as_dictionaries = [chunk.dictionary_encode() for chunk in chunks if kind == pa.string()]
    for chunk in [*chunks, new, *as_dictionaries]:
        expected = searching.encode(chunk, _PLACE, "error")
        np.testing.assert_array_equal(remembering.encode(chunk, _PLACE, "error"), expected)


def test_lists_that_were_counted_are_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = [pa.array(["a", "b", "a", None]), pa.array(["c", "a", "c"])]
    fitted = _fitted(chunks, tmp_path / "found")
    monkeypatch.setattr(KeyTable, "find", lambda *_: pytest.fail("searched"))
    assert fitted.encode(chunks[0], _PLACE, "error").tolist() == [2, 1, 2, 0]
    assert fitted.encode(chunks[1], _PLACE, "error").tolist() == [3, 2, 3]
    with pytest.raises(pytest.fail.Exception, match="searched"):
        fitted.encode(pa.array(["a", "c"]), _PLACE, "error")


def test_a_list_is_known_by_its_content(tmp_path: Path) -> None:
    found = FoundBefore(tmp_path / "found")
    found.keep([pa.array(["ab", "c"]), pa.array([1, 2])], [np.array([0, 1], np.int32), np.array([2, 3], np.int32)])
    found.settle(np.array([3, 1]))
    assert found.find(pa.array(["x", "ab", "c", "y"])[1:3]).tolist() == [-1, 1]
    assert found.find(pa.array([0, 1, 2])[1:]).tolist() == [-1, 0]
    for other in (["a", "bc"], ["ab"], ["c", "ab"], ["abc", ""], [1, 3], [1]):
        assert found.find(pa.array(other)) is None


def test_values_that_training_rows_do_not_have_are_not_counted(tmp_path: Path) -> None:
    chunks = [pa.array(["a", "a"])]
    fitted = _fitted(chunks, tmp_path / "found", keep=False)
    assert fitted.size == 2
    assert fitted.encode(chunks[0], _PLACE, "error").tolist() == [1, 1]
