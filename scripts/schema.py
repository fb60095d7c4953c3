"""A schema.yaml proposed from raw files: python scripts/schema.py init FILES… [--out schema.yaml]."""

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

from distill.jobs import app
from distill.jobs.commands import job
from distill.jobs.schema_options import arguments

if __name__ == "__main__":
    app.guarded(job("distill.jobs.schema"), arguments())
