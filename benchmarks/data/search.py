"""`SearchBenchmark`: searches of a made-up shop, whose clicks follow what query and title mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data.lexicon import KINDS, PROPERTIES, names
from benchmarks.data.write import generator_hash
from distill.data.datasets.tokenizers import with_tokenizers
from distill.data.raw import RawDataset
from distill.data.split import TimeSplit
from distill.errors import ConfigError
from distill.jobs import embed, embed_options
from distill.jobs.text_encoder import model_digest
from distill.schema import Schema

Ints = npt.NDArray[np.int64]
GENERATOR_VERSION = 1
CANDIDATES = 20
_NEW = 0.8  # share of the searches before names come up that were never seen
_WIDTH = 384
_KINDS, _PROPERTIES = names(KINDS), names(PROPERTIES)
_TYPO, _PLURAL, _NEW_NAME = 0.15, 0.3, 0.25
TextInput = Literal["none", "ids", "words", "characters", "subwords", "vectors"]
_TOKENS: dict[str, Any] = {
    "words": {"split": "words"},
    "characters": {"split": "characters", "ngram_range": [3, 4]},
    "subwords": {"split": "subwords", "tokenizer": "tokenizer.json"},
}


@dataclass(frozen=True)
class SearchBenchmark:
    """A seeded log of searches with the text of the query and the titles of twenty candidates.

    An item is a thing of a kind with two properties, and its title says both in some of their names. A query asks for a
    kind and one or two properties, in some of their names, in the plural, with a letter dropped or swapped. The odds of
    a click rise if the kind is that of the query, with each property that they share, and with the item's own
    quality. Queries come again seldom, so that what an id of a query learns does not carry to the next ones. In the
    last fifth of the log a quarter of the queries name their kind by a word that was in no query and no title before.

    Attributes:
        searches: Number of them; the last tenth is test, the tenth before it val.
        items: Number of things.
        text: How text is read, beside the ids of query and item: not at all, the title as an id too, as tokens of a
            kind, or as vectors.
        encoder: Folder of a frozen encoder; of its 384 wide vectors, or of its `tokenizer.json` for subwords.
        seed: Of everything.
    """

    searches: int = 6_000
    items: int = 1_500
    text: TextInput = "none"
    encoder: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.text not in ("none", "ids", "vectors", *_TOKENS):
            raise ConfigError(
                "Text cannot be read so.",
                where="data.adapter.text",
                expected=f"none, ids, {', '.join(_TOKENS)} or vectors",
                found=self.text,
            )
        if self.text in ("subwords", "vectors") and self.encoder is None:
            raise ConfigError("The folder of an encoder is needed.", where="data.adapter.encoder", found="null")

    @property
    def name(self) -> str:
        """`benchmark_search`."""
        return "benchmark_search"

    def fingerprint(self) -> str:
        """Hash of the arguments, of the encoder's files and of the version of the generator."""
        given = {**asdict(self), "encoder": None if self.encoder is None else model_digest(Path(self.encoder))}
        return generator_hash(GENERATOR_VERSION, CANDIDATES, given)

    def write_raw(self, directory: Path) -> RawDataset:
        """Writes `searches.parquet`, with the vectors of its texts if they are wanted."""
        path, table = directory / "searches.parquet", self.table()
        if self.text == "vectors":
            table = self._with_vectors(table, directory)
        pq.write_table(table, path)
        return RawDataset((path,), self.raw_schema(), TimeSplit())

    def raw_schema(self) -> Schema:
        """Query and item as ids, and the text as it is read."""
        fields: list[dict[str, Any]] = [
            {"name": "query", "side": "request", "kind": "id"},
            {"name": "item", "side": "candidate", "kind": "id"},
        ]
        if self.text == "ids":
            fields.append({"name": "title", "side": "candidate", "kind": "id"})
        for name, side in (("query", "request"), ("title", "candidate")):
            if self.text == "vectors":
                fields.append({"name": f"{name}_vector", "side": side, "kind": "vector", "width": _WIDTH})
            elif self.text in _TOKENS:
                fields.append(
                    {"name": f"{name}_text", "column": name, "side": side, "kind": "text", "table": "tokens",
                     "tokens": _TOKENS[self.text]}
                )  # fmt: skip
        keys = {"request": "search", "item": "item", "time": "time"}
        content = {
            "name": self.name,
            "layout": "requests",
            "keys": keys,
            "fields": fields,
            "tasks": [{"name": "click"}],
        }
        return with_tokenizers(Schema.model_validate(content), Path(self.encoder or "."))

    def table(self) -> pa.Table:
        """Returns the searches, a row each."""
        rng = np.random.default_rng(self.seed)
        shop = _Shop.drawn(self.items, rng)
        columns: dict[str, list[Any]] = {name: [] for name in ("query", "item", "title", "click")}
        for search in range(self.searches):
            is_new = search >= _NEW * self.searches and rng.random() < _NEW_NAME
            asked, wanted = rng.integers(len(_KINDS)), rng.choice(len(_PROPERTIES), rng.integers(1, 3), replace=False)
            word = _KINDS[asked][-1] if is_new else rng.choice(_KINDS[asked][:-1])
            shown = shop.shown(int(asked), rng)
            columns["query"].append(" ".join(_typed([*(rng.choice(_PROPERTIES[p]) for p in wanted), word], rng)))
            columns["item"].append(shown)
            columns["title"].append([shop.titles[item] for item in shown])
            odds = np.exp(shop.logits(shown, int(asked), wanted))
            columns["click"].append((rng.random(CANDIDATES) < odds / (1 + odds)).astype(np.int8))
        return pa.table({"search": np.arange(self.searches), "time": np.arange(self.searches), **columns})

    def _with_vectors(self, table: pa.Table, directory: Path) -> pa.Table:
        titles = table["title"].combine_chunks()
        texts = pa.chunked_array([table["query"].combine_chunks(), titles.flatten()]).unique()
        pq.write_table(pa.table({"text": texts}), directory / "texts.parquet")
        wanted = ["--model", str(self.encoder), "--id", "text", "--text", "text", "--out", str(directory / "vectors")]
        options = embed_options.arguments([str(directory / "texts.parquet"), *wanted])
        found = pq.read_table(embed.run(options))
        vectors, place = found["vector"].combine_chunks(), {text: i for i, text in enumerate(found["id"].to_pylist())}
        of_query = vectors.take(pa.array([place[text] for text in table["query"].to_pylist()]))
        of_title = vectors.take(pa.array([place[text] for text in titles.flatten().to_pylist()]))
        lists = pa.ListArray.from_arrays(titles.offsets, of_title)
        return table.append_column("query_vector", of_query).append_column("title_vector", lists)


@dataclass(frozen=True)
class _Shop:
    """Things: kind `[n]`, two properties `[n, 2]`, quality `[n]` and title of each."""

    kind: Ints
    properties: Ints
    quality: npt.NDArray[np.float64]
    titles: list[str]

    @classmethod
    def drawn(cls, items: int, rng: np.random.Generator) -> _Shop:
        kind = rng.integers(0, len(_KINDS), items)
        properties = np.stack([rng.choice(len(_PROPERTIES), 2, replace=False) for _ in range(items)])
        titles = []
        for k, own in zip(kind, properties, strict=True):
            brand = "".join(rng.choice(list(letters)) for letters in ("bdfgklmnprstvz", "aeiou", "lmnrt", "aeiou"))
            titles.append(" ".join([brand, *(rng.choice(_PROPERTIES[p]) for p in own), rng.choice(_KINDS[k][:-1])]))
        return cls(kind, properties, rng.normal(0, 0.5, items), [title.title() for title in titles])

    def shown(self, asked: int, rng: np.random.Generator) -> Ints:
        """Draws candidates, a third of them of the kind that is asked for."""
        of_kind = np.flatnonzero(self.kind == asked)
        alike = rng.choice(of_kind, min(CANDIDATES // 3, len(of_kind)), replace=False)
        others = np.setdiff1d(rng.choice(len(self.kind), 2 * CANDIDATES, replace=False), alike)
        return rng.permutation(np.concatenate([alike, rng.permutation(others)[: CANDIDATES - len(alike)]]))

    def logits(self, shown: Ints, asked: int, wanted: Ints) -> npt.NDArray[np.float64]:
        """Returns the log odds of a click of each candidate."""
        shared = np.isin(self.properties[shown], wanted).sum(1)
        of_shown: npt.NDArray[np.float64] = (
            -3.5 + 3.0 * (self.kind[shown] == asked) + 1.2 * shared + self.quality[shown]
        )
        return of_shown


def _typed(words: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Returns words as somebody types them: the last one perhaps in the plural, one perhaps with a slip."""
    typed = [*words[:-1], f"{words[-1]}s" if rng.random() < _PLURAL and not words[-1].endswith("s") else words[-1]]
    if rng.random() < _TYPO:
        slip = int(rng.integers(len(typed)))
        word, at = typed[slip], int(rng.integers(1, len(typed[slip]) - 1))
        typed[slip] = word[:at] + (word[at + 1 :] if rng.random() < 0.5 else word[at + 1] + word[at] + word[at + 2 :])
    return typed
