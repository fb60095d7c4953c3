"""Public data sets in the layouts of their original archives: a schema and, where the files need it, a conversion."""

from distill.data.datasets.archives.ali_ccp import AliCcp
from distill.data.datasets.archives.aliexpress import AliExpress
from distill.data.datasets.archives.avazu import Avazu
from distill.data.datasets.archives.criteo import Criteo
from distill.data.datasets.archives.ebnerd import EbNerd
from distill.data.datasets.archives.kuairand import KuaiRand
from distill.data.datasets.archives.kuaivideo import KuaiVideo
from distill.data.datasets.archives.mind import Mind
from distill.data.datasets.archives.recflow import RecFlow
from distill.data.datasets.archives.source import Archive, ArchiveSource, Written
from distill.data.datasets.archives.taobao_ad import TaobaoAd
from distill.data.datasets.archives.yandex_clicks import YandexClicks

__all__ = [
    "AliCcp",
    "AliExpress",
    "Archive",
    "ArchiveSource",
    "Avazu",
    "Criteo",
    "EbNerd",
    "KuaiRand",
    "KuaiVideo",
    "Mind",
    "RecFlow",
    "TaobaoAd",
    "Written",
    "YandexClicks",
]
