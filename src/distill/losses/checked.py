"""Which terms make a loss."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from distill.errors import ConfigError
from distill.losses.terms.base import LossTerm

ADAPTER = "adapter"
"""Name of the adapter's own loss among the parts of a report."""


def check_terms(terms: Mapping[str, LossTerm]) -> None:
    """Raises ConfigError if there is no term, something is none, or a name cannot be that of a module."""
    if not terms:
        raise ConfigError("The loss has no terms.", where="loss.terms", expected="at least one loss term", found="none")
    for name, term in terms.items():
        if not isinstance(term, LossTerm):
            raise ConfigError(
                "The loss holds something that is not a loss term.",
                where=f"loss.terms.{name}",
                expected="a term of distill.losses.terms",
                found=f"{type(term).__name__}: {term!r}",
                remedy="Give its `_target_`, or remove the whole key (`~loss.terms.<name>`).",
            )
        if not name.isidentifier() or hasattr(nn.ModuleDict, name):
            raise ConfigError(
                "A loss term has a name that a module cannot have.",
                where=f"loss.terms.{name}",
                expected="a Python identifier that is not an attribute of torch.nn.ModuleDict",
                found=repr(name),
                remedy="Choose another name.",
            )


def check_heard(terms: Mapping[str, LossTerm]) -> None:
    """Refuses an adapter that no term would listen to, and a term of its name."""
    if ADAPTER in terms or not any(term.reads_scores for term in terms.values()):
        raise ConfigError(
            "An adapter is for terms on the teacher's scores, and its own loss is reported under its name.",
            where="CompositeLoss.adapter",
            expected=f"a term such as bernoulli_kl, and none that is called {ADAPTER}",
            found=", ".join(terms),
            remedy="Add such a term (+loss_term@loss.terms.soft=bernoulli_kl), or leave the adapter out.",
        )
