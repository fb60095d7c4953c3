"""Measures a cascade with students at its front: python scripts/cascade.py path=FILE.ckpt teacher_path=FILE.ckpt."""

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

import hydra
from omegaconf import DictConfig

from distill.jobs import app


@hydra.main(version_base="1.3", config_path="../conf", config_name="cascade")
def main(cfg: DictConfig) -> None:
    app.execute("distill.jobs.cascade", cfg)


if __name__ == "__main__":
    app.start(main)
