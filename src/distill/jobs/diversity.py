"""What diversity costs, over several worlds: one command from training to the curve."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from distill.console import plain_console
from distill.errors import DataError
from distill.files import write_text_atomic
from distill.jobs.checkpoints import BEST
from distill.jobs.commands import COMMANDS
from distill.jobs.in_process import run_in_process
from distill.jobs.planned_folder import begin, check_seeds
from distill.jobs.program import quoted
from distill.reports.backtest import spread
from distill.reports.cascade import CascadeReport
from distill.reports.page_ways import TITLES, Ways, draw_ways, markdown
from distill.reports.point import Number

_DIVERSITY = "diversity"


def run(options: argparse.Namespace) -> Ways:
    """Trains in every world, measures the ways to fill a page, and draws mean and deviation.

    Raises:
        ConfigError: Seeds are given twice, or the overrides name one.
        DataError: The folder holds another study.
    """
    check_seeds(options.seeds, options.overrides)
    plan = {name: getattr(options, name) for name in ("k", "ranked", "shown", "most", "overrides")}
    begin(options.out, plan, "studies of diversity")
    worlds = [_measured(options, seed).ways for seed in options.seeds]
    found = {
        way: {name: Number(*spread([world[way][name].value for world in worlds])) for name in TITLES}
        for way in worlds[0]
    }
    _save(found, options.seeds, options.out)
    plain_console().print(markdown(found), soft_wrap=True, markup=False)
    plain_console().print(f"Diversity: {options.out}", soft_wrap=True)
    return found


def _measured(options: argparse.Namespace, seed: int) -> CascadeReport:
    folder = options.out / f"seed-{seed}"
    paths = [f"paths.{name}={quoted(folder / name)}" for name in ("data", "cache", "runs")]
    runs = folder / "runs"
    if not list(runs.rglob("summary.json")):
        run_in_process(COMMANDS["train"], [*options.overrides, f"seed={seed}", "cost.enabled=false", *paths])
    student = max(path.parent for path in runs.rglob("summary.json"))
    sizes = [f"ks=[{options.k}]", f"ranked={options.ranked}", f"shown={options.shown}", f"best={options.shown}"]
    given = [
        "data=prepared",
        f"data.root={quoted(_only(folder / 'data', 'manifest.json').parent)}",
        f"path={quoted(student)}",
        f"teacher_path={quoted(_only(folder / 'cache', f'teacher-*/{BEST.name}'))}",
        *sizes,
        "truth=utility",
        "truth_is_log=true",
        f"diversity={{category: category, most: {options.most}}}",
        "cost.enabled=false",
        *paths,
        *(o for o in options.overrides if o.startswith(("trainer=", "threads="))),
    ]
    report: CascadeReport = run_in_process(COMMANDS["cascade"], given)
    return report


def _only(folder: Path, name: str) -> Path:
    found = sorted(folder.rglob(name))
    if len(found) != 1:
        raise DataError(
            "A study needs one dataset and one teacher.",
            where=str(folder),
            expected=name,
            found=f"{len(found)} files",
            remedy="Take a training of the synthetic cascade with a teacher: +experiment=quickstart.",
        )
    return found[0]


def _save(found: Ways, seeds: list[int], folder: Path) -> None:
    content = {
        "seeds": seeds,
        "ways": {
            way: {name: [x if math.isfinite(x) else None for x in (one.value, one.error)] for name, one in own.items()}
            for way, own in found.items()
        },
    }
    write_text_atomic(folder / f"{_DIVERSITY}.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_text_atomic(folder / f"{_DIVERSITY}.md", markdown(found))
    draw_ways(found, f"deviation over {len(seeds)} worlds", folder / f"{_DIVERSITY}.png")
