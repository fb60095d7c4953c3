"""Where the time of training goes: by phase of a step, and by operator."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path

import torch
from pytorch_lightning.profilers import Profiler
from torch.profiler import ProfilerActivity, profile

_STEP = "run_training_batch"
_EPOCH = "run_training_epoch"
# Name of a phase, and how Lightning's action ends that makes it up.
_PHASES = (
    ("wait for data", "train_dataloader_next"),
    ("copy to the device", ".batch_to_device"),
    ("forward and loss", ".training_step"),
    ("backward", ".backward"),
    ("gradients: sum, exchange, clip", ".on_before_optimizer_step"),
    ("clear gradients", ".optimizer_zero_grad"),
    ("callbacks", ".on_train_batch_start"),
    ("callbacks", ".on_before_zero_grad"),
    ("callbacks", ".on_before_backward"),
    ("callbacks", ".on_after_backward"),
    ("callbacks", ".on_train_batch_end"),
)


class StepProfiler(Profiler):
    """Writes `profile.txt` into the run folder, one for each model that the run trains.

    The first part divides the wall time of training epochs by phase; validation stands apart. The second lists the
    operators of `steps` steps by their own time. The steps that are recorded by operator are slower than others.

    Args:
        dirpath: Folder of the reports.
        warm_up: Steps before operators are recorded.
        steps: Steps that are recorded by operator.
        row_limit: Operators in the list.
    """

    def __init__(self, dirpath: str, warm_up: int, steps: int, row_limit: int) -> None:
        super().__init__(dirpath=dirpath, filename=None)
        self.warm_up, self.steps, self.row_limit = warm_up, steps, row_limit
        self._reports = 0
        self._clear()

    def _clear(self) -> None:
        self._started: dict[str, float] = {}
        self._seconds: dict[str, float] = defaultdict(float)
        self._calls: dict[str, int] = defaultdict(int)
        self._operators: profile | None = None
        self._recording = False

    def start(self, action_name: str) -> None:
        """Starts the clock of an action of Lightning's."""
        if action_name == _STEP and self._calls[_STEP] == self.warm_up:
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
            self._operators = profile(activities=activities, record_shapes=True)
            self._operators.start()
            self._recording = True
        self._started[action_name] = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """Adds the time since the start of the action."""
        begun = self._started.pop(action_name, None)
        if begun is not None:
            self._seconds[action_name] += time.perf_counter() - begun
            self._calls[action_name] += 1
        if action_name == _STEP and self._recording and self._calls[_STEP] >= self.warm_up + self.steps:
            self._end_recording()

    def teardown(self, stage: str | None) -> None:
        """Writes the report of a fit."""
        if self._recording:
            self._end_recording()
        if stage == "fit" and self._local_rank in (None, 0) and self.dirpath is not None:
            self._reports += 1
            name = "profile.txt" if self._reports == 1 else f"profile_{self._reports}.txt"
            path = Path(self.dirpath) / name
            path.write_text(self.summary(), encoding="utf-8")
            if self._operators is not None:
                self._operators.export_chrome_trace(str(path.with_suffix(".json")))
        self._clear()

    def summary(self) -> str:
        """Returns the report."""
        return f"{self._phase_table()}\n{self._operator_table()}"

    def _end_recording(self) -> None:
        if self._operators is not None:
            self._operators.stop()
        self._recording = False

    def _phase_table(self) -> str:
        validation = self._sum("run_validation", "[_EvaluationLoop].val_next") or self._sum(".validation_step")
        total = sum(seconds for name, seconds in self._seconds.items() if name == _EPOCH) or self._sum(_STEP)
        steps = max(self._calls[_STEP], 1)
        phases: dict[str, float] = defaultdict(float)
        for phase, ending in _PHASES:
            phases[phase] += self._sum(ending)
        phases["optimiser"] = self._sum(".optimizer_step") - sum(
            phases[inner]
            for inner in ("forward and loss", "backward", "gradients: sum, exchange, clip", "clear gradients")
        )
        phases["validation"] = validation
        phases["all else"] = total - sum(phases.values())
        lines = [f"{steps} steps, {total:.2f} s", "", f"{'phase':<34}{'seconds':>9}{'share':>8}{'ms a step':>11}"]
        for phase, seconds in sorted(phases.items(), key=lambda item: -item[1]):
            lines.append(f"{phase:<34}{seconds:>9.3f}{seconds / max(total, 1e-9):>8.1%}{1000 * seconds / steps:>11.3f}")
        return "\n".join(lines) + "\n"

    def _sum(self, *endings: str) -> float:
        return sum(seconds for name, seconds in self._seconds.items() if name.endswith(endings))

    def _operator_table(self) -> str:
        if self._operators is None:
            return f"No operators: the run ended within the {self.warm_up} steps of warm-up.\n"
        averages = self._operators.key_averages(group_by_input_shape=True)
        order = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table: str = averages.table(sort_by=order, row_limit=self.row_limit, max_shapes_column_width=60)
        return f"Operators of {self.steps} steps, by input shapes\n{table}\n"
