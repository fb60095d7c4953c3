"""Sweeps whose jobs are tasks of Ray: numbers are those of jobs one after the other, and errors stay with their job."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from distill.errors import ConfigError
from distill.jobs import ray_sweep
from distill.jobs.app import register_resolvers
from distill.jobs.ray_sweep import RaySweep
from distill.reports.summary import Summary, load_summary
from hydra_plugins.distill_ray.launcher import RayLauncher
from tests.jobs.entry import ROOT, path_arguments, tiny_arguments
from tests.jobs.processes import Done, run_python

FEW = ["trainer.limit_train_batches=2", "logger=none", "threads=1"]


def test_the_launcher_is_one_of_hydras() -> None:
    register_resolvers()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        found = compose(
            "config", ["hydra/launcher=distill_ray", "hydra.launcher.cpus_per_job=3"], return_hydra_config=True
        ).hydra.launcher
    name = f"{RayLauncher.__module__}.RayLauncher"
    assert name in {f"{one.__module__}.{one.__name__}" for one in Plugins.instance().discover(Launcher)}
    values = {key: value for key, value in found.items() if key != "_target_"}
    assert found["_target_"] == name
    assert RayLauncher(**values).sizes == (2, 3, 0)


class RayError(Exception):
    """As Ray's."""


class RayTaskError(RayError):
    """As Ray's."""


class Ray(ModuleType):
    """Tasks whose results are given beforehand, by number; the last that is waited for ends first."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, results: dict[int, Any]) -> None:
        super().__init__("ray")
        self.results, self.at_once, self.cancelled = results, list[int](), list[int]()
        self.asked: dict[str, Any] = {}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 4.0}}, {"Alive": False, "Resources": {"CPU": 99.0}}]

    def put(self, value: Any) -> Any:
        return "shared"

    def remote(self, **asked: Any) -> Any:
        self.asked = asked
        task = SimpleNamespace(remote=lambda where, shared, number, overrides: number)
        task.options = lambda name: task
        return lambda function: task

    def wait(self, running: list[int], num_returns: int) -> tuple[list[int], list[int]]:
        self.at_once.append(len(running))
        if self.results[running[-1]] is KeyboardInterrupt:
            raise KeyboardInterrupt
        return running[-num_returns:], running[:-num_returns]

    def get(self, reference: int) -> Any:
        if isinstance(self.results[reference], Exception):
            raise self.results[reference]
        return self.results[reference]

    def cancel(self, reference: int, force: bool = False) -> None:
        self.cancelled.append(reference)

    def shutdown(self) -> None:
        """Ends nothing."""


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RaySweep:
    hydra = {"hydra_logging": {"version": 1}, "verbose": False, "sweep": {"dir": str(tmp_path / "sweep")}}
    monkeypatch.setattr(ray_sweep, "await_lines", lambda: None)
    monkeypatch.setattr(ray_sweep, "configure_log", lambda *_: None)
    return RaySweep(None, OmegaConf.create({"hydra": hydra}), lambda cfg: None)  # type: ignore[arg-type]


def _start(sweep: RaySweep, ray: Ray, monkeypatch: pytest.MonkeyPatch, *sizes: int, address: str = "there:1") -> None:
    from distill.engines import ray_cluster

    monkeypatch.setattr(ray_cluster, "_ray", lambda _: ray)
    monkeypatch.setattr(ray_cluster, "_connect", lambda *_: None)
    ray.is_initialized = lambda: False  # type: ignore[attr-defined]
    sweep.start(*sizes, address, None)  # type: ignore[call-arg, arg-type]


def test_jobs_come_back_in_order_and_a_dead_one_leaves_the_others_their_turn(
    sweep: RaySweep, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done = {number: JobReturn(status=JobStatus.COMPLETED, _return_value=number) for number in (5, 8)}
    ray = Ray({**done, 6: RayError("killed by signal 9"), 7: RayTaskError("ValueError: a bug")})
    _start(sweep, ray, monkeypatch, 2, 3, 0)
    assert (ray.asked["num_cpus"], ray.asked["max_retries"]) == (3, 0)
    results = sweep.run([["a=1"], ["a=2"], ["a=3"], ["a=4"]], 5)
    assert [result.status.name for result in results] == ["COMPLETED", "COMPLETED", "FAILED", "COMPLETED"]
    assert [results[0].return_value, results[1].return_value, results[3].return_value] == [5, None, 8]
    with pytest.raises(RayTaskError, match="a bug"):
        _ = results[2].return_value
    assert max(ray.at_once) == 2
    assert "worker of job 6 died: killed by signal 9" in caplog.text


def test_an_interrupted_sweep_cancels_what_runs(sweep: RaySweep, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Ray({0: None, 1: KeyboardInterrupt, 2: None})
    _start(sweep, ray, monkeypatch, 2, 1, 0)
    waited: list[float] = []

    def give_up(_: Any, running: list[Any], seconds: float) -> None:
        waited.append(seconds)
        assert running == [0, 1]

    monkeypatch.setattr(ray_sweep, "give_up", give_up)
    with pytest.raises(KeyboardInterrupt):
        sweep.run([[], [], []], 0)
    assert waited[0] >= 60
    assert waited[-1] == 0


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((0, 1, 0), r"hydra\.launcher\.n_jobs"),
        ((2, 0, 0), r"hydra\.launcher\.cpus_per_job"),
        ((2, 1, -1), r"hydra\.launcher\.gpus_per_job"),
        ((2, 5, 0), "No machine has room"),
        ((2, 1, 1), "No machine has room"),
    ],
)
def test_sizes_that_cannot_be(
    sizes: tuple[int, int, int], said: str, sweep: RaySweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=said):
        _start(sweep, Ray({}), monkeypatch, *sizes)


def test_without_ray(sweep: RaySweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"hydra/launcher=distill_ray(.|\n)*distill-ranker\[ray\]"):
        sweep.start(2, 1, 0, None, None)


def _sweep(root: Path, launcher: str) -> tuple[Done, Path]:
    tiny = [a for a in tiny_arguments(root) if not a.startswith(("paths.", "teacher."))]
    jobs = ["-m", "+experiment=funnel/two_tower", "seed=0,1,none", f"hydra/launcher={launcher}"]
    done = run_python("train.py", *tiny, *path_arguments(root), *FEW, *jobs)
    (folder,) = (root / "runs" / "sweeps").iterdir()
    return done, folder


def _numbers(summary: Summary) -> str:
    return json.dumps([summary.metrics, summary.validation, summary.seed, summary.steps])


@pytest.mark.slow
def test_jobs_on_ray_have_the_numbers_of_jobs_one_after_the_other(tmp_path: Path) -> None:
    """The third cannot run: its message is seen, and the other two are compared."""
    pytest.importorskip("ray")
    found = {}
    for launcher in ("basic", "distill_ray"):
        done, folder = _sweep(tmp_path / launcher, launcher)
        text = done.output + done.errors
        assert done.status == 2, text[-3000:]
        assert "left out of the comparison" in text
        assert "none" in text
        assert "Traceback" not in text
        assert len(json.loads((folder / "comparison.json").read_text())) == 1
        assert (folder / "0" / "train.log").is_file()
        found[launcher] = [_numbers(load_summary(folder / job)) for job in ("0", "1")]
    assert found["basic"] == found["distill_ray"]
    assert found["basic"][0] != found["basic"][1]
