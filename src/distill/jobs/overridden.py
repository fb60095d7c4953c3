"""What a run was asked for beside the defaults: its parameters, as trackers of experiments show them."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from distill.jobs.identity import ASIDE
from distill.jobs.sweep_job import task_overrides

_MARKS = "+~"  # of overrides that add or take away


def overridden(cfg: DictConfig) -> dict[str, bool | int | float | str]:
    """Returns the seed and what was overridden or swept, by key; without what changes nothing of what is learned.

    Args:
        cfg: Of the run; the values are its own, and the text of the override where a whole group was chosen.
    """
    found: dict[str, bool | int | float | str] = {"seed": int(cfg.seed)}
    for text in task_overrides():
        typed, _, value = text.partition("=")
        key = typed.lstrip(_MARKS)
        if key in ASIDE or key.partition(".")[0] in ASIDE:
            continue
        chosen = OmegaConf.select(cfg, key) if "@" not in key and "/" not in key and not typed.startswith("~") else None
        found[key] = chosen if isinstance(chosen, (bool, int, float, str)) else value
    return found
