"""Writes a log with a teacher's vectors of each user's past: python scripts/past_vectors.py signals=DIR out=DIR."""

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

import hydra
from omegaconf import DictConfig

from distill.jobs import app


@hydra.main(version_base="1.3", config_path="../conf", config_name="past_vectors")
def main(cfg: DictConfig) -> None:
    app.execute("distill.jobs.past_vectors", cfg)


if __name__ == "__main__":
    app.start(main)
