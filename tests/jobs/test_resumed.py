"""`resume=` goes on with the run that was, or says what differs and changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose

from distill.errors import ConfigError
from distill.jobs.resumed import check_resumed
from distill.reports.summary import load_summary
from distill.training.checkpoint_io import read_checkpoint
from distill.training.module import RankingModule
from tests.jobs.entry import run_dirs, tiny_arguments, train
from tests.jobs.run_state import difference
from tests.marks import some_fast
from tests.models.composing import composing


def _arguments(root: Path, name: str, *more: str) -> list[str]:
    tiny = [a for a in tiny_arguments(root) if not a.startswith("teacher.")]
    return ["model=logistic", *tiny, f"name={name}", "trainer.max_epochs=2", *more]


def _contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run folder, Hydra's own included."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ending:
        train(*arguments)
    assert ending.value.code == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in message
    return message


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a finished run named `done`."""
    root = tmp_path_factory.mktemp("resumed")
    train(*_arguments(root, "done"))
    return root


@pytest.mark.parametrize(
    ("changes", "then", "now"),
    some_fast(
        [
            (["optimizer.lr=0.5"], "optimizer.lr=0.001", "optimizer.lr=0.5"),
            (["trainer.max_epochs=1"], "trainer.max_epochs=2", "trainer.max_epochs=1"),
            (["trainer.max_epochs=3"], "trainer.max_epochs=2", "trainer.max_epochs=3"),  # the cosine ends with it
            (["trainer.max_steps=3"], "trainer.max_steps=-1", "trainer.max_steps=3"),
            (["seed=1"], "seed=0", "seed=1"),
            (["optimizer=adamw_sparse_adam"], "embedding=rowwise_adagrad", "embedding=sparse_adam"),
            (["model=two_tower"], "model.name=logistic", "model.name=two_tower"),
            (["data.adapter.requests=310"], "data.adapter.requests=300", "data.adapter.requests=310"),
            (["callbacks.patience=1"], "callbacks.patience=2", "callbacks.patience=1"),
            (["data.loader.num_shards=2"], "data.loader.num_shards=1", "data.loader.num_shards=2"),
            (["trainer.accumulate_grad_batches=2"], "trainer.accumulate_grad_batches=1", "batches=2"),
            (["~loss.terms.hard.rows"], "loss.terms.hard.rows=all", "loss.terms.hard.rows=(not there)"),
        ],
        4,
    ),
)
def test_another_command_is_refused_and_leaves_every_file_as_it_was(
    root: Path, changes: list[str], then: str, now: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = run_dirs(root, "done")
    before = _contents(folder)
    message = _refused(capsys, *_arguments(root, "done"), *changes, "resume=last")
    assert "differs from that of the run that it should resume" in message
    first, second = message.split("found: now:")
    assert then in first
    assert now in second
    assert _contents(folder) == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", None),
        ("config.yaml", "seed: [0\n"),
        ("config.yaml", "- seed\n"),
        ("config.yaml", "!!python/object/apply:os.mkdir [trap]\n"),
        ("manifest.json", "{"),
        ("manifest.json", "{}"),
    ],
)
def test_a_folder_that_does_not_say_what_its_run_was_is_refused(
    root: Path, tmp_path: Path, name: str, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run_dirs(root, "done")[0], folder)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    before = _contents(folder)
    message = _refused(capsys, *_arguments(root, "done"), f"resume={folder}")
    assert "does not contain the record of its run" in message
    assert str(folder / name) in message
    assert _contents(folder) == before


def test_nothing_in_the_folder_is_interpolated(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run_dirs(root, "done")[0], folder)
    trap = "${oc.create:{_target_:os.mkdir,_args_:[" + str(tmp_path / "trap") + "]}}"
    config = (folder / "config.yaml").read_text().replace("monitor: val/click/auc", f"monitor: '{trap}'")
    (folder / "config.yaml").write_text(config)
    message = _refused(capsys, *_arguments(root, "done"), f"resume={folder}")
    assert "text that a config would execute" in message
    assert f"{folder / 'config.yaml'}.callbacks.monitor" in message
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize(
    ("then", "refused"),
    [
        ({"monitor": "val/click/auc", "mode": "max"}, False),  # the defaults of the version before
        ({"monitor": "val/like/auc", "mode": "max"}, True),
        ({"monitor": "val/click/auc", "mode": "min"}, True),
    ],
)
def test_a_run_from_before_the_metric_was_chosen_goes_on(
    root: Path, tmp_path: Path, then: dict[str, str], refused: bool
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run_dirs(root, "done")[0], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["auto"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "callbacks": {**config["callbacks"], **then}}))
    numbers = ["callbacks.patience=2", "data.loader.batch_candidates=512", "scheduler=restarts"]
    with composing():
        now = compose("config", [*_arguments(root, "done"), *numbers, f"resume={folder}"])
    if refused:
        with pytest.raises(ConfigError, match=r"callbacks\.mo"):
            check_resumed(folder, now)
    else:
        assert check_resumed(folder, now).text("callbacks.monitor") == "val/click/auc"


def test_the_data_must_be_what_it_was(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run_dirs(root, "done")[0], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["dataset"]["fingerprint"] = "of other data"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    before = {name: text for name, text in _contents(folder).items() if not name.startswith(".hydra/")}
    message = _refused(capsys, *_arguments(root, "done"), f"resume={folder}")
    assert "another dataset" in message
    assert "fingerprint of other data" in message
    assert {name: text for name, text in _contents(folder).items() if not name.startswith(".hydra/")} == before


@pytest.mark.slow
def test_what_changes_nothing_may_differ_and_the_record_keeps_how_it_began(root: Path) -> None:
    train(*_arguments(root, "aside"))
    (folder,) = run_dirs(root, "aside")
    began = json.loads((folder / "manifest.json").read_text())
    expected = load_summary(folder)
    aside = ["threads=1", "logger=none", "trainer.log_every_n_steps=5", "callbacks.checkpoint_every_n_steps=4"]
    train(*_arguments(root, "renamed"), *aside, f"paths.cache={root / 'elsewhere'}", f"resume={folder}")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [manifest[name] for name in ("started", "command", "git")] == [
        began[name] for name in ("started", "command", "git")
    ]
    assert any("resume=" in argument for argument in manifest["resumed"][0]["command"])
    found = load_summary(folder)
    assert repr(found.metrics) == repr(expected.metrics)
    assert found.config_hash == expected.config_hash == manifest["config_hash"] == began["config_hash"]


@pytest.mark.slow
def test_config_hash_is_one_value_and_leaves_the_seed_out(root: Path) -> None:
    train(*_arguments(root, "other"), "seed=5")
    folders = [run_dirs(root, name)[0] for name in ("done", "other")]
    manifests = [json.loads((folder / "manifest.json").read_text())["config_hash"] for folder in folders]
    assert len({*manifests, *(load_summary(folder).config_hash for folder in folders)}) == 1


@pytest.mark.slow
def test_a_run_becomes_longer_where_its_schedule_does_not_follow_its_length(root: Path) -> None:
    constant = "scheduler=constant"
    train(*_arguments(root, "long", constant))
    train(*_arguments(root, "longer", constant, "trainer.max_epochs=1"))
    train(*_arguments(root, "longer", constant), "resume=last")
    states = [read_checkpoint(run_dirs(root, name)[0] / "checkpoints" / "last.ckpt") for name in ("long", "longer")]
    for part in ("state_dict", "optimizer_states", "global_step", "epoch"):
        assert difference(states[1][part], states[0][part]) is None


@pytest.mark.slow
def test_a_run_whose_weights_follow_its_length_cannot_become_longer(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ramp = "loss.terms.hard.weight={_target_:distill.losses.Linear,start:1.0,end:2.0,steps:0.5}"
    train(*_arguments(root, "ramp", "scheduler=constant", ramp))
    message = _refused(
        capsys, *_arguments(root, "ramp", "scheduler=constant", ramp, "trainer.max_epochs=4"), "resume=last"
    )
    assert "loss.terms.hard.weight would have been another from the first step on" in message


@pytest.mark.slow
def test_a_moved_folder_goes_on_as_if_it_had_always_been_there(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, stop_at = RankingModule.training_step, 20

    def stop(self: RankingModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(RankingModule, "training_step", stop)
        with pytest.raises(SystemExit):
            train(*_arguments(root, "moved"))
    (folder,) = run_dirs(root, "moved")
    assert (folder / "checkpoints" / "best.ckpt").exists()
    here = tmp_path / "here"
    shutil.move(folder, here)
    train(*_arguments(root, "moved"), f"resume={here}")
    whole = load_summary(run_dirs(root, "done")[0])
    assert load_summary(here).endings == whole.endings
    assert repr(load_summary(here).metrics) == repr(whole.metrics)
    assert not folder.exists()


@pytest.mark.slow
def test_a_run_that_had_ended_early_trains_no_further_when_it_is_resumed(root: Path) -> None:
    still = ["optimizer.lr=1e-12", "optimizer.embedding_lr=1e-12", "optimizer.weight_decay=0"]
    arguments = _arguments(root, "ended", *still, "trainer.max_epochs=5", "callbacks.patience=1")
    arguments += ["scheduler=constant"]  # with restarts, patience looks at the ends of cycles alone
    train(*arguments)
    (folder,) = run_dirs(root, "ended")
    expected = load_summary(folder)
    assert expected.endings["model"]["reason"] == "patience"
    (folder / "summary.json").unlink()  # killed while it was tested
    train(*arguments, "resume=last")
    found = load_summary(folder)
    assert (found.steps, found.endings) == (expected.steps, expected.endings)
    assert repr(found.metrics) == repr(expected.metrics)


def test_a_teacher_must_be_the_one_that_it_was(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = root / "teacher.ckpt"
    shutil.copy(run_dirs(root, "done")[0] / "checkpoints" / "best.ckpt", teacher)
    taught = ["teacher=checkpoint", f"teacher.path={teacher}", "loss=pointwise", "model=two_tower"]
    arguments = [*_arguments(root, "taught", *taught), "control.enabled=false", "trainer.max_epochs=1"]
    train(*arguments)
    (folder,) = run_dirs(root, "taught")
    before = _contents(folder)
    shutil.copy(folder / "checkpoints" / "best.ckpt", teacher)
    message = _refused(capsys, *arguments, "resume=last")
    assert "teacher.path=a file with hash" in message
    assert _contents(folder) == before


@pytest.mark.slow
def test_a_damaged_model_in_the_cache_is_not_gone_on_from(root: Path) -> None:
    """The last checkpoint beside it is of the end of its training, so going on would only give it a new hash."""
    more = ["teacher=trained", "teacher.max_epochs=1", "teacher.model.net.embedding_dim=4", "loss=pointwise"]
    arguments = _arguments(root, "cached", *more, "model=two_tower", "control.enabled=false", "trainer.max_epochs=1")
    train(*arguments)
    (folder,) = run_dirs(root, "cached")
    expected = load_summary(folder)
    (entry,) = (root / "cache" / "models").glob("teacher-*/best.ckpt")
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-100] + bytes(100))
    (folder / "summary.json").unlink()
    shutil.rmtree(root / "cache" / "signals")
    train(*arguments, "resume=last")
    found = load_summary(folder)
    assert "teacher" in expected.endings
    assert "teacher" not in found.cached
    assert difference(read_checkpoint(entry)["state_dict"], _loaded(entry.parent, whole)) is None
    assert repr(found.metrics) == repr(expected.metrics)


def _loaded(folder: Path, content: bytes) -> Any:
    (folder / "expected.ckpt").write_bytes(content)
    return read_checkpoint(folder / "expected.ckpt")["state_dict"]
