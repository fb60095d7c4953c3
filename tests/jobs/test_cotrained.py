"""teacher=cotrained through the main job."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distill.jobs.parts import load_model
from distill.reports.summary import Summary, load_summary
from distill.training.checkpoint_io import read_checkpoint
from distill.training.module import RankingModule
from tests.jobs.entry import run_dirs, tiny_arguments, train
from tests.jobs.processes import run_python
from tests.jobs.run_state import checkpoint_state, difference, summary_state


def _arguments(root: Path, name: str, *extra: str) -> list[str]:
    tiny = [a for a in tiny_arguments(root) if not a.startswith(("teacher.", "trainer.max_epochs"))]
    together = ["teacher=cotrained", "loss=pfd", "teacher.own_embeddings=[user_id]", "metrics=funnel"]
    return [*tiny, *together, "trainer.max_epochs=2", f"name={name}", *extra]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cotrained")
    train(*_arguments(root, "whole", "callbacks.checkpoint_every_n_steps=3"))
    return root


def _summary(root: Path, name: str) -> Summary:
    return load_summary(run_dirs(root, name)[0])


def _tags(folder: Path) -> dict[str, list[float]]:
    events = EventAccumulator(str(folder / "tensorboard" / "student"), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [e.value for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.slow
def test_teacher_control_and_student_are_side_by_side(root: Path) -> None:
    (folder,) = run_dirs(root, "whole")
    summary = load_summary(folder)
    assert list(summary.metrics) == ["teacher", "control", "distilled"]
    assert summary.parameters["distilled"] == summary.parameters["control"] < summary.parameters["teacher"]
    tags = _tags(folder)
    assert {"train/loss_teacher_hard", "train/loss_hard", "train/loss_soft", "val/teacher/click/auc"} <= tags.keys()
    assert tags["train/loss_soft"][0] == 0.0 < tags["train/loss_soft"][-1]  # λ is 0 at first
    assert (tags["train/weight_hard"][0], tags["train/weight_hard"][-1]) == (1.0, 0.5)


@pytest.mark.slow
def test_both_checkpoints_are_those_of_models_alone(root: Path) -> None:
    (folder,) = run_dirs(root, "whole")
    student = load_model(folder / "checkpoints" / "best.ckpt")
    teacher = load_model(folder / "checkpoints" / "teacher.ckpt")
    names = {f.name for f in teacher.schema.fields} - {f.name for f in student.schema.fields}
    assert names == {"dwell"}
    path = f"teacher.path={folder / 'checkpoints' / 'teacher.ckpt'}"
    plain = [a for a in _arguments(root, "next") if not a.startswith(("teacher", "loss="))]
    train(*plain, "teacher=checkpoint", path, "loss=pointwise", "control.enabled=false")
    assert _summary(root, "next").metrics["teacher"] == pytest.approx(_summary(root, "whole").metrics["teacher"])


@pytest.mark.slow
def test_an_interrupted_run_ends_as_it_would_have(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training_step = RankingModule.training_step
    arguments = _arguments(root, "stopped", "callbacks.checkpoint_every_n_steps=3")

    def stop(self: RankingModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 16:
            os.kill(os.getpid(), signal.SIGINT)
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(RankingModule, "training_step", stop)
        with pytest.raises(SystemExit):
            train(*arguments)
    (folder,) = run_dirs(root, "stopped")
    assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] == 17
    train(*arguments, "resume=last")
    (whole,) = run_dirs(root, "whole")
    found, expected = checkpoint_state(folder), checkpoint_state(whole)
    for name in ("state_dict", "optimizer_states"):
        assert difference(found[name], expected[name], name) is None
    assert summary_state(folder) == summary_state(whole)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(root: Path) -> None:
    shards = ["data.loader.num_shards=2", "data.loader.batch_candidates=200", "control.enabled=false"]
    every = ["trainer.log_every_n_steps=1", "trainer.max_epochs=1"]
    for name, trainer in (("one", "cpu"), ("two", "ddp_sim")):
        kept = [a for a in _arguments(root, name) if not a.startswith(("trainer=", "trainer.log", "trainer.max"))]
        done = run_python("train.py", *kept, *shards, f"trainer={trainer}", *every)
        assert done.status == 0, done.errors[-3000:]
    one, two = (_tags(run_dirs(root, name)[0]) for name in ("one", "two"))
    for tag in ("train/loss_teacher_hard", "train/loss_hard", "train/loss_soft", "val/teacher/click/auc"):
        assert two[tag] == pytest.approx(one[tag], rel=1e-4, abs=1e-5), tag


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["loss=hard"], "learn from the cotrained teacher"),
        (["model=dcn_v2"], "Only a pre-ranker"),
        (["teacher.share_embeddings=false"], "every table is already separate"),
        (["teacher.own_embeddings=[nobody]"], "nobody"),
        (["model.net.embedding_dim=8"], "different widths"),
        (["embedding.sharding=row_wise"], "whole embedding tables"),
        (["model=quality_score"], "no embedding tables to share"),
        (["+loss_term@teacher.loss.terms.more=item_contrast"], "labels and its logits alone"),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_is_refused(root: Path, extra: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train(*_arguments(root, "wrong"), *extra)
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_a_student_never_changes_a_teacher_with_its_own_tables(root: Path) -> None:
    """Not through gradients, nor through the length to which they are clipped."""
    apart = ["teacher.share_embeddings=false", "teacher.own_embeddings=[]", "control.enabled=false"]
    states = []
    for name, weight in (("deaf", 1e-6), ("devoted", 1e6)):
        train(*_arguments(root, name, *apart, "trainer.max_epochs=1", f"loss.terms.soft.weight={weight}"))
        (folder,) = run_dirs(root, name)
        states.append(
            [read_checkpoint(folder / "checkpoints" / f)["state_dict"] for f in ("teacher.ckpt", "best.ckpt")]
        )
    (teacher, student), (other_teacher, other_student) = states
    assert difference(teacher, other_teacher) is None
    assert difference(student, other_student) is not None


@pytest.mark.slow
def test_a_teacher_of_its_own_tables_and_hidden_vectors(root: Path) -> None:
    apart = ["teacher.share_embeddings=false", "teacher.own_embeddings=[]", "+loss_term@loss.terms.hint=hint"]
    train(*_arguments(root, "apart", *apart, "sampling=pseudo_labels", "control.enabled=false"))
    tags = _tags(run_dirs(root, "apart")[0])
    assert tags["train/loss_hint"][-1] > 0
