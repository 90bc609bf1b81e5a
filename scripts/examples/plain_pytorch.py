"""Train a small CNN on digits with a policy card, in plain PyTorch: plain_pytorch.py CARD [SEED] [WEIGHTS.pt]"""

import math
import sys

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from noise_search import load_card
from noise_search.data import DATASETS
from noise_search.models import CnnParameters, build_model

card, seed = load_card(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
digits = DATASETS["digits"].load()
order = torch.Generator().manual_seed(seed)
train = TensorDataset(digits.train.inputs, digits.train.labels)  # raw pixels in [0, 1]: the model normalises them
loader = DataLoader(train, card.context.get("batch_size", 64), shuffle=True, generator=order)
steps = card.context.get("epochs", 30) * len(loader)

model = build_model("cnn", CnnParameters(), digits.statistics, seed=seed)  # any module of yours
optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps))
noise = card.bind(model, optimizer, total_steps=steps, seed=seed, classes=10)
while noise.steps_done < steps:
    for inputs, targets in loader:
        with noise.step():
            inputs, targets = noise.batch(inputs, targets)
            F.cross_entropy(model(inputs), targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()

inputs, labels = digits.validation.inputs, digits.validation.labels
shaken = (inputs + 0.3 * torch.randn(inputs.shape, generator=order)).clamp(0, 1)
with torch.no_grad():
    clean, noisy = ((model.eval()(x).argmax(1) == labels).double().mean().item() for x in (inputs, shaken))
print(f"accuracy: clean {clean:.3f}, under Gaussian noise of 0.3 {noisy:.3f}")
if len(sys.argv) > 3:
    torch.save(model.state_dict(), sys.argv[3])
