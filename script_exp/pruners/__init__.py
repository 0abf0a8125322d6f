"""The methods, one file each. How to add one: CONTRIBUTING.md."""

from script_exp.pruners.before_llm.graph import Graph, GraphRedundancy
from script_exp.pruners.before_llm.none import NoPruning
from script_exp.pruners.before_llm.query import QueryConditioned, QueryDPP
from script_exp.pruners.before_llm.random import Random
from script_exp.pruners.before_llm.script import Script
from script_exp.pruners.before_llm.script_released import ScriptReleased
from script_exp.pruners.before_llm.trim import Trim
from script_exp.pruners.contract.layer_pruner import LayerPruner
from script_exp.pruners.contract.pruner import Kept, Pruner, Query, ScorePruner, VisualTokens
from script_exp.pruners.inside_llm.fastv import FastV
from script_exp.pruners.inside_llm.pyramid import Pyramid

__all__ = [
    "FastV",
    "Graph",
    "GraphRedundancy",
    "Kept",
    "LayerPruner",
    "NoPruning",
    "Pruner",
    "Pyramid",
    "Query",
    "QueryConditioned",
    "QueryDPP",
    "Random",
    "ScorePruner",
    "Script",
    "ScriptReleased",
    "Trim",
    "VisualTokens",
]
