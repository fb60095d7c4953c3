"""The checkpoint of a teacher that was trained in the same steps as its student."""

from __future__ import annotations

from pathlib import Path

from distill.ops.ranks import barrier, rank
from distill.plain import plain_data
from distill.training.carried import ENCODINGS
from distill.training.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from distill.training.cotraining import teacher_state

TEACHER_FILE = "teacher.ckpt"


def teacher_of(checkpoint: Path) -> Path:
    """Writes the teacher that is in a student's checkpoint to a file of its own beside it; all ranks call it together.

    Returns:
        That file: a checkpoint like that of any trained teacher.
    """
    path = checkpoint.parent / TEACHER_FILE
    if rank() == 0:
        found = read_checkpoint(checkpoint)
        card = plain_data(found["distill"]["teacher"], f"{checkpoint}: distill.teacher")
        content = {"state_dict": teacher_state(found["state_dict"]), "distill": card}
        if ENCODINGS in found:
            content[ENCODINGS] = found[ENCODINGS]
        AtomicCheckpointIO().save_checkpoint(content, path)
    barrier()
    return path
