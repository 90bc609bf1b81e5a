"""What of torch belongs to the whole process: its CPU threads, and how cuDNN chooses kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.backends import cudnn


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Give torch so many CPU threads, and those it had before back; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def repeatable_kernels(device: torch.device) -> Iterator[None]:
    """On a GPU, have cuDNN take kernels that sum in one order, so that the same job gives the same bits again."""
    if device.type != "cuda":
        yield
        return
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
