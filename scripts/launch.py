"""The ranks of a command on Ray: python scripts/launch.py --nproc-per-node 2 train trainer=ddp_sim."""

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

from distill.jobs import app
from distill.jobs.commands import job
from distill.jobs.launch_options import arguments

if __name__ == "__main__":
    app.guarded(job("distill.jobs.launch"), arguments())
