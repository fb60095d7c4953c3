"""Cached teachers, controls and signals, listed and deleted: python scripts/cache.py ls|rm."""

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

from distill.jobs import app
from distill.jobs.commands import job
from distill.jobs.stored.cache_options import arguments

if __name__ == "__main__":
    app.guarded(job("distill.jobs.stored.cache"), arguments())
