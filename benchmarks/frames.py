"""Frames of no speech that look as those of speech encoders do."""

import torch

DIMENSIONS = 1_024


def speech_like(frames: int, seed: int, device: str = "cpu") -> torch.Tensor:
    """Frames [N, d], float32 values that bfloat16 holds, so that all read the same.

    They are drawn from 3,000 clusters with a falling spectrum, and four channels have a large mean and variance.
    """
    shape, draw = torch.Generator(device).manual_seed(7), torch.Generator(device).manual_seed(seed)
    spectrum = torch.arange(1, DIMENSIONS + 1, device=device) ** -0.5
    rotation = torch.linalg.qr(torch.randn(DIMENSIONS, DIMENSIONS, generator=shape, device=device))[0]
    centres = torch.randn(3_000, DIMENSIONS, generator=shape, device=device) * spectrum
    noise = 0.8 * torch.randn(frames, DIMENSIONS, generator=draw, device=device) * spectrum
    made = (centres[torch.randint(0, 3_000, (frames,), generator=draw, device=device)] + noise) @ rotation
    made /= made.std()
    made[:, :400:100] = made[:, :400:100] * 12 + 60
    return made.bfloat16().float()
