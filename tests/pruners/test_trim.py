"""TRIM, against its rule written out."""

from __future__ import annotations

import pytest
import torch

from script_exp.errors import SettingError
from script_exp.pruners import Query, Trim, VisualTokens


def test_trim_aggregates_before_the_projector():
    torch.manual_seed(0)
    projector = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.GELU(), torch.nn.Linear(8, 5))
    tower, joint, query = torch.randn(1, 12, 6), torch.randn(1, 12, 3), Query(torch.randn(1, 3), sign=-1)
    with torch.no_grad():
        visual = VisualTokens(projector(tower), joint, tower, projector)
        kept = Trim(budget=4)(visual, query)
        scores = -(joint[0] @ query.embeddings[0])
        best = scores.topk(3).indices.sort().values
        rest = [i for i in range(12) if i not in best]
        wanted = torch.cat([visual.projected[0, best], projector(tower[0, rest].mean(dim=0, keepdim=True))])
    assert torch.equal(kept.indices[0], best)
    torch.testing.assert_close(kept.tokens[0], wanted)


def test_aggregation_needs_the_tower():
    visual = VisualTokens(torch.randn(1, 9, 4), torch.randn(1, 9, 3))
    with pytest.raises(SettingError, match="aggregate=True: expected false"):
        Trim(budget=2)(visual, Query(torch.randn(1, 3)))
