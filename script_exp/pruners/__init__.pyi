"""What the package exports; each name is imported from its file when it is first used."""

from .before_llm.cdpruner import CDPruner as CDPruner
from .before_llm.divprune import DivPrune as DivPrune
from .before_llm.fastervlm import FasterVLM as FasterVLM
from .before_llm.gprune import GPrune as GPrune
from .before_llm.graph import Graph as Graph
from .before_llm.graph import GraphRedundancy as GraphRedundancy
from .before_llm.hiprune import HiPrune as HiPrune
from .before_llm.holov import HoloV as HoloV
from .before_llm.none import NoPruning as NoPruning
from .before_llm.query import QueryConditioned as QueryConditioned
from .before_llm.query import QueryDPP as QueryDPP
from .before_llm.random import Random as Random
from .before_llm.scope import Scope as Scope
from .before_llm.script import Script as Script
from .before_llm.script_released import ScriptReleased as ScriptReleased
from .before_llm.stride import Stride as Stride
from .before_llm.trim import Trim as Trim
from .before_llm.vispruner import VisPruner as VisPruner
from .contract.layer_pruner import LayerPruner as LayerPruner
from .contract.pruner import Kept as Kept
from .contract.pruner import Pruner as Pruner
from .contract.pruner import Query as Query
from .contract.pruner import ScorePruner as ScorePruner
from .contract.pruner import VisualTokens as VisualTokens
from .inside_llm.fastv import FastV as FastV
from .inside_llm.pyramid import Pyramid as Pyramid
