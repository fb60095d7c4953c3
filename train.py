"""Trains a ranker, or distils one into a pre-ranker: python train.py +experiment=NAME."""

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

import hydra
from omegaconf import DictConfig

from distill.jobs import app


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> object:
    return app.execute("distill.jobs.train", cfg)  # a sweeper reads it


if __name__ == "__main__":
    app.start(main)
