"""The peer: PyTorch's own DDP loop, as its tutorial has it. `torchrun --nproc-per-node 2 plain_ddp.py STEPS`."""

import os
import sys
import time

import torch
import torch.distributed as dist
from synthetic import BATCH, dataset, model
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

LOGGED_EVERY, WARM_UP = 10, 50

steps = int(sys.argv[1])
dist.init_process_group("gloo")
data = dataset(steps)
loader = DataLoader(data, BATCH // dist.get_world_size(), sampler=DistributedSampler(data))
net = DistributedDataParallel(model())
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for step, (features, labels) in enumerate(loader, start=1):
    optimizer.zero_grad(set_to_none=True)
    loss = functional.cross_entropy(net(features), labels)
    loss.backward()
    optimizer.step()
    if step % LOGGED_EVERY == 0:
        loss.item()
    if step == WARM_UP:
        began = time.monotonic()
if dist.get_rank() == 0:
    print(f"STEPS_PER_SECOND {(steps - WARM_UP) / (time.monotonic() - began):.3f}")  # noqa: T201
dist.barrier()
sys.stdout.flush()
# All is measured. Gloo aborts a rank at times while it is taken down, and torchrun would call the whole run failed.
os._exit(0)
