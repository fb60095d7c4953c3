"""The command line of the service; read before anything that serves is imported."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from distill.errors import ConfigError

TOKEN_VARIABLE = "DISTILL_TOKEN"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OVERRIDE = re.compile(r"[a-z_]+=")


@dataclass(frozen=True)
class Options:
    """How the service runs. Sizes are of one worker.

    Attributes:
        bundle: Folder of the only bundle, or its URI; or None.
        root: Folder of `current.json` and the bundles that it may name; or None.
        host: Address to listen on.
        port: And the port; 0 takes a free one.
        workers: Processes.
        token_file: File of the bearer token; None takes it from the environment, if it is there.
        keep: Versions that stay loaded, the current one included.
        poll_seconds: Between two looks at `current.json`.
        in_flight: Requests that are worked on or wait; more are refused.
        wait_seconds: A request that waited longer than this is not worked on any more.
        batch_wait_ms: Milliseconds that a request waits at most for others, to be scored with them; 0: each alone.
        batch_requests: Requests that are scored together, at most.
        body_seconds: A body has arrived by then.
        body_bytes: Of a body.
        candidates: Of a request.
        top_k: Largest k of /top_k.
        new_items: Items that /items may hold.
        connections: Open ones.
        stop_seconds: Requests may take to end when the service is stopped.
    """

    bundle: str | None = None
    root: str | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    token_file: str | None = None
    keep: int = 2
    poll_seconds: float = 1.0
    in_flight: int = 32
    wait_seconds: float = 1.0
    batch_wait_ms: float = 0.0
    batch_requests: int = 32
    body_seconds: float = 10.0
    body_bytes: int = 8 << 20
    candidates: int = 20_000
    top_k: int = 1_000
    new_items: int = 10_000
    connections: int = 1_000
    stop_seconds: float = 10.0

    def plain(self) -> dict[str, Any]:
        """Returns them as plain data, for another process."""
        return asdict(self)

    def checked(self) -> Options:
        """Returns the same options.

        Raises:
            ConfigError: They do not go together, or a number is not positive.
        """
        if (self.bundle is None) == (self.root is None):
            raise ConfigError(
                "The service needs a bundle or a folder of bundles.",
                where="--bundle, --root",
                expected="one of the two",
                found="none" if self.bundle is None else "both",
            )
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("port", "batch_wait_ms") else 1 if isinstance(value, int) else 0.001
            if isinstance(value, int | float) and not value >= least:
                raise ConfigError(
                    "A number is too small.",
                    where=_flag(field.name),
                    expected=f"{least} or more",
                    found=str(value),
                )
        return self


_HELP = {
    "bundle": "the bundle to serve, a folder or a URI",
    "root": "a folder of bundles, with a file current.json that names the one to serve; it is watched",
    "host": "address to listen on",
    "port": "port to listen on; 0 takes a free one",
    "workers": "processes; one for each core",
    "token_file": f"file of the bearer token that requests must carry; else it is {TOKEN_VARIABLE} in the environment",
    "keep": "versions that stay loaded, the current one included",
    "poll_seconds": "between two looks at current.json",
    "in_flight": "requests of a worker that are worked on or wait; more get 429",
    "wait_seconds": "a request that waited longer gets 503",
    "batch_wait_ms": "milliseconds that a request waits at most for others, to be scored with them; 0: each alone",
    "batch_requests": "most requests that are scored together",
    "body_seconds": "in which a body must arrive",
    "body_bytes": "largest body",
    "candidates": "most candidates of a request",
    "top_k": "largest k",
    "new_items": "most items that /items may hold",
    "connections": "most open connections of a worker",
    "stop_seconds": "that running requests get when the service is stopped",
}


def arguments(given: Sequence[str] | None = None) -> Options:
    """Reads the command line; `bundle=DIR` is `--bundle DIR`."""
    import sys

    parser = argparse.ArgumentParser(
        prog="distill serve",
        description="Serves a bundle over HTTP: /score, /top_k, /items, /healthz, /readyz, /metrics, /openapi.json.",
        epilog="bundle=DIR port=8000 … may be written for --bundle DIR --port 8000 …. The page is docs/serving.md.",
    )
    for field in fields(Options):
        kind = type(field.default) if field.default is not None else str
        shown = "" if field.default is None else f" (default: {field.default})"
        parser.add_argument(_flag(field.name), type=kind, default=field.default, help=_HELP[field.name] + shown)
    words = [_as_flag(word) for word in (sys.argv[1:] if given is None else given)]
    return Options(**vars(parser.parse_args(words)))


def read_token(options: Options, variables: dict[str, str]) -> bytes | None:
    """Returns the bearer token, None without one.

    Raises:
        ConfigError: Its file cannot be read, or it is empty.
    """
    if options.token_file is None:
        token = variables.get(TOKEN_VARIABLE)
        if token is None:
            return None
    else:
        try:
            token = Path(options.token_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                "The file of the token cannot be read.", where="--token-file", found=type(error).__name__
            ) from error
    if not token.strip():
        raise ConfigError("The token is empty.", where=TOKEN_VARIABLE if options.token_file is None else "--token-file")
    return token.strip().encode()


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _as_flag(word: str) -> str:
    """`body_bytes=1` as `--body-bytes=1`."""
    if not _OVERRIDE.match(word):
        return word
    name, _, value = word.partition("=")
    return f"{_flag(name)}={value}"
