"""Texts of the rows of a batch, such as their questions, as a user of ``prune`` gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from script_exp.errors import UserError

PerRow = Sequence[str] | Callable[[Tensor], Sequence[str]]
"""One text per row, or a function that returns them for each call, from its ``input_ids`` (rows, length)."""


def per_row(name: str, given: PerRow | None, ids: Tensor) -> list[str] | None:
    """Return the texts of a batch's rows.

    Raises:
        UserError: if they are not one text per row.
    """
    if given is None:
        return None
    texts = given(ids) if callable(given) else given
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{name}={texts!r}: expected a list of texts, one for each of the {len(ids)} rows")
    if len(texts) != len(ids):
        raise UserError(f"{name} has {len(texts)} entries: expected one for each of the {len(ids)} rows")
    return list(texts)
