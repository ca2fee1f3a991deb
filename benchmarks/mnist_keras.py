"""The three networks of ``mnist_trio.py`` in TF-Keras, in a process of its own, and how to talk to it.

`mnist_peer` starts this file with an interpreter that has TensorFlow and NumPy; it needs neither torch nor anysize
there. The process answers JSON lines on standard input with JSON lines on standard output.

Written as Keras' users are advised to: ``compile`` and ``fit``, which traces one graph a network and runs a whole
step as one call. Digits are arrays in memory; those of an epoch are put in order before its clock starts.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peer_process import Peer, running

# TensorFlow is imported where it is used: only the process that is started has it.


class MnistPeer(Peer):
    """The process, as seen from ours."""

    def build(self, network: str, weights: Path) -> int:
        """Make a network with the weights of a .npz file; return its number of parameters."""
        return int(self.ask({"do": "build", "network": network, "weights": str(weights)})["parameters"])

    def epoch(self, network: str, number: int) -> dict[str, float]:
        """Train one epoch, then test: seconds, train_loss, test_loss, test_accuracy, inference_seconds."""
        return {
            key: float(value) for key, value in self.ask({"do": "epoch", "network": network, "number": number}).items()
        }


@contextmanager
def mnist_peer(python: str, environment: Mapping[str, str], **settings: Any) -> Iterator[MnistPeer]:
    """Run the process.

    Args:
        python: an interpreter that has tensorflow.
        environment: the process' environment variables. glibc is told in addition to keep memory, which
            `anysize.startup` does for torch.
        settings: data, seed, threads, batch_size, test_batch_size, learning_rate, epsilon, train_digits, test_digits.
    """
    with running(python, Path(__file__), environment, settings) as process:
        yield MnistPeer(process)


def layers_of(network: str) -> list[Any]:
    """The layers of one network behind its input."""
    from tensorflow.keras import layers

    def conv(filters: int, kernel: int, padding: str = "same", activation: str | None = "relu") -> Any:
        return layers.Conv2D(filters, kernel, padding=padding, activation=activation)

    found: dict[str, list[Any]] = {
        "mnist_dense": [
            conv(32, 3, "valid"),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ],
        "mnist_fcn": [
            conv(16, 3),
            layers.MaxPooling2D(2),
            conv(32, 3),
            layers.MaxPooling2D(2),
            conv(32, 7, "valid"),
            conv(10, 1, activation=None),
            layers.Flatten(),
        ],
        "mnist_anysize": [
            conv(16, 3),
            conv(32, 3),
            layers.GlobalMaxPooling2D(keepdims=True),
            conv(10, 1, activation=None),
            layers.Flatten(),
        ],
    }
    return found[network]


class Trainer:
    """Data and networks."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import numpy as np

        with np.load(settings["data"]) as data:
            train, test = settings["train_digits"], settings["test_digits"]
            self.images = data["x_train"][:train, :, :, None].astype(np.float32) / 255
            self.labels = data["y_train"][:train].astype(np.int64)
            self.test_images = data["x_test"][:test, :, :, None].astype(np.float32) / 255
            self.test_labels = data["y_test"][:test].astype(np.int64)
        self.settings = settings
        self.networks: dict[str, Any] = {}

    def build(self, network: str, weights: str) -> dict[str, Any]:
        """Make a network with given weights."""
        import keras
        import numpy as np

        model = keras.Sequential([keras.layers.Input((28, 28, 1)), *layers_of(network)])
        model.compile(
            optimizer=keras.optimizers.Adam(self.settings["learning_rate"], epsilon=self.settings["epsilon"]),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        with np.load(weights) as arrays:
            model.set_weights([arrays[name] for name in arrays.files])
        self.networks[network] = model
        return {"parameters": model.count_params()}

    def epoch(self, network: str, number: int) -> dict[str, Any]:
        """Train and test once."""
        import numpy as np

        model, settings = self.networks[network], self.settings
        order = np.random.default_rng([settings["seed"], number]).permutation(len(self.images))
        images, labels = self.images[order], self.labels[order]
        started = time.perf_counter()
        history = model.fit(images, labels, batch_size=settings["batch_size"], shuffle=False, verbose=0)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        logits = model.predict(self.test_images, batch_size=settings["test_batch_size"], verbose=0).astype(np.float64)
        inference_seconds = time.perf_counter() - started
        log_sums = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
        right = logits[np.arange(len(logits)), self.test_labels]
        return {
            "seconds": seconds,
            "train_loss": history.history["loss"][0],
            "test_loss": float((log_sums - right).mean()),
            "test_accuracy": float((logits.argmax(1) == self.test_labels).mean()),
            "inference_seconds": inference_seconds,
        }


def main() -> None:
    """Answer requests until standard input ends."""
    settings = json.loads(sys.argv[1])
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(settings["threads"])
    tf.keras.utils.set_random_seed(settings["seed"])
    trainer = Trainer(settings)
    print(json.dumps({"versions": f"TensorFlow {tf.__version__}, Keras {tf.keras.version()}"}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        do = trainer.build if request.pop("do") == "build" else trainer.epoch
        print(json.dumps(do(**request)), flush=True)


if __name__ == "__main__":
    main()
