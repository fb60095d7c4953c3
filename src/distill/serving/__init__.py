"""What a server runs: a bundle that scores raw requests, without torch, Lightning or Hydra."""

from distill.serving.bundle import Bundle
from distill.serving.diversity import Quota, Rerank
from distill.serving.items import ItemVectors
from distill.serving.ranking import TopK
from distill.serving.scores import Scores

__all__ = ["Bundle", "ItemVectors", "Quota", "Rerank", "Scores", "TopK"]
