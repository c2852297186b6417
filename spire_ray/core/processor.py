"""What the processor of this machine multiplies fast."""

import os
import shutil
import warnings
from functools import cache

import torch

_CAPS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables that keep oneDNN from instructions which the processor has."""


def fast_bfloat16(device: str = "cpu") -> bool:
    """Whether a device multiplies bfloat16 matrices in hardware: a GPU, or a processor with AVX-512 or matrix units for it."""
    return device != "cpu" or matrix_units() or bool(torch.cpu._is_avx512_bf16_supported())


def fast_int8(device: str = "cpu") -> bool:
    """Whether oneDNN adds products of eight-bit integers in one instruction; without it sums in between overflow."""
    if device != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return bool(torch.cpu._is_vnni_supported()) and not any(cap in os.environ for cap in _CAPS)


def matrix_units() -> bool:
    """Whether the processor has AMX."""
    return bool(torch.cpu._is_amx_tile_supported())


@cache
def has_compiler() -> bool:
    """Whether this machine can build what `torch.compile` makes for a GPU: Triton takes CC, clang or gcc. Warns if not."""
    found = bool(os.environ.get("CC") or shutil.which("clang") or shutil.which("gcc"))
    if not found:
        warnings.warn(
            "no C compiler (gcc) on this machine: kernels are not fused, and the speech encoder is slower", stacklevel=2
        )
    return found
