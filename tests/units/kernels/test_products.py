"""Products with fixed weights are those of plain PyTorch, in whatever order the processor keeps the weights."""

import pytest
import torch
from torch.nn import functional

from spire_ray.units.kernels import products

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2**-7}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("activation", [None, functional.gelu, functional.relu])
@pytest.mark.parametrize("count", [1, 33, 700])
def test_rows_of_any_number_are_multiplied_and_activated(monkeypatch, count, activation, dtype, packed):
    if not packed:
        monkeypatch.setattr(products, "packs", lambda weight: False)
    torch.manual_seed(count)
    rows, weight, bias = torch.randn(count, 96).to(dtype), torch.randn(160, 96).to(dtype) / 8, torch.randn(160).to(dtype)
    expected = functional.linear(rows.double(), weight.double(), bias.double())
    expected = activation(expected) if activation else expected
    found = products.Linear(weight, bias, activation)(rows)
    assert found.dtype == dtype
    assert torch.allclose(found.double(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
