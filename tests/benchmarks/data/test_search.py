"""The made-up searches: what their seed decides, what is new at their end, and that text is prepared in every form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.data import SearchBenchmark
from benchmarks.data.lexicon import KINDS, names
from benchmarks.prepare import measure_text
from distill.data.prepare import prepare
from distill.errors import ConfigError
from tests.encodings.tokenizer import write_tokenizer

SMALL = SearchBenchmark(searches=400, items=200)


def test_the_seed_decides() -> None:
    table = SMALL.table()
    assert table.equals(SearchBenchmark(400, 200).table())
    assert not table.equals(SearchBenchmark(400, 200, seed=1).table())
    assert {len(set(items)) for items in table["item"].to_pylist()} == {20}


def test_clicks_follow_words_that_query_and_title_share() -> None:
    table = SearchBenchmark(1_000, 200).table()
    shared, clicks = [], []
    for query, titles, clicked in zip(*(table[n].to_pylist() for n in ("query", "title", "click")), strict=True):
        shared += [len(set(query.split()) & set(title.lower().split())) for title in titles]
        clicks += clicked
    assert roc_auc_score(clicks, shared) > 0.55
    assert 0.1 < np.mean(clicks) < 0.3


def test_the_last_name_of_a_kind_is_new_at_the_end() -> None:
    new = {entry[-1] for entry in names(KINDS)}
    assert not new & {name for entry in names(KINDS) for name in entry[:-1]}
    table = SearchBenchmark(1_000, 200).table()
    is_new = np.array([query.split()[-1].removesuffix("s") in new for query in table["query"].to_pylist()])
    assert not is_new[:800].any()
    assert is_new[800:].mean() == pytest.approx(0.22, abs=0.06)  # a quarter, less those with a slip
    assert not new & {word.lower() for titles in table["title"].to_pylist() for t in titles for word in t.split()}


@pytest.mark.parametrize("text", ["none", "ids", "words", "characters", "subwords"])
def test_it_can_be_prepared(text: str, tmp_path: Path) -> None:
    encoder = None
    if text == "subwords":
        pytest.importorskip("tokenizers")
        (tmp_path / "encoder").mkdir()
        write_tokenizer(tmp_path / "encoder" / "tokenizer.json")
        encoder = str(tmp_path / "encoder")
    source = SearchBenchmark(100, 60, text, encoder)  # type: ignore[arg-type]
    (tmp_path / "raw").mkdir()
    dataset = prepare(source.write_raw(tmp_path / "raw"), tmp_path / "ready", progress=False)
    assert dataset.manifest.counts["requests/test"] == 10
    assert len(source.fingerprint()) == 32


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="words, characters, subwords or vectors"):
        SearchBenchmark(text="letters")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"data\.adapter\.encoder"):
        SearchBenchmark(text="vectors")


def test_text_is_compared_with_ids(tmp_path: Path) -> None:
    rows = measure_text(40, tmp_path, repeats=1)
    assert [row.ratio is None for row in rows] == [True, False, False]
    assert list(tmp_path.iterdir()) == []
