"""Exact mixed-size batches in a training loop of your own: any network, any data set, plain PyTorch.

Nothing of anysize's training is used: only the plan, the batch sampler, the collate function and the ragged batch.
"""

import functools

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import anysize


class Stripes(Dataset):
    """Images of random sizes with horizontal (class 0) or vertical (class 1) stripes in noise."""

    def __init__(self, num_images: int) -> None:
        random = torch.Generator().manual_seed(0)
        self.sizes = torch.randint(12, 49, (num_images, 2), generator=random).tolist()

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        height, width = self.sizes[index]
        random = torch.Generator().manual_seed(index)
        image = torch.randn(1, height, width, generator=random)
        (image[:, ::4] if index % 2 == 0 else image[:, :, ::4]).add_(2.0)
        return image, index % 2


def convnet() -> nn.Module:
    """An ordinary network with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(16, 2),
    )  # fmt: skip


def main() -> float:
    """Train for five epochs and return the share of right answers in the last."""
    torch.manual_seed(0)
    dataset = Stripes(400)
    model = convnet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    planner = functools.partial(anysize.plan_epoch, dataset.sizes, batch_size=16, mixing="similar")
    sampler = anysize.BatchSampler(planner)  # each pass over it is the next epoch
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=anysize.collate)
    num_right = 0
    for epoch in range(5):
        num_right = 0
        for images, labels in loader:  # images: a RaggedBatch
            logits = model(images)  # (N, 2), each row what its image would get alone
            nn.functional.cross_entropy(logits, labels).backward()
            optimizer.step()
            optimizer.zero_grad()
            num_right += int((logits.argmax(1) == labels).sum())
        print(f"epoch {epoch}: {num_right / len(dataset):.1%} right")
    return num_right / len(dataset)


if __name__ == "__main__":
    main()
