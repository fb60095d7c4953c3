"""Thousands of odd and broken schemas: an error that names the file, or a schema that survives a round trip."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill.errors import DistillError, SchemaError
from distill.schema import Schema, dump_schema, load_schema, parse_schema
from tests.fuzz.cases import make_case
from tests.fuzz.schemas import TEXTS, bomb, mutate_schema, mutate_text

Folder = Callable[[], AbstractContextManager[Path]]
BLOCK = 1500
LONGEST = 1000


def _check_refusal(refusal: DistillError, path: Path, what: object) -> None:
    assert isinstance(refusal, SchemaError), what
    assert refusal.where, what
    assert path.name in refusal.where, what
    assert len(str(refusal)) < LONGEST, what


def _judge(path: Path, read: Callable[[], Schema], what: object) -> str:
    try:
        schema = read()
    except DistillError as refusal:
        _check_refusal(refusal, path, what)
        return "refused"
    except Exception as error:
        raise AssertionError(f"{what}: {error!r}") from error
    path.write_text(dump_schema(schema), encoding="utf-8")
    assert load_schema(path) == schema, what
    return "correct"


def _read(path: Path, text: str) -> Schema:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return load_schema(path)


def _case(seed: int, path: Path) -> str:
    rng = random.Random(seed)
    data: dict[str, Any] = make_case(rng).schema
    if seed % 2:
        changed = mutate_schema(rng, data)
        return _judge(path, lambda: parse_schema(changed, str(path)), seed)
    text = mutate_text(rng, yaml.safe_dump(data, sort_keys=False))
    return _judge(path, lambda: _read(path, text), seed)


def _run(seeds: range, folder: Folder, limited: Callable[[], None]) -> None:
    outcomes: Counter[str] = Counter()
    with folder() as place:
        for seed in seeds:
            limited()
            outcomes[_case(seed, place / "schema.yaml")] += 1
    assert min(outcomes["refused"], outcomes["correct"]) > len(seeds) // 20


@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_odd_texts_are_refused(number: int, tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    assert _judge(path, lambda: _read(path, TEXTS[number]), TEXTS[number]) == "refused"


@pytest.mark.parametrize("key", ["name", "fields", "keys", "<<", "x"])
def test_bombs_are_refused(key: str, tmp_path: Path, limited: Callable[[], None]) -> None:
    path = tmp_path / "schema.yaml"
    limited()
    with pytest.raises(SchemaError, match="aliases written out"):
        _read(path, bomb(9, key))


def test_a_file_of_another_kind_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    with path.open("wb") as stream:
        stream.truncate(1 << 33)
    with pytest.raises(SchemaError, match="too large for a schema"):
        load_schema(path)


def test_some_cases(folder: Folder, limited: Callable[[], None]) -> None:
    _run(range(200), folder, limited)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 1000 + 4 * BLOCK, BLOCK))
def test_many_cases(start: int, folder: Folder, limited: Callable[[], None]) -> None:
    _run(range(start, start + BLOCK), folder, limited)
