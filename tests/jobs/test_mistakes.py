"""What a user can type and a disk can do ends in one message, exit status 2 and no traceback, in every script."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from distill.jobs.foreign import explain
from tests.jobs.entry import ROOT, path_arguments, run_script
from tests.marks import slow_except, some_fast

PARQUET = ["data=parquet", "data.schema=schema.yaml"]
SWEPT = "+experiment=movielens_100k/two_tower,movielens_100k/two_tower_from_dcn_v2-softmax_kl"


def message_of(capsys: pytest.CaptureFixture[str], script: str, *arguments: str) -> str:
    """Runs a script that must end with one message."""
    with pytest.raises(SystemExit) as ending:
        run_script(script, *arguments)
    said = capsys.readouterr().err
    assert ending.value.code == 2, said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("script", "arguments", "parts"),
    some_fast([
        ("train.py", ["data=parquet"], ["data.source, data.schema", "data.source=DIR data.schema=FILE"]),
        ("scripts/prepare.py", PARQUET, ["data.source", "data.source=DIR"]),
        ("scripts/score.py", [], ["teacher.path", "teacher.path=FILE.ckpt"]),
        ("train.py", ["teacher=checkpoint"], ["teacher.path"]),
        ("train.py", ["seed=-1"], ["seed", "of at least 0"]),
        ("scripts/prepare.py", ["seed=-1"], ["seed"]),
        ("train.py", ["trainer.devices=many"], ["trainer.devices", "auto"]),
        ("train.py", ["data=parquett"], ["where:    data", "Did you mean parquet"]),
        ("train.py", ["sed=1"], ["where:    sed", "Did you mean seed?"]),
        ("train.py", ["data.source=/logs/{day}"], ["data.source=/logs/{day}", "Quote", "\"/logs/a, b\""]),
        ("train.py", ["metrics=["], ["metrics=[", "grammar"]),
        ("train.py", ["callbacks=null"], ["The command cannot be read.", "group", "--help"]),
        ("train.py", ["=1"], ["The command cannot be read.", "--help"]),
        ("train.py", ["--resolve"], ["The command cannot be read.", "--cfg"]),
        ("train.py", ["+seeds=1"], ["Nothing reads this key.", "seeds", "Did you mean seed?"]),
        ("train.py", ["+a.b.c=1"], ["Nothing reads this key.", "a.b.c"]),
        ("train.py", ["+callbacks.extra.x=5"], ["Nothing reads this key.", "callbacks.extra.x"]),
        ("train.py", ["data.root=${nothing}"], ["data.root", "nothing"]),
        ("train.py", ["-m", SWEPT, "data.adapter.negatives=3"], ["data.adapter.negatives", "data=NAME"]),
        ("scripts/select_fields.py", ["budget.metric=money"], ["budget.metric", "flops"]),
        ("scripts/select_fields.py", ["run='/[/x]'"], ["/[/x]"]),
        ("scripts/benchmark.py", ["benchmark.turns=abc"], ["benchmark.turns", "a whole number"]),
        ("scripts/benchmark.py", ["benchmark=nothing"], ["reader"]),
        ("scripts/compare.py", ["/[/x]"], ["/[/x]"]),
    ], 4),
)  # fmt: skip
def test_mistakes_on_the_command_line(
    script: str, arguments: list[str], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [] if script == "scripts/compare.py" else path_arguments(tmp_path)
    said = message_of(capsys, script, *arguments, *own)
    for part in parts:
        assert part in said


def test_options_of_hydra_may_stand_behind_overrides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(sys.argv)
    run_script("train.py", "data=funnel_tiny", "--cfg", "job", "model=dcn_v2", "--package", "model", "seed=3")
    assert "distill.models.InteractionRanker" in capsys.readouterr().out
    assert sys.argv == before


@pytest.mark.parametrize("kind", ["runs", "data"])
def test_a_folder_that_cannot_be_made(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    others = [a for a in path_arguments(tmp_path) if not a.startswith(f"paths.{kind}")]
    said = message_of(capsys, "train.py", "data=funnel_tiny", *others, f"paths.{kind}={tmp_path / 'file'}")
    assert str(tmp_path / "file") in said


def test_a_full_disk_for_the_run_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "mkdir", full)
    said = message_of(capsys, "train.py", "data=funnel_tiny", *path_arguments(tmp_path))
    assert "There is no room to write." in said
    assert str(tmp_path / "runs") in said


@pytest.mark.slow
@pytest.mark.parametrize("written", [2, 30, -1], ids=["first values", "in training", "last value"])
def test_a_disk_that_fails_under_tensorboard(
    written: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message and no traceback of the thread that writes, and no value lost unsaid: not even the last one."""
    write, left = RecordWriter.write, [written]

    def fill(writer: RecordWriter, data: bytes) -> None:
        left[0] -= 1
        if left[0] == 0 or (written == -1 and b"config/text_summary" in data):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(writer, data)

    printed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", printed.append)
    monkeypatch.setattr(RecordWriter, "write", fill)
    arguments = ["data=funnel_tiny", "cost.enabled=false", *path_arguments(tmp_path)]
    said = message_of(capsys, "train.py", *arguments)
    assert "There is no room to write." in said
    assert "paths.runs" in said
    assert printed == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.ENAMETOOLONG, errno.ENOENT])
def test_what_a_disk_does_is_explained(code: int) -> None:
    error = explain(OSError(code, os.strerror(code), "/some/file"))
    assert error is not None
    assert error.where == "/some/file"
    assert error.found == os.strerror(code)
    assert error.remedy


def test_a_fault_of_the_program_is_not_explained_away() -> None:
    assert explain(ValueError("x")) is None
    with pytest.raises(ValueError, match="x") as caught:
        raise ValueError("x")
    assert explain(caught.value) is None
    assert explain(ConnectionResetError(errno.ECONNRESET, "x")) is None


def test_brackets_in_a_path_are_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "[/x] :smile:"
    run_script("scripts/prepare.py", "data=funnel_tiny", f"out='{out}'", *path_arguments(tmp_path))
    assert f"data.root={out}" in capsys.readouterr().out


def _heed_ctrl_c() -> None:
    """Undoes what a shell does to what it starts in the background, these tests among it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("seconds", slow_except([0.5, 4.0], 0.5))
def test_ctrl_c_twice_says_nothing_foreign(seconds: float, tmp_path: Path) -> None:
    """While modules are imported, and while data is prepared or a model trained."""
    command = [sys.executable, "train.py", "data=funnel", "trainer=cpu", *path_arguments(tmp_path)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_ctrl_c,
    )
    time.sleep(seconds)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "Traceback" not in errors, errors[-3000:]
    assert "Exception ignored" not in errors


def test_an_online_teacher_writes_no_hidden_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = ["teacher=trained", "teacher.signals=online", "teacher.hidden_width=4", "loss=listwise"]
    said = message_of(capsys, "train.py", "data=funnel_tiny", "trainer=cpu", *teacher, *path_arguments(tmp_path))
    assert "where:    teacher.hidden_width" in said
    assert not (tmp_path / "cache").exists()
