"""A config names parts of a run, and nothing else is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.errors import ConfigError
from distill.jobs.node import build
from tests.jobs.entry import tiny_arguments, train


@pytest.mark.parametrize(
    "target", ["os.system", "subprocess.Popen", "pathlib.Path.mkdir", "pathlib.Path.touch", "filelock.FileLock", 7]
)
def test_foreign_targets_are_not_called(tmp_path: Path, target: object) -> None:
    trap = tmp_path / "trap"
    node = {"_target_": target, "_args_": [str(trap)]}
    for config in (node, {"_target_": "distill.metrics.MetricSuite", "metrics": [node]}):
        with pytest.raises(ConfigError, match="target"):
            build(config, "metrics")
    assert not trap.exists()


def test_optuna_is_let_through_and_what_only_looks_like_it_is_not() -> None:
    assert build({"_target_": "optuna.pruners.NopPruner"}, "study.pruner")
    with pytest.raises(ConfigError, match="not part of a run"):
        build({"_target_": "tests.jobs.test_targets.Gardener"}, "study.pruner")


class Gardener:
    """Prunes, but no trials."""

    def prune(self) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    "override",
    [
        "+callbacks.extra.x={_target_: pathlib.Path.touch, self: TRAP}",
        "+callbacks.extra.x._target_=distill.metrics.AUC",
        "trainer._target_=subprocess.Popen",
        "metrics._target_=os.system",
        "optimizer._target_=distill.training.lr_schedule.LRSchedule",
        "data.adapter._target_=os.system",
    ],
)
def test_every_part_of_a_run_passes_the_gate(tmp_path: Path, override: str, capsys: pytest.CaptureFixture[str]) -> None:
    trap = tmp_path / "trap"
    tiny = [a for a in tiny_arguments(tmp_path) if not a.startswith("teacher.")]
    with pytest.raises(SystemExit) as ended:
        train("+experiment=funnel/two_tower", *tiny, "teacher=none", "loss=hard", override.replace("TRAP", str(trap)))
    assert ended.value.code == 2
    assert "_target_" in capsys.readouterr().err
    assert not trap.exists()
