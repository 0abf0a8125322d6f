"""One sample as a model sees it, and what a pruner keeps of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from script_exp.benchmarks.base import Sample
from script_exp.cell.prepared import RunCell
from script_exp.errors import UserError
from script_exp.models.families.adapter import EncodedImage
from script_exp.pruners import GraphRedundancy, LayerPruner, Query, QueryDPP, VisualTokens
from script_exp.pruners.contract.signals import NOTHING, Reads


@dataclass(frozen=True)
class Seen:
    """A sample after the vision tower and the query encoder.

    Attributes:
        sample: the question.
        pictures: (crops, height, width, 3) bytes: what the tower sees.
        grid: (rows, columns) of the tokens of a crop.
        image: its tokens; ``image.visual`` is what pruners see.
        query: the question as pruners see it; None if no query encoder was loaded.
    """

    sample: Sample
    pictures: np.ndarray
    grid: tuple[int, int]
    image: EncodedImage
    query: Query | None

    @property
    def visual(self) -> VisualTokens:
        """What pruners see."""
        return self.image.visual

    @property
    def tokens(self) -> int:
        """Number of visual tokens per crop."""
        return int(self.visual.projected.shape[1])

    def relevance(self) -> np.ndarray | None:
        """Return Script's relevance r to the question, (crops, n) in [0, 1]; None without a query."""
        if self.query is None or self.visual.joint is None:
            return None
        visual = VisualTokens(self.visual.projected.float(), _float(self.visual.joint))
        query = Query(self.query.embeddings.float(), self.query.sign)
        return np.asarray(QueryDPP().relevance(visual, query).cpu())

    def redundancy(self) -> np.ndarray:
        """Return Script's redundancy R, (crops, n), at least 0, at its default threshold."""
        return np.asarray(GraphRedundancy().redundancy(self.visual.projected.float()).cpu())


def see(cell: RunCell, samples: Iterable[Sample], others: Reads = NOTHING) -> Iterator[Seen]:
    """Encode samples one by one, with the question if the cell's pruner needs it.

    Args:
        cell: whose model and pruner to use.
        samples: the samples.
        others: what the pruners of other cells read of the same images.

    Raises:
        UserError: if the tokens of a crop are no grid of patches.
    """
    model, reads = cell.load(), cell.pruner.reads.of_whole_picture
    for sample in samples:
        processed = model.process(sample.visual())
        pictures = model.adapter.pictures(model.processing.image_processor, processed)
        image = model.encode(processed, reads | others.of_whole_picture).image
        grid = image.visual.grid
        if grid is None or len(pictures) != len(image.visual.projected):
            raise UserError(
                f"model={cell.settings.model.name}: sample {sample.id} cannot be drawn, because its tokens "
                "are no grid of patches in each crop; expected another sample or model"
            )
        query = model.encode_queries([cell.asking(sample).query], reads)[0] if reads.question else None
        yield Seen(sample, pictures, grid, image, query)


def kept_by(cell: RunCell, seen: Seen) -> list[list[int]] | None:
    """Return raster indices that the cell's pruner keeps per crop; None if it prunes in the LLM."""
    if isinstance(cell.pruner, LayerPruner):
        return None
    model, queries = cell.load(), None
    if cell.pruner.reads.question:  # its own text: another run's cell may have seen another one
        queries = model.encode_queries([cell.asking(seen.sample).query], cell.pruner.reads)
    image = seen.image
    if cell.pruner.reads.smaller_to is not None:
        image = model.encode(model.process(seen.sample.visual()), cell.pruner.reads).image
    (kept,) = model.select([image], [0], cell.pruner, queries, keys=[seen.sample.id])
    return kept.by_crop


def _float(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.float()
