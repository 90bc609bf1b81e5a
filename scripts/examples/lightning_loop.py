"""Train a small CNN on digits with a policy card, in Lightning: lightning_loop.py CARD [SEED] [WEIGHTS.pt]"""

import sys

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from noise_search import load_card
from noise_search.apply.lightning import NoiseCallback
from noise_search.data import DATASETS
from noise_search.models import CnnParameters, build_model

card, seed = load_card(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
digits = DATASETS["digits"].load()
order = torch.Generator().manual_seed(seed)
train = TensorDataset(digits.train.inputs, digits.train.labels)  # raw pixels in [0, 1]: the model normalises them
loader = DataLoader(train, card.context.get("batch_size", 64), shuffle=True, generator=order)


class Classifier(LightningModule):
    """Any module of yours: it knows nothing of the noise."""

    def __init__(self):
        super().__init__()
        self.model = build_model("cnn", CnnParameters(), digits.statistics, seed=seed)

    def training_step(self, batch):
        inputs, targets = batch
        return F.cross_entropy(self.model(inputs), targets)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.005)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.estimated_stepping_batches)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


module = Classifier()
noise = NoiseCallback(card, seed=seed, classes=10, model="model")
quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
epochs = card.context.get("epochs", 30)
Trainer(callbacks=[noise], max_epochs=epochs, gradient_clip_val=1.0, accelerator="cpu", **quiet).fit(module, loader)

inputs, labels = digits.validation.inputs, digits.validation.labels
shaken = (inputs + 0.3 * torch.randn(inputs.shape, generator=order)).clamp(0, 1)
with torch.no_grad():
    clean, noisy = ((module.model.eval()(x).argmax(1) == labels).double().mean().item() for x in (inputs, shaken))
print(f"accuracy: clean {clean:.3f}, under Gaussian noise of 0.3 {noisy:.3f}")
if len(sys.argv) > 3:
    torch.save(module.model.state_dict(), sys.argv[3])
