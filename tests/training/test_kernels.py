"""What GPUs are asked to compute, with their kernels replaced: the arguments, and that nothing is lost on the way to them."""

import sys
import types
from itertools import pairwise

import pytest
import torch
from torch.nn.attention import varlen

from spire_ray.training import head, kernels

HEADS, GROUPS, WIDTH, BOUNDS = 4, 2, 8, torch.tensor([0, 5, 12], dtype=torch.int32)


def tensors():
    torch.manual_seed(0)
    return [torch.randn(12, heads, WIDTH, dtype=torch.float64) for heads in (HEADS, GROUPS, GROUPS)]


def flash(query, key, value, cu_seqlens, scale, left):
    """Causal attention in the terms of flash attention: a token sees `left` before itself, -1 all of them."""
    outputs = []
    for start, end in pairwise(cu_seqlens.tolist()):
        q, k, v = (tensor[start:end].transpose(0, 1) for tensor in (query, key, value))
        distance = torch.arange(end - start)[:, None] - torch.arange(end - start)[None]
        mask = (distance >= 0) & ((distance <= left) | (left < 0))
        done = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=True)
        outputs.append(done.transpose(0, 1))
    return torch.cat(outputs)


def of_2_11(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None, window_size=(-1, -1)):
    assert query.shape[1] == key.shape[1] == value.shape[1], "PyTorch 2.11 wants as many key heads as query heads"
    assert window_size[1] == 0 and max_q == max_k == 7 and cu_seq_q is cu_seq_k
    return flash(query, key, value, cu_seq_q, scale, window_size[0])


def of_2_13(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None, window_size=(-1, -1),
            enable_gqa=False, seqused_k=None, block_table=None, num_splits=None):  # fmt: skip
    assert enable_gqa or query.shape[1] == key.shape[1]
    return flash(query, key, value, cu_seq_q, scale, window_size[0])


@pytest.mark.parametrize("window", [None, 3, 1])
@pytest.mark.parametrize("version", [of_2_11, of_2_13])
def test_pytorchs_kernel_is_called_as_each_version_wants_it(version, window, monkeypatch):
    monkeypatch.setattr(varlen, "varlen_attn", version)
    kernels._knows_groups.cache_clear()
    narrow = {} if window is None else {"window": window}
    found = kernels.pytorch(*tensors(), BOUNDS, 7, 0.3, **narrow)
    kernels._knows_groups.cache_clear()
    assert torch.allclose(found, flash(*tensors(), BOUNDS, 0.3, -1 if window is None else window - 1))


def test_the_installed_pytorch_takes_the_arguments():
    from inspect import signature

    arguments = {"scale": 1.0, "window_size": (-1, 0), **({"enable_gqa": True} if kernels._knows_groups() else {})}
    taken = signature(varlen.varlen_attn).bind(*tensors(), BOUNDS, BOUNDS, 7, 7, **arguments).arguments
    assert arguments.items() <= taken.items() and taken["cu_seq_q"] is taken["cu_seq_k"] is BOUNDS


@pytest.mark.parametrize("window", [None, 3])
def test_flash_attn_gets_the_window_in_its_own_terms(window, monkeypatch):
    def flash_attn_varlen_func(q, k, v, cu_q, cu_k, max_q, max_k, softmax_scale, causal, window_size):
        assert causal and window_size[1] == 0
        return flash(q, k, v, cu_q, softmax_scale, window_size[0])

    module = types.ModuleType("flash_attn")
    module.flash_attn_varlen_func = flash_attn_varlen_func
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    narrow = {} if window is None else {"window": window}
    found = kernels.installed()(*tensors(), BOUNDS, 7, 0.3, **narrow)
    assert torch.allclose(found, flash(*tensors(), BOUNDS, 0.3, -1 if window is None else window - 1))


class Liger(torch.nn.Module):
    """Liger's loss by its own rules: a mean over no targets is a division by zero, and bfloat16 is added up as asked."""

    def __init__(self, reduction="mean", accum_dtype=None):
        super().__init__()
        assert reduction == "sum"
        assert accum_dtype is torch.float32, "gradients of the matrix would be added up in bfloat16"

    def forward(self, weight, hidden, target, bias=None):
        assert len(target) > 0, "ZeroDivisionError in Liger's choice of chunks"
        return torch.nn.functional.cross_entropy(torch.nn.functional.linear(hidden, weight, bias), target, reduction="sum")


@pytest.fixture
def liger(monkeypatch):
    names = ("liger_kernel", "liger_kernel.transformers", "liger_kernel.transformers.fused_linear_cross_entropy")
    modules = {name: types.ModuleType(name) for name in names}
    modules[names[-1]].LigerFusedLinearCrossEntropyLoss = Liger
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("bias", [False, True])
def test_the_fused_loss_is_that_of_the_head_with_its_bias(liger, bias):
    torch.manual_seed(0)
    matrix, hidden, ids = torch.nn.Linear(6, 20, bias=bias), torch.randn(9, 6), torch.arange(9)
    expected = torch.nn.functional.cross_entropy(matrix(hidden), ids, reduction="sum")
    assert torch.allclose(head.fused_sum(matrix, hidden, ids), expected)


def test_a_micro_batch_without_targets_has_a_loss_of_zero_and_gradients_for_every_parameter(liger):
    matrix, hidden = torch.nn.Linear(6, 20, bias=False), torch.randn(0, 6, requires_grad=True)
    loss = head.fused_sum(matrix, hidden, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0 and loss.dtype == torch.float32
    assert not matrix.weight.grad.any() and hidden.grad.shape == (0, 6)
