"""distill data|cache ls|rm: what lies there, and that nothing else goes."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill.errors import ConfigError, DataError
from distill.in_use import mark_of
from distill.jobs.stored import cache, cache_options, data, data_options
from distill.sealed import write_sealed
from tests.test_fast_start import HEAVY, start

DAY = 86400.0
_HOLD = """
import sys
from pathlib import Path
from distill.in_use import use
from distill.lock import locked
lock = Path(sys.argv[2])
if sys.argv[3] == "read":
    use(Path(sys.argv[1]), lock)
    print("held", flush=True)
    sys.stdin.read()
else:
    with locked(lock):
        print("held", flush=True)
        sys.stdin.read()
"""


def dataset(root: Path, name: str, days: float = 0.0) -> Path:
    """A folder as `prepare` leaves it, last used so many days ago."""
    folder = root / name
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "part-00000.parquet").write_bytes(bytes(1000))
    (folder / "schema.yaml").write_text("name: shop\n")
    source = {"files": [{"name": "log.csv"}, {"name": "more.csv"}]}
    write_sealed(folder / "manifest.json", {"fingerprint": f"of-{name}", "splits": {}, "source": source})
    (root / f".{name}.lock").touch()
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - days * DAY,) * 2)
    return folder


def options(root: Path, *words: str) -> argparse.Namespace:
    """Of `distill data`."""
    return data_options.arguments([words[0], *words[1:], "--folder", str(root / "data"), "--runs", str(root / "runs")])


def test_ls_says_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset(tmp_path / "data", "shop-1", days=3)
    run = tmp_path / "runs" / "a" / "now"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text(json.dumps({"dataset": {"fingerprint": "of-shop-1"}}))
    data.run(options(tmp_path, "ls", "--json"))
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["name"], entry["kind"], entry["runs"]) == ("shop-1", "dataset", [str(run)])
    assert entry["bytes"] == sum(p.stat().st_size for p in (tmp_path / "data" / "shop-1").rglob("*") if p.is_file())
    assert entry["source"] == "log.csv and 1 more"
    data.run(options(tmp_path, "ls"))
    shown = capsys.readouterr().out
    assert "shop-1" in shown
    assert "3 days ago" in shown
    assert "1.2 kB" in shown


def test_a_run_that_left_its_name_and_a_record_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = dataset(tmp_path / "data", "shop-1")
    run = tmp_path / "runs" / "now"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text(json.dumps({"dataset": {"fingerprint": "of-shop-1"}}))
    mark_of(folder).write_text(f"process 1 on here\nrun {run}\n")
    monkeypatch.chdir(tmp_path)
    (entry,) = data.run(data_options.arguments(["ls"]))
    assert entry.runs == (str(run),)


def test_rm_takes_what_has_the_name_and_the_age(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, days in (("shop-1", 40.0), ("shop-2", 1.0), ("other-1", 40.0)):
        dataset(tmp_path / "data", name, days)
    data.run(options(tmp_path, "rm", "shop-*", "--older", "30d", "--dry-run"))
    assert "would delete shop-1" in capsys.readouterr().out
    assert len(names(tmp_path)) == 3
    data.run(options(tmp_path, "rm", "shop-*", "--older", "30d"))
    assert names(tmp_path) == ["other-1", "shop-2"]
    data.run(options(tmp_path, "rm", "--older", "30d", "--json"))
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out.split("\n", 2)[2])["removed"]] == ["other-1"]
    assert names(tmp_path) == ["shop-2"]


def names(root: Path) -> list[str]:
    """The folders that are there."""
    return sorted(path.name for path in (root / "data").iterdir() if path.is_dir())


@pytest.mark.parametrize(("how", "says"), [("read", "reads it"), ("write", "writes it")])
def test_rm_leaves_what_a_job_holds(how: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = dataset(tmp_path / "data", "shop-1")
    dataset(tmp_path / "data", "shop-2")
    command = [sys.executable, "-c", _HOLD, str(folder), str(tmp_path / "data" / ".shop-1.lock"), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"process {process.pid} on .* {says}"):
            data.run(options(tmp_path, "rm", "shop-*"))
        assert names(tmp_path) == ["shop-1"]
        data.run(options(tmp_path, "rm", "--older", "0d"))  # not named: kept without an error
        assert f"{says}" in capsys.readouterr().out.splitlines()[-2]
    data.run(options(tmp_path, "rm", "shop-1"))
    assert names(tmp_path) == []


def test_rm_leaves_files_of_a_user(tmp_path: Path) -> None:
    mine = tmp_path / "data" / "mine"
    mine.mkdir(parents=True)
    (mine / "log.csv").write_text("a\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "log.csv").write_text("b\n")
    noted = dataset(tmp_path / "data", "noted")
    (noted / "train" / "notes.txt").write_text("mine\n")
    linked = dataset(tmp_path / "data", "linked")
    (linked / "encodings").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "link").symlink_to(dataset(tmp_path / "far", "shop"))
    data.run(options(tmp_path, "rm", "--older", "0d"))
    assert names(tmp_path) == ["link", "linked", "mine", "noted"]
    with pytest.raises(ConfigError, match=r"train/notes\.txt is not a file that jobs write"):
        data.run(options(tmp_path, "rm", "noted"))
    for name in ("mine", "link", "../far/shop", str(tmp_path / "far" / "shop")):
        with pytest.raises(DataError, match="has this name"):
            data.run(options(tmp_path, "rm", name))
    assert (tmp_path / "elsewhere" / "log.csv").is_file()
    assert (tmp_path / "far" / "shop" / "schema.yaml").is_file()


def test_leftovers_are_listed_and_guarded_by_the_lock_of_their_dataset(tmp_path: Path) -> None:
    left = tmp_path / "data" / ".shop-1.writing-0123456789ab"
    left.mkdir(parents=True)
    (tmp_path / "data" / ".shop-1.lock").touch()
    (entry,) = data.run(options(tmp_path, "ls"))
    assert (entry.kind, entry.lock.name) == ("leftover", ".shop-1.lock")
    data.run(options(tmp_path, "rm", left.name))
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [(["rm"], "Nothing says what to delete"), (["rm", "shop-2"], "Did you mean shop-1?"), (["rm", "x*"], "found: +x")],
)
def test_mistakes(words: list[str], says: str, tmp_path: Path) -> None:
    dataset(tmp_path / "data", "shop-1")
    with pytest.raises((ConfigError, DataError), match=says.replace("?", r"\?")):
        data.run(options(tmp_path, *words))


def test_there_is_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no such folder"):
        data.run(options(tmp_path, "ls"))


def test_an_age_is_a_number_and_a_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options(tmp_path, "rm", "--older", "30")
    assert "12h, 30d or 8w" in capsys.readouterr().err


def test_a_cache_says_of_what_it_is(tmp_path: Path) -> None:
    dataset(tmp_path / "data", "shop-1")
    model, signals = tmp_path / "cache" / "models" / f"teacher-{'0a' * 12}", tmp_path / "cache" / "signals" / "ab-cd"
    for folder in (model, signals):
        folder.mkdir(parents=True)
        folder.with_suffix(".lock").touch()
    (model / "best.ckpt").write_bytes(bytes(10))
    made = {"blake2b": "ab" * 16, "command": ["distill", "train", "seed=1"], "dataset": "of-shop-1"}
    write_sealed(model / "result.json", made)
    write_sealed(signals / "provenance.json", {"teacher": "ab" * 16, "dataset": "of-shop-1"})
    (tmp_path / "cache" / "models" / "mine").mkdir()
    words = ["--folder", str(tmp_path / "cache"), "--data", str(tmp_path / "data")]
    found = {entry.name: entry for entry in cache.run(cache_options.arguments(["ls", *words]))}
    assert {name: entry.source for name, entry in found.items()} == {
        f"models/{model.name}": "shop-1: distill train seed=1",
        "signals/ab-cd": f"models/{model.name} on shop-1",
    }
    cache.run(cache_options.arguments(["rm", "models/*", *words]))
    assert not model.exists()
    assert signals.is_dir()
    assert (tmp_path / "cache" / "models" / "mine").is_dir()


def test_it_starts_fast(tmp_path: Path) -> None:
    dataset(tmp_path / "data", "shop-1")
    found = start(tmp_path, "distill", "data", "ls", "--folder", str(tmp_path / "data"))
    assert found.status == 0
    assert "shop-1" in found.output
    assert found.modules.isdisjoint(HEAVY), found.modules & set(HEAVY)
    assert found.seconds < 3.0  # here 0.6
