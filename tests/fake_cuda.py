"""A card that is none: tensors which say that they are on `cuda:0` and hold their values in the memory of the CPU.

PyTorch's FakeTensorMode has no values and so ends at the first branch that depends on them. Here code runs to its end, and what
brings tensors of both devices together fails as it does on a card; numbers of no dimension and indices may lie on the CPU, too.
"""

from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CARD = torch.device("cuda:0")
_TENSOR = torch.Tensor
_MIXED = {_TENSOR.copy_, _TENSOR.__getitem__, _TENSOR.__setitem__, _TENSOR.type_as}
"""May have tensors of both."""
_PROPERTIES = {_TENSOR.device.__get__: CARD, _TENSOR.is_cuda.__get__: True, _TENSOR.is_cpu.__get__: False}
_WITHOUT_DEVICE = {_TENSOR.numpy, _TENSOR.__array__}


class OnCard(torch.Tensor):
    """A tensor of the card."""

    @classmethod
    def __torch_function__(cls, function, types, given=(), named=None):
        return _run(function, given, named or {})


class _Card(TorchFunctionMode):
    def __torch_function__(self, function, types, given=(), named=None):
        return _run(function, given, named or {})


@contextmanager
def fake_cuda():
    """Inside it there is a card."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # else parameters would keep their own type
    try:
        with _Card():
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)


def _run(function, given, named):
    tensors = [value for value in tree_leaves((given, named)) if isinstance(value, torch.Tensor)]
    here = [tensor for tensor in tensors if _on_card(tensor)]
    if here and function in _PROPERTIES:
        return _PROPERTIES[function]
    if here and function is torch._has_compatible_shallow_copy_type:
        return len(here) == len(tensors)
    if here and function in _WITHOUT_DEVICE:
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
        )
    wanted, given, named = _device(function, given, named)
    away = [tensor for tensor in tensors if not _on_card(tensor) and tensor.dim() > 0]
    if here and away and not wanted and function not in _MIXED:
        shapes = ", ".join(f"{tuple(t.shape)} on {'cuda:0' if _on_card(t) else 'cpu'}" for t in tensors)
        raise RuntimeError(
            f"Expected all tensors to be on the same device: {getattr(function, '__name__', function)} of {shapes}"
        )
    to_card = wanted == "cuda" if wanted else _on_card(given[0]) if function in _MIXED else bool(here)
    with torch._C.DisableTorchFunction():
        made = function(*tree_map(_plain, given), **tree_map(_plain, named))
        return tree_map(_carded if to_card else _plain, made)


def _device(function, given, named):
    """The device type that a call asks for, empty where it asks for none, and its arguments without it."""
    named = {name: value for name, value in named.items() if name != "pin_memory"}
    if function in (_TENSOR.cpu, _TENSOR.cuda):
        return function.__name__, given[:1], {}
    if function is not _TENSOR.to:
        return (torch.device(named.pop("device")).type if named.get("device") is not None else ""), given, named
    tensor, *asked = given
    asked += [named.pop(name) for name in ("device", "dtype") if named.get(name) is not None]
    other = next((one for one in asked if isinstance(one, torch.Tensor)), None)
    if other is not None:
        return ("cuda" if _on_card(other) else "cpu"), (tensor, other.dtype), named
    places = [torch.device(one).type for one in asked if isinstance(one, str | torch.device)]
    dtype = next((one for one in asked if isinstance(one, torch.dtype)), tensor.dtype)
    return (places[0] if places else ""), (tensor, dtype), named


def _on_card(tensor):
    return isinstance(tensor, OnCard) or getattr(tensor, "on_card", False)


def _plain(value):
    return value.as_subclass(torch.Tensor) if type(value) is OnCard else value


def _carded(value):
    if not isinstance(value, torch.Tensor) or isinstance(value, OnCard):
        return value
    if value.layout is not torch.strided:  # has no subclass
        value.on_card = True
        return value
    return value.as_subclass(OnCard)
