"""A folder of this machine into an object store: python scripts/publish.py FOLDER s3://BUCKET/FOLDER [--replace]."""

import distill.jobs.interrupts  # noqa: F401, first: a Ctrl-C during the imports says nothing

# isort: split

from distill.jobs import app
from distill.jobs.commands import job
from distill.jobs.publish_options import arguments

if __name__ == "__main__":
    app.guarded(job("distill.jobs.publish"), arguments())
