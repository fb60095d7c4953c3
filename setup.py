"""Puts the configs of the root's `conf/` into the wheel as `distill/conf`, and leaves out what distill-serving holds.

There is one copy of both in the repository.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONF = Path("conf")
SERVING = [line for line in Path("serving/CONTENTS").read_text().split() if line.startswith("distill/")]


class BuildWithConf(build_py):
    """Copies the configs beside the modules; an editable install reads all of it where it is."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.rmtree(self._conf(), ignore_errors=True)  # of an earlier build, with files that are gone
            shutil.copytree(CONF, self._conf())

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        found = super().find_package_modules(package, package_dir)
        if self.editable_mode:
            return found
        return [entry for entry in found if not _is_served(f"{entry[0].replace('.', '/')}/{Path(entry[2]).name}")]

    def find_data_files(self, package: str, src_dir: str) -> list[str]:
        found: list[str] = super().find_data_files(package, src_dir)
        return [path for path in found if self.editable_mode or not _is_served(f"{package}/{Path(path).name}")]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = list(super().get_outputs(include_bytecode))
        return [*outputs, *(str(self._conf() / path.relative_to(CONF)) for path in sorted(CONF.rglob("*.yaml")))]

    def _conf(self) -> Path:
        return Path(self.build_lib) / "distill" / "conf"


def _is_served(path: str) -> bool:
    return any(path == name or (name.endswith("/") and path.startswith(name)) for name in SERVING)


setup(cmdclass={"build_py": BuildWithConf})
