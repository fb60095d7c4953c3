"""Raw rows in, predictions with their own keys out: what the model says of the prepared rows, whatever their shape."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from distill.data.dataset import load_dataset
from distill.data.prepare.source import RawBatch, RawFiles
from distill.data.stream import iterate_part
from distill.jobs.parts import load_model
from tests.jobs.days import SCHEMA, day, of_day, write_days
from tests.jobs.entry import ROOT, path_arguments, run_dirs, run_script, train
from tests.jobs.test_mistakes import message_of
from tests.marks import slow_except
from tests.patience import patience

SMALL = ["trainer=cpu", "trainer.max_epochs=1", "callbacks.progress_bar=false", "cost.enabled=false"]
WHOLE = "split@data.adapter.split=whole"
NEW = 2
MANY = ["unit_rows=50", "batch_candidates=20"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of day 1, and day 2 in every shape that raw rows have, without labels."""
    root = tmp_path_factory.mktemp("predict")
    write_days(root, range(1, 4))
    run_script("scripts/prepare.py", *of_day(root, 1), *path_arguments(root), f"out={root / 'day1'}")
    train(
        "data=prepared", f"data.root={root / 'day1'}", *path_arguments(root), *SMALL, "model=two_tower", "name=student"
    )
    run_script("scripts/prepare.py", *of_day(root, NEW), *path_arguments(root), f"out={root / 'day2'}",
               f"encodings={root / 'day1'}", WHOLE)  # fmt: skip
    nested = day(NEW).drop_columns(["click", "dwell"])
    pq.write_table(nested, root / "requests.parquet", row_group_size=7)
    pairs = as_pairs(nested)
    pq.write_table(pairs, root / "pairs.parquet", row_group_size=33)
    shuffled = np.random.default_rng(0).permutation(len(pairs))
    pq.write_table(pairs.take(pa.array(shuffled)), root / "scattered.parquet")
    return root


def as_pairs(nested: pa.Table) -> pa.Table:
    """One row per candidate."""
    counts = [len(row) for row in nested["item"].to_pylist()]
    index = np.repeat(np.arange(len(counts)), counts)
    lists = {"item", "brand", "price", "age", "match"}
    return pa.table({
        name: pc.list_flatten(nested[name]) if name in lists else nested[name].take(pa.array(index))
        for name in nested.column_names
    })  # fmt: skip


def best(root: Path) -> Path:
    return run_dirs(root, "student")[0] / "checkpoints" / "best.ckpt"


def predict(root: Path, source: Path | str, out: Path, *arguments: str) -> pa.Table:
    run_script("scripts/predict.py", "trainer=cpu", f"path={best(root)}", f"source={source}", f"out={out}",
               *path_arguments(root), *arguments)  # fmt: skip
    parts = json.loads((out / "predictions.json").read_text())["parts"]
    return pa.concat_tables([pq.read_table(out / part["path"]) for part in parts])


def expected(root: Path) -> dict[tuple[str, str], float]:
    """What the checkpoint says of the rows that were prepared with its encodings: (search, item) to logit."""
    dataset, loaded = load_dataset(root / "day2"), load_model(best(root))
    logits: list[torch.Tensor] = []
    with torch.no_grad():
        for number in range(len(dataset.parts("test"))):
            batches = iterate_part(dataset, "test", number, loaded.schema, 64)
            logits += [loaded.model(batch).logits[:, 0] for batch in batches]
    raw = as_pairs(day(NEW).drop_columns(["click", "dwell"]))
    keys = zip(raw["search"].to_pylist(), raw["item"].to_pylist(), strict=True)
    return dict(zip(keys, torch.cat(logits).tolist(), strict=True))


def check(root: Path, table: pa.Table) -> None:
    wanted = expected(root)
    rows = table.to_pylist()
    assert len(rows) == len(wanted)
    for row in rows:
        logit = wanted[row["search"], row["item"]]
        assert row["pred_click"] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)
    for search in {row["search"] for row in rows}:
        own = sorted((row for row in rows if row["search"] == search), key=lambda row: row["rank"])
        assert [row["rank"] for row in own] == list(range(1, len(own) + 1))
        scores = [row["ranking_score"] for row in own]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("shape", ["requests", "pairs", "scattered"])
@pytest.mark.parametrize("sizes", slow_except([[], MANY], MANY), ids=["one", "many"])
def test_every_shape_gives_what_the_checkpoint_says_of_prepared_rows(
    root: Path, shape: str, sizes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(root, predict(root, root / f"{shape}.parquet", tmp_path / "out", *sizes))
    said = capsys.readouterr().out
    assert "480 candidates in 60 requests" in said
    assert "do not know" in said


def test_labelled_files_give_the_same(root: Path, tmp_path: Path) -> None:
    (tmp_path / "labelled").mkdir()
    pq.write_table(day(NEW), tmp_path / "labelled" / "a.parquet")
    check(root, predict(root, tmp_path / "labelled", tmp_path / "out"))


def test_a_table_at_a_version(root: Path, tmp_path: Path) -> None:
    """Rows that the version does not have are not scored, and rows of a partition have its column."""
    library = pytest.importorskip("deltalake")
    pairs = pq.read_table(root / "pairs.parquet")
    table = tmp_path / "lake" / "pairs"
    library.write_deltalake(table, pairs, partition_by=["user"])
    wrong = pairs.slice(0, 8).set_column(0, "search", pa.array(["later"] * 8))
    library.write_deltalake(table, wrong, mode="append")
    check(root, predict(root, f"{table}@0", tmp_path / "old"))
    newest = predict(root, table, tmp_path / "new", "keep=[user]")
    assert newest.num_rows == len(pairs) + 8
    assert set(newest["user"].to_pylist()) == set(pairs["user"].to_pylist())


def test_several_sources_of_several_kinds_with_columns_of_folders(root: Path, tmp_path: Path) -> None:
    """Requests of each user in a folder that names the user, and the last ones as JSON lines, named twice."""
    nested = pq.read_table(root / "requests.parquet")
    users = nested["user"].unique().to_pylist()
    for number, user in enumerate(users):
        own = nested.filter(pc.equal(nested["user"], user)).drop_columns(["user"])
        folder = tmp_path / ("last" if number > 5 else "first") / f"user={user}"
        folder.mkdir(parents=True)
        if number > 5:
            (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own.to_pylist()))
        else:
            pq.write_table(own, folder / "x.parquet")
    sources = f"['{tmp_path}/last','{tmp_path}/first/*/*.parquet','{tmp_path}/last/user={users[-1]}/x.jsonl']"
    table = predict(root, sources, tmp_path / "out", "keep=[user]")
    check(root, table)
    owners = dict(zip(nested["search"].to_pylist(), nested["user"].to_pylist(), strict=True))
    assert [owners[search] for search in table["search"].to_pylist()] == table["user"].to_pylist()


def test_kept_columns_and_the_best_of_each_request(root: Path, tmp_path: Path) -> None:
    for shape in ("requests", "pairs"):
        whole = predict(root, root / f"{shape}.parquet", tmp_path / shape, "keep=[user,brand,ts]")
        assert whole.column_names == ["search", "item", "user", "brand", "ts", "pred_click", "ranking_score", "rank"]
        raw = as_pairs(day(NEW).drop_columns(["click", "dwell"]))
        assert whole.select(["search", "item", "user", "brand", "ts"]).to_pylist() == (
            raw.select(["search", "item", "user", "brand", "ts"]).to_pylist()
        )
        top = predict(root, root / f"{shape}.parquet", tmp_path / f"{shape}_top", "top_k=3")
        assert top.num_rows == 180
        assert set(top["rank"].to_pylist()) == {1, 2, 3}


def test_a_killed_job_goes_on(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it had written stays; the end is what an uninterrupted job writes."""
    out, other = tmp_path / "out", tmp_path / "other"
    whole = predict(root, root / "pairs.parquet", other, "unit_rows=40")
    predict(root, root / "pairs.parquet", out, "unit_rows=40")
    for number in (0, 3, 7):
        (out / f"part-{number:05d}.parquet").unlink()
    (out / "predictions.json").unlink()
    (out / ".part-00003.parquet.writing-abc").write_bytes(b"half")
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    capsys.readouterr()
    again = predict(root, root / "pairs.parquet", out, "unit_rows=40")
    assert "120 scored now" in capsys.readouterr().out
    assert again.equals(whole)
    assert all((out / name).stat().st_mtime_ns == time for name, time in times.items())
    assert not list(out.glob(".*"))


@pytest.mark.parametrize("place", slow_except(["write_table", "close"], "close"))
def test_an_error_of_the_thread_that_writes_is_the_message(
    root: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files before are there, no half one is, and the same command goes on."""
    arguments = ["trainer=cpu", f"path={best(root)}", f"source={root / 'pairs.parquet'}", f"out={tmp_path / 'out'}",
                 *path_arguments(tmp_path), "unit_rows=40"]  # fmt: skip
    real, threads = getattr(pq.ParquetWriter, place), set[str]()

    def full(self: pq.ParquetWriter, *given: object, **named: object) -> None:
        if (tmp_path / "out" / "part-00003.parquet").exists():
            threads.add(threading.current_thread().name)
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, *given, **named)

    monkeypatch.setattr(pq.ParquetWriter, place, full)
    said = message_of(capsys, "scripts/predict.py", *arguments)
    monkeypatch.undo()
    assert "room" in said or "space" in said, said
    assert threading.main_thread().name not in threads
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [*(f"part-{number:05d}.parquet" for number in range(4)), "plan.json"]
    again = predict(root, root / "pairs.parquet", tmp_path / "out", "unit_rows=40")
    assert again["search"].to_pylist() == pq.read_table(root / "pairs.parquet")["search"].to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize("shape", slow_except(["requests", "pairs"], "pairs"))
def test_units_are_read_in_one_go_and_give_what_each_gives_alone(
    root: Path, shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a file is missing in between, and in text, whose rows are only found by reading."""
    size = "unit_rows=9" if shape == "requests" else "unit_rows=70"
    whole = predict(root, root / f"{shape}.parquet", tmp_path / "out", size)
    reads: list[int] = []
    real = RawFiles.batches

    def counted(self: RawFiles, columns: Sequence[str], dictionaries: Sequence[str] = (), start: int = 0,
                stop: int | None = None) -> Iterator[RawBatch]:  # fmt: skip
        reads.append(start)
        return real(self, columns, dictionaries, start, stop)

    monkeypatch.setattr(RawFiles, "batches", counted)
    of_plan = 0 if shape == "requests" else 1  # finds the requests
    assert predict(root, root / f"{shape}.parquet", tmp_path / "again", size).equals(whole)
    assert len(reads) == 1 + of_plan
    for number in (0, 2, 3):
        (tmp_path / "out" / f"part-{number:05d}.parquet").unlink()
    reads.clear()
    assert predict(root, root / f"{shape}.parquet", tmp_path / "out", size).equals(whole)
    assert len(reads) == 2 + of_plan


@pytest.mark.slow
def test_kill_9_in_the_middle(root: Path, tmp_path: Path) -> None:
    pairs = as_pairs(day(NEW).drop_columns(["click", "dwell"]))
    many = pa.concat_tables(
        [pairs.set_column(0, "search", pa.array([f"{i}-{s}" for s in pairs["search"].to_pylist()])) for i in range(400)]
    )
    pq.write_table(many, tmp_path / "many.parquet")
    command = [sys.executable, "scripts/predict.py", "trainer=cpu", f"path={best(root)}", "unit_rows=5000",
               f"source={tmp_path / 'many.parquet'}", f"out={tmp_path / 'out'}", *path_arguments(tmp_path)]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list((tmp_path / "out").glob("part-*"))) < 5:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    written = len(list((tmp_path / "out").glob("part-*")))
    assert 5 <= written < 38
    assert not (tmp_path / "out" / "predictions.json").exists()
    table = predict(root, tmp_path / "many.parquet", tmp_path / "out", "unit_rows=5000")
    assert table.num_rows == len(many)
    assert table["search"].to_pylist() == many["search"].to_pylist()


@pytest.mark.slow
def test_two_processes_write_the_same_files(root: Path, tmp_path: Path) -> None:
    one = predict(root, root / "pairs.parquet", tmp_path / "one", "unit_rows=40")
    command = [sys.executable, "scripts/predict.py", "trainer=ddp_sim", f"path={best(root)}", "unit_rows=40",
               f"source={root / 'pairs.parquet'}", f"out={tmp_path / 'two'}", *path_arguments(tmp_path)]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    parts = sorted((tmp_path / "two").glob("part-*"))
    two = pa.concat_tables([pq.read_table(path) for path in parts])
    assert two["search"].to_pylist() == one["search"].to_pylist()
    assert np.allclose(two["pred_click"].to_numpy(), one["pred_click"].to_numpy(), atol=1e-6)


@pytest.mark.slow
def test_a_model_of_flat_rows(tmp_path: Path) -> None:
    """No request, no rank: the number of the row says which it is."""
    flat = {**SCHEMA, "layout": "flat", "keys": {"item": "item", "time": "ts"}}
    flat["fields"] = [f for f in SCHEMA["fields"] if f["name"] != "past"]
    (tmp_path / "days").mkdir()
    pairs = as_pairs(day(1).drop_columns(["click", "dwell", "past"]))
    flat["fields"] = [f for f in flat["fields"] if f["name"] != "dwell"]
    labels = pa.array(np.arange(len(pairs)) % 2)
    pa_csv.write_csv(pairs.append_column("click", labels), tmp_path / "days" / "1.parquet.csv")
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(flat))
    data = ["data=parquet", f"data.source={tmp_path / 'days'}", f"data.schema={tmp_path / 'schema.yaml'}"]
    train(*data, *path_arguments(tmp_path), *SMALL, "model=two_tower", "name=student")
    pa_csv.write_csv(pairs, tmp_path / "new.csv")
    table = predict(tmp_path, tmp_path / "new.csv", tmp_path / "out", "keep=[search]")
    assert table.column_names == ["row", "item", "search", "pred_click", "ranking_score"]
    assert table["row"].to_pylist() == list(range(480))
    assert table["item"].to_pylist() == pairs["item"].to_pylist()
    pq.write_table(pairs, tmp_path / "new.parquet")
    stored = predict(tmp_path, tmp_path / "new.parquet", tmp_path / "stored", "keep=[brand]")
    assert stored.schema.field("brand").type == pa.string()  # as read, it is a dictionary
    assert stored["brand"].to_pylist() == pairs["brand"].to_pylist()
    assert stored["pred_click"].equals(table["pred_click"])


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["keep=[nothing]"], ["nothing", "(keep)"]),
        (["source=nowhere"], ["There are no data files.", "nowhere"]),
        (["source=[a,1]"], ["source", "a list [text"]),
        (["top_k=0"], ["top_k"]),
        (["path=nowhere.ckpt"], ["The checkpoint does not exist."]),
    ],
)
def test_what_cannot_be_predicted_is_refused(
    root: Path, tmp_path: Path, arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"path": f"path={best(root)}", "source": f"source={root / 'pairs.parquet'}"}
    own = [value for name, value in given.items() if not any(a.startswith(f"{name}=") for a in arguments)]
    said = message_of(capsys, "scripts/predict.py", "trainer=cpu", f"out={tmp_path / 'out'}", *path_arguments(tmp_path),
                      *own, *arguments)  # fmt: skip
    assert all(part in said for part in parts), said


@pytest.mark.slow
def test_a_folder_of_something_else_is_left_alone(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["trainer=cpu", f"path={best(root)}", f"source={root / 'pairs.parquet'}", *path_arguments(tmp_path)]
    predict(root, root / "pairs.parquet", tmp_path / "out")
    said = message_of(capsys, "scripts/predict.py", *arguments, f"out={tmp_path / 'out'}", "top_k=2")
    assert "other predictions" in said
    assert "top_k" in said
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    said = message_of(capsys, "scripts/predict.py", *arguments, f"out={tmp_path / 'mine'}")
    assert "something other" in said
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_a_request_side_column_that_varies_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = pq.read_table(root / "pairs.parquet")
    users = pairs["user"].to_pylist()
    users[5] = "another"
    pq.write_table(pairs.set_column(pairs.column_names.index("user"), "user", pa.array(users)), tmp_path / "p.parquet")
    said = message_of(capsys, "scripts/predict.py", "trainer=cpu", f"path={best(root)}", f"source={tmp_path}",
                      f"out={tmp_path / 'out'}", *path_arguments(tmp_path / "runs"))  # fmt: skip
    assert "several values within one request" in said
    assert "row 5" in said
