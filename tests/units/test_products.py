"""Products with fixed weights are those of plain PyTorch, in whatever order the processor keeps the weights."""

import pytest
import torch
from torch.nn import functional

from spire_ray.units.products import Linear

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2**-7}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("activation", ["", "gelu", "relu"])
@pytest.mark.parametrize("count", [1, 33, 700])
def test_rows_of_any_number_are_multiplied_and_activated(count, activation, dtype):
    torch.manual_seed(count)
    rows, weight, bias = torch.randn(count, 96).to(dtype), torch.randn(160, 96).to(dtype) / 8, torch.randn(160).to(dtype)
    apply = {"": lambda x: x, "gelu": functional.gelu, "relu": functional.relu}[activation]
    expected = apply(functional.linear(rows.double(), weight.double(), bias.double()))
    found = Linear(weight, bias, apply, activation)(rows)
    assert found.dtype == dtype
    assert torch.allclose(found.double(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
