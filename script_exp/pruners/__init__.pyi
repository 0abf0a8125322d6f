"""What the package exports; each name is imported from its file when it is first used."""

from .before_llm.apet import ApET as ApET
from .before_llm.graph import Graph as Graph
from .before_llm.graph import GraphRedundancy as GraphRedundancy
from .before_llm.none import NoPruning as NoPruning
from .before_llm.pool import Pool as Pool
from .before_llm.prumerge import PruMerge as PruMerge
from .before_llm.prumerge_plus import PruMergePlus as PruMergePlus
from .before_llm.query import QueryConditioned as QueryConditioned
from .before_llm.query import QueryDPP as QueryDPP
from .before_llm.random import Random as Random
from .before_llm.script import Script as Script
from .before_llm.script_released import ScriptReleased as ScriptReleased
from .before_llm.tome import ToMe as ToMe
from .before_llm.trim import Trim as Trim
from .before_llm.visionzip import VisionZip as VisionZip
from .before_llm.vscan import VScan as VScan
from .contract.layer_pruner import LayerPruner as LayerPruner
from .contract.pruner import Kept as Kept
from .contract.pruner import Pruner as Pruner
from .contract.pruner import Query as Query
from .contract.pruner import ScorePruner as ScorePruner
from .contract.pruner import VisualTokens as VisualTokens
from .inside_llm.fastv import FastV as FastV
from .inside_llm.pyramid import Pyramid as Pyramid
