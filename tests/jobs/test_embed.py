"""Vectors of text by a frozen encoder: a tiny one with random weights, whole files whatever happens between."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from distill.errors import ConfigError, DataError
from distill.jobs import embed
from distill.jobs.embed_options import arguments
from distill.jobs.text_encoder import Pooled

TITLES = ["red shoes", "a", None, "shoes " * 40, "red shoes", "", "blue hat"]
IDS = ["i1", "i2", "i3", "i4", "i5", "i6", "i1"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and eight numbers."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue", "shoes", "hat", "a", "new"]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder, safe_serialization=True)
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item": IDS, "title": TITLES, "brand": ["new"] * 7}), path)
    return path


def embedded(log: Path, encoder: Path, out: Path, *more: str) -> pa.Table:
    words = [str(log), "--model", str(encoder), "--id", "item", "--text", "title", "--max-tokens", "32"]
    return pq.read_table(embed.run(arguments([*words, "--out", str(out), *more])))


def by_hand(encoder: Path, text: str, pooling: str) -> np.ndarray:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(str(encoder))
    model = transformers.AutoModel.from_pretrained(str(encoder)).eval()
    with torch.no_grad():
        hidden = model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=32)).last_hidden_state[0]
    return np.asarray((hidden.mean(0) if pooling == "mean" else hidden[0]).numpy())


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_each_id_has_the_vector_of_its_first_text(log: Path, encoder: Path, tmp_path: Path, pooling: str) -> None:
    table = embedded(log, encoder, tmp_path / "out", "--pooling", pooling, "--batch-size", "2")
    assert table["id"].to_pylist() == IDS[:6]
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 8)
    for text, vector in zip(TITLES, table["vector"].to_pylist(), strict=False):
        if text is None:
            assert vector is None
        else:
            np.testing.assert_allclose(vector, by_hand(encoder, text, pooling), atol=1e-5)


def test_a_kill_between_parts_changes_no_byte(
    log: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = ("--part-rows", "2")
    embedded(log, encoder, tmp_path / "whole", *parts)
    real, calls = embed._embedded, []

    def fails(*given: object) -> pa.Table:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(embed, "_embedded", fails)
    with pytest.raises(KeyboardInterrupt):
        embedded(log, encoder, tmp_path / "killed", *parts)
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == ["part-00000.parquet", "plan.json"]
    part = tmp_path / "killed" / "part-00000.parquet"
    content = part.read_bytes()
    part.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    with pytest.raises(DataError, match=r"damaged(.|\n)*part-00000"):
        embedded(log, encoder, tmp_path / "killed", *parts)
    part.write_bytes(content)
    embedded(log, encoder, tmp_path / "killed", *parts)
    assert len(calls) == 4  # the first part was not made again
    names = [sorted(p.name for p in (tmp_path / each).iterdir()) for each in ("whole", "killed")]
    assert names == [["plan.json", "vectors.parquet"]] * 2
    whole, killed = ((tmp_path / each / "vectors.parquet").read_bytes() for each in ("whole", "killed"))
    assert whole == killed
    embedded(log, encoder, tmp_path / "killed", *parts)
    assert len(calls) == 4
    with pytest.raises(DataError, match="holds other vectors"):
        embedded(log, encoder, tmp_path / "killed", "--part-rows", "3")


def test_columns_prefix_norm_and_type(log: Path, encoder: Path, tmp_path: Path) -> None:
    more = ("--text", "brand", "title", "--prefix", "a ", "--normalise", "--type", "float16")
    table = embedded(log, encoder, tmp_path / "out", *more)
    assert table.schema.field("vector").type == pa.list_(pa.float16(), 8)
    vector = np.array(table["vector"].to_pylist()[0], np.float64)
    wanted = by_hand(encoder, "a new red shoes", "mean")
    np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-3)
    np.testing.assert_allclose(table["vector"].to_pylist()[2], by_hand(encoder, "a new", "mean") / np.linalg.norm(
        by_hand(encoder, "a new", "mean")), atol=1e-3)  # fmt: skip


def test_what_a_folder_of_sentence_transformers_says_is_taken(tmp_path: Path) -> None:
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [{"idx": i, "path": path, "type": f"sentence_transformers.models.{kind}"}
               for i, (path, kind) in enumerate(kinds)]  # fmt: skip
    (tmp_path / "1_Pooling").mkdir()
    pooling = tmp_path / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"word_embedding_dimension": 8, "pooling_mode_cls_token": True,
                                   "pooling_mode_mean_tokens": False, "include_prompt": True}))  # fmt: skip
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    assert Pooled.of(tmp_path, None, None) == Pooled("cls", True)
    assert Pooled.of(tmp_path, "mean", False) == Pooled("mean", False)
    pooling.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ConfigError, match="pooling max_tokens"):
        Pooled.of(tmp_path, None, None)
    (tmp_path / "modules.json").write_text(json.dumps([*modules, {"path": "3", "type": "x.Dense"}]))
    with pytest.raises(ConfigError, match="a layer Dense"):
        Pooled.of(tmp_path, "mean", None)
    assert Pooled.of(tmp_path / "1_Pooling", None, None) == Pooled("mean", False)
    for path in ("../elsewhere", "/etc"):
        (tmp_path / "modules.json").write_text(json.dumps([modules[0], {**modules[1], "path": path}]))
        with pytest.raises(DataError, match=r"modules.json(.|\n)*does not lie below"):
            Pooled.of(tmp_path, None, None)
    for content in ("{}", "[1]", "[" * 100_000):
        (tmp_path / "modules.json").write_text(content)
        with pytest.raises(DataError, match="cannot be read"):
            Pooled.of(tmp_path, None, None)


def test_weights_that_may_hold_code_are_refused(log: Path, encoder: Path, tmp_path: Path) -> None:
    other = tmp_path / "encoder"
    other.mkdir()
    for path in encoder.iterdir():
        if path.suffix != ".safetensors":
            (other / path.name).write_bytes(path.read_bytes())
    torch.save({}, other / "pytorch_model.bin")
    with pytest.raises(DataError, match="no safetensors weights"):
        embedded(log, other, tmp_path / "out")


@pytest.mark.parametrize(
    ("more", "says"),
    [(("--id", "sku"), "A raw column is missing"), (("--id", "title"), "(?s)A text has no id.*row 2")],
)
def test_mistakes_are_named(log: Path, tmp_path: Path, more: tuple[str, str], says: str) -> None:
    given = arguments([str(log), "--model", "x", "--text", "brand", "--out", str(tmp_path / "out"), *more])
    with pytest.raises(DataError, match=says):
        embed.read_texts([log], given.id, given.text, "")
