"""Several ranks: batch normalisation over all of them, and DistributedDataParallel around a model of ragged batches."""

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing
from torch import Tensor, distributed, nn

from anysize.ragged import RaggedBatch, RaggedGroup
from oracle import OneByOne, random_images, randomise, relative_error

SIZES = ((9, 14), (13, 7), (8, 8), (5, 17), (11, 11))
SHARES = ((0, 1, 2), (3, 4))  # of unequal size, and of unequal area


class Small(nn.Module):
    def __init__(self, *, maps: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1, stride=2)
        )
        self.norm = nn.BatchNorm2d(4, momentum=None)
        self.unused = nn.Linear(2, 2)
        self.maps = maps

    def forward(self, images: Any) -> Any:
        out = self.norm(self.body(images))
        return out if self.maps else out.mean((2, 3))


def weighted(output: Any, numbers: tuple[int, ...]) -> Tensor:
    """A sum over all outputs in which each image has its own weight."""
    images = output.unbind() if isinstance(output, RaggedBatch | RaggedGroup) else list(output)
    return sum((image * (number + 1)).square().sum() for image, number in zip(images, numbers, strict=True))


def work(rank: int, folder: str, maps: bool, grouped: bool, synchronised: bool, model: nn.Module) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = copy.deepcopy(model)  # what a process is started with shares its memory with the others
    if synchronised:  # DistributedDataParallel refuses SyncBatchNorm on CPUs
        model = parallel = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    else:
        model.eval()
        parallel = nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
    every = random_images(SIZES, 3)
    images = [every[number].clone().requires_grad_() for number in SHARES[rank]]
    batch: Any = RaggedBatch.from_images(images)
    if grouped:
        batch = RaggedGroup([RaggedBatch.from_images(images[:1]), RaggedBatch.from_images(images[1:])])
    weighted(parallel(batch), SHARES[rank]).backward()
    for parameter in model.parameters() if synchronised else ():
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= 2
    found = {
        "inputs": [image.grad for image in images],
        "parameters": {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
        "buffers": dict(model.named_buffers()),
    }
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()  # nobody leaves while another rank still talks
    os._exit(0)  # taking gloo down aborts now and then, and is not what is tested


@pytest.mark.parametrize(
    ("maps", "grouped", "synchronised"),
    [(True, False, True), (False, True, True), (True, False, False), (False, False, False), (True, True, False)],
)
def test_two_ranks_are_one_batch(maps: bool, grouped: bool, synchronised: bool, tmp_path: Path) -> None:
    model = randomise(Small(maps=maps).double())
    truth = copy.deepcopy(model).train(synchronised)
    context = torch.multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=work, args=(r, str(tmp_path), maps, grouped, synchronised, model)) for r in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]

    leaves = [image.requires_grad_() for image in random_images(SIZES, 3)]
    images = truth(OneByOne([image[None] for image in leaves])).images
    sum((image * (number + 1)).square().sum() for number, image in enumerate(images)).backward()
    for rank, share in zip(ranks, SHARES, strict=True):
        for mine, number in zip(rank["inputs"], share, strict=True):
            assert relative_error(mine, leaves[number].grad) <= 1e-10
        for name, parameter in truth.named_parameters():
            if parameter.grad is None:
                assert float(rank["parameters"].get(name, torch.zeros(1)).abs().max()) == 0
                continue
            # DistributedDataParallel averages over the ranks.
            scale = max(float(p.grad.abs().max()) for p in truth.parameters() if p.grad is not None)
            assert relative_error(rank["parameters"][name] * 2, parameter.grad, scale) <= 1e-11, name
        for name, buffer in truth.named_buffers():
            assert relative_error(rank["buffers"][name].double(), buffer.double()) <= 1e-12, name


def test_without_ranks_it_is_batch_normalisation() -> None:
    norm = randomise(nn.BatchNorm2d(3).double())
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(norm))
    images = random_images(SIZES, 3)
    for training in (True, False):
        outputs = [m.train(training)(RaggedBatch.from_images(images)).unbind() for m in (norm, synchronised)]
        assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
        plain = [m(torch.stack(random_images(((4, 5), (4, 5)), 3))) for m in (norm, synchronised)]
        assert torch.equal(*plain)
    assert torch.equal(norm.running_var, synchronised.running_var)
    assert int(synchronised.num_batches_tracked) == 2
