"""Weights between the files of Keras and our networks: legacy ``.h5``, ``.weights.h5`` and ``.keras``, both ways.

Reading needs h5py only; writing needs Keras, which builds the same network of its own and saves it.
"""

from anysize.models.weights.keras.networks import keras_network
from anysize.models.weights.keras.reading import read_keras
from anysize.models.weights.keras.writing import write_keras

__all__ = ["keras_network", "read_keras", "write_keras"]
