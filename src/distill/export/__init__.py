"""Turns a trained model into a bundle that a server uses without torch, and proves it equal."""

from distill.export.bundle import BundleOptions, check_exportable, write_bundle
from distill.export.top_k import TopKOptions
from distill.export.trained import Trained

__all__ = ["BundleOptions", "TopKOptions", "Trained", "check_exportable", "write_bundle"]
