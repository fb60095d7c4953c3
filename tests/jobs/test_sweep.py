"""A sweep ends with one table."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from distill.training.module import RankingModule
from tests.jobs.entry import tiny_arguments, train


def events_of(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def hparams(folder: Path) -> tuple[float, float]:
    """Reads what TensorBoard's HParams page shows of a model: its soft term's temperature and its seed."""
    events = events_of(folder)
    found = events.PluginTagToContent("hparams")
    experiment = HParamsPluginData.FromString(found["_hparams_/experiment"]).experiment
    shown = {info.name.tag for info in experiment.metric_infos}
    assert {"test/click/auc", "test/teacher_recall@20_10", "gap_recovered/teacher_recall@20_10"} <= shown
    assert shown <= set(events.Tags()["scalars"])
    session = HParamsPluginData.FromString(found["_hparams_/session_start_info"]).session_start_info.hparams
    assert session["role"].string_value == "distilled"
    return session["loss.terms.soft.temperature"].number_value, session["seed"].number_value


def custom_scalars(folder: Path) -> str:
    (event,) = events_of(folder).Tensors("custom_scalars__config__")
    return str(layout_pb2.Layout.FromString(event.tensor_proto.string_val[0]))


@pytest.mark.slow
def test_sweep_ends_with_one_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["loss.terms.soft.temperature=1,2", "seed=0,1", "name=sweep", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    train("-m", "+experiment=quickstart", *tiny_arguments(tmp_path), "trainer.limit_train_batches=2", *sweep)
    assert "4 runs" in capsys.readouterr().out
    rows = json.loads((tmp_path / "sweep" / "comparison.json").read_text())
    assert [(row["configuration"], row["role"], row["seeds"]) for row in rows] == [
        ("loss.terms.soft.temperature=1 and 1 more", "teacher", [0, 1]),
        ("loss.terms.soft.temperature=1 and 1 more", "control", [0, 1]),
        ("loss.terms.soft.temperature=1", "distilled", [0, 1]),
        ("loss.terms.soft.temperature=2", "distilled", [0, 1]),
    ]
    assert rows[0]["metrics"]["teacher_recall@20_10"] == {"mean": 1.0, "deviation": 0.0, "n": 2}
    assert rows[2]["metrics"]["click/auc"]["n"] == 2
    assert rows[2]["difference_from_control"]["teacher_recall@20_10"]["requests"] == 60
    assert [row["difference_from_control"] for row in rows[:2]] == [{}, {}]
    jobs = [
        tmp_path / "sweep" / str(job) / "tensorboard" / f"loss.terms.soft.temperature={temperature},seed={seed}"
        for job, (temperature, seed) in enumerate([(1, 0), (1, 1), (2, 0), (2, 1)])
    ]
    assert [hparams(job / "test" / "distilled") for job in jobs] == [
        (temperature, seed) for temperature in (1.0, 2.0) for seed in (0.0, 1.0)
    ]
    for job in jobs:
        assert "val/.*/auc" in custom_scalars(job / "student")


@pytest.mark.slow
def test_sweep_over_experiments_compares_them_all(tmp_path: Path) -> None:
    experiments = "+experiment=funnel/two_tower,funnel/two_tower_from_dcn_v2-bernoulli_kl"
    tiny = [argument for argument in tiny_arguments(tmp_path) if not argument.startswith("teacher.")]
    train("-m", experiments, *tiny, "trainer.limit_train_batches=2")
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    rows = json.loads((sweep / "comparison.json").read_text())
    assert [(row["configuration"], row["role"]) for row in rows] == [
        ("funnel/two_tower", "model"),
        ("funnel/two_tower_from_dcn_v2-bernoulli_kl", "teacher"),
        ("funnel/two_tower_from_dcn_v2-bernoulli_kl", "control"),
        ("funnel/two_tower_from_dcn_v2-bernoulli_kl", "distilled"),
    ]


@pytest.mark.slow
def test_a_job_that_fails_leaves_the_others_their_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = [argument for argument in tiny_arguments(tmp_path) if not argument.startswith("teacher.")]
    sweep = ["model.net.vector_dim=8,-1,4", "name=sweep", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    with pytest.raises(SystemExit) as stop:
        train("-m", "+experiment=funnel/two_tower", "+debug=quick", *tiny, *sweep)
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert "left out of the comparison: 1" in printed.out
    rows = json.loads((tmp_path / "sweep" / "comparison.json").read_text())
    assert [row["configuration"] for row in rows] == ["model.net.vector_dim=8", "model.net.vector_dim=4"]
    assert (tmp_path / "sweep" / "comparison.png").exists()


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_as_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = [argument for argument in tiny_arguments(tmp_path) if not argument.startswith("teacher.")]
    sweep = ["-m", "+experiment=funnel/two_tower", *tiny, "name=sweep", "seed=0,1"]
    step = RankingModule.training_step

    def interrupted(self: RankingModule, batch: Any, index: int) -> Any:
        if index == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(RankingModule, "training_step", interrupted)
        with pytest.raises(SystemExit) as stop:
            train(*sweep)
    assert stop.value.code == 130
    said = re.search(r"Continue with the same command and (hydra.sweep.dir=\S+) (resume=last)", capsys.readouterr().err)
    assert said is not None
    train(*sweep, *said.groups())  # the first job from its checkpoint, and the one that had not begun
    folder = Path(said[1].partition("=")[2])
    (row,) = json.loads((folder / "comparison.json").read_text())
    assert row["seeds"] == [0, 1]
    assert ["resumed" in json.loads((folder / name / "manifest.json").read_text()) for name in "01"] == [True, False]


def test_a_sweep_goes_on_only_in_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        train("-m", "+experiment=quickstart", *tiny_arguments(tmp_path), "seed=0,1", "resume=last")
    assert stop.value.code == 2
    assert "Give hydra.sweep.dir=FOLDER resume=last" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
