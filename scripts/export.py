"""Makes a bundle that a server uses without torch: python scripts/export.py path=FILE.ckpt out=DIR."""

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

import hydra
from omegaconf import DictConfig

from distill.jobs import app


@hydra.main(version_base="1.3", config_path="../conf", config_name="export")
def main(cfg: DictConfig) -> None:
    app.execute("distill.jobs.export", cfg)


if __name__ == "__main__":
    app.start(main)
