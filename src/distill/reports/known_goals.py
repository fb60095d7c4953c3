"""What is better of a metric, for runs whose summary does not say it: those of earlier versions.

By the whole name of the result, with the names that the metrics had then; of any other name neither is better.
"""

from __future__ import annotations

import re

from distill.metrics.goal import DOWN, NEITHER, UP, Goal

_PART = "(_head|_torso|_tail|_preranked|_ranked|_exposed)?"
_KNOWN = (
    (re.compile(f"(request_)?[gu]?auc{_PART}"), UP),
    (re.compile(f"[a-z_]*recall(_by_score)?@[0-9]+(_[0-9]+)?{_PART}"), UP),
    (re.compile("(hit_rate|ndcg|mrr|map|letor_ndcg_(zero|one|skip))(_by_score)?@[0-9]+"), UP),
    (re.compile("(precision|recall|f1)_p[0-9.e-]+"), UP),
    (re.compile("teacher_kendall_tau"), UP),
    (re.compile("logloss|ece|teacher_inversion_rate"), DOWN),
    (re.compile("pcoc"), Goal("target", 1.0)),
)


def known_goal(name: str) -> Goal:
    """Returns the goal of the metric of this name, whatever stands before its last part (`val/`, a task)."""
    stem = name.rsplit("/", 1)[-1]
    return next((goal for pattern, goal in _KNOWN if pattern.fullmatch(stem)), NEITHER)
