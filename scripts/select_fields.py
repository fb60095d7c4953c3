"""From the gates of a COLD or FSCD run to experiments within a budget: python scripts/select_fields.py run=FOLDER."""

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

import hydra
from omegaconf import DictConfig

from distill.jobs import app


@hydra.main(version_base="1.3", config_path="../conf", config_name="select_fields")
def main(cfg: DictConfig) -> None:
    app.execute("distill.jobs.select_fields", cfg)


if __name__ == "__main__":
    app.start(main)
