"""Proposes a `schema.yaml` from a sample of raw files: by types, names, ranges and cardinalities."""

from distill.data.propose.proposal import Proposal, propose
from distill.data.propose.sample import Sample, read_sample
from distill.data.propose.text import dataset_name, printable, schema_text
from distill.data.propose.valid import check_against, missing_parts
from distill.data.propose.view import Line

__all__ = [
    "Line",
    "Proposal",
    "Sample",
    "check_against",
    "dataset_name",
    "missing_parts",
    "printable",
    "propose",
    "read_sample",
    "schema_text",
]
