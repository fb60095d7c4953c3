"""Loss terms: weighted, scheduled modules that say on which rows and tasks they act."""

from distill.losses.setting import TaskInfo
from distill.losses.terms.base import LossInputs, LossTerm, TermSums
from distill.losses.terms.bernoulli_kl import BernoulliKL
from distill.losses.terms.contrastive import Contrastive
from distill.losses.terms.copr import COPR
from distill.losses.terms.de import DE
from distill.losses.terms.hard_bce import HardBCE
from distill.losses.terms.hard_mse import HardMSE
from distill.losses.terms.hint import Hint
from distill.losses.terms.item_contrast import ItemContrast
from distill.losses.terms.jrc import JRC
from distill.losses.terms.lambdarank import LambdaRank
from distill.losses.terms.listmle import RRD, ListMLE
from distill.losses.terms.listnet import ListNet
from distill.losses.terms.margin_mse import MarginMSE
from distill.losses.terms.mse import LogitMSE, ProbMSE
from distill.losses.terms.multi_positive_softmax import MultiPositiveSoftmax
from distill.losses.terms.rank_flow import RankFlow
from distill.losses.terms.ranknet import RankNet, TeacherRankNet
from distill.losses.terms.relational import Relational
from distill.losses.terms.relaxed_top_k import JointTopK, NeuralSort, RelaxedTopK
from distill.losses.terms.sampled_softmax import SampledSoftmax
from distill.losses.terms.soft_ce import SoftCE
from distill.losses.terms.softmax_kl import CLID, SoftmaxKL
from distill.losses.terms.stage_order import StageOrder
from distill.losses.terms.tiered_contrast import TieredContrast
from distill.losses.terms.unkd import UnKD

__all__ = [
    "CLID",
    "COPR",
    "DE",
    "JRC",
    "RRD",
    "BernoulliKL",
    "Contrastive",
    "HardBCE",
    "HardMSE",
    "Hint",
    "ItemContrast",
    "JointTopK",
    "LambdaRank",
    "ListMLE",
    "ListNet",
    "LogitMSE",
    "LossInputs",
    "LossTerm",
    "MarginMSE",
    "MultiPositiveSoftmax",
    "NeuralSort",
    "ProbMSE",
    "RankFlow",
    "RankNet",
    "Relational",
    "RelaxedTopK",
    "SampledSoftmax",
    "SoftCE",
    "SoftmaxKL",
    "StageOrder",
    "TaskInfo",
    "TeacherRankNet",
    "TermSums",
    "TieredContrast",
    "UnKD",
]
