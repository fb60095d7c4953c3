"""New logs under the encodings of old ones: what ids mean stays, and a model of last week scores this week."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from distill.data.dataset import load_dataset
from distill.data.format import Dataset
from distill.encodings import FittedEncodings
from distill.encodings.tables import FittedVocabulary
from distill.jobs.encoded import check_encodings
from distill.jobs.parts import load_model
from distill.reports.summary import load_summary
from distill.training.carried import ENCODINGS
from tests.jobs.days import SCHEMA, day, of_day, write_days
from tests.jobs.entry import path_arguments, run_dirs, run_script, train
from tests.jobs.test_mistakes import message_of

SMALL = ["trainer=cpu", "trainer.max_epochs=1", "callbacks.progress_bar=false", "cost.enabled=false"]
WHOLE = "split@data.adapter.split=whole"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Day 1 prepared, and a ranker and a student trained on it."""
    root = tmp_path_factory.mktemp("days")
    write_days(root, range(1, 4))
    prepare(root, 1, "day1")
    data = ["data=prepared", f"data.root={root / 'day1'}", *path_arguments(root)]
    train(*data, *SMALL, "model=dcn_v2", "name=ranker")
    train(*data, *SMALL, "model=two_tower", "name=student")
    return root


def prepare(root: Path, number: int, out: str, *arguments: str) -> Dataset:
    run_script("scripts/prepare.py", *of_day(root, number), *path_arguments(root), f"out={root / out}", *arguments)
    return load_dataset(root / out)


def best(root: Path, name: str) -> Path:
    return run_dirs(root, name)[0] / "checkpoints" / "best.ckpt"


def values(dataset: Dataset, table: str) -> list[Any]:
    encoder = FittedEncodings.load(dataset.root, dataset.manifest.encodings).tables[table]
    assert isinstance(encoder, FittedVocabulary)
    found: list[Any] = encoder.values.to_pylist()
    return found


def test_a_new_day_under_old_encodings_keeps_what_ids_mean_and_counts_what_is_new(root: Path, capsys: Any) -> None:
    old = load_dataset(root / "day1")
    new = prepare(root, 2, "day2", f"encodings={root / 'day1'}", WHOLE)
    assert "unknown" in capsys.readouterr().out
    assert new.manifest.encodings == old.manifest.encodings
    assert [sum(p.rows for p in new.manifest.splits.get(s, ())) for s in ("train", "val", "test")] == [0, 0, 60]
    known = {value: i + 2 for i, value in enumerate(values(old, "item"))}
    raw = day(2)
    table = pq.read_table(new.root / new.parts("test")[0].path)
    wanted = [[known.get(item, 1) for item in items] for items in raw["item"].to_pylist()]
    assert table["field_item"].to_pylist() == wanted
    unknown = sum(item not in known for items in raw["item"].to_pylist() for item in items)
    assert unknown > 0
    assert new.manifest.counts["oov/test/item"] == unknown


def test_a_checkpoint_carries_its_encodings(root: Path) -> None:
    by_dataset = prepare(root, 2, "by_dataset", f"encodings={root / 'day1'}", WHOLE)
    by_ranker = prepare(root, 2, "by_ranker", f"encodings={best(root, 'ranker')}", WHOLE)
    assert by_dataset.manifest.encodings == by_ranker.manifest.encodings
    assert [p.blake2b for p in by_dataset.all_parts] == [p.blake2b for p in by_ranker.all_parts]


def test_a_students_checkpoint_knows_the_fields_that_are_served(root: Path, capsys: Any) -> None:
    carried = load_model(best(root, "student")).encodings
    assert carried is not None
    assert "dwell" not in carried.saved.numbers
    arguments = [*of_day(root, 2), *path_arguments(root), f"encodings={best(root, 'student')}", WHOLE]
    said = message_of(capsys, "scripts/prepare.py", *arguments, f"out={root / 'refused'}")
    assert "do not know this field" in said
    assert "dwell" in said
    assert not (root / "refused").exists()


@pytest.mark.slow
def test_a_ranker_of_yesterday_teaches_today(root: Path) -> None:
    prepare(root, 2, "today", f"encodings={best(root, 'ranker')}")
    data = ["data=prepared", f"data.root={root / 'today'}", *path_arguments(root)]
    for signals in ("cached", "online"):
        teacher = ["teacher=checkpoint", f"teacher.path={best(root, 'ranker')}", f"teacher.signals={signals}"]
        train(*data, *SMALL, *teacher, "loss=listwise", f"name={signals}", "control.enabled=false")
        assert list(load_summary(run_dirs(root, signals)[0]).metrics) == ["teacher", "distilled"]


def test_a_ranker_of_other_encodings_is_refused_by_the_field(root: Path, capsys: Any) -> None:
    prepare(root, 2, "fresh")
    said = message_of(
        capsys, "scripts/score.py", "data=prepared", f"data.root={root / 'fresh'}", *path_arguments(root),
        f"teacher.path={best(root, 'ranker')}", "trainer=cpu",
    )  # fmt: skip
    assert "encoded in another way" in said
    assert "item" in said
    assert "brand" not in said.partition("found:")[2].partition("\n")[0]  # hashed alike on every day
    assert "encodings=" in said


def test_a_catalogue_makes_no_other_encodings(root: Path) -> None:
    items = day(1).select(["item", "brand", "price", "age"])
    flat = {name: [v for row in items[name].to_pylist() for v in row] for name in items.column_names}
    once = {flat["item"][i]: i for i in range(len(flat["item"]))}
    rows = sorted(once.values())
    import pyarrow as pa

    pq.write_table(pa.table({n: [v[i] for i in rows] for n, v in flat.items()}), root / "items.parquet")
    more = prepare(root, 1, "with_items", f"data.items={root / 'items.parquet'}")
    loaded = load_model(best(root, "ranker"))
    assert loaded.dataset != more.fingerprint
    check_encodings(loaded, best(root, "ranker"), more)


@pytest.mark.slow
def test_grown_vocabularies_keep_old_ids(root: Path) -> None:
    old = load_dataset(root / "day1")
    grown = prepare(root, 2, "grown", f"encodings={root / 'day1'}", "grow=true")
    before, after = values(old, "item"), values(grown, "item")
    assert after[: len(before)] == before
    train_rows = pq.read_table(grown.root / grown.parts("train")[0].path)
    assert set(after[len(before) :]).isdisjoint(before)
    assert len(after) > len(before)
    assert max(max(row) for row in train_rows["field_item"].to_pylist()) == len(after) + 1
    assert grown.manifest.counts.get("oov/train/item", 0) == 0
    assert grown.manifest.encodings.numbers == old.manifest.encodings.numbers
    again = prepare(root, 3, "grown_again", f"encodings={root / 'grown'}", "grow=true")
    assert values(again, "item")[: len(after)] == after


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "brand", "side": "candidate", "kind": "id"}, "brand"),
        ({"name": "brand", "side": "candidate", "kind": "id", "encoding": {"type": "hash", "buckets": 8}}, "brand"),
        ({"name": "new", "side": "cross", "kind": "number", "column": "match"}, "new"),
    ],
)
def test_a_field_that_is_encoded_in_another_way_is_refused(
    root: Path, capsys: Any, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    fields = [f for f in SCHEMA["fields"] if f["name"] != change["name"]] + [change]
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump({**SCHEMA, "fields": fields}))
    arguments = [a for a in of_day(root, 2) if not a.startswith("data.schema")] + [
        f"data.schema={tmp_path / 'schema.yaml'}"
    ]
    said = message_of(
        capsys, "scripts/prepare.py", *arguments, *path_arguments(root), f"encodings={root / 'day1'}", WHOLE,
        f"out={tmp_path / 'out'}",
    )  # fmt: skip
    assert f"field '{says}'" in said
    assert str(root / "day1") in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["encodings=not_there.ckpt"], "The encodings do not exist."),
        (["grow=true"], "There are no encodings to grow."),
        ([WHOLE], "The train split would be empty."),
    ],
)
def test_encodings_that_are_not_there(root: Path, capsys: Any, arguments: list[str], says: str) -> None:
    said = message_of(capsys, "scripts/prepare.py", *of_day(root, 2), *path_arguments(root), *arguments)
    assert says in said


def test_carried_encodings_are_verified(root: Path, tmp_path: Path, capsys: Any) -> None:
    """A flipped byte of a vocabulary, a size of another table, no text: errors that name the file."""
    whole = dict(torch.load(best(root, "ranker"), weights_only=True))

    def refused(change: Any) -> str:
        found = {**whole, ENCODINGS: change(whole[ENCODINGS])}
        torch.save(found, tmp_path / "changed.ckpt")
        arguments = [*of_day(root, 2), *path_arguments(root), f"encodings={tmp_path / 'changed.ckpt'}", WHOLE]
        said = message_of(capsys, "scripts/prepare.py", *arguments, f"out={tmp_path / 'out'}")
        assert "changed.ckpt" in said
        return said

    def flipped(found: Any) -> Any:
        files = {name: content.clone() for name, content in found["files"].items()}
        next(iter(files.values()))[9] ^= 1
        return {**found, "files": files}

    assert "not the one that was fitted" in refused(flipped)
    assert "not the one that was fitted" in refused(lambda found: {**found, "files": {}})
    assert "cannot be read" in refused(lambda found: {**found, "saved": "{"})
    assert "damaged" in refused(lambda found: {})
    resized = whole[ENCODINGS]["saved"].replace('"buckets":16', '"buckets":17')
    assert "not those of its fields" in refused(lambda found: {**found, "saved": resized})


def test_a_checkpoint_of_before_goes_on_with_its_own_dataset_alone(root: Path, tmp_path: Path, capsys: Any) -> None:
    whole = dict(torch.load(best(root, "ranker"), weights_only=True))
    del whole[ENCODINGS]
    torch.save(whole, tmp_path / "old.ckpt")
    check_encodings(load_model(tmp_path / "old.ckpt"), tmp_path / "old.ckpt", load_dataset(root / "day1"))
    arguments = ["data=prepared", f"data.root={root / 'day2'}", *path_arguments(root), "trainer=cpu"]
    if not (root / "day2").exists():
        prepare(root, 2, "day2", f"encodings={root / 'day1'}", WHOLE)
    said = message_of(capsys, "scripts/score.py", *arguments, f"teacher.path={tmp_path / 'old.ckpt'}")
    assert "does not carry its encodings" in said


@pytest.mark.slow
def test_a_cotrained_teacher_carries_its_encodings_too(root: Path) -> None:
    data = ["data=prepared", f"data.root={root / 'day1'}", *path_arguments(root)]
    train(*data, *SMALL, "teacher=cotrained", "loss=listwise", "name=together", "control.enabled=false")
    folder = run_dirs(root, "together")[0] / "checkpoints"
    teacher, student = load_model(folder / "teacher.ckpt"), load_model(folder / "best.ckpt")
    assert teacher.encodings is not None
    assert student.encodings is not None
    assert "dwell" in teacher.encodings.saved.numbers
    assert "dwell" not in student.encodings.saved.numbers
