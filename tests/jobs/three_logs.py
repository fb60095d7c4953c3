"""Made-up logs of a shop as a data lake holds them: impressions, clicks and purchases, a hive folder for each day."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

START, DAYS = datetime(2025, 3, 1), 7
_USERS, _ITEMS, _SHOWN = 40, 60, 8


def write_three_logs(folder: Path, requests: int = 60) -> Path:
    """Writes `impressions` and `purchases` (CSV) and `clicks` (JSON lines), all gzipped, below `dt=DAY`.

    A user clicks on the items of one category more often, and buys some of them five hours later, perhaps on the next
    day. The log of purchases is a day longer than that of impressions.
    """
    rng = np.random.default_rng(0)
    purchases = {_day(day): ["buyer,item_id,paid_at,amount"] for day in range(DAYS + 1)}
    for day in range(DAYS):
        shown = ["request_id,user_id,item_id,shown_at,country,device,category,price,position"]
        clicks = []
        for number in range(requests):
            user = int(rng.integers(_USERS))
            at = START + timedelta(days=day, minutes=20 * number)
            of_user = f"{at.isoformat()},{('NO', 'SE')[user % 2]},{('app', 'web')[user % 3 == 0]}"
            for place, item in enumerate(rng.permutation(_ITEMS)[:_SHOWN].tolist()):
                price = f"{5 + item * 1.5:.2f}"
                shown.append(f"r{day}-{number},u{user},i{item},{of_user},c{item % 5},{price},{place + 1}")
                if rng.random() < (0.6 if item % 5 == user % 5 else 0.08):
                    when = (at + timedelta(seconds=30)).isoformat()
                    clicks.append(
                        json.dumps({"request_id": f"r{day}-{number}", "item_id": f"i{item}", "shown_at": when})
                    )
                    if rng.random() < 0.5:
                        paid = at + timedelta(hours=5)
                        purchases[f"{paid:%Y-%m-%d}"].append(f"u{user},i{item},{paid.isoformat()},{price}")
        _packed(folder / "impressions" / f"dt={_day(day)}" / "part-0.csv.gz", shown)
        _packed(folder / "clicks" / f"dt={_day(day)}" / "part-0.jsonl.gz", clicks)
    purchases[_day(DAYS)].append(f"u{_USERS},i0,{_day(DAYS)}T23:00:00,5.00")
    for name, lines in purchases.items():
        _packed(folder / "purchases" / f"dt={name}" / "part-0.csv.gz", lines)
    return folder


def _day(number: int) -> str:
    return f"{START + timedelta(days=number):%Y-%m-%d}"


def _packed(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
