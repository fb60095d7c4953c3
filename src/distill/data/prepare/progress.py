"""One bar per pass over the data, with rows per second."""

from __future__ import annotations

from types import TracebackType

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from distill.console import plain_console


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        seconds = task.finished_time or task.elapsed or 0.0
        return Text(f"{task.completed / max(seconds, 1e-3):,.0f} rows/s")


class PassProgress:
    """A bar for each pass; does nothing when not enabled."""

    def __init__(self, enabled: bool) -> None:
        columns = (
            TextColumn("{task.description:<14}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:,.0f} rows"),
        )
        console = plain_console(stderr=True)
        self._bars = Progress(*columns, _Speed(), TimeElapsedColumn(), console=console, disable=not enabled)

    def __enter__(self) -> PassProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, name: str, total: int) -> Pass:
        """Starts the bar of a pass over `total` rows."""
        return Pass(self._bars, self._bars.add_task(name, total=total))


class Pass:
    """The bar of one pass."""

    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, rows: int) -> None:
        """Counts rows that the pass is done with."""
        self._bars.advance(self._task, rows)
