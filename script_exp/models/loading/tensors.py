"""Named tensors in a checkpoint folder: one file or shards, safetensors or .bin. Nothing is unpickled."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from script_exp.errors import UserError

# single file, index of shards; in the order in which transformers looks for them
_LAYOUTS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
_LISTED = 8


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files in ``folder`` that transformers would read.

    Raises:
        UserError: if there are none, or an index is damaged or names a shard that is missing.
    """
    for single, index in _LAYOUTS:
        shards = _shards(folder / index)
        if (folder / single).is_file():
            return [folder / single]
        if shards:
            return shards
    names = ", ".join(name for layout in _LAYOUTS for name in layout)
    raise UserError(f"no weights in {folder}; expected one of {names}")


def check_weights(setting: str, folder: Path) -> None:
    """Read the headers of all weight files, to find a missing or truncated file early.

    Args:
        setting: the start of the message, for example ``model.path=models/llava``.
        folder: a folder with a checkpoint.

    Raises:
        UserError: if a file is missing, damaged or truncated, or a .bin that holds anything but tensors.
    """
    try:
        for file in weight_files(folder):
            if file.suffix == ".safetensors":
                with _safetensors(file):
                    pass
            else:
                _load_bin(file, "meta")  # before transformers, which would advise to unpickle what it refuses
    except UserError as error:
        raise UserError(f"{setting}: {error}") from error


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in ``folder`` by name, using only the headers.

    Raises:
        UserError: if a file is missing, damaged, or a .bin that holds anything but tensors.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(folder):
        if file.suffix == ".safetensors":
            with _safetensors(file) as opened:
                shapes |= {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        else:
            shapes |= {name: tuple(tensor.shape) for name, tensor in _load_bin(file, "meta").items()}
    return shapes


def read_tensors(folder: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """Return the tensors in ``folder`` whose names are ``wanted``, on the CPU and in the file's dtype.

    They are views of memory-mapped files: memory is taken when values are used, not when this returns.

    Raises:
        UserError: if a file is missing, damaged, or a .bin that holds anything but tensors.
    """
    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder):
        if file.suffix == ".safetensors":
            with _safetensors(file) as opened:
                tensors |= {name: opened.get_tensor(name) for name in opened.keys() if wanted(name)}  # noqa: SIM118
        else:
            tensors |= {name: tensor for name, tensor in _load_bin(file, "cpu").items() if wanted(name)}
    return tensors


def check_names(
    where: object, missing: Iterable[str], unexpected: Iterable[str], other: Iterable[str]
) -> None:
    """Raise a :class:`UserError` that lists the first few tensors of each kind, if there are any.

    Args:
        where: the checkpoint, the start of the message.
        missing: names that the architecture has and the checkpoint lacks.
        unexpected: names that the checkpoint has and the architecture lacks.
        other: those of both whose shapes differ.
    """
    problems = []
    for kind, names in (("missing", missing), ("unexpected", unexpected), ("of the wrong shape", other)):
        listed = sorted(names)
        if listed:
            more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
            problems.append(f"{kind}: {', '.join(listed[:_LISTED])}{more}")
    if problems:
        raise UserError(f"{where}: its tensors do not match its config.json ({'; '.join(problems)})")


def _shards(index: Path) -> list[Path]:
    """Return the files that ``index`` names; none without an index."""
    if not index.is_file():
        return []
    try:
        files = sorted({index.parent / name for name in json.loads(index.read_text())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is damaged; expected JSON with a weight_map") from error
    for file in files:
        if not file.is_file():
            raise UserError(f"{file} is missing; {index.name} names it")
    return files


@contextmanager
def _safetensors(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, framework="pt") as opened:
            yield opened
    except SafetensorError as error:
        raise UserError(f"{file} is damaged or truncated ({error})") from error


def _check_zip(file: Path) -> None:
    """Check that a .bin of torch is a zip file, whose directory is at its end."""
    try:
        with zipfile.ZipFile(file):
            pass
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{file} is damaged or truncated, or older than torch 1.6 ({error}); "
            "expected a file of torch.save"
        ) from error


def _load_bin(file: Path, device: str) -> dict[str, Tensor]:
    """Return the dictionary in a .bin; on ``meta``, only names, shapes and dtypes are read."""
    _check_zip(file)
    expected = "expected a dictionary of tensors, because nothing else is unpickled"
    try:
        state = torch.load(file, map_location=device, weights_only=True, mmap=device != "meta")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{file} cannot be read ({type(error).__name__}); {expected}") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError(f"{file} does not hold a checkpoint; {expected}")
    return state
