"""Boxes of whole pixels in images, and the noise that erases one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from noise_search.noises.registry import BOTH_KNOBS, IMAGES_ONLY, InputNoise, Noise
from noise_search.seeds import Draws


class Boxes(NamedTuple):
    """One box an image: rows [top, bottom) and columns [left, right), whole numbers, each (trials, batch)."""

    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor

    def area(self) -> Tensor:
        """Pixels in each box, (trials, batch)."""
        return (self.bottom - self.top) * (self.right - self.left)

    def inside(self, height: int, width: int) -> Tensor:
        """Whether each pixel lies in its image's box, (trials, batch, 1, height, width)."""
        rows = torch.arange(height, device=self.top.device)
        columns = torch.arange(width, device=self.top.device)
        in_rows = (self.top[..., None] <= rows) & (rows < self.bottom[..., None])
        in_columns = (self.left[..., None] <= columns) & (columns < self.right[..., None])
        return (in_rows[..., :, None] & in_columns[..., None, :])[:, :, None]


def box_sides(shares: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Height and width of boxes that have a share of an image's area.

    Shaped like the image, to whole pixels: the width makes up for the rounding of the height, so that the area is
    off by half a column at most. A share under half a pixel is a box without columns.

    Args:
        shares: Of the area, in [0, 1].
        height, width: Of the image, pixels.

    >>> [side.tolist() for side in box_sides(torch.tensor([0.25, 0.1, 0.001]), 8, 8)]
    [[4.0, 3.0, 1.0], [4.0, 2.0, 0.0]]
    """
    enough = (shares * height).ceil().clamp(min=1.0)  # for the width not to be more than the image's
    rows = torch.maximum((shares.sqrt() * height).round(), enough)
    return rows, (shares * (height * width) / rows).round()


def erase(inputs: Tensor, magnitudes: Tensor, draws: Draws) -> Tensor:
    """Fill a box of area share m, somewhere wholly inside the image, with 0 or with U(0, 1), half of the images each.

    Args:
        inputs: (trials, batch, channels, height, width), raw units.
        magnitudes: Area share m, (trials, batch), to whole pixels as `box_sides` says.
        draws: Base draws of this noise at this step.

    Source: DeVries & Taylor 2017, arXiv:1708.04552 (a box of zeros); Zhong et al. 2020, arXiv:1708.04896 (of noise).
    """
    height, width = inputs.shape[-2:]
    rows, columns = box_sides(magnitudes, height, width)
    top = (draws.sample_uniform("top") * (height - rows + 1)).floor()
    left = (draws.sample_uniform("left") * (width - columns + 1)).floor()
    inside = Boxes(top, top + rows, left, left + columns).inside(height, width)
    is_noise = draws.sample_uniform("is_noise", (1, 1, 1)) < 0.5
    fill = torch.where(is_noise, draws.sample_uniform("fill", inputs.shape[2:]), 0.0)
    return torch.where(inside, fill, inputs)


BOX_NOISES: dict[str, Noise[InputNoise]] = {
    "erase": Noise(
        site="inputs",
        name="erase",
        apply=erase,
        unit="share of the image's area",
        search=(0.02, 0.4),
        log=False,
        limit=1.0,
        knobs=BOTH_KNOBS,
        modalities=IMAGES_ONLY,
        source="DeVries 2017, arXiv:1708.04552; Zhong 2020, arXiv:1708.04896",
        summary="fills a box of each image with 0 or with uniform noise",
    ),
}
