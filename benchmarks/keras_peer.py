"""The network of ``native_vs_fixed.py`` in TF-Keras, in a process of its own, and how to talk to it.

`keras_peer` starts this file with an interpreter that has TensorFlow and NumPy; it needs neither torch nor
anysize there. The process answers JSON lines: ``{"way": ..., "fresh": ..., "batches": [[n, height, width],
...]}`` on standard input with ``{"seconds": ...}`` on standard output. Its data are tensors before the
clock starts.

Written as TensorFlow's users are advised to: a whole training step is one ``tf.function``; images of many
sizes go one by one through a single trace with a relaxed signature (None for height and width): nothing is
retraced.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peer_process import Peer, running

# TensorFlow is imported where it is used: only the process that is started has it.

Batch = Sequence[int]  # (n, height, width)


# Our end.


class KerasPeer(Peer):
    """The process, as seen from ours."""

    def seconds(self, way: str, batches: Sequence[Batch], *, fresh: bool) -> float:
        """Time one training step on each batch; ``fresh`` starts with a new network and a new trace."""
        return float(self.ask({"way": way, "fresh": fresh, "batches": batches})["seconds"])


@contextmanager
def keras_peer(python: str, environment: Mapping[str, str], **settings: float) -> Iterator[KerasPeer]:
    """Run the process.

    Args:
        python: an interpreter that has tensorflow.
        environment: the process' environment variables. glibc is told in addition to keep memory, which
            `anysize.startup` does for torch.
        settings: threads, seed, learning_rate, momentum.
    """
    with running(python, Path(__file__), environment, settings) as process:
        yield KerasPeer(process)


# Its end.


def build_network() -> Any:
    """``fcn_small``: (B, H, W, 1) -> logits (B, 3)."""
    import tensorflow as tf

    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layers.Input((None, None, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 3, padding="same"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 1, activation="relu"),
            layers.Conv2D(8, 1, activation="relu"),
            layers.Conv2D(3, 1, activation="relu"),
            layers.GlobalAveragePooling2D(),
        ]
    )


def build_step(*, any_size: bool, learning_rate: float, momentum: float) -> Callable[[Any, Any], Any]:
    """A training step, forward, backward and update, as one traced function."""
    import tensorflow as tf

    network = build_network()
    weights = network.trainable_variables
    optimizer = tf.keras.optimizers.SGD(learning_rate, momentum=momentum)
    optimizer.build(weights)
    loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def step(images: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(targets, network(images, training=True))
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    signature = [tf.TensorSpec([None, None, None, 1], tf.float32), tf.TensorSpec([None], tf.int64)]
    traced: Callable[[Any, Any], Any] = tf.function(step, input_signature=signature if any_size else None)
    return traced


def time_steps(step: Callable[[Any, Any], Any], batches: Sequence[Batch], random: Any) -> float:
    """Seconds for one step on each batch of noise."""
    import numpy as np
    import tensorflow as tf

    data = [
        (
            tf.constant(random.random((count, height, width, 1), dtype=np.float32)),
            tf.constant(random.integers(0, 3, count)),
        )
        for count, height, width in batches
    ]
    started = time.perf_counter()
    for images, targets in data:
        loss = step(images, targets)
    assert np.isfinite(loss.numpy())
    return time.perf_counter() - started


def main() -> None:
    """Answer requests until standard input ends."""
    import numpy as np
    import tensorflow as tf

    settings = json.loads(sys.argv[1])
    tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(settings["threads"])
    tf.keras.utils.set_random_seed(settings["seed"])
    random = np.random.default_rng(settings["seed"])
    rates = {name: settings[name] for name in ("learning_rate", "momentum")}
    steps = {}
    print(json.dumps({"versions": f"TensorFlow {tf.__version__}, Keras {tf.keras.version()}"}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        way = request["way"]
        if request["fresh"]:
            steps[way] = build_step(any_size=way.endswith("single"), **rates)
        print(json.dumps({"seconds": time_steps(steps[way], request["batches"], random)}), flush=True)


if __name__ == "__main__":
    main()
