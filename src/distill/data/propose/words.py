"""What the names of raw columns say: names as words, and the words that mean something."""

from __future__ import annotations

import re
from collections.abc import Collection

_WORD = re.compile(r"[^\W\d_]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_PLURAL = {"status", "news", "is", "os", "class", "address", "has", "ts", "pos", "bus", "ads", "ids"}

ID = {"id", "key", "uuid", "hash", "no"}
REQUEST = (
    *("request", "req", "search", "srch", "query", "q", "impression", "imp", "serp", "pageview", "trace", "auction"),
    *("session", "sess", "r"),
)
USER = ("user", "u", "member", "visitor", "customer", "client", "account", "buyer", "viewer", "reader", "cookie")
ITEM = (
    *("item", "i", "product", "prod", "article", "document", "doc", "sku", "asin", "goods", "ad", "adgroup"),
    *("creative", "video", "photo", "movie", "film", "news", "song", "track", "listing", "property", "prop", "hotel"),
    *("offer", "book", "post", "recipe", "job", "poi", "content", "candidate"),
)
SHOWN = {"inview", "shown", "candidate", "target", "exposed", "displayed", "impression", "impressed", "slate"}
TIME = {"time", "timestamp", "ts", "date", "datetime", "dt", "unixtime", "day", "epoch"}
OTHER_TIME = {
    *("release", "released", "birth", "birthday", "publish", "published", "register", "registered", "signup"),
    *("expire", "expiry", "update", "updated", "modified", "last", "end", "created", "next", "click", "first"),
}
CLICK = {"click", "clicked", "clk", "tap"}
PURCHASE = {
    *("buy", "bought", "purchase", "purchased", "conversion", "convert", "converted", "conv", "order", "ordered"),
    *("pay", "paid", "book", "booked", "booking", "install", "installed", "download", "downloaded", "apply"),
}
LABEL = {
    *CLICK,
    *PURCHASE,
    *("label", "target", "like", "liked", "love", "loved", "favorite", "favourite", "fav", "collect", "cart", "atc"),
    *("share", "shared", "follow", "forward", "comment", "subscribe", "dislike", "hate", "skip", "skipped", "view"),
    *("viewed", "response", "outcome", "y"),
}
GRADE = {"relevance", "rel", "grade", "rating", "star", "label", "gain", "target"}
NO_LABEL = {
    *("hist", "history", "past", "prev", "previous", "last", "recent", "num", "number", "count", "cnt", "avg", "mean"),
    *("rate", "ratio", "before", "total", "sum", "type", "time", "seq", "sequence"),
}
TEACHER = {
    *("teacher", "ranker", "score", "ctr", "cvr", "pctr", "pcvr", "prob", "probability", "logit"),
    *("pred", "prediction", "predicted"),
}
OUTCOME = {"dwell", "scroll", "position", "pos", "rank", "slot", "next", "revenue", "gmv", "stay"}
_WATCH, _LASTED = {"watch", "read", "play", "view", "viewed", "listen"}, {"time", "duration", "ratio", "sec", "ms"}
CODE = {
    *("id", "code", "type", "category", "categorical", "cat", "cate", "class", "brand", "city", "region", "country"),
    *("gender", "sex", "device", "os", "browser", "zip", "postcode", "language", "lang", "segment", "cluster", "hash"),
    *("weekday", "hour", "month", "channel", "flag", "genre", "shop", "seller", "store", "group"),
}
AMOUNT = {
    *("num", "number", "numerical", "numeric", "count", "cnt", "price", "amount", "qty", "quantity", "total", "age"),
    *(
        "length",
        "len",
        "size",
        "width",
        "height",
        "distance",
        "rate",
        "ratio",
        "avg",
        "mean",
        "sum",
        "days",
        "duration",
    ),
    *("click", "view", "sale", "order", "age", "day", "discount", "stock", "weight", "percent", "percentage"),
}
STAGES = {
    "exposed": {"exposed", "shown", "impression", "impressed", "displayed", "exposure", "served", "viewed"},
    "ranked": {"ranked", "rank", "ranking"},
    "preranked": {"preranked", "prerank", "preranking", "pre_ranked", "coarse", "prerank_pass"},
    "recalled": {"recalled", "recall", "retrieved", "retrieval", "matched", "match", "dropped"},
}
"""Stage of ours to the values that logs write for it."""


def words(name: str) -> list[str]:
    """Splits a name where it changes its case, at digits and signs: `articleIds_inview` is article, id, inview."""
    found = [word.lower() for word in _WORD.findall(_CAMEL.sub("_", name))]
    return [part for word in found for part in _parts(_singular(word))]


def has(name: str, meaning: Collection[str]) -> bool:
    """Whether a word of a name is among some."""
    return not set(meaning).isdisjoint(words(name))


def names_key(name: str, entities: Collection[str], beside: Collection[str] = ()) -> int | None:
    """Says which entity a name is the key of, as its place in the list: `item_id`, `itemId` and `item` are, not
    `item_category_id`. None if it is none's.

    Args:
        name: Of a column.
        entities: Words for what the key is of, the likeliest first.
        beside: Other words that the name may hold.
    """
    left = [word for word in words(name) if word not in ID]
    has_id = len(left) < len(words(name))
    places = [place for place, entity in enumerate(entities) if entity in left and (has_id or len(entity) > 1)]
    rest = [word for word in left if word not in entities and word not in beside]
    return min(places) if places and not rest else None


def is_outcome(name: str) -> bool:
    """Whether a name is that of something known only after the candidate was shown: dwell time, position, …"""
    return has(name, OUTCOME) or (has(name, _WATCH) and has(name, _LASTED))


def _singular(word: str) -> str:
    if word == "ids":
        return "id"
    plural = len(word) > 3 and word.endswith("s") and not word.endswith("ss") and word not in _NO_PLURAL
    return word[:-1] if plural and word != "goods" else word


def _parts(word: str) -> list[str]:
    """Splits `userid` into user and id."""
    stem = word.removesuffix("id")
    return [stem, "id"] if stem != word and stem in {*REQUEST, *USER, *ITEM} else [word]
