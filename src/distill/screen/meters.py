"""How far something is: a bar at the foot of a terminal; elsewhere a line now and then, and one at its end."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import RenderableType
from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from distill.screen.lines import has_bars, show, terminal

LINE_SECONDS = 30.0  # between two lines of a meter
_ROOM = 3  # characters right of a bar
_BAR_SECONDS = 0.1  # between two pictures of a bar


class _Done(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{_of(task.completed, task.total)} {task.fields['unit']}")


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{_rate(_speed(task))} {task.fields['unit']}/s", style="dim")


class _Bars(Progress):
    """Bars that leave room at the right for the `^C` that a terminal writes: a bar that it pushes onto a second line
    would stay on the screen."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield Constrain(self.make_tasks_table(self.tasks), terminal().width - _ROOM)


class Meters:
    """Meters that are seen together, as a context manager; shows nothing when not enabled.

    Args:
        enabled: Whether anything is shown.
        unit: What is counted, in the plural.
        keep: Whether bars stay when they are done, and lines are said at the end.
    """

    def __init__(self, enabled: bool, unit: str, keep: bool = True) -> None:
        self.unit = unit
        self.keep = keep
        self.enabled = enabled
        self._bars = _bars(keep) if enabled and has_bars() else None

    def __enter__(self) -> Meters:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def begin(self, name: str, total: float) -> Meter:
        """Starts a meter of `total` units; infinite where nobody knows."""
        if self._bars is not None:
            return _Bar(self._bars, name, total, self.unit)
        return _Line(name, total, self.unit, self.keep) if self.enabled else Meter()


class Meter:
    """How far one thing is; this one shows nothing."""

    def advance(self, units: int) -> None:
        """Counts units that are done."""

    def reach(self, done: int, note: str = "") -> None:
        """Sets how many units are done, and what there is to say of them."""

    def end(self) -> None:
        """Takes the meter away."""


class _Bar(Meter):
    """Draws itself, so that no thread of Rich's takes time from who works; threads may share one."""

    def __init__(self, bars: Progress, name: str, total: float, unit: str) -> None:
        self._bars = bars
        self._total = total if math.isfinite(total) else None
        self._task = bars.add_task(name, total=self._total, unit=unit, note="")
        self._next = 0.0
        bars.refresh()

    def advance(self, units: int) -> None:
        self._bars.advance(self._task, units)
        self._draw()

    def reach(self, done: int, note: str = "") -> None:
        self._bars.update(self._task, completed=done, note=note)
        self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        if now >= self._next or self._bars.finished:
            self._next = now + _BAR_SECONDS
            self._bars.refresh()

    def end(self) -> None:
        self._bars.remove_task(self._task)
        self._bars.refresh()


class _Line(Meter):
    def __init__(self, name: str, total: float, unit: str, keep: bool) -> None:
        self._name, self._total, self._unit, self._keep = name, total, unit, keep
        self._start = self._last = time.monotonic()
        self._done = self._before = 0
        self._lock = threading.Lock()

    def advance(self, units: int) -> None:
        with self._lock:
            self.reach(self._done + units)

    def reach(self, done: int, note: str = "") -> None:
        now, is_first_end = time.monotonic(), self._done < self._total <= done
        if self._done == 0:
            self._before = 0 if self._keep else done  # what goes on from a checkpoint did not take this time
        self._done = done
        if now - self._last < LINE_SECONDS and not (is_first_end and self._keep):
            return
        self._last, seconds = now, max(now - self._start, 1e-3)
        speed = _rate((done - self._before) / seconds)
        after = f" after {seconds:.1f} s" if is_first_end else ""
        show(", ".join(filter(None, [f"{self._name}: {self._says()}{after}", f"{speed} {self._unit}/s", note])))

    def _says(self) -> str:
        return f"{_of(self._done, self._total)} {self._unit}"


def _bars(keep: bool) -> Progress:
    columns = (
        TextColumn("{task.description:<14}", markup=False),
        BarColumn(bar_width=None),
        _Done(),
        _Speed(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", markup=False),
    )
    # What is printed to a stdout that is piped elsewhere must get there.
    options = {"console": terminal(), "auto_refresh": False, "redirect_stdout": sys.stdout.isatty()}
    return _Bars(*columns, **options, transient=not keep, expand=True)  # type: ignore[arg-type]


def _of(done: float, total: float | None) -> str:
    return f"{done:,.0f}/{total:,.0f}" if total is not None and math.isfinite(total) else f"{done:,.0f}"


def _speed(task: Task) -> float:
    """Units a second: of late, and in the end on the whole."""
    if task.finished:
        return task.completed / max(task.finished_time or 0.0, 1e-3)
    return task.speed or 0.0


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
