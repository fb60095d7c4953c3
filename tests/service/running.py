"""A service in processes of its own, on a free port of the loopback, and wrk against it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRK = shutil.which("wrk")
_ADDRESS = re.compile(r"Listens on (http://\S+)")
_LUA = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local i = 0
request = function()
  i = i %% #bodies + 1
  return wrk.format("POST", "%s", nil, bodies[i])
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('{"requests": %%d, "seconds": %%f, "socket": %%d, "status": %%d, "p50": %%f, "p99": %%f}\\n',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


@dataclass
class Running:
    """A service.

    Attributes:
        process: Its supervisor.
        url: Where it listens.
        log: What it wrote.
    """

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @classmethod
    def start(cls, folder: Path, *words: str, **variables: str) -> Running:
        """Starts one and waits until it is ready."""
        log = folder / f"service{time.monotonic_ns()}.log"
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **variables}
        with log.open("wb") as out:
            command = [sys.executable, "-m", "distill.service", *words]
            process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
        found = cls(process, "", log)
        found._wait()
        return found

    def _wait(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            if match := _ADDRESS.search(self.log.read_text()):
                self.url = match[1]
                if self.get("/healthz")[0] == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def get(self, path: str) -> tuple[int, bytes]:
        """Asks; status 0 of a connection that failed."""
        return self._ask(urllib.request.Request(self.url + path))

    def post(self, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
        """Sends a body."""
        return self._ask(urllib.request.Request(self.url + path, body, headers))

    def _ask(self, request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(word) for word in children.split()]

    def memory(self) -> int:
        """Bytes that the workers have in memory of their own."""
        texts = [Path(f"/proc/{worker}/status").read_text() for worker in self.workers()]
        return sum(1024 * int(re.findall(r"RssAnon:\s+(\d+)", text)[0]) for text in texts)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stops it; returns its exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


def wrk(service: Running, folder: Path, bodies: list[dict[str, Any]], seconds: float, connections: int) -> Any:
    """Starts wrk; `finished` reads what it says."""
    assert WRK is not None
    (folder / "bodies").write_text("\n".join(map(json.dumps, bodies)))
    (folder / "load.lua").write_text(_LUA % (folder / "bodies", "/top_k" if "k" in bodies[0] else "/score"))
    command = [WRK, "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(folder / "load.lua"), service.url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finished(load: Any) -> dict[str, float]:
    """Waits for wrk: requests, seconds, errors, milliseconds at quantiles."""
    out = load.communicate(timeout=120)[0]
    found: dict[str, float] = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
    return found
