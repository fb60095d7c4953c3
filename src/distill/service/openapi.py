"""What /openapi.json says: the routes, with the raw columns of the bundle that is served."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distill.schema import AnyMade, FieldSpec, Kind, Side, Source
from distill.service.options import Options
from distill.service.requests import LOGITS, RANKING_SCORE
from distill.serving import Bundle

_NUMBERS = {"type": "array", "items": {"type": ["number", "null"]}}
_KEY = {"type": ["string", "integer"]}
_ID = {"type": ["string", "integer", "null"]}
_CATEGORY = {"type": ["string", "number", "boolean", "null"]}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string"},
        **{name: {"type": ["string", "null"]} for name in ("where", "expected", "found", "remedy")},
    },
}
_SCORED = {
    "version": {"type": "string"},
    "ranking_score": _NUMBERS,
    "logits": {"type": "array", "items": _NUMBERS},
    "predictions": {"type": "object", "additionalProperties": _NUMBERS},
    "positions": {"type": "array", "items": {"type": "integer"}},
    "missing": {"type": "array", "items": _KEY},
}
_RESULTS: Mapping[str, Any] = {
    "score": _SCORED,
    "top_k": {**_SCORED, "items": {"type": "array", "items": _KEY}},
    "items": {"version": {"type": "string"}, "items": {"type": "integer"}, "held": {"type": "integer"}},
}
_SAYS = {
    "score": "Scores the candidates of a request, in their order.",
    "top_k": "The best k candidates of a request, the best first.",
    "items": "Takes in items that are new: raw rows of which vectors are computed and kept for this version.",
    "healthz": "The process answers.",
    "readyz": "There is a bundle: its name and version, and the one that was refused.",
    "metrics": "Counters in Prometheus' format.",
}
_STATUSES = {
    "400": "The body is not what the bundle takes.",
    "401": "No token, or another one.",
    "403": "/items without a token.",
    "408": "The body came too slowly.",
    "409": "The version is not loaded.",
    "413": "The body is too large.",
    "429": "Too many requests wait.",
    "503": "There is no bundle, or the request waited too long.",
}


def _described(name: str) -> dict[str, Any]:
    found: dict[str, Any] = {"summary": _SAYS[name], "name": name, "response_model": None}
    if name in _RESULTS:
        errors = {
            s: {"description": d, "content": _json({"$ref": "#/components/schemas/Error"})}
            for s, d in _STATUSES.items()
        }
        result = {"type": "object", "properties": _RESULTS[name]}
        extra = {"requestBody": {"required": True, "content": _json({"$ref": f"#/components/schemas/{name}"})}}
        found["openapi_extra"] = {
            **extra,
            "responses": {**errors, "200": {"description": "The result.", "content": _json(result)}},
        }
    return found


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


DESCRIBED = {name: _described(name) for name in _SAYS}


def described(document: dict[str, Any], bundle: Bundle | None, options: Options) -> dict[str, Any]:
    """Returns the document of the routes with what bodies hold.

    Args:
        document: As FastAPI makes it.
        bundle: That is served, if there is one.
        options: Limits.
    """
    document = copy.deepcopy(document)
    document.setdefault("components", {})["schemas"] = {"Error": _ERROR, **_bodies(bundle, options)}
    return document


def _bodies(bundle: Bundle | None, options: Options) -> dict[str, Any]:
    sides = [] if bundle is None else bundle.manifest.sides
    fields = [] if bundle is None else [field for field in bundle.schema.fields if field.side in sides]
    request = _columns(fields, Side)
    candidate = _lists(fields, (Side.CANDIDATE,), options)
    cross = {name: candidate.get(name, value) for name, value in _lists(fields, (Side.CROSS,), options).items()}
    columns = [] if bundle is None else list(bundle.schema.score.columns)
    scored = {name: _list({"type": "number"}, options.candidates) for name in columns}
    rerank = None if bundle is None else bundle.manifest.rerank
    quotas = {} if rerank is None else {name: _list(_CATEGORY, options.candidates) for name in rerank.columns}
    tasks = [] if bundle is None else list(bundle.schema.task_names)
    names = {"type": "string", "enum": [RANKING_SCORE, LOGITS, *tasks]}
    score = {
        "request": _object(request, list(request)),
        "candidates": _object({**candidate, **cross, **scored}, [*cross, *scored]),
        "items": _list(_KEY, options.candidates),
        "fields": {"type": "array", "items": names},
        "missing": {"type": "string", "enum": ["error", "skip"], "default": "error"},
        "version": {"type": "string"},
    }
    k = {"type": "integer", "minimum": 1, "maximum": options.top_k}
    says = "in the order of the ranking score" if rerank is None else f"re-ranked: {rerank.text()}"
    top = {
        "candidates": _object({**quotas, **candidate, **cross, **scored}, [*cross, *scored]),
        "k": k,
        "rerank": {"type": "boolean", "default": True, "description": f"Of this bundle the best come {says}."},
    }
    return {
        "score": _object(score, [], closed=True),
        "top_k": _object({**score, **top}, ["k"], closed=True),
        "items": _object({"candidates": _object(candidate, list(candidate)), "version": {"type": "string"}},
                         ["candidates"], closed=True),
    }  # fmt: skip


def _columns(fields: Sequence[FieldSpec], sides: Iterable[Side], of_request: bool = True) -> dict[str, Any]:
    """Describes the raw columns of requests, or of candidates, that fields of some sides are read from; what a field is
    made of says less than a field of the column itself."""
    found: dict[str, Any] = {}
    for spec in sorted((f for f in fields if f.side in sides), key=lambda f: f.made is not None):
        for source in spec.sources:
            if (source.side is Side.REQUEST) == of_request:
                found.setdefault(source.column, _value(spec) if spec.made is None else _of_source(source, spec.made))
    return found


def _lists(fields: Sequence[FieldSpec], sides: Iterable[Side], options: Options) -> dict[str, Any]:
    columns = _columns(fields, sides, of_request=False)
    return {name: _list(value, options.candidates) for name, value in columns.items()}


def _of_source(source: Source, made: AnyMade) -> dict[str, Any]:
    value: dict[str, Any] = {"id": _ID, "number": {"type": ["number", "null"]}, "time": _ID}[made.role]
    return {"type": ["array", "null"], "items": value} if source.list else value


def _object(properties: dict[str, Any], required: list[str], closed: bool = False) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": not closed}


def _list(value: dict[str, Any], most: int) -> dict[str, Any]:
    return {"type": "array", "items": value, "maxItems": most}


def _value(field: FieldSpec) -> dict[str, Any]:
    if field.kind is Kind.TEXT:
        return {"type": ["string", "null"], "description": "Text, which is cut into words as in training."}
    if field.has_vectors:
        vector = {
            "type": ["array", "null"],
            "items": {"type": "number"},
            "minItems": field.width,
            "maxItems": field.width,
        }
        return vector if field.kind is Kind.VECTOR else {"type": ["array", "null"], "items": vector}
    if field.is_sequence:
        return {"type": ["array", "null"], "items": _ID}
    return {"type": ["number", "null"]} if field.kind is Kind.NUMBER else _ID
