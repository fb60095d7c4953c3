"""The command line of vectors of text; read before anything that embeds is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from distill.jobs.option_values import path_here, source_here


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Writes a vector for each text of raw files, such as the titles of a catalogue, by a frozen "
        "encoder of the package transformers that is on disk: nothing is downloaded, and no code of the model is run.",
    )
    parser.add_argument(
        "files",
        nargs="+",
        type=source_here,
        metavar="FILES",
        help="files, folders or patterns, of any kind that is read",
    )
    parser.add_argument(
        "--model", type=path_here, required=True, help="folder of the encoder, with safetensors weights"
    )
    parser.add_argument("--id", required=True, help="column of raw values that the vectors are for")
    parser.add_argument("--text", nargs="+", required=True, help="columns of text; several are put together by a space")
    parser.add_argument("--out", type=path_here, required=True, help="folder, in which vectors.parquet will be")
    parser.add_argument(
        "--pooling",
        choices=("mean", "cls"),
        help="mean of the vectors of all tokens, or that of the first; by default what the folder says, or mean",
    )
    parser.add_argument(
        "--normalise",
        action=argparse.BooleanOptionalAction,
        help="make vectors one long; by default what the model's folder says, or not",
    )
    parser.add_argument(
        "--prefix", default="", help="written before each text, such as 'query: ' for models that want it"
    )
    parser.add_argument("--type", choices=("float32", "float16"), default="float32", help="of the numbers")
    parser.add_argument("--max-tokens", type=_whole, default=256, help="longer text is cut")
    parser.add_argument("--batch-size", type=_whole, default=64, help="texts that are embedded at once")
    parser.add_argument("--part-rows", type=_whole, default=50_000, help="rows after which a kill loses nothing more")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser.parse_args(given)


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 on is needed, not {text!r}")
    return int(text)
