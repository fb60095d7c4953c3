"""An engine that does to tasks what another process does: all is pickled, the last part is done first, parts twice."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from typing import Any

from distill.engines import Advance


class Elsewhere:
    """Runs tasks here, as another process that dies after each of them would."""

    is_local = False

    def __init__(self) -> None:
        self.tasks: list[str] = []

    def map(self, task: Any, shared: Any, parts: Sequence[Any], advance: Advance) -> Iterator[Any]:
        sent, results = pickle.dumps((task, shared)), {}
        self.tasks += [task.__name__] * len(parts)
        for _ in range(2):
            for number in reversed(range(len(parts))):
                own, given = pickle.loads(sent)
                results[number] = pickle.dumps(own(given, pickle.loads(pickle.dumps(parts[number])), advance))
        return (pickle.loads(results[number]) for number in range(len(parts)))

    def portions(self, parts: Sequence[Any]) -> list[Sequence[Any]]:
        return [[part] for part in parts]
