"""Trains a ranker, or distils one into a pre-ranker: python train.py +experiment=NAME."""

import distill.jobs  # noqa: F401, first: a Ctrl-C during the slow imports says nothing

# isort: split

import hydra
from omegaconf import DictConfig

from distill.jobs import app, train

app.register_resolvers()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> object:
    return app.execute(train.run, cfg)  # a sweeper reads it


if __name__ == "__main__":
    app.start(main)
