"""Random numbers are SplitMix64's own."""

import numpy as np

from anysize.batching.noise import permutation, stream_key, uniform, words


def test_words_are_those_of_the_reference():
    # The first outputs of the authors' C code for seed 1234567, as published with Rosetta Code's task.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert words(1234567, 4).tolist() == expected


def test_streams_differ():
    keys = {stream_key(seed, epoch) for seed in range(-50, 50) for epoch in range(50)}
    assert len(keys) == 5000
    assert stream_key(1, 2) != stream_key(2, 1)


def test_uniform_and_permutation():
    drawn = uniform(3, 100_000)
    assert 0 <= drawn.min() < 0.001
    assert 0.999 < drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.005
    order = permutation(3, 1000)
    assert sorted(order.tolist()) == list(range(1000))
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.1
