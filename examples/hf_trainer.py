"""Exact mixed-size batches in the Hugging Face Trainer. pip install transformers accelerate"""

import functools
import tempfile

import torch
from accelerate.data_loader import prepare_data_loader
from own_loop import Stripes, convnet
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments, set_seed

import anysize


class Items(Stripes):
    """The stripes as dictionaries."""

    def __getitem__(self, index: int) -> dict:
        image, label = super().__getitem__(index)
        return {"pixel_values": image, "labels": label}


class Net(nn.Module):
    """A convnet that answers as the Trainer expects."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = convnet()

    def forward(self, pixel_values: anysize.RaggedBatch, labels: torch.Tensor, **loss_kwargs: torch.Tensor) -> dict:
        logits = self.layers(pixel_values)
        total = nn.functional.cross_entropy(logits, labels, reduction="sum")
        # In training, the Trainer counts the labels of all ranks and accumulated batches: one division by all of them.
        return {"loss": total / loss_kwargs.get("num_items_in_batch", len(labels)), "logits": logits}


class NativeSizeTrainer(Trainer):
    """Trains in the batches of a plan; evaluates as every Trainer does."""

    def get_train_dataloader(self) -> DataLoader:
        args, sizes = self.args, self.train_dataset.sizes
        batch_size = args.train_batch_size * args.world_size
        planner = functools.partial(anysize.plan_epoch, sizes, batch_size, num_ranks=args.world_size, seed=args.seed)
        sampler = anysize.BatchSampler(planner, whole_steps=True)
        loader = DataLoader(self.train_dataset, batch_sampler=sampler, collate_fn=self.data_collator)
        # Not accelerator.prepare: the sampler has this rank's share already, and would be divided once more.
        return prepare_data_loader(loader, args.device, num_processes=1, process_index=0, put_on_device=True)


def main() -> float:
    set_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=5,
            per_device_train_batch_size=16,
            learning_rate=3e-3,
            remove_unused_columns=False,  # the collate function sees all entries
            ddp_find_unused_parameters=False,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = NativeSizeTrainer(
            Net(),
            arguments,
            data_collator=anysize.collate,
            train_dataset=Items(400),
            eval_dataset=Items(400),
            compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())},
        )
        trainer.train()
        return trainer.evaluate()["eval_accuracy"]


if __name__ == "__main__":
    accuracy = main()
    print(f"validation accuracy {accuracy:.1%}")
    assert accuracy > 0.95
