from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from noise_search.checkpoints import CheckpointError, Position, fingerprint, read_checkpoint, write_checkpoint

CPU = torch.device("cpu")
PLACE = fingerprint("fused", CPU)
POSITION = Position(epoch=3, steps_per_epoch=10)
STATE = {
    "parameters/weight": torch.tensor([[1.0, -2.5], [float("nan"), 1e-40]]),
    "buffers/count": torch.tensor(3),
    "optimizer/exp_avg/weight": torch.arange(8.0).reshape(2, 4).t(),  # not contiguous
    "alive": torch.tensor(True),
}


def write(folder: Path, name: str = "7-0-3") -> dict[str, str]:
    return write_checkpoint(folder, name, STATE, PLACE, POSITION)


def test_a_state_comes_back_bit_by_bit(tmp_path: Path) -> None:
    found = read_checkpoint(tmp_path, write(tmp_path), PLACE, POSITION)
    assert found.keys() == STATE.keys()
    for key, value in STATE.items():
        assert found[key].dtype == value.dtype
        assert found[key].shape == value.shape
        assert found[key].contiguous().numpy().tobytes() == value.contiguous().numpy().tobytes()


def test_the_same_state_is_the_same_file(tmp_path: Path) -> None:
    assert len({write(tmp_path)["sha256"] for _ in range(20)}) == 1


def test_the_folder_is_made_and_holds_one_file(tmp_path: Path) -> None:
    reference = write(tmp_path / "deep" / "folder")
    assert (
        [path.name for path in (tmp_path / "deep" / "folder").iterdir()] == [reference["file"]] == ["7-0-3.safetensors"]
    )


def _delete(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def _replace(path: Path) -> None:
    write_checkpoint(path.parent, path.stem, {"alive": torch.tensor(False)}, PLACE, POSITION)


@pytest.mark.parametrize("damage", [_delete, _cut, _flip, _replace])
def test_a_file_that_is_not_what_was_written_is_refused(damage: Callable[[Path], None], tmp_path: Path) -> None:
    reference = write(tmp_path)
    damage(tmp_path / reference["file"])
    with pytest.raises(CheckpointError, match=r"7-0-3\.safetensors"):
        read_checkpoint(tmp_path, reference, PLACE, POSITION)


def test_a_state_made_in_another_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"made fused on .*, needed looped on"):
        read_checkpoint(tmp_path, write(tmp_path), fingerprint("looped", CPU), POSITION)


@pytest.mark.parametrize("other", [Position(4, 10), Position(3, 11)], ids=["epoch", "steps"])
def test_a_state_of_another_position_is_refused(other: Position, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r'written at .*"epoch": 3.*, needed Position'):
        read_checkpoint(tmp_path, write(tmp_path), PLACE, other)


def test_a_file_that_does_not_say_its_position_is_refused(tmp_path: Path) -> None:
    data = save({"alive": torch.tensor(True)})
    (tmp_path / "old.safetensors").write_bytes(data)
    reference = {"file": "old.safetensors", "sha256": hashlib.sha256(data).hexdigest(), "place": PLACE}
    with pytest.raises(CheckpointError, match="no known epoch"):
        read_checkpoint(tmp_path, reference, PLACE, POSITION)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError):
        write(tmp_path / "file")


def test_a_place_names_mode_processor_and_build() -> None:
    assert PLACE.startswith("fused on ")
    assert torch.__version__ in PLACE
    assert fingerprint("looped", CPU) != PLACE
