"""A teacher that is trained in the same steps as the student: its plan, and its checkpoint."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from distill.errors import ConfigError
from distill.jobs.fit_plan import Cotraining
from distill.jobs.parts import is_preranker, plain
from distill.plain import plain_data
from distill.training.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from distill.training.cotraining import teacher_state
from distill.training.launch import barrier, rank

TEACHER_FILE = "teacher.ckpt"


def cotraining_plan(cfg: DictConfig, taught: bool) -> Cotraining | None:
    """Returns how the teacher of `teacher=cotrained` learns; None for other teachers.

    Args:
        cfg: Of the run.
        taught: Whether the student's loss or sampling listens to a teacher.

    Raises:
        ConfigError: The student does not listen, or is no model that learns with a teacher.
    """
    node = cfg.teacher
    if node.source != "cotrained":
        return None
    if not taught:
        raise ConfigError(
            "The student does not listen to the teacher that learns beside it.",
            where="loss.terms",
            expected="a term that reads the teacher's signals",
            found=", ".join(cfg.loss.terms),
            remedy="Choose loss=pfd, or add a term: +loss_term@loss.terms.list=softmax_kl",
        )
    if not is_preranker(plain(cfg.model.net), "model.net"):
        raise ConfigError(
            "Only a pre-ranker can be the student of a cotrained teacher.",
            where="model",
            expected="a pre-ranker, such as two_tower or cold",
            found=str(cfg.model.name),
        )
    own = plain(node.own_embeddings)
    if own and not node.share_embeddings:
        raise ConfigError(
            "Without shared embeddings all of them are the models' own.",
            where="teacher.own_embeddings",
            expected="[] with teacher.share_embeddings=false",
            found=str(own),
        )
    return Cotraining(
        net=plain(node.model.net),
        loss=plain(node.loss),
        privileged=bool(node.privileged),
        share_embeddings=bool(node.share_embeddings),
        own_embeddings=tuple(own),
    )


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
        AtomicCheckpointIO().save_checkpoint(content, path)
    barrier()
    return path
