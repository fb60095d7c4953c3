"""`model.json`: what a bundle says of itself. It is plain data with a checksum; nothing in it is ever executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from distill.encodings import SavedEncodings
from distill.errors import DataError
from distill.files import below, hash_file
from distill.schema import Schema, Side, parse_schema
from distill.sealed import OtherVersion, read_sealed, write_sealed
from distill.serving.diversity.options import Rerank

MANIFEST, GOLDEN, ITEMS, CARD = "model.json", "golden.parquet", "items", "README.md"
FORMAT_VERSION = 1

Part = Literal["request", "candidate", "interact", "single", "whole"]
Below = Annotated[str, AfterValidator(below)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Program(_Model):
    """A part of the model that ONNX Runtime runs.

    Attributes:
        file: Its path below the bundle.
        inputs: Names of what it is fed.
        output: Name of what it returns.
        exported: The same part as a `torch.export` program, if there is one; the runtime does not read it.
        compiled: Device to the same part as an AOTInductor package.
    """

    file: Below
    inputs: tuple[str, ...]
    output: str
    exported: Below | None = None
    compiled: dict[str, Below] = Field(default_factory=dict)


class Interaction(_Model):
    """How logits come from the vectors of both sides.

    Attributes:
        type: `dot` (z_k = u_k·v_k + b_k), `sum` (z_k = u_k + v_k + b_k), `item` (z_k = v_k + b_k) or `program`.
        bias: b `[K]`; empty of a program.
    """

    type: Literal["dot", "sum", "item", "program"]
    bias: tuple[float, ...] = ()

    @property
    def has_vectors(self) -> bool:
        """Whether candidates have vectors, rather than parts of a sum."""
        return self.type in ("dot", "program")


class TopKProgram(_Model):
    """The best candidates of requests in one program, for devices: a `torch.export` program.

    Attributes:
        file: Its path below the bundle.
        k: How many it returns.
        type: In which item vectors are held on the device; float32 of a whole model.
        inputs: Names of what it is fed.
        compiled: Device to the same program as an AOTInductor package.
    """

    file: Below
    k: int = Field(gt=0)
    type: Literal["float32", "float16"]
    inputs: tuple[str, ...]
    compiled: dict[str, Below] = Field(default_factory=dict)


class Manifest(_Model):
    """What `model.json` holds.

    Attributes:
        version: Hash of weights and encodings: request and item vectors of one version belong together.
        model: Name of the model's class.
        fields_schema: The model's view of the schema.
        encodings: Of its fields; their vocabularies are files of the bundle.
        programs: Part to its program. `request` and `candidate` give vectors, `interact` combines them, and `single`
            does so for one request where that is cheaper; a model of which nothing can be computed ahead is `whole`.
        interaction: Of a model in parts.
        top_k: A program for devices, if there is one.
        rerank: How `Bundle.top_k` re-ranks; None for the order of the ranking score.
        files: Path of every other file, item vectors left out, to its hash.
        difference: Largest difference of a golden logit, in the units of the check, when the bundle was written.
        made_with: Package to release.
    """

    format: Literal["distill-bundle"] = "distill-bundle"
    format_version: Literal[1] = 1
    version: str = Field(pattern=r"^[0-9a-f]{32}$")
    model: str
    fields_schema: dict[str, Any]
    encodings: SavedEncodings
    programs: dict[Part, Program]
    interaction: Interaction | None
    top_k: TopKProgram | None = None
    rerank: Rerank | None = None
    files: dict[Below, str]
    difference: float = 0.0
    made_with: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_hashed(self) -> Manifest:
        if missing := sorted({*program_files(self.programs, self.top_k), GOLDEN} - self.files.keys()):
            raise ValueError(f"no hash of {missing[0]}")
        return self

    @model_validator(mode="after")
    def _check_rerank(self) -> Manifest:
        if self.rerank is not None and self.rerank.needs_vectors and not self.has_vectors:
            raise ValueError(
                f"rerank of type {self.rerank.type} compares vectors of candidates, and this model has none"
            )
        return self

    @property
    def is_whole(self) -> bool:
        """Whether the model is one program."""
        return "whole" in self.programs

    @property
    def has_vectors(self) -> bool:
        """Whether candidates have vectors, rather than parts of a sum."""
        return self.interaction is not None and self.interaction.has_vectors

    @property
    def sides(self) -> list[Side]:
        """The sides whose fields the programs read: a two-tower knows none of the pair."""
        parts = {"request": Side.REQUEST, "candidate": Side.CANDIDATE, "interact": Side.CROSS}
        return list(Side) if self.is_whole else [side for part, side in parts.items() if part in self.programs]

    def schema_of(self, root: Path) -> Schema:
        """Returns the model's view of the schema."""
        return parse_schema(self.fields_schema, f"{root / MANIFEST}: fields_schema")

    def write(self, root: Path) -> None:
        """Writes `model.json`."""
        write_sealed(root / MANIFEST, self.model_dump(mode="json"))


def program_files(programs: Mapping[Part, Program], top_k: TopKProgram | None) -> list[str]:
    """Returns the paths of all programs below a bundle."""
    files = [entry for p in programs.values() for entry in (p.file, p.exported, *p.compiled.values()) if entry]
    return files if top_k is None else [*files, top_k.file, *top_k.compiled.values()]


def is_bundle(path: Path) -> bool:
    """Whether a path is the folder of a bundle."""
    return (path / MANIFEST).is_file()


def read_manifest(root: Path) -> Manifest:
    """Reads `model.json`.

    Raises:
        DataError: The folder is not a bundle, one of another format version, or its manifest is damaged.
    """
    path = root / MANIFEST
    try:
        return Manifest.model_validate(read_sealed(path, ("format_version", FORMAT_VERSION)))
    except FileNotFoundError as error:
        raise DataError(
            "The folder is not a bundle.", where=str(root), expected=f"{MANIFEST}, as scripts/export.py writes it"
        ) from error
    except OtherVersion as error:
        raise DataError(
            "The bundle has another format.",
            where=str(path),
            expected=f"format_version {FORMAT_VERSION}",
            found=str(error),
            remedy="Export the checkpoint again with this release.",
        ) from error
    except (ValueError, ValidationError, OSError) as error:
        raise DataError(
            "The description of a bundle cannot be read.",
            where=str(path),
            found=" ".join(str(error).split())[:300],
            remedy="Copy or export the bundle again.",
        ) from error


def hash_files(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Hashes files below a folder."""
    return {name: hash_file(root / name) for name in names}


def check_files(root: Path, files: Mapping[str, str]) -> None:
    """Compares files below a folder with their hashes.

    Raises:
        DataError: One is missing, or is not what was written.
    """
    for name, digest in files.items():
        path = root / name
        found = hash_file(path) if path.is_file() else "no file"
        if found != digest:
            raise DataError(
                "A file of a bundle is not the one that was written.",
                where=str(path),
                expected=f"blake2b {digest}",
                found=found,
                remedy="Copy or export the bundle again.",
            )
