"""The contrast of items through the main job: control, interruption, two processes, data without a catalogue."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distill.reports.summary import load_summary
from distill.training.module import RankingModule
from tests.jobs.entry import path_arguments, replay, run_dirs, tiny_arguments, train
from tests.jobs.processes import run_python
from tests.jobs.run_state import checkpoint_state, difference, summary_state
from tests.jobs.test_own_data import SCHEMA, write_logs

TERM = "train/loss_item_contrast"
_OWN = ["loss.terms.item_contrast.num_items=64", "loss.terms.item_contrast.id_dropout=0.1"]


def _arguments(root: Path, name: str, *extra: str) -> list[str]:
    tuned = ["callbacks.checkpoint_every_n_steps=3", "model.net.body.dropout=0.2"]
    experiment = "+experiment=funnel/two_tower_from_dcn_v2-item_contrast"
    return [experiment, *tiny_arguments(root), *_OWN, *tuned, f"name={name}", *extra]


def _curve(folder: Path, role: str) -> list[float]:
    events = EventAccumulator(str(folder / "tensorboard" / role), size_guidance={"scalars": 0})
    events.Reload()
    return [event.value for event in events.Scalars(TERM)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("item_contrast")
    train(*_arguments(root, "whole"))
    return root


@pytest.mark.slow
def test_student_and_control_learn_from_it(root: Path) -> None:
    (folder,) = run_dirs(root, "whole")
    assert list(load_summary(folder).metrics) == ["teacher", "control", "distilled"]
    for role in ("control", "student"):
        curve = _curve(folder, role)
        assert 0 < curve[-1] < curve[0]


@pytest.mark.slow
def test_an_interrupted_run_ends_as_it_would_have(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training_step = RankingModule.training_step

    def stop(self: RankingModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(RankingModule, "training_step", stop)
        with pytest.raises(SystemExit):
            train(*_arguments(root, "stopped"))
    train(*_arguments(root, "stopped"), "resume=last")
    (folder,), (whole,) = run_dirs(root, "stopped"), run_dirs(root, "whole")
    found, expected = checkpoint_state(folder), checkpoint_state(whole)
    for name in ("state_dict", "optimizer_states"):
        assert difference(found[name], expected[name], name) is None
    assert summary_state(folder) == summary_state(whole)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(root: Path) -> None:
    tiny = [a for a in tiny_arguments(root) if not a.startswith(("teacher.", "trainer="))]
    term = ["loss=hard", "+loss_term@loss.terms.item_contrast=item_contrast", *_OWN, "trainer.log_every_n_steps=1"]
    shards = ["data.loader.num_shards=2", "data.loader.batch_candidates=200", "trainer.limit_train_batches=8"]
    both = [*tiny, "model=two_tower", *term, *shards]
    train(*both, "trainer=cpu", "name=one")
    done = run_python("train.py", *both, "trainer=ddp_sim", "name=two")
    assert done.status == 0, done.errors[-3000:]
    one, two = (_curve(run_dirs(root, name)[0], "student") for name in ("one", "two"))
    assert len(one) == 8
    assert two == pytest.approx(one, rel=1e-4)


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_replayed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = [*_arguments(root, "broken", "control.enabled=false"), "loss.terms.item_contrast.weight=1e39"]
    with pytest.raises(SystemExit):
        train(*broken)
    (path,) = (run_dirs(root, "broken")[0] / "checkpoints").glob("non_finite_step0_rank0.pt")
    capsys.readouterr()
    replay(*broken, f"step={path}")
    report = " ".join(capsys.readouterr().out.split())
    assert "the loss is inf" in report
    row = report.split("item_contrast │ ")[1].split(" │ ")
    assert float(row[0]) == pytest.approx(float(row[1]), rel=1e-6)


@pytest.mark.parametrize("model", ["cold", "fscd", "logistic", "quality_score", "dcn_v2"])
@pytest.mark.slow
def test_models_without_item_vectors_are_refused(model: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = [a for a in tiny_arguments(root) if not a.startswith("teacher.")]
    term = "+loss_term@loss.terms.item_contrast=item_contrast"
    with pytest.raises(SystemExit):
        train(*tiny, f"model={model}", "loss=hard", term, "name=wrong")
    said = " ".join(capsys.readouterr().err.split())
    assert "item tower" in said
    assert "loss.terms.item_contrast" in said


@pytest.mark.slow
def test_data_without_a_catalogue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_logs(tmp_path / "logs", requests=60)
    schema = {k: v for k, v in SCHEMA.items() if k != "teacher"}
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema))
    data = ["data=parquet", f"data.source={tmp_path / 'logs'}", f"data.schema={tmp_path / 'schema.yaml'}"]
    quick = ["+debug=quick", "trainer=cpu", "callbacks.progress_bar=false", "loss=hard", "model=two_tower"]
    term = "+loss_term@loss.terms.item_contrast=item_contrast"
    own = [*data, *quick, term, *path_arguments(tmp_path)]
    with pytest.raises(SystemExit):
        train(*own, "name=catalogue")
    assert "items=batch" in " ".join(capsys.readouterr().err.split())
    train(*own, "name=batch", "loss.terms.item_contrast.items=batch")
    assert all(0 < value < 10 for value in _curve(run_dirs(tmp_path, "batch")[0], "student"))
