"""One measurement in a process of its own: `python -m benchmarks.probe JSON`, run by `scale`."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from omegaconf import OmegaConf

from benchmarks.epochs import Case
from distill.jobs.app import register_resolvers
from distill.jobs.conf import conf_folder

_KILO = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts in


def main(probe: dict[str, Any]) -> None:
    """Trains an epoch, or `steps` steps, and writes speed, step time, peak memory and the time since `launched`."""
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        case = Case(flat_overrides(probe["rows"], probe["ids"]), OmegaConf.create(probe["paths"]))
        if probe["steps"]:
            case.cfg.trainer.limit_train_batches = probe["steps"]
            case.cfg.trainer.limit_val_batches = 1
        rate = case.framework()
    found = {
        "rate": rate,
        "step": case.cfg.data.loader.batch_candidates / rate,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KILO,
        "start": case.first_step - probe["launched"],
    }
    Path(probe["out"]).write_text(json.dumps(found), encoding="utf-8")


def flat_overrides(rows: int, ids: int) -> list[str]:
    """The data of a measurement: flat rows, tables of `ids` rows in all."""
    loggers = ["callbacks.progress_bar=false"]
    return ["data=benchmark_flat", f"data.adapter.rows={rows}", f"data.adapter.total_ids={ids}", *loggers]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
