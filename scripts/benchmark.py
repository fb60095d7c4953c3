"""Measures speed: python scripts/benchmark.py benchmark=NAME, a file of benchmarks/conf/benchmark."""

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from distill.jobs import app


@hydra.main(version_base="1.3", config_path="../benchmarks/conf", config_name="benchmark")
def main(cfg: DictConfig) -> None:
    app.execute("benchmarks.job", cfg)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.argv[1:1] = ["--config-dir", f"{sys.path[0]}/conf"]
    app.start(main)
