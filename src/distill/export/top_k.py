"""The best candidates of requests in one program: items by position in what is stored, scores, order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from distill.errors import ConfigError
from distill.export.flat import example_lengths, example_side, run_part
from distill.export.programs import compile_program, export_module, save_exported
from distill.models.prerankers.base import SplitPreRanker
from distill.models.score import RankingScore
from distill.schema import FieldSpec, Kind, Schema, Side
from distill.serving.inputs import (
    CANDIDATE,
    POSITIONS,
    REQUEST,
    REQUEST_INDEX,
    ids_of,
    lengths_of,
    numbers_of,
    score_column_of,
    sequence_of,
    side_inputs,
    stored_of,
    vectors_of,
    within_of,
)
from distill.serving.manifest import Interaction, TopKProgram

DeviceType = Literal["float32", "float16"]
_REQUESTS, _CANDIDATES = 3, 7
# Different sizes everywhere, as in `example_lengths`: sizes that agree by chance would be taken for the same one.
_ITEMS, _STORED_IDS, _PLACES = 97, 258, 323


@dataclass(frozen=True)
class TopKOptions:
    """A program of the best candidates.

    Attributes:
        k: How many.
        type: In which item vectors are held on the device.
    """

    k: int
    type: DeviceType = "float32"


class TopK(nn.Module):
    """Scores candidates that are named by position in a catalogue, and orders them.

    What is stored of the catalogue are arguments like any other, so that the program goes with every catalogue of its
    version; whoever calls it holds them on the device.

    Args:
        model: In evaluation mode.
        schema: Its view of the schema.
        k: How many candidates are returned.

    Attributes:
        inputs: Names of its arguments, in their order.
    """

    def __init__(self, model: nn.Module, schema: Schema, k: int) -> None:
        super().__init__()
        self.model, self.schema, self.k = model, schema, k
        self.ranking = RankingScore(schema)
        self.interaction = _interaction(model)
        bias = () if self.interaction is None else self.interaction.bias
        self.register_buffer("bias", torch.tensor(bias, dtype=torch.float32))
        kind = None if self.interaction is None else self.interaction.type
        self.reads_request = kind != "item"
        self.reads_pair = kind in (None, "program") and len(schema.side(Side.CROSS)) > 0
        self.inputs = self._names()

    def _names(self) -> tuple[str, ...]:
        of_request = side_inputs(self.schema.side(Side.REQUEST), Side.REQUEST) if self.reads_request else []
        of_pair = side_inputs(self.schema.side(Side.CROSS), Side.CROSS) if self.reads_pair else []
        fields = self.schema.side(Side.CANDIDATE)
        stored = [CANDIDATE] if self.interaction is not None else side_inputs(fields, Side.CANDIDATE)
        within = [within_of(f) for f in _sequences(fields)] if self.interaction is None else []
        columns = map(score_column_of, self.schema.score.columns)
        return (*of_request, POSITIONS, *of_pair, *columns, *map(stored_of, stored), *within)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the best candidates of R requests, the best first, of equal ones the first before the others.

        Args:
            tensors: By `inputs`: fields of the requests `[R, …]`; positions of candidates `[R, N]`, -1 of none; fields
                of the pairs `[R, N, …]` and columns of the ranking score `[R, N]`, anything but 0 where there is no
                candidate; what is stored.

        Returns:
            Ranking scores `[R, k]`, places among the candidates of a request `[R, k]`, logits `[R, k, K]`; where there
            are fewer candidates than k -∞, -1 and -∞.
        """
        given = dict(zip(self.inputs, tensors, strict=True))
        positions = given[POSITIONS]
        requests, candidates = positions.shape
        logits = self._logits(given).float()
        columns = {name: given[score_column_of(name)].reshape(-1) for name in self.schema.score.columns}
        scores = self.ranking(logits, columns).reshape(requests, candidates)
        # k more places that hold none: there are always k to choose from
        known = torch.cat([positions >= 0, positions.new_zeros((requests, self.k)) > 0], 1)
        scores = torch.cat([scores, scores.new_zeros((requests, self.k))], 1).masked_fill(~known, -torch.inf)
        order = scores.argsort(dim=1, descending=True, stable=True)[:, : self.k]
        chosen = known.gather(1, order)
        tasks = logits.shape[1]
        rows = torch.cat([logits.reshape(requests, candidates, tasks), logits.new_zeros((requests, self.k, tasks))], 1)
        of_chosen = rows.gather(1, order.unsqueeze(2).expand(-1, -1, tasks))
        return (
            scores.gather(1, order),
            order.masked_fill(~chosen, -1),
            of_chosen.masked_fill(~chosen.unsqueeze(2), -torch.inf),
        )

    def _logits(self, given: Mapping[str, Tensor]) -> Tensor:
        """Returns logits `[R·N, K]`."""
        positions = given[POSITIONS]
        requests, candidates = positions.shape
        rows = positions.clamp(min=0).reshape(-1)
        index = torch.arange(requests, device=positions.device).unsqueeze(1).expand(-1, candidates).reshape(-1)
        if self.interaction is None:
            items = self._stored_fields(given, rows)
            return run_part(self.model, self.schema, "whole", {**given, **items, **self._pair(given, index)})
        vectors = given[stored_of(CANDIDATE)].index_select(0, rows).float()
        request = run_part(self.model, self.schema, "request", given) if self.reads_request else None
        if self.interaction.type != "program":
            return self._combined(request, vectors, requests, candidates)
        assert request is not None
        pair = self._pair(given, index)
        return run_part(self.model, self.schema, "interact", {**pair, REQUEST: request, CANDIDATE: vectors})

    def _combined(self, request: Tensor | None, vectors: Tensor, requests: int, candidates: int) -> Tensor:
        """Does what `distill.serving.interaction.combine` does."""
        assert self.interaction is not None
        bias = self.get_buffer("bias")
        if request is None:
            return vectors + bias
        own = vectors.reshape(requests, candidates, *vectors.shape[1:])
        if self.interaction.type == "sum":
            return (request.unsqueeze(1) + own + bias).flatten(0, 1)
        if own.shape[2] == 1:
            logits = own.squeeze(2) @ request.transpose(1, 2)
        else:
            logits = torch.einsum("rnkd,rkd->rnk", own, request)
        return (logits + bias).flatten(0, 1)

    def _pair(self, given: Mapping[str, Tensor], index: Tensor) -> dict[str, Tensor]:
        """Returns what belongs to pairs, a row each."""
        found = {REQUEST_INDEX: index}
        if not self.reads_pair:
            empty = index.new_zeros((index.shape[0], 0))
            return {**found, ids_of(Side.CROSS): empty, numbers_of(Side.CROSS): empty.float()}
        names = side_inputs(self.schema.side(Side.CROSS), Side.CROSS)
        return {**found, **{name: given[name].flatten(0, 1) for name in names}}

    def _stored_fields(self, given: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        """Returns the fields of candidates `[R·N, …]`, sequences padded."""
        fields = self.schema.side(Side.CANDIDATE)
        ids, numbers = ids_of(Side.CANDIDATE), numbers_of(Side.CANDIDATE)
        found = {ids: given[stored_of(ids)].index_select(0, rows).long()}
        for name in (numbers, *(vectors_of(f) for f in fields if f.kind is Kind.VECTOR)):
            found[name] = given[stored_of(name)].index_select(0, rows)
        for spec in _sequences(fields):
            values, ends = given[stored_of(sequence_of(spec))], given[stored_of(lengths_of(spec))]
            first = torch.where(rows > 0, ends.index_select(0, (rows - 1).clamp(min=0)), 0)
            lengths = ends.index_select(0, rows) - first
            within = given[within_of(spec)].unsqueeze(0)
            place = (first.unsqueeze(1) + within).clamp(max=values.shape[0] - 1)
            taken = values.index_select(0, place.reshape(-1)).long().reshape(place.shape)
            found[sequence_of(spec)] = taken.masked_fill(within >= lengths.unsqueeze(1), 0)
            found[lengths_of(spec)] = lengths
        return found


def _interaction(model: nn.Module) -> Interaction | None:
    """How both sides are combined; None of a model that is a whole."""
    if not isinstance(model, SplitPreRanker):
        return None
    return model.closed_form() or Interaction(type="program")


def _sequences(fields: Sequence[FieldSpec]) -> list[FieldSpec]:
    return [spec for spec in fields if spec.is_sequence]


def export_top_k(model: nn.Module, schema: Schema, options: TopKOptions) -> tuple[tuple[str, ...], ExportedProgram]:
    """Exports the program for any number of requests, candidates, items and values of sequences.

    Args:
        model: In evaluation mode.
        schema: Its view of the schema.
        options: Of the program.

    Returns:
        The names of its inputs, and it.

    Raises:
        ConfigError: torch cannot export it, or a whole model is to hold vectors that it does not have.
    """
    module = TopK(model, schema, options.k).eval()
    if module.interaction is None and options.type != "float32":
        raise ConfigError(
            "This model has no item vectors, since it reads request and item together: features of items are stored.",
            where="top_k_type",
            expected="float32, or a pre-ranker in parts, such as two_tower",
            found=f"{options.type}, {type(model).__name__}",
        )
    drawn = _example(module, schema, options.type)
    sizes = tuple(_dynamic(name) for name in module.inputs)
    program = export_module(module, tuple(drawn[name] for name in module.inputs), sizes, "top_k", type(model).__name__)
    return module.inputs, program


def _dynamic(name: str) -> dict[int, object]:
    """All sizes but the widths that the schema fixes."""
    of_pair = name == POSITIONS or name.startswith((f"{Side.CROSS.value}_", "score_column_"))
    dims = [0, 1] if of_pair else [0]
    if "_sequence_" in name and not name.startswith("stored_"):
        dims = [*dims, len(dims)]
    return dict.fromkeys(dims, Dim.DYNAMIC)


def _example(module: TopK, schema: Schema, kind: DeviceType) -> dict[str, Tensor]:
    generator, longest = torch.Generator().manual_seed(0), example_lengths()
    pairs = (_REQUESTS, _CANDIDATES)
    found = example_side(schema.side(Side.REQUEST), Side.REQUEST, _REQUESTS, longest, generator)
    crossed = example_side(schema.side(Side.CROSS), Side.CROSS, _REQUESTS * _CANDIDATES, longest, generator)
    found |= {name: tensor.reshape(*pairs, *tensor.shape[1:]) for name, tensor in crossed.items()}
    found[POSITIONS] = torch.randint(-1, _ITEMS, pairs, generator=generator)
    found |= {score_column_of(name): torch.rand(pairs, generator=generator) + 0.5 for name in schema.score.columns}
    fields = schema.side(Side.CANDIDATE)
    items = example_side(fields, Side.CANDIDATE, _ITEMS, longest, generator)
    if module.interaction is not None:
        with torch.no_grad():
            items = {CANDIDATE: run_part(module.model, schema, "candidate", items).to(getattr(torch, kind))}
    for place, spec in enumerate(_sequences(fields) if module.interaction is None else []):
        values = torch.randint(0, spec.size or 1, (_STORED_IDS + 32 * place,), generator=generator)
        ends = torch.randint(0, len(values), (_ITEMS - 1,), generator=generator).sort().values
        items[sequence_of(spec)] = values.int()
        items[lengths_of(spec)] = torch.cat([ends, torch.tensor([len(values)])])
        found[within_of(spec)] = torch.arange(_PLACES + 32 * place)
    if module.interaction is None:
        items[ids_of(Side.CANDIDATE)] = items[ids_of(Side.CANDIDATE)].int()
    return found | {stored_of(name): tensor for name, tensor in items.items()}


def write_top_k(
    root: Path, model: nn.Module, schema: Schema, options: TopKOptions, devices: Sequence[str]
) -> TopKProgram:
    """Writes the program of the best candidates.

    Args:
        root: Folder of the bundle.
        model: In evaluation mode.
        schema: Its view of the schema.
        options: Of the program.
        devices: For which AOTInductor compiles it too.

    Raises:
        ConfigError: torch cannot export it, or a compiler is missing.
    """
    inputs, program = export_top_k(model, schema, options)
    name = f"top_{options.k}"
    save_exported(program, root / f"{name}.pt2")
    compiled = {device: compile_program(root, name, program, device) for device in devices}
    return TopKProgram(file=f"{name}.pt2", k=options.k, type=options.type, inputs=inputs, compiled=compiled)
