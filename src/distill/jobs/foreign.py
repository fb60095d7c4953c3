"""Errors of Hydra, OmegaConf and the operating system that a command or a disk causes, in the words of this program."""

from __future__ import annotations

import difflib
import errno
import sys
import traceback
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from distill.errors import ConfigError, DataError, DistillError

_LONGEST = 500  # characters of a foreign message
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_RIGHT = {errno.EACCES, errno.EPERM, errno.EROFS}
_PLACES = "paths.data, paths.cache, paths.runs"
_HELP = "A group takes the name of a file: model=two_tower. --help lists groups, keys and options."
_QUOTES = (
    "Quote a value that holds = , : [ ] { } ( ) or spaces twice, for the shell and for Hydra: "
    "data.source='\"/logs/a, b\"'"
)


def explain(error: BaseException) -> DistillError | None:
    """Returns what to tell the user of an error of theirs or of their disk's; None for a fault of the program."""
    if isinstance(error, DistillError):
        return error
    if isinstance(error, OverrideParseException):
        return _grammar(error)
    if isinstance(error, MissingConfigException):
        return _no_choice(error)
    if isinstance(error, ConfigCompositionException):
        return _composition(error)
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        key = getattr(error, "full_key", None) or None
        return ConfigError("The config cannot be read.", where=key, found=_short(error))
    if isinstance(error, OSError) and error.errno is not None:
        return _disk(error)
    if isinstance(error, (ValueError, TypeError)) and _raised_within(error, "hydra"):
        return ConfigError("The command cannot be read.", found=_short(error), remedy=_HELP)
    return None


def _raised_within(error: BaseException, package: str) -> bool:
    """Whether the code that raised an error is a package's: Hydra has no type for some mistakes in a command."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__")).partition(".")[0] == package


def _grammar(error: OverrideParseException) -> ConfigError:
    return ConfigError(
        "An argument cannot be parsed as an override.",
        where=error.override,
        expected="group=NAME, key=VALUE, +new.key=VALUE or ~key",
        found=_short(str(error).partition("\nSee https")[0]),
        remedy=_QUOTES,
    )


def _no_choice(error: MissingConfigException) -> ConfigError:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    options = list(error.options or ())
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    return ConfigError(
        "There is no such part of the config.",
        where=group.lstrip("/") or None,
        expected=", ".join(options) or None,
        found=name or _short(error),
        remedy=f"Did you mean {' or '.join(close)}?" if close else None,
    )


def _composition(error: ConfigCompositionException) -> ConfigError:
    """A key that is not there, a group that is not in the defaults list, or a value of the wrong kind."""
    cause = error.__cause__
    lines = [*str(error).splitlines(), *(str(cause).splitlines() if isinstance(cause, OmegaConfBaseException) else [])]
    known = _siblings(cause)
    key = getattr(cause, "full_key", None)
    close = difflib.get_close_matches(str(key).rpartition(".")[2], known, n=1) if key else []
    remedy = f"Did you mean {close[0]}?" if close else None
    if _sweeps_experiments(sys.argv[1:]):
        remedy = (
            "In a sweep over +experiment the other arguments must fit without it: name the groups that the experiments "
            "choose as well, such as data=NAME, or sweep over one data set at a time."
        )
    return ConfigError(
        "The config cannot be composed from the arguments.",
        where=None if key is None else str(key),
        expected=f"one of {', '.join(known)}" if known else None,
        found=" ".join(line.strip() for line in lines if "object_type" not in line and "full_key" not in line)[
            :_LONGEST
        ],
        remedy=remedy,
    )


def _siblings(cause: BaseException | None) -> list[str]:
    """Names the keys beside one that does not exist."""
    parent = getattr(cause, "parent_node", None)
    return sorted(map(str, parent)) if isinstance(parent, DictConfig) else []


def _sweeps_experiments(arguments: Sequence[str]) -> bool:
    for argument in arguments:
        if argument.startswith(("+experiment=", "experiment=")):
            try:
                return bool(OverridesParser.create().parse_override(argument).is_sweep_override())
            except (HydraException, OmegaConfBaseException):
                return False
    return False


def _disk(error: OSError) -> DataError | None:
    """Names the file; errors of connections, pipes and child processes do not come from a disk."""
    if isinstance(error, (ConnectionError, ChildProcessError, InterruptedError, TimeoutError)):
        return None
    problem, remedy = "A file or folder cannot be used.", "Check the path, and the disk that it is on."
    if error.errno in _NO_ROOM:
        problem, remedy = "There is no room to write.", f"Free some space or choose another folder ({_PLACES})."
    elif error.errno in _NO_RIGHT:
        problem = "A file or folder may not be read or written."
        remedy = f"Change its permissions, or choose another folder ({_PLACES})."
    elif error.errno == errno.ENAMETOOLONG:
        problem, remedy = "A path is too long.", f"Choose a shorter name or folder (name, {_PLACES})."
    named = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return DataError(problem, where=" → ".join(named) or _PLACES, found=error.strerror or _short(error), remedy=remedy)


def _short(message: object) -> str:
    return " ".join(str(message).split())[:_LONGEST]
