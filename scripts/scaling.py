"""What larger students, more data and larger teachers bring: python scripts/scaling.py --out FOLDER [--seeds 0 1 2]."""

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

from distill.jobs import app
from distill.jobs.commands import job
from distill.jobs.scaling_options import arguments

if __name__ == "__main__":
    app.guarded(job("distill.jobs.scaling"), arguments())
