"""What each stage of a cascade costs a request: the models' operations and their time on one thread."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import nn

from distill.jobs.parts import LoadedModel
from distill.models.cost.cost import online_flops, request_milliseconds
from distill.reports.cascade import StageCost


@dataclass
class CascadeCosts:
    """Measures costs, each once.

    Attributes:
        seconds: About how long each model is timed at each number of candidates.
    """

    seconds: float
    _times: dict[tuple[int, int], float] = field(default_factory=dict)
    _work: dict[int, tuple[int, int]] = field(default_factory=dict)

    def of(self, loaded: LoadedModel | None, candidates: float) -> StageCost:
        """Returns the cost of a stage that scores so many candidates; NaN of one whose model is not known.

        Args:
            loaded: The model.
            candidates: Of a request, in the mean.
        """
        if loaded is None:
            return StageCost(candidates, math.nan, math.nan)
        model, count = loaded.model.eval().cpu(), max(1, round(candidates))
        request, each = self._flops(model, loaded)
        key = (id(model), count)
        if key not in self._times:
            self._times[key] = request_milliseconds(model, loaded.schema, count, self.seconds)[0]
        return StageCost(candidates, request + candidates * each, self._times[key])

    def _flops(self, model: nn.Module, loaded: LoadedModel) -> tuple[int, int]:
        if id(model) not in self._work:
            fixed, slope = online_flops(model, loaded.schema)
            self._work[id(model)] = fixed.flops, slope.flops
        return self._work[id(model)]
