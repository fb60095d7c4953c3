"""Fitted encodings: raw values in, ids and numbers out, the same in preparation and wherever a model is served.

Nothing here knows torch, a dataset or a run.
"""

from distill.encodings.fitted import EncodedField, FittedEncodings
from distill.encodings.packed import PackedEncodings, verified
from distill.encodings.saved import SavedEncodings, SavedIds, differing
from distill.encodings.side import SideArrays

__all__ = [
    "EncodedField",
    "FittedEncodings",
    "PackedEncodings",
    "SavedEncodings",
    "SavedIds",
    "SideArrays",
    "differing",
    "verified",
]
