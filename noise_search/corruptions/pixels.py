"""What corruptions of images share: precision, base draws, random fields, filters and reading between pixels.

Draws are made in float32 where the generator lives: one field for every dtype and device of the images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BLUR_TRUNCATION = 4.0  # Gaussian kernels end at this many sigmas, as in scipy.ndimage


def widened(images: Tensor) -> Tensor:
    """Images in the precision they are worked on in, float32 at least."""
    return images.to(torch.promote_types(images.dtype, torch.float32))


def finished(pixels: Tensor, images: Tensor) -> Tensor:
    """Pixels clipped to [0, 1], in the dtype that `images` came in."""
    return pixels.clamp(0.0, 1.0).to(images.dtype)


def normal(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(tuple(shape), generator=generator, device=generator.device).to(like)


def uniform(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Uniform numbers in [0, 1)."""
    return torch.rand(tuple(shape), generator=generator, device=generator.device).to(like)


def signs(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """-1 or 1 with equal chances."""
    return torch.where(uniform(shape, generator, like) < 0.5, -1.0, 1.0).to(like)


def power_law_field(shape: Sequence[int], exponent: float, generator: torch.Generator) -> Tensor:
    """Random fields with mean 0, rms 1 and a power spectrum falling as frequency to -`exponent`; (..., h, w).

    White noise shaped in the frequency domain, so opposite edges meet; each field is divided by its own rms.
    """
    height, width = shape[-2:]
    noise = torch.randn(tuple(shape), generator=generator, device=generator.device)
    rows, columns = _frequencies(height, width, noise)
    frequency = torch.hypot(rows, columns)
    frequency[0, 0] = torch.inf  # no mean
    field: Tensor = torch.fft.irfft2(torch.fft.rfft2(noise) * frequency.pow(-exponent / 2), s=(height, width))
    return field / field.square().mean(dim=(-2, -1), keepdim=True).sqrt()


def along_axes(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """One matrix down the columns of every picture, another along its rows."""
    return rows.to(pixels) @ (pixels @ columns.to(pixels).mT)


def blur_matrix(size: int, sigma: float) -> Tensor:
    """Gaussian blur of a line of `size` pixels with mirrored ends, as a matrix; float64."""
    if sigma == 0:
        return torch.eye(size, dtype=torch.float64)
    radius = int(BLUR_TRUNCATION * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offsets.double() / sigma).square())
    unfolded = (torch.arange(size)[:, None] + offsets) % (2 * size)
    sources = torch.minimum(unfolded, 2 * size - 1 - unfolded)
    weights = (kernel / kernel.sum()).expand(size, -1)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, sources, weights)


def mirrored_frequencies(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Cycles per pixel down (2 h, 1) and across (w + 1,) at which `mirrored_filter` takes a transfer function."""
    height, width = pixels.shape[-2:]
    return _frequencies(2 * height, 2 * width, pixels)


def mirrored_filter(pixels: Tensor, transfer: Tensor) -> Tensor:
    """Even filter of pictures that go on beyond their edges as their mirror image, edge pixels repeated.

    Args:
        pixels: (samples, channels, h, w).
        transfer: Factor at each of the `mirrored_frequencies`; broadcasts with (samples, channels, 2 h, w + 1).
    """
    height, width = pixels.shape[-2:]
    half = torch.cat([pixels, pixels.flip(-2)], dim=-2)
    whole = torch.cat([half, half.flip(-1)], dim=-1)
    shaped: Tensor = torch.fft.irfft2(torch.fft.rfft2(whole) * transfer, s=whole.shape[-2:])
    return shaped[..., :height, :width]


def positions(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Row (h, 1) and column (w,) of each pixel, counted from the middle of the picture."""
    height, width = pixels.shape[-2:]
    rows = torch.arange(height, dtype=pixels.dtype, device=pixels.device)[:, None] - (height - 1) / 2
    columns = torch.arange(width, dtype=pixels.dtype, device=pixels.device) - (width - 1) / 2
    return rows, columns


def read_displaced(pixels: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Value at each pixel read off at pixel + (down, right), in pixels, each (samples, h, w).

    Bilinear between pixels; a point beyond the edge reads the nearest edge pixel. All channels move together.
    """
    height, width = pixels.shape[-2:]
    rows = torch.arange(height, dtype=pixels.dtype, device=pixels.device)[:, None] + down
    columns = torch.arange(width, dtype=pixels.dtype, device=pixels.device) + right
    return _bilinear(pixels, rows, columns)


def _frequencies(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.fft.fftfreq(height, dtype=like.dtype, device=like.device)[:, None]
    return rows, torch.fft.rfftfreq(width, dtype=like.dtype, device=like.device)


def _bilinear(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixels read at real-valued `rows` and `columns`, each (samples, height, width)."""
    height, width = pixels.shape[-2:]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    top, left = rows.floor(), columns.floor()
    bottom, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    across, down = (columns - left).unsqueeze(1), (rows - top).unsqueeze(1)
    upper = torch.lerp(_read(pixels, top, left), _read(pixels, top, right), across.expand_as(pixels))
    lower = torch.lerp(_read(pixels, bottom, left), _read(pixels, bottom, right), across.expand_as(pixels))
    return torch.lerp(upper, lower, down.expand_as(pixels))


def _read(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixels at whole-numbered `rows` and `columns`, each (samples, height, width)."""
    index = (rows * pixels.shape[-1] + columns).long().flatten(1).unsqueeze(1)
    return pixels.flatten(2).gather(2, index.expand(-1, pixels.shape[1], -1)).view_as(pixels)
