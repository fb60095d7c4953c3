"""A frozen encoder of text from a folder on disk: data only, no download and no code of the model's."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from distill.errors import ConfigError, DataError
from distill.files import below, hash_bytes, hash_file

Pooling = Literal["mean", "cls"]
_PARTS = {"Transformer", "Pooling", "Normalize"}


@dataclass(frozen=True)
class Pooled:
    """How the vectors of tokens become that of a text.

    Attributes:
        pooling: `mean` over the tokens, or `cls`: the vector of the first.
        normalise: Whether vectors are made one long.
    """

    pooling: Pooling
    normalise: bool

    @classmethod
    def of(cls, folder: Path, pooling: Pooling | None, normalise: bool | None) -> Pooled:
        """Returns what is asked for, or else what a folder of sentence-transformers says, or else the mean as it is.

        Raises:
            ConfigError: The folder has further layers, or pools in another way.
        """
        found: Pooling = "mean"
        parts = _modules(folder)
        names = [str(part.get("type", "")).rpartition(".")[2] for part in parts]
        if other := [name for name in names if name not in _PARTS]:
            raise _unsupported(folder, f"a layer {other[0]}")
        if "Pooling" in names and pooling is None:
            path = folder / _below(folder, parts[names.index("Pooling")].get("path", "")) / "config.json"
            config = _json(path, dict)
            modes = [name.removeprefix("pooling_mode_") for name, on in config.items() if on is True]
            modes = [mode for mode in modes if mode in ("mean_tokens", "cls_token") or "token" in mode]
            known: dict[str, Pooling] = {"mean_tokens": "mean", "cls_token": "cls"}
            chosen = [known.get(mode) for mode in modes if mode != "include_prompt"]
            if len(chosen) != 1 or chosen[0] is None:
                raise _unsupported(path, f"pooling {', '.join(modes) or 'none'}")
            found = chosen[0]
        return cls(pooling or found, "Normalize" in names if normalise is None else normalise)


class TextEncoder:
    """Embeds texts.

    Args:
        folder: Of the encoder, as `save_pretrained` of transformers or `save` of sentence-transformers writes it.
        pooled: How the vectors of tokens become that of a text.
        max_tokens: Longer text is cut.
        device: Where the model runs.

    Raises:
        ConfigError: The package transformers is not installed.
        DataError: The folder holds no encoder with safetensors weights and a tokenizer.
    """

    def __init__(self, folder: Path, pooled: Pooled, max_tokens: int, device: torch.device) -> None:
        self._pooled, self._max_tokens, self._device = pooled, max_tokens, device
        library = _library()
        if not any(folder.glob("*.safetensors")):
            raise DataError(
                "The folder of the encoder has no safetensors weights.",
                where=str(folder),
                expected="config.json, *.safetensors and a tokenizer",
                found="no such folder"
                if not folder.is_dir()
                else ", ".join(sorted(p.name for p in folder.iterdir())[:9]),
                remedy="Save the model with save_pretrained(FOLDER); other weights may hold code and are not read.",
            )
        taken = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer = library.AutoTokenizer.from_pretrained(str(folder), **taken)
            model = library.AutoModel.from_pretrained(
                str(folder), use_safetensors=True, torch_dtype=torch.float32, **taken
            )
        except Exception as error:  # what the library raises depends on the model
            raise DataError(
                "The encoder cannot be read.", where=str(folder), found=f"{type(error).__name__}: {error}"[:300]
            ) from error
        self._model = model.eval().requires_grad_(False).to(device)
        self.width = int(model.config.hidden_size)

    @torch.no_grad()
    def embed(self, texts: Sequence[str], batch_size: int) -> Tensor:
        """Returns the vectors of texts `[N, W]`; texts of about one length are embedded together."""
        order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), texts[i], i))
        parts = [
            self._batch([texts[i] for i in order[start : start + batch_size]])
            for start in range(0, len(order), batch_size)
        ]
        vectors = torch.cat(parts) if parts else torch.zeros(0, self.width)
        return vectors[torch.tensor(order, dtype=torch.int64).argsort()]

    def _batch(self, texts: list[str]) -> Tensor:
        given = self._tokenizer(texts, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt")
        given = {name: tensor.to(self._device) for name, tensor in given.items()}
        hidden = self._model(**given).last_hidden_state.float()
        if self._pooled.pooling == "cls":
            vectors = hidden[:, 0]
        else:
            mask = given["attention_mask"].unsqueeze(-1).float()
            vectors = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1.0)
        return (normalize(vectors, dim=1) if self._pooled.normalise else vectors).cpu()


def model_digest(folder: Path) -> str:
    """Hashes the files of an encoder that decide its vectors (32 hex digits)."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".json", ".safetensors", ".txt", ".model"))
    return hash_bytes("".join(f"{p.relative_to(folder)} {hash_file(p)}\n" for p in files).encode())


def _modules(folder: Path) -> list[dict[str, Any]]:
    path = folder / "modules.json"
    parts = _json(path, list) if path.is_file() else []
    if not all(isinstance(part, dict) for part in parts):
        raise DataError("A file of the encoder cannot be read.", where=str(path), expected="a list of objects")
    return parts


def _below(folder: Path, name: object) -> str:
    try:
        return below(str(name))
    except ValueError as error:
        raise DataError(
            "A file of the encoder cannot be read.", where=str(folder / "modules.json"), found=str(error)
        ) from error


def _json(path: Path, kind: type[Any]) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, kind):
            raise ValueError(f"{type(found).__name__} instead of {kind.__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise DataError("A file of the encoder cannot be read.", where=str(path), found=str(error)[:200]) from error
    return found


def _unsupported(path: Path, found: str) -> ConfigError:
    return ConfigError(
        "The encoder makes vectors in a way that is not known here.",
        where=str(path),
        expected="a Transformer, the mean of its tokens or the first of them, and perhaps a norm",
        found=found,
        remedy="Give --pooling, if the encoder may be used so, or write the vectors with its own library.",
    )


def _library() -> Any:
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(
            "Text is embedded with the package transformers, which is not installed.",
            remedy="Install it: pip install transformers.",
        ) from error
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers
