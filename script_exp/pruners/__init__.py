"""The methods, one file each. How to add one: CONTRIBUTING.md."""

from script_exp.pruners.base import Kept, Pruner, Query, ScorePruner, VisualTokens
from script_exp.pruners.fastv import FastV
from script_exp.pruners.graph import Graph, GraphRedundancy
from script_exp.pruners.layer import LayerPruner
from script_exp.pruners.none import NoPruning
from script_exp.pruners.pyramid import Pyramid
from script_exp.pruners.query import QueryConditioned, QueryDPP
from script_exp.pruners.random import Random
from script_exp.pruners.script import Script
from script_exp.pruners.script_released import ScriptReleased
from script_exp.pruners.trim import Trim

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
