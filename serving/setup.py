"""Builds distill-serving from the files of `../src` that CONTENTS names: the repository has one copy of them."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

SOURCE = "../src"
CONTENTS = [line for line in Path("CONTENTS").read_text().split() if line.startswith("distill/")]


class BuildContents(build_py):
    """Leaves out the other modules of the package."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        found = super().find_package_modules(package, package_dir)
        return [entry for entry in found if _is_in(f"{entry[0].replace('.', '/')}/{Path(entry[2]).name}")]


def _is_in(path: str) -> bool:
    return any(path == name or (name.endswith("/") and path.startswith(name)) for name in CONTENTS)


setup(
    package_dir={"": SOURCE},
    packages=[name for name in find_packages(SOURCE) if name == "distill" or _is_in(f"{name.replace('.', '/')}/")],
    package_data={"distill": ["py.typed"]},
    cmdclass={"build_py": BuildContents},
)
