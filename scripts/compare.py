"""One table and one picture of any runs: python scripts/compare.py FOLDER… [--sort METRIC] [--out FOLDER]."""

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

from distill.jobs import app
from distill.jobs.commands import job
from distill.jobs.compare_options import arguments

if __name__ == "__main__":
    app.guarded(job("distill.jobs.compare"), arguments())
