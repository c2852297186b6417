"""What the processor of this machine multiplies fast."""

import torch


def fast_bfloat16(device: str = "cpu") -> bool:
    """Whether a device multiplies bfloat16 matrices in hardware: a GPU, or a processor with AVX-512 or matrix units for it."""
    return device != "cpu" or matrix_units() or bool(torch.cpu._is_avx512_bf16_supported())


def fast_int8(device: str = "cpu") -> bool:
    """Whether a processor adds products of eight-bit integers in one instruction, with no sum in between that overflows."""
    return device == "cpu" and bool(torch.cpu._is_vnni_supported()) and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def matrix_units() -> bool:
    """Whether the processor has AMX."""
    return bool(torch.cpu._is_amx_tile_supported())
