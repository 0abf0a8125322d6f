"""Devices that are not there: tensors say that they are on one, and operations across devices are errors.

As on GPUs, all tensors of an operation have to be on one device; tensors without axes and index tensors may
be on the host. The values are computed on the host, so whatever runs gives the right result. Reading values,
for which a GPU has to be waited for, is counted by the function of the package that does it.

FakeTensorMode cannot do this: methods choose by values, which fake tensors do not have.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

FIRST, SECOND = (
    torch.device("xla:0"),
    torch.device("xla:1"),
)  # a type that torch does not initialize itself
_ANY = torch.device("meta")  # of what C++ makes beside a tensor, such as the value of x[...] = 1
_aten = torch.ops.aten
_INDEXING = {_aten.index, _aten.index_put_, _aten.index_put, _aten._unsafe_index}
_ACROSS = {_aten.copy_, _aten._to_copy}
_SIZES = {_aten.nonzero, _aten.masked_select, _aten._unique2}  # the shape of the result depends on values
_WAITS = {_aten._local_scalar_dense, _aten.is_nonzero, _aten.equal, *_SIZES}


class Made(torch.Tensor):
    """A tensor on a made device; ``host`` has its values, on the host."""

    @staticmethod
    def __new__(cls, real, place):
        made = torch.Tensor._make_wrapper_subclass(
            cls, real.shape, strides=real.stride(), storage_offset=real.storage_offset(), dtype=real.dtype,
            device="meta",
        )  # fmt: skip
        made.host, made.place = real, place
        return made

    device = property(lambda self: self.place)
    is_meta = property(lambda self: False)
    is_cpu = property(lambda self: False)

    def tolist(self):
        return self.cpu().tolist()

    def __repr__(self):
        return f"Made({self.host!r}, {self.place})"

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.to and len(args) > 1 and isinstance(args[1], torch.Tensor):
            args = (args[0], args[1].device, args[1].dtype, *args[2:])
        with torch._C.DisableTorchFunctionSubclass():  # which would turn every result into one of these
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} outside of made_devices()")


class MadeDevices(TorchDispatchMode):
    """Run what happens on made devices.

    Attributes:
        waits: how often each function of the package read values of a device, by "file:function".
    """

    def __init__(self):
        super().__init__()
        self.waits = Counter()

    def __enter__(self):
        self.literals = _Literals().__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.literals.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, packet = dict(kwargs or {}), func.overloadpacket
        tensors = []
        _mapped((args, kwargs), tensors.append)
        made = [one for one in tensors if isinstance(one, Made)]
        target = kwargs.get("device")
        places = {one.place for one in made if one.ndim and one.place != _ANY}
        on_host = any(type(one) is not Made and one.ndim for one in tensors)
        if len(places) > 1 and packet not in _ACROSS:
            raise RuntimeError(f"{func}: tensors on {sorted(map(str, places))}")
        if places and on_host and packet not in _ACROSS | _INDEXING:
            raise RuntimeError(f"{func}: tensors on {next(iter(places))} and on the host")
        reads = packet in _WAITS or (packet in _INDEXING and _by_mask(args[1]))
        if made and (reads or (packet is _aten._to_copy and target == torch.device("cpu"))):
            self.waits[_caller()] += 1
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        args, kwargs = _mapped((args, kwargs), lambda one: one.host if isinstance(one, Made) else one)
        result = func(*args, **kwargs)
        place = _place(packet, target, made)
        if place is None or packet in _WAITS - _SIZES:
            return result
        own = {id(one.host): one for one in made}  # an operation in place returns its argument

        return _mapped(result, lambda one: own[id(one)] if id(one) in own else Made(one, place))


class _Literals(TorchFunctionMode):
    """``torch.tensor([...], device=...)`` fills memory of the device without an operation."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        place = kwargs.get("device")
        if func is torch.tensor and place is not None and torch.device(place).type == "xla":
            args = _mapped(args, lambda one: one.item() if isinstance(one, Made) else one)
            return Made(func(*args, **kwargs | {"device": "cpu"}), torch.device(place))
        return func(*args, **kwargs)


def _mapped(values, function):
    """The same nest of lists, tuples and dicts, with ``function`` of every tensor in it.

    torch's own ``tree_map`` knows more kinds of nests, and takes longer than the operations of small models.
    """
    if isinstance(values, torch.Tensor):
        return function(values)
    if type(values) in (list, tuple):
        return type(values)(_mapped(one, function) for one in values)
    if isinstance(values, dict):
        return {name: _mapped(one, function) for name, one in values.items()}
    return values


def _place(packet, target, made):
    """Where results are; None for the host."""
    if target is not None:
        return None if target.type == "cpu" else target
    known = [one for one in made if one.place != _ANY] or made
    if packet is not _aten.copy_:
        known = [one for one in known if one.ndim] or known
    return known[0].place if known else None


def _by_mask(indices):
    return any(one is not None and one.dtype == torch.bool for one in indices)


def _caller():
    frame = sys._getframe()
    while frame is not None and "/script_exp/" not in frame.f_code.co_filename:
        frame = frame.f_back
    return "elsewhere" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"


def put(module: nn.Module, place: torch.device) -> None:
    """Move a module's weights and buffers."""
    for part in module.modules():
        for name, own in part._parameters.items():
            if own is not None:
                part._parameters[name] = nn.Parameter(Made(_real(own), place), requires_grad=False)
        for name, own in part._buffers.items():
            if own is not None:
                part._buffers[name] = Made(_real(own), place)


def _real(tensor):
    return tensor.host if isinstance(tensor, Made) else tensor.detach()
