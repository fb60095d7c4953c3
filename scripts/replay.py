"""Runs a step that failed again: python scripts/replay.py <the arguments of the run> step=FILE."""

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

import hydra
from omegaconf import DictConfig

from distill.jobs import app


@hydra.main(version_base="1.3", config_path="../conf", config_name="replay")
def main(cfg: DictConfig) -> None:
    app.execute("distill.jobs.replay", cfg)


if __name__ == "__main__":
    app.start(main)
