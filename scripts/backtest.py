"""A model through the days of a log: python scripts/backtest.py --first DAYS --out FOLDER OVERRIDE…."""

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

from distill.jobs import app
from distill.jobs.backtest_options import arguments
from distill.jobs.commands import job

if __name__ == "__main__":
    app.guarded(job("distill.jobs.backtest"), arguments())
