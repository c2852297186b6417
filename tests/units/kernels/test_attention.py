"""Each clip of a pack attends to itself, as it would alone and by exact arithmetic."""

import pytest
import torch
from torch.nn import functional

from spire_ray.units.kernels import attention

HEADS, WIDTH = 4, 64


def exact(qkv, lengths):
    clips = torch.split(qkv.double().view(len(qkv), 3, HEADS, WIDTH).permute(1, 2, 0, 3), lengths, dim=2)
    made = [functional.scaled_dot_product_attention(*clip[:, None])[0] for clip in clips]
    return torch.cat([clip.transpose(0, 1).flatten(1) for clip in made])


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 0.01)])
def test_clips_of_a_pack_do_not_mix(dtype, error):
    lengths = [1, 7, 300, 2]
    qkv = torch.randn(sum(lengths), 3 * HEADS * WIDTH).to(dtype)
    found = attention.packed_attention(lengths, HEADS, qkv.device, dtype)(qkv)
    assert found.dtype == dtype
    expected = exact(qkv, lengths)
    assert (found.double() - expected).norm() < error * expected.norm()


@pytest.mark.parametrize(
    ("fast", "matrix_units", "dtype", "few"),
    [
        (True, False, torch.bfloat16, True),
        (True, True, torch.bfloat16, False),
        (False, False, torch.bfloat16, False),
        (True, False, torch.float32, False),
    ],
)
def test_plain_products_are_for_processors_with_bfloat16_and_no_matrix_units(monkeypatch, fast, matrix_units, dtype, few):
    chosen = []
    monkeypatch.setattr(attention.processor, "fast_bfloat16", lambda: fast)
    monkeypatch.setattr(attention.processor, "matrix_units", lambda: matrix_units)
    monkeypatch.setattr(attention, "chunked_sdpa", lambda q, k, v: chosen.append(q) or v)
    attention.packed_attention([3], HEADS, torch.device("cpu"), dtype)(torch.zeros(3, 3 * HEADS * WIDTH, dtype=dtype))
    assert bool(chosen) == few


@pytest.mark.parametrize("frames", [1, 50, 700, 1100])
@pytest.mark.parametrize("scores", [1 << 10, 1 << 16, 1 << 20])
def test_few_heads_and_queries_at_a_time_are_all_of_them(monkeypatch, frames, scores):
    monkeypatch.setattr(attention, "_SCORES", scores)
    most = []
    softmax = torch.softmax
    monkeypatch.setattr(torch, "softmax", lambda given, dim: most.append(given.numel()) or softmax(given, dim))
    qkv = torch.randn(frames, 3 * HEADS * WIDTH).bfloat16()
    q, k, v = qkv.view(frames, 3, HEADS, WIDTH).permute(1, 2, 0, 3)[:, None].contiguous()
    found = attention.chunked_sdpa(q, k, v)[0].transpose(0, 1).flatten(1)
    expected = exact(qkv, [frames])
    assert (found.double() - expected).norm() < 0.01 * expected.norm()
    assert max(most) <= max(scores, frames)
