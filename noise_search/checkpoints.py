"""States of trials at rungs, one file each, written by whoever trained them into a folder on any file system.

    reference = write_checkpoint(folder, name, state, place, position)
    state = read_checkpoint(folder, reference, place, position)      # CheckpointError: train it again

A file is safetensors, written whole or not at all. Its reference holds its name and SHA-256, so that what
is read is what was written, and its place: only there do the bits of training go on as they would have. The file says
itself after which epoch it was written, which is the position in every schedule, of noise and of the learning rate.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from noise_search.folders import Folder, FolderError

Reference = dict[str, str]
SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Position:
    """Where in its training a state stands."""

    epoch: int
    steps_per_epoch: int


class CheckpointError(Exception):
    """A checkpoint that cannot be used, and why."""


def fingerprint(mode: str, device: torch.device) -> str:
    """Place in which states are bitwise the same: how trials train, on which kind of processor, by which torch.

    >>> fingerprint("fused", torch.device("cpu")).startswith("fused on ")
    True
    """
    if device.type == "cuda":
        kind = torch.cuda.get_device_name(device)
    else:
        kind = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    build = hashlib.sha256(torch.__config__.show().encode()).hexdigest()[:12]
    return f"{mode} on {kind} by torch {torch.__version__} ({build})"


def write_checkpoint(
    folder: str | Path, name: str, state: Mapping[str, Tensor], place: str, position: Position
) -> Reference:
    """Write a state, and say where it lies.

    Args:
        folder: Path or URL of the sweep's checkpoints; made where it is missing.
        name: Of the file, without its suffix.
        state: Flat mapping of tensors.
        place: From `fingerprint`.
        position: Where in its training it stands.

    Raises:
        CheckpointError: The file cannot be written.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    data = save(tensors, metadata=_metadata_of(position))
    file = f"{name}{SUFFIX}"
    try:
        Folder(str(folder)).write(file, data)
    except FolderError as error:
        raise CheckpointError(str(error)) from error
    return {"file": file, "sha256": hashlib.sha256(data).hexdigest(), "place": place}


def read_checkpoint(
    folder: str | Path, reference: Mapping[str, str], place: str, position: Position
) -> dict[str, Tensor]:
    """State that was written, on the CPU.

    Raises:
        CheckpointError: The file cannot be read or is another than was written, or was written in another place or
            position.
    """
    if reference["place"] != place:
        raise CheckpointError(f"{reference['file']}: made {reference['place']}, needed {place}")
    try:
        data = Folder(str(folder)).read(reference["file"])
    except FolderError as error:
        raise CheckpointError(str(error)) from error
    if hashlib.sha256(data).hexdigest() != reference["sha256"]:
        raise CheckpointError(f"{reference['file']}: not the file that was written")
    try:
        state = load(data)
    except SafetensorError as error:  # the same bytes, but an older library may not know them
        raise CheckpointError(f"{reference['file']}: {error}") from error
    if (found := _metadata(data)) != _metadata_of(position):
        raise CheckpointError(
            f"{reference['file']}: written at {found.get('position', 'no known epoch')}, needed {position}"
        )
    return state


def _metadata_of(position: Position) -> dict[str, str]:
    """One entry: safetensors writes several in any order, and a file's hash would differ from one run to the next."""
    return {"position": json.dumps(asdict(position), sort_keys=True)}


def _metadata(data: bytes) -> dict[str, str]:
    """Texts in the header of a file: eight bytes of its length, then JSON."""
    length = int.from_bytes(data[:8], "little")
    texts: dict[str, str] = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return texts
