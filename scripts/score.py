"""Writes a teacher's logits beside a dataset: python scripts/score.py teacher.path=FILE.ckpt."""

import distill.jobs  # noqa: F401, first: a Ctrl-C during the slow imports says nothing

# isort: split

import hydra
from omegaconf import DictConfig

from distill.jobs import app, score


@hydra.main(version_base="1.3", config_path="../conf", config_name="score")
def main(cfg: DictConfig) -> None:
    app.execute(score.run, cfg)


if __name__ == "__main__":
    app.start(main)
