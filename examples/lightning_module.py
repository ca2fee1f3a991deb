"""Exact mixed-size batches in Lightning: an unmodified convnet in an ordinary LightningModule. pip install lightning"""

import functools
import sys

import lightning
import torch
from own_loop import Stripes, convnet
from torch import nn
from torch.utils.data import DataLoader

import anysize


class Classifier(lightning.LightningModule):
    """Nothing here knows of sizes but the two loaders."""

    def __init__(self) -> None:
        super().__init__()
        self.dataset = Stripes(400)
        self.resume_at: dict = {}
        self.model = convnet()

    def train_dataloader(self) -> DataLoader:
        ranks = self.trainer.world_size
        planner = functools.partial(anysize.plan_epoch, self.dataset.sizes, 16, num_ranks=ranks, mixing="mixed")
        self.sampler = anysize.BatchSampler(planner, whole_steps=True)  # Lightning calls its set_epoch
        if self.resume_at:
            self.sampler.load_state_dict(self.resume_at)
        spread = functools.partial(anysize.collate, grouped=True)  # a step's images on several canvases: a RaggedGroup
        return DataLoader(self.dataset, batch_sampler=self.sampler, collate_fn=spread)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.dataset, batch_size=16, collate_fn=anysize.collate)  # as it comes: one canvas a batch

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        num_done = self.trainer.fit_loop.epoch_loop.batch_progress.current.processed
        checkpoint["sampler"] = self.sampler.state_dict(num_done)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.resume_at = checkpoint["sampler"]

    def training_step(self, batch: tuple, _: int) -> torch.Tensor:
        images, labels = batch
        return nn.functional.cross_entropy(self.model(images), labels)

    def validation_step(self, batch: tuple, _: int) -> None:
        images, labels = batch
        right = (self.model(images).argmax(1) == labels).float().mean()
        self.log("val_accuracy", right, batch_size=len(images), sync_dist=True)  # a ragged batch has a length

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


if __name__ == "__main__":
    lightning.seed_everything(0)
    trainer = lightning.Trainer(
        max_epochs=5,
        accelerator="cpu",
        devices=int(sys.argv[1]) if len(sys.argv) > 1 else 1,
        use_distributed_sampler=False,  # the sampler knows the ranks itself
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(Classifier())
    accuracy = float(trainer.callback_metrics["val_accuracy"])
    print(f"validation accuracy {accuracy:.1%}")
    assert accuracy > 0.95
