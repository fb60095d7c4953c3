"""What every metric means that a table shows: one place for report pages and for docs/glossary.md."""

from __future__ import annotations

import re
from dataclasses import dataclass

PAGE = "docs/glossary.md"
_BAND = "(_head|_torso|_tail|_new)?"
_TASK = "([^/]+/)?"


@dataclass(frozen=True)
class Entry:
    """A metric.

    Attributes:
        name: As tables show it, with `<task>`, `k` and `m` for what differs.
        pattern: Regular expression of the names of its results.
        says: What it is, in a sentence or two.
        formula: How it is computed.
        better: `up`, `down`, the best value, or `neither`.
    """

    name: str
    pattern: str
    says: str
    formula: str
    better: str

    @property
    def anchor(self) -> str:
        """A name for links."""
        return "metric-" + re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


ENTRIES = (
    Entry(
        "<task>/auc",
        _TASK + "auc" + _BAND,
        "How often a positive gets a higher logit than a negative, over all observed rows. `_head`, `_torso`, `_tail`: "
        "rows of items by popularity; `_new`: of items that the encodings do not know.",
        "P(z⁺ > z⁻) + ½ P(z⁺ = z⁻)",
        "up",
    ),
    Entry(
        "<task>/gauc, <task>/uauc",
        _TASK + "(request_)?[gu]auc",
        "AUC within each user (`request_`: each request), then the mean over users: weighted by impressions (gauc), or "
        "equally (uauc). Groups of one class are left out.",
        "Σ_g w_g · AUC_g / Σ_g w_g",
        "up",
    ),
    Entry(
        "<task>/logloss",
        _TASK + "logloss",
        "Mean negative log-likelihood of the labels, in nats.",
        "−mean(y ln p + (1 − y) ln(1 − p))",
        "down",
    ),
    Entry(
        "<task>/auc_logloss",
        _TASK + "auc_logloss",
        "Order and probabilities in one number: the mean of the AUC and of the share of the labels' entropy H that is "
        "explained.",
        "(AUC + 1 − logloss / H) / 2, H = −ȳ ln ȳ − (1 − ȳ) ln(1 − ȳ)",
        "up",
    ),
    Entry(
        "<task>/rmse",
        _TASK + "rmse",
        "How far predicted numbers are from the labels, in the label's unit.",
        "√mean((z − y)²)",
        "down",
    ),
    Entry(
        "<task>/pcoc",
        _TASK + "pcoc",
        "Predicted over observed positives: above 1 the model predicts too much.",
        "Σ p / Σ y",
        "1",
    ),
    Entry(
        "<task>/ece",
        _TASK + "ece",
        "Calibration error: distance of prediction and outcome in 20 bins of equal weight.",
        "Σ_b W_b / W · |mean_b p − mean_b y|",
        "down",
    ),
    Entry(
        "<task>/precision_p, recall_p, f1_p",
        _TASK + "(precision|recall|f1)_p[0-9.e-]+",
        "Precision, recall and their harmonic mean of the rows with a probability of at least the number behind `p`.",
        "TP / (TP + FP), TP / (TP + FN), 2 TP / (2 TP + FP + FN)",
        "up",
    ),
    Entry(
        "<task>/recall@k",
        _TASK + "recall(_by_score)?@([0-9]+|k)",
        "Share of a request's positives among its k best of all candidates, where 1 can be reached; the mean over "
        "requests. By the task's logit; `_by_score`: by the ranking score.",
        "TP@k / min(positives, k)",
        "up",
    ),
    Entry(
        "<task>/hit_rate@k",
        _TASK + "hit_rate(_by_score)?@[0-9]+",
        "Share of a request's positives among its k best; the mean over requests.",
        "TP@k / positives",
        "up",
    ),
    Entry(
        "<task>/ndcg@k",
        _TASK + "ndcg(_by_score)?@[0-9]+",
        "Discounted gain of the first k places, divided by that of the best order; the mean over requests.",
        "DCG@k / IDCG@k, DCG = Σ_i (2^y_i − 1) / log₂(i + 1)",
        "up",
    ),
    Entry(
        "<task>/letor_ndcg_zero@k, letor_ndcg_one@k, letor_ndcg_skip@k",
        _TASK + "letor_ndcg_(zero|one|skip)(_by_score)?@[0-9]+",
        "NDCG as learning-to-rank benchmarks report it: the mean over all requests, those without a relevant candidate "
        "as 0 (MSLR-WEB's script), as 1 (LightGBM), or left out.",
        "as ndcg@k",
        "up",
    ),
    Entry(
        "<task>/mrr@k",
        _TASK + "mrr(_by_score)?@[0-9]+",
        "Reciprocal rank of a request's first positive, 0 beyond k; the mean over requests.",
        "1 / rank of the first positive",
        "up",
    ),
    Entry(
        "<task>/map@k",
        _TASK + "map(_by_score)?@[0-9]+",
        "Average precision: precision at the rank of each positive of the first k; the mean over requests.",
        "Σ_{positives i, rank_i ≤ k} (TP@rank_i / rank_i) / min(positives, k)",
        "up",
    ),
    Entry(
        "teacher_recall@k_m",
        "teacher_recall@([0-9]+|k)_[0-9]+" + _BAND,
        "Share of the teacher's m best candidates among the model's k best, of those that the teacher scored: what the "
        "ranker would want that the pre-ranker passes on.",
        "|top_m(teacher) ∩ top_k(model)| / m",
        "up",
    ),
    Entry(
        "best_recall@k_m",
        "best_recall@([0-9]+|k)_[0-9]+" + _BAND,
        "The same for the m truly best, which a synthetic world knows. Any `OverlapWithColumn` is read this way.",
        "|top_m(column) ∩ top_k(model)| / m",
        "up",
    ),
    Entry(
        "stage_recall@k_stage, <task>/stage_recall@k",
        _TASK + "stage_recall@([0-9]+|k)(_preranked|_ranked|_exposed)?",
        "Share of the candidates that got to a stage (or had a positive label) among the model's k best of all "
        "candidates. It needs no teacher.",
        "|wanted ∩ top_k(model)| / |wanted|",
        "up",
    ),
    Entry(
        "teacher_kendall_tau",
        "teacher_kendall_tau",
        "Kendall's τ_b of the model's order and the teacher's within a request; the mean over requests.",
        "(concordant − discordant) / √((pairs − ties₁)(pairs − ties₂))",
        "up",
    ),
    Entry(
        "teacher_inversion_rate",
        "teacher_inversion_rate",
        "Share of the pairs that the teacher orders which the model orders the other way round; ties count ½.",
        "discordant / pairs",
        "down",
    ),
    Entry(
        "coverage@k",
        "coverage@[0-9]+",
        "Share of the candidate items that are passed on in any request.",
        "|⋃_r top_k(r)| / |items|",
        "neither",
    ),
    Entry(
        "gini@k",
        "gini@[0-9]+",
        "How unevenly items are passed on: 0 if all equally, near 1 if only a few.",
        "Σ_i Σ_j |n_i − n_j| / (2 |items|² n̄)",
        "neither",
    ),
    Entry(
        "…_skipped",
        ".*_skipped",
        "Number of groups that a metric leaves out because their order says nothing (`metrics.counts`).",
        "a count",
        "neither",
    ),
    Entry(
        "gap recovered",
        "gap_recovered.*|gap recovered",
        "Share of the teacher's lead over the control that the student recovers, where that lead is more than chance.",
        "(distilled − control) / (teacher − control)",
        "up",
    ),
    Entry(
        "distilled − control",
        "distilled − control",
        "Difference on the same requests, ± standard error; * marks more than two of them, over 30 requests or more.",
        "mean_r(distilled_r − control_r)",
        "the metric's",
    ),
    Entry(
        "val",
        "val",
        "The same metric on validation, at the checkpoint that was chosen there.",
        "as on test",
        "the metric's",
    ),
    Entry(
        "train/loss",
        "train/loss.*",
        "The loss that training minimises: the weighted sum of its terms.",
        "Σ_terms weight · loss",
        "down",
    ),
    Entry("parameters", "parameters", "Weights of a model, embeddings included.", "a count", "down"),
    Entry("steps", "steps", "Optimiser steps of training.", "a count", "neither"),
    Entry(
        "seconds",
        "seconds",
        "Seconds of training, including validation; `*` marks a model from the cache, with its earlier seconds.",
        "wall clock",
        "down",
    ),
    Entry(
        "kFLOPs/request",
        "kFLOPs/request|request_flops",
        "Thousands of floating-point operations that a request costs once, however many candidates it has.",
        "counted",
        "down",
    ),
    Entry(
        "kFLOPs/candidate",
        "kFLOPs ?/cand(idate|\\.)|candidate_flops",
        "Thousands of floating-point operations for each candidate, stored vectors not counted.",
        "counted",
        "down",
    ),
    Entry(
        "lookups/candidate",
        "lookups/candidate|candidate_lookups",
        "Embedding rows read for each candidate.",
        "counted",
        "down",
    ),
    Entry(
        "bytes/item",
        "bytes ?/item|item_bytes",
        "Size of the stored data of an item, such as its vector.",
        "counted",
        "down",
    ),
    Entry(
        "ms for 1,000",
        "ms for 1,000.*|ms_p(50|99)@1000",
        "Milliseconds to score a request of 1,000 candidates on this machine, one thread: median and 99th percentile.",
        "timed",
        "down",
    ),
    Entry(
        "ms to encode a request",
        "ms to encode a request|encode_ms_p50",
        "Milliseconds from the raw values of a request to ids and numbers, the median.",
        "timed",
        "down",
    ),
    Entry(
        "shown recall, ranked recall",
        "shown_recall|ranked_recall|shown recall|ranked recall",
        "Of a cascade: share of what the ranker alone would show that is shown with the student before it; of its "
        "best m, share that the student passes on.",
        "|with student ∩ ranker alone| / |ranker alone|",
        "up",
    ),
    Entry(
        "joint recall",
        "joint_recall|joint .*|joint recall|R@[0-9]+@[0-9]+",
        "Of a cascade: share of the truly best candidates that are shown; written `R@t@n`.",
        "|wanted ∩ shown| / |wanted|",
        "up",
    ),
    Entry(
        "value kept",
        "value kept|value",
        "Of a cascade: value of the page with the student, divided by that of the best page.",
        "Σ value(page) / Σ value(best page)",
        "up",
    ),
    Entry(
        "value of a place", "value of a place", "Mean value of the items that a page shows.", "Σ value / places", "up"
    ),
    Entry(
        "intra-list distance",
        "intra-list distance.*",
        "How different the items of a page are: mean over its pairs.",
        "mean(1 − cos(v_i, v_j))",
        "up",
    ),
    Entry(
        "share of the categories",
        "share of the categories",
        "Share of the categories of what the ranker passed on that the page shows.",
        "|shown| / |there|",
        "up",
    ),
    Entry(
        "α-NDCG",
        "α-NDCG",
        "NDCG whose gain of a category shrinks each time it is shown again.",
        "gain · (1 − α)^(times shown before), α = ½",
        "up",
    ),
    Entry(
        "true chance of a click on what is shown",
        "true chance of a click on what is shown",
        "Of the feedback study: the true click chance of the items that a round showed, which a synthetic world knows.",
        "mean p over what was shown",
        "up",
    ),
    Entry(
        "Gini of exposures",
        "Gini of exposures",
        "How unevenly items were shown in a round: 0 if all equally, near 1 if only a few.",
        "as gini@k, of exposures",
        "neither",
    ),
    Entry(
        "share of exposures of …",
        "share of exposures of .*",
        "Exposures of a round that went to the most shown items, to the tail, or to new items.",
        "exposures of these / exposures",
        "neither",
    ),
    Entry(
        "share of items shown at all",
        "share of items shown at all",
        "Items that a round showed at least once.",
        "|shown| / |items|",
        "neither",
    ),
    Entry(
        "exposures of a new candidate over any's",
        "exposures of a new candidate over any's",
        "Whether a new item is shown as often as others when it is a candidate: 1 if so.",
        "(exposures / candidacies of new items) / (the same of all)",
        "neither",
    ),
)


def entry_of(name: str) -> Entry | None:
    """Finds what a name in a table means, with or without `val/` or `test/`; None of a metric of one's own."""
    stem = re.sub("^(val|test)/", "", name)
    return next((entry for entry in ENTRIES if re.fullmatch(entry.pattern, stem)), None)


def glossary_markdown() -> str:
    """Writes the table of docs/glossary.md."""
    lines = ["| name | what | formula | better |", "|---|---|---|---|"]
    for entry in ENTRIES:
        cells = (f"`{entry.name}`", entry.says, f"`{entry.formula}`", entry.better)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
