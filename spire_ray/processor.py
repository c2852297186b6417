"""What the processor of this machine multiplies fast."""

import torch


def fast_bfloat16() -> bool:
    """Whether it multiplies bfloat16 matrices in hardware: by AVX-512 or by matrix units (AMX)."""
    return matrix_units() or bool(_capabilities().get("avx512_bf16"))


def matrix_units() -> bool:
    """Whether it has AMX for bfloat16."""
    return bool(_capabilities().get("amx_bf16"))


def _capabilities() -> dict[str, bool]:
    found: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return found
