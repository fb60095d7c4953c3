"""Whether each file of a sample numbers its requests anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from distill.data.propose.view import View


def by_file(view: View, rows_of: Sequence[int]) -> tuple[View, str]:
    """Tells requests of several files apart where the same ids are others there.

    Files number their requests anew if ids are in several, and some column is the same in all rows of each request only
    if requests of different files are different ones.

    Args:
        view: Of the columns of a sample.
        rows_of: Rows of each file, which follow one another.

    Returns:
        The view, in which requests have other numbers if so, and why; empty if not.
    """
    key = view.layout.request
    if key is None or view.request is None or len(rows_of) < 2:
        return view, ""
    file = np.repeat(np.arange(len(rows_of)), rows_of)
    of_files = view.request + file * (int(view.request.max(initial=0)) + 1)
    shared = len(np.unique(of_files)) - len(np.unique(view.request))
    apart = replace(view, request=of_files)
    alike = [
        name for name in view.values if name != key and apart.in_one_request(name) and not view.in_one_request(name)
    ]
    if not shared or not alike:
        return view, ""
    return apart, f"{shared} ids are in several files, but {_few(alike)} differ there: check that files number anew"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
