from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from apply_examples import card, differing
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader

from noise_search.apply.lightning import NoiseCallback
from noise_search.errors import CallerError
from noise_search.policy import Term

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers:UserWarning",
    "ignore:.*returned `None`:UserWarning",
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated",  # Lightning under torch 2.13
    "ignore:Be aware that when using `ckpt_path`:UserWarning",
)
TERMS = (
    Term("inputs", "gaussian", 0.2),
    Term("inputs", "mixup", 0.5),
    Term("weights", "relative", 0.1),
    Term("targets", "label_smoothing", 0.1),
    Term("gradients", "gaussian", 0.3),
)
BATCHES, EPOCHS, CLIP = 4, 2, 0.5


def network() -> nn.Sequential:
    """The same initial weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def batches() -> list[list[Tensor]]:
    """Pairs of pictures and class indices, the same every time."""
    rng = torch.Generator().manual_seed(1)
    return [[torch.rand((6, 1, 4, 4), generator=rng), torch.arange(6) % 3] for _ in range(BATCHES)]


class Module(LightningModule):  # type: ignore[misc]  # untyped to mypy, which does not follow Lightning
    """A small classifier as one writes it for Lightning."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def training_step(self, batch: Any, batch_idx: int) -> Any:  # noqa: ARG002
        inputs, targets = batch
        return F.cross_entropy(self.net(inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def trainer(*callbacks: Callback, **options: Any) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    usual = {"accelerator": "cpu", "devices": 1, "max_epochs": EPOCHS, "enable_checkpointing": False}
    return Trainer(callbacks=list(callbacks), **(quiet | usual | options))


def callback(*terms: Term, **options: Any) -> NoiseCallback:
    usual: dict[str, Any] = {"seed": 3, "classes": 3, "model": "net"}
    return NoiseCallback(card(*(terms or TERMS)), **(usual | options))


def fitted(module: Module, *callbacks: Callback, data: Any = None, **options: Any) -> dict[str, Tensor]:
    trainer(*callbacks, **options).fit(module, loader(batches() if data is None else data))
    return state(module.net)


def loader(data: Any) -> Any:
    """Batches that were made beforehand."""
    return DataLoader(data, batch_size=None)


def plain_loop(accumulate: int = 1) -> dict[str, Tensor]:
    """The same training without Lightning."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    groups = [batches()[first : first + accumulate] for first in range(0, BATCHES, accumulate)] * EPOCHS
    noise = card(*TERMS).bind(model, optimizer, total_steps=len(groups), seed=3, classes=3)
    for group in groups:
        with noise.step():
            for inputs, labels in group:
                noisy, targets = noise.batch(inputs, labels)
                (F.cross_entropy(model(noisy), targets) / accumulate).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
    return state(model)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_trainer_with_the_callback_gives_the_bits_of_a_plain_loop(accumulate: int) -> None:
    options = {"gradient_clip_val": CLIP, "accumulate_grad_batches": accumulate}
    assert differing(fitted(Module(), callback(), **options), plain_loop(accumulate)) == []


def test_a_validation_between_two_micro_batches_sees_clean_weights() -> None:
    class Validated(Module):
        def validation_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
            seen.append(state(self.net))

    seen: list[dict[str, Tensor]] = []
    options = {"accumulate_grad_batches": 2, "val_check_interval": 1, "max_epochs": 1, "num_sanity_val_steps": 0}
    trainer(callback(), **options).fit(Validated(), loader(batches()), loader(batches()[:1]))
    assert differing(seen[0], state(network())) == []
    assert differing(seen[1], state(network()))


def test_a_training_goes_on_from_a_checkpoint_with_the_same_bits(tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}")
    whole = fitted(Module(), callback(), keep, enable_checkpointing=True)
    module = Module()
    trainer(callback()).fit(module, loader(batches()), ckpt_path=tmp_path / "epoch=0.ckpt", weights_only=True)
    assert differing(state(module.net), whole) == []


def test_a_checkpoint_that_knows_nothing_of_the_noise_is_refused(tmp_path: Path) -> None:
    fitted(Module(), ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}"), enable_checkpointing=True)
    with pytest.raises(CallerError, match="got step 4 with 0 of noise"):
        trainer(callback()).fit(Module(), loader(batches()), ckpt_path=tmp_path / "epoch=0.ckpt", weights_only=True)


def test_mixed_precision_trains_with_every_site() -> None:
    found = fitted(Module(), callback(), precision="bf16-mixed", gradient_clip_val=CLIP)
    torch.testing.assert_close(found, plain_loop(), rtol=0.1, atol=0.02)


def test_a_compiled_module_gets_its_noise_outside_of_what_is_compiled() -> None:
    module = Module()
    seen: list[str] = []

    def compiler(graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    compiled = torch.compile(module, backend=compiler)
    trainer(callback(), gradient_clip_val=CLIP).fit(compiled, loader(batches()))
    torch.testing.assert_close(state(module.net), plain_loop())
    assert seen
    assert not [target for target in seen if "rand" in target]


def test_a_module_is_left_as_it_was_found_after_training_and_after_an_error() -> None:
    module = Module()
    fitted(module, callback())
    assert "training_step" not in vars(module)
    fitted(module)  # an optimiser of its own, without noise

    class Failing(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:  # noqa: ARG002
            raise RuntimeError("failed")

    failing = Failing()
    with pytest.raises(RuntimeError, match="failed"):
        fitted(failing, callback())
    assert differing(state(failing.net), state(network())) == []
    assert "training_step" not in vars(failing)


def test_a_batch_that_is_passed_over_leaves_weights_as_they_were() -> None:
    class Passing(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx % 2 else super().training_step(batch, batch_idx)

    module = Passing()
    fitted(module, callback(Term("inputs", "gaussian", 0.2), Term("weights", "relative", 0.1)))
    assert all(value.isfinite().all() for value in state(module.net).values())


class Pair(NamedTuple):
    inputs: Tensor
    targets: Tensor


def test_batches_keep_their_form() -> None:
    class Keyed(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            assert list(batch) == ["name", "x", "y"]
            return super().training_step((batch["x"], batch["y"]), batch_idx)

    class Named(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step((batch.inputs, batch.targets), batch_idx)

    expected = fitted(Module(), callback())
    keyed = [{"name": "a", "x": x, "y": y} for x, y in batches()]
    assert differing(fitted(Keyed(), callback(inputs="x", targets="y"), data=keyed), expected) == []
    assert differing(fitted(Named(), callback(), data=[Pair(x, y) for x, y in batches()]), expected) == []
    assert differing(fitted(Module(), callback(), data=[(x, y) for x, y in batches()]), expected) == []


def test_data_that_the_loader_keeps_are_not_written_to() -> None:
    data = batches()
    fitted(Module(), callback(), data=data)
    for (inputs, labels), (own, same) in zip(data, batches(), strict=True):
        assert torch.equal(inputs, own)
        assert torch.equal(labels, same)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inputs": "x"}, r"expected batches with inputs and targets at \['x', 1\], got list with \[0, 1\]"),
        ({"model": "nett"}, "NoiseCallback: model: expected a part of the module, got 'nett'"),
        ({"total_steps": 0}, "bind: total_steps: expected a whole number from 1 up, got 0"),
        ({"total_steps": 3}, "noise.step: expected 3 steps"),
        ({"classes": None}, "bind: classes: expected how many"),
    ],
)
def test_what_does_not_fit_is_refused_when_training_begins(options: dict[str, Any], words: str) -> None:
    with pytest.raises(CallerError, match=words):
        fitted(Module(), callback(**options))


def test_a_training_without_end_needs_the_number_of_steps() -> None:
    with pytest.raises(CallerError, match="total_steps: expected a training of known length, got inf"):
        fitted(Module(), callback(), max_epochs=-1)


def test_manual_optimisation_is_refused() -> None:
    class Manual(Module):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

    with pytest.raises(CallerError, match="expected automatic optimisation with one optimizer, got 1 with"):
        fitted(Manual(), callback())


# --- several processes ---

RANKS, RATE = 2, 0.1


class Watched(Module):
    """Keeps of every step what it saw and what became of a layer: its weights, and the noise on their gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[Tensor]] = {name: [] for name in ("inputs", "targets", "weights", "drawn", "after")}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        inputs, targets = batch
        self.keep(inputs=inputs, targets=targets, weights=self.layer)
        return super().training_step(batch, batch_idx)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:  # noqa: ARG002
        assert self.layer.grad is not None
        self.before, self.gradient = self.layer.detach().clone(), self.layer.grad.clone()

    def on_train_batch_end(self, *_: Any) -> None:
        after = self.layer.detach()
        self.keep(drawn=((self.before - after) / RATE - self.gradient) / self.gradient.square().mean().sqrt())
        self.keep(after=after)

    @property
    def layer(self) -> nn.Parameter:
        return self.net.get_parameter("1.weight")

    def keep(self, **tensors: Tensor) -> None:
        for name, value in tensors.items():
            self.seen[name].append(value.detach().clone())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=RATE)


def one_rank(rank: int, folder: str) -> None:
    """Body of each of the processes, as a launcher starts them; they meet in a file and listen on loopback."""
    os.environ |= {"LOCAL_RANK": str(rank), "GLOO_SOCKET_IFNAME": "lo"}
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    module = Watched()
    found = fitted(module, callback(), devices=RANKS, strategy="ddp", use_distributed_sampler=False)
    torch.save({**module.seen, "state": found}, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_in_ddp_share_the_draws_for_weights_and_gradients_and_no_other(tmp_path: Path) -> None:
    spawn(one_rank, (str(tmp_path),), nprocs=RANKS)  # type: ignore[no-untyped-call]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(RANKS))
    for step in range(BATCHES * EPOCHS):
        for name in ("weights", "drawn", "after"):
            assert torch.equal(first[name][step], second[name][step]), name
        for name in ("inputs", "targets"):
            assert not torch.equal(first[name][step], second[name][step]), name
        assert first["drawn"][step].std() == pytest.approx(0.3, rel=0.25)
    assert differing(first["state"], second["state"]) == []
    alone = Watched()
    fitted(alone, callback())
    for name in ("inputs", "targets", "weights"):  # of a training by itself, the first process has the draws
        assert torch.equal(alone.seen[name][0], first[name][0]), name
