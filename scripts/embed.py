"""Vectors of text by a frozen encoder on disk: python scripts/embed.py FILES… --model DIR --id COLUMN --text COLUMN."""

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

from distill.jobs import app
from distill.jobs.commands import job
from distill.jobs.embed_options import arguments

if __name__ == "__main__":
    app.guarded(job("distill.jobs.embed"), arguments())
