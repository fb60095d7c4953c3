"""What the command-line tools do: `run(cfg)` returns a typed result."""

from distill.jobs.interrupts import quiet_interrupts

quiet_interrupts()  # before the slow imports of the jobs
