"""One process of the service, as the supervisor starts it: the arguments are SOCKET LIFE FOLDER OPTIONS."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from distill.errors import DistillError
from distill.service.app import Service, create_app
from distill.service.options import Options, read_token

READY = b"ready"
REFUSED = 2
_QUEUE = 2048  # of connections that nobody has accepted yet
_FEW = 1  # connections that are accepted in a row, so that others get theirs
_IDLE_SECONDS = 75


class Server(uvicorn.Server):
    """A server that tells the supervisor when it listens."""

    def __init__(self, config: uvicorn.Config, life: int) -> None:
        super().__init__(config)
        self._life = life
        self.is_alone = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to listen."""
        await super().startup(sockets)
        for one in sockets or []:
            one.listen(_QUEUE)
        os.write(self._life, READY)

    def end_with_supervisor(self) -> None:
        """Waits until the supervisor is gone, however it ended, and stops."""
        os.read(self._life, 1)
        self.is_alone = True
        self.should_exit = True


def main(words: Sequence[str]) -> None:
    """Serves until it is told to stop, or the supervisor is gone."""
    listener, life, folder = socket.socket(fileno=int(words[0])), int(words[1]), Path(words[2])
    options = Options(**json.loads(words[3]))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        service = Service(options, folder, read_token(options, dict(os.environ)))
        service.scorer.start()
    except DistillError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(REFUSED)
    config = uvicorn.Config(
        create_app(service),
        loop="asyncio",
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_FEW,
        limit_concurrency=options.connections,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=max(1, round(options.stop_seconds)),
    )
    server = Server(config, life)
    threading.Thread(target=server.end_with_supervisor, daemon=True).start()
    try:
        server.run([listener])
    finally:
        if server.is_alone:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
