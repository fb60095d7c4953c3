"""Hand-made archives of public data sets, in the documented layouts of the originals."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq


def write_criteo(folder: Path, rows: int = 600) -> Path:
    """`train.txt`: blanks are missing, counts may be negative."""
    rng = np.random.default_rng(0)
    lines = []
    for row in range(rows):
        counts = ["" if rng.random() < 0.2 else str(rng.integers(-2, 500)) for _ in range(13)]
        values = ["" if rng.random() < 0.1 else f"{rng.integers(0, 8):08x}" for _ in range(26)]
        lines.append("\t".join([str(row % 4 // 3), *counts, *values]))
    return _text(folder / "train.txt", lines)


def write_avazu(folder: Path, rows: int = 600) -> Path:
    """`train.gz`, as Kaggle packs it."""
    rng = np.random.default_rng(0)
    names = "site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,device_ip,device_model"
    later = ",".join(f"C{i}" for i in range(14, 22))
    lines = [f"id,click,hour,C1,banner_pos,{names},device_type,device_conn_type,{later}"]
    for row in range(rows):
        hour = datetime(2014, 10, 21) + timedelta(hours=240 * row // rows)
        hashes = [f"{rng.integers(0, 9):08x}" for _ in range(9)]
        others = [str(rng.integers(0, 5)) for _ in range(10)]
        lines.append(
            ",".join([str(10**19 + row), str(row % 4 // 3), f"{hour:%y%m%d%H}", "1005", "0", *hashes, *others])
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.gz").write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    return folder


def write_aliexpress(folder: Path, searches: int = 40) -> Path:
    """Both files number their searches from 0, and scatter their rows."""
    rng = np.random.default_rng(0)
    names = [f"categorical_{i}" for i in range(1, 17)], [f"numerical_{i}" for i in range(1, 64)]
    of_request = {*names[0][:9], *names[1][:23], *names[1][57:60]}
    for file in ("train", "test"):
        users = {name: rng.integers(0, 5, searches) for name in of_request}
        rows = []
        for search in np.tile(np.arange(searches), 8):
            cells = [users[n][search] if n in of_request else rng.integers(0, 3) for n in (*names[0], *names[1])]
            click = int(rng.random() < 0.3)
            rows.append(",".join(map(str, [search, *cells, click, int(click and rng.random() < 0.5)])))
        _text(folder / f"{file}.csv", [",".join(["search_id", *names[0], *names[1], "click", "conversion"]), *rows])
    return folder


def write_ebnerd(folder: Path, impressions: int = 60) -> Path:
    """Two sets with their behaviours and histories, and the articles of both."""
    rng = np.random.default_rng(0)
    start = datetime(2023, 5, 18)
    articles = list(range(9_000_000, 9_000_040))
    for number, split in enumerate(("train", "validation")):
        (folder / split).mkdir(parents=True)
        shown = [rng.permutation(articles)[: rng.integers(4, 9)].tolist() for _ in range(impressions)]
        table = {
            "impression_id": pa.array(np.arange(impressions) + 1000 * number, pa.uint32()),
            "article_id": pa.array([None] * impressions, pa.int32()),
            "impression_time": [start + timedelta(days=7 * number, hours=i) for i in range(impressions)],
            "read_time": pa.array(rng.random(impressions), pa.float32()),
            "article_ids_inview": pa.array(shown, pa.large_list(pa.int32())),
            "article_ids_clicked": pa.array([[ids[0]] for ids in shown], pa.large_list(pa.int32())),
            "user_id": pa.array(np.arange(impressions) % 12, pa.uint32()),
            "session_id": pa.array(np.arange(impressions), pa.uint32()),
            "is_sso_user": [i % 2 == 0 for i in range(impressions)],
            "is_subscriber": [i % 3 == 0 for i in range(impressions)],
            **{n: pa.array([None, 1, 2] * (impressions // 3), pa.int8()) for n in ("gender", "postcode", "age")},
            "device_type": pa.array([1, 2, 1] * (impressions // 3), pa.int8()),
        }
        pq.write_table(pa.table(table), folder / split / "behaviors.parquet")
        read = pa.array([articles[: 3 * u] for u in range(11)], pa.large_list(pa.int32()))  # the last user has none
        users = pa.array(np.arange(11), pa.uint32())
        pq.write_table(pa.table({"user_id": users, "article_id_fixed": read}), folder / split / "history.parquet")
    known = articles[:-1]  # of one nothing is known
    table = {
        "article_id": pa.array(known, pa.int32()),
        "published_time": [start - timedelta(hours=i) for i in range(len(known))],
        "premium": [i % 4 == 0 for i in range(len(known))],
        "article_type": ["article_default"] * len(known),
        "category": pa.array([i % 5 for i in range(len(known))], pa.int16()),
        "sentiment_label": ["Neutral", "Positive", "Negative"] * (len(known) // 3),
        "total_pageviews": pa.array([1] * len(known), pa.int32()),
    }
    pq.write_table(pa.table(table), folder / "articles.parquet")
    return folder


def write_mind(folder: Path, impressions: int = 60) -> Path:
    """Both sets number their impressions from 1; titles hold quotes; a user without a past has none."""
    rng = np.random.default_rng(0)
    for number, part in enumerate(("MINDsmall_train", "MINDsmall_dev")):
        lines = []
        for i in range(impressions):
            time = datetime(2019, 11, 9 + 6 * number, 8) + timedelta(minutes=7 * i)
            shown = rng.permutation(30)[: rng.integers(4, 9)]
            past = " ".join(f"N{n}" for n in range(i % 4))
            text = " ".join(f"N{news}-{int(place == 1)}" for place, news in enumerate(shown))
            stamp = f"{time.month}/{time.day}/{time.year} {time.hour % 12 or 12}:{time:%M:%S %p}"
            lines.append(f"{i + 1}\tU{i % 11}\t{stamp}\t{past}\t{text}")
        _text(folder / part / "behaviors.tsv", lines)
        news = [f'N{n}\tsports\tgolf{n % 3}\tHe said "no\tAbstract\thttps://x\t[]\t[]' for n in range(28 + number)]
        _text(folder / part / "news.tsv", news)
    return folder


def write_kuairand(folder: Path, rows: int = 200) -> Path:
    """KuaiRand-Pure's logs, users and videos, with columns that are not read too."""
    rng = np.random.default_rng(0)
    labels = "is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view"
    more = "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab"
    logs = ("log_standard_4_08_to_4_21", "log_standard_4_22_to_5_08", "log_random_4_22_to_5_08")
    for number, log in enumerate(logs):
        lines = [f"user_id,video_id,date,hourmin,time_ms,{labels},{more}"]
        for i in range(rows):
            acts = [int(rng.random() < 0.4) for _ in range(7)]
            cells = [
                rng.integers(0, 12),
                rng.integers(0, 30),
                20220408,
                100 * (i % 24),
                1649348000000 + 10**9 * number + i,
            ]
            lines.append(",".join(map(str, [*cells, *acts, 1, 1, 0, 0, 0, int(number == 2), i % 3])))
        _text(folder / f"{log}_pure.csv", lines)
    user = ["user_id", "user_active_degree", "is_lowactive_period", "is_live_streamer", "is_video_author"]
    for name in ("follow_user_num", "fans_user_num", "friend_user_num", "register_days"):
        user += [name, f"{name}_range"]
    user += [f"onehot_feat{i}" for i in range(18)]
    rows_of = [[u, "full_active", 0, 0, 1, *(5, '"(0,10]"') * 4, *([u % 3] * 17), ""] for u in range(11)]
    _text(folder / "user_features_pure.csv", [",".join(user), *(",".join(map(str, row)) for row in rows_of)])
    video = (
        "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height"
    )
    lines = [f"{video},music_id,music_type,tag"]
    lines += [f'{v},{v % 7},NORMAL,2022-01-01,ShortImport,1,{1000.0 * v},720,1280,{v % 5},4.0,"{v % 3},{v % 4}"' for v in range(29)]  # fmt: skip  # noqa: E501
    return _text(folder / "video_features_basic_pure.csv", lines)


def write_kuaivideo(folder: Path, rows: int = 600) -> Path:
    """Both files, in the order of time; a user begins without videos behind."""
    rng = np.random.default_rng(0)
    clicked: dict[int, list[str]] = {}
    passed: dict[int, list[str]] = {}
    for number, split in enumerate(("train", "test")):
        lines = ["timestamp,user_id,item_id,is_click,is_like,is_follow,pos_items,neg_items"]
        for i in range(rows):
            user, item, click = i % 17, int(rng.integers(0, 12)), int(rng.random() < 0.3)
            past = ["^".join(past.setdefault(user, [])[-100:]) for past in (clicked, passed)]
            lines.append(f"{rows * number + i},{user},{item},{click},{int(click and i % 9 == 0)},0,{past[0]},{past[1]}")
            (clicked if click else passed)[user].append(str(item))
        _text(folder / f"{split}.csv", lines)
    return folder


def write_yandex_clicks(folder: Path, sessions: int = 80) -> Path:
    """Sessions of one to three searches; every second search has a click on its first URL."""
    rng = np.random.default_rng(0)
    lines = []
    for session in range(sessions):
        for i in range(1 + session % 3):
            urls = rng.permutation(30)[:10]
            lines.append("\t".join(map(str, [session, 20 * i, "Q", rng.integers(0, 9), session % 4, *urls])))
            if (session + i) % 2 == 0:
                lines.append(f"{session}\t{20 * i + 5}\tC\t{urls[0]}")
    return _text(folder / "YandexRelPredChallenge.txt", lines)


def write_taobao_ad(folder: Path, rows: int = 600) -> Path:
    """The last name of the users' header has a blank behind it, as in the original; a brand may be NULL."""
    rng = np.random.default_rng(0)
    lines = ["user,time_stamp,adgroup_id,pid,nonclk,clk"]
    for i in range(rows):
        click = int(rng.random() < 0.3)
        time = 1494000000 + 691200 * i // rows
        lines.append(f"{i % 23},{time},{rng.integers(0, 30)},430548_1007,{1 - click},{click}")
    _text(folder / "raw_sample.csv", lines)
    ads = [f"{a},{a % 5},{a % 6},{a % 7},{'NULL' if a % 9 == 0 else a % 8},{9.9 * a}" for a in range(29)]
    _text(folder / "ad_feature.csv", ["adgroup_id,cate_id,campaign_id,customer,brand,price", *ads])
    header = "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,shopping_level,occupation"
    users = [f"{u},{u % 4},{u % 3},1,{u % 6},{'' if u % 2 else 2},3,0,{u % 5}" for u in range(22)]
    return _text(folder / "user_profile.csv", [f"{header},new_user_class_level ", *users])


def write_ali_ccp(folder: Path, rows: int = 300) -> Path:
    """Lists of features with control characters; a field of history holds several ids and is not read."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        users = [f"{u:016x}" for u in range(12)]
        lines = []
        for u, index in enumerate(users):
            found = [("101", u), ("109_14", 1), ("109_14", 2), *((f, u % 3) for f in ("121", "122", "124", "125"))]
            lines.append(f"{index},{len(found)},{_features(found)}")
        _text(folder / f"common_features_{split}.csv", lines)
        lines = []
        for i in range(rows):
            item = int(rng.integers(0, 20))
            found = [("205", item), ("206", item % 4), ("207", item % 5), ("216", item % 6), ("301", 1)]
            found += [("508", i % 7), ("509", i % 7)] if i % 2 else []
            click = int(rng.random() < 0.4)
            lines.append(f"{i},{click},{int(click and i % 3 == 0)},{users[i % 12]},{len(found)},{_features(found)}")
        _text(folder / f"sample_skeleton_{split}.csv", lines)
    return folder


def _features(found: Sequence[tuple[str, int]]) -> str:
    return "\x01".join(f"{field}\x02{value}\x031.0" for field, value in found)


def write_recflow(folder: Path, requests: int = 20) -> Path:
    """Three days; of each request 2 are shown, 4 ranked, 6 dropped by the coarse ranking, 6 before it."""
    rng = np.random.default_rng(0)
    (folder / "all_stage").mkdir(parents=True)
    for day in ("2024-02-16", "2024-02-17", "2024-02-18"):
        start = int(datetime.fromisoformat(day).timestamp())
        rows: list[dict[str, int]] = []
        for i in range(requests):
            same = {"request_id": 100 * start + i, "request_timestamp": 1000 * (start + i), "user_id": i % 7}
            same |= dict.fromkeys(("device_id", "age", "gender", "province"), i % 3)
            for place, video in enumerate(rng.permutation(40)[:18].tolist()):
                row = {**same, "video_id": video, "author_id": video % 9, "upload_timestamp": start - 3600 * video}
                row |= {"category_level_one": video % 3, "category_level_two": video % 5, "upload_type": 1}
                row |= {"duration": 1000 * video, "playing_time": 0, "rank_index": place, "rerank_index": 0}
                flags = {"realshow": place < 2, "rerank_pos": place < 2, "rerank_neg": False, "rank_pos": place < 2}
                flags |= {"rank_neg": 2 <= place < 6, "coarse_neg": 6 <= place < 12, "prerank_neg": place >= 12}
                row |= {name: int(flag) for name, flag in flags.items()}
                seen = place < 2 and rng.random() < 0.5
                acts = ("effective_view", "long_view", "like", "follow", "forward", "comment")
                rows.append({**row, **dict.fromkeys(acts, int(seen))})
        feather.write_feather(pa.Table.from_pylist(rows), str(folder / "all_stage" / f"{day}.feather"))
    return folder


def _text(path: Path, lines: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path.parent


WRITERS: dict[str, Callable[[Path], Path]] = {
    "criteo": write_criteo,
    "avazu": write_avazu,
    "aliexpress": write_aliexpress,
    "ebnerd": write_ebnerd,
    "mind": write_mind,
    "kuairand": write_kuairand,
    "kuaivideo": write_kuaivideo,
    "taobao_ad": write_taobao_ad,
    "ali_ccp": write_ali_ccp,
    "recflow": write_recflow,
    "yandex_clicks": write_yandex_clicks,
}
