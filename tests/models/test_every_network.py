"""What all networks of this library keep, whoever writes the next one."""

import pytest
import torch
from torch import Tensor, nn

from anysize.models import Network, create_model, list_models

# Of those whose default is not the first thing to try.
SIZES = {"mnist_dense": (28, 28), "mnist_fcn": (28, 28)}
DEFAULT_SIZE = (97, 66)


@pytest.mark.parametrize("name", list_models())
def test_the_contract_of_a_network(name: str) -> None:
    size = SIZES.get(name, DEFAULT_SIZE)
    with torch.device("meta"):  # shapes only, no arithmetic
        model = create_model(name, num_classes=5, in_channels=2)
        logits = model.eval()(torch.empty(3, 2, *size))
    assert isinstance(model, Network)
    assert isinstance(logits, Tensor)
    assert logits.shape == {"classify": (3, 5), "segment": (3, 5, *size)}[model.task]
    stem = model.get_submodule(model.stem_name)
    assert isinstance(stem, nn.Conv2d)
    assert stem.in_channels == 2
    # Stem and heads are all that depends on the numbers of channels and classes.
    with torch.device("meta"):
        other = create_model(name, num_classes=7, in_channels=4).state_dict()
    changed = {key.rpartition(".")[0] for key, value in model.state_dict().items() if value.shape != other[key].shape}
    assert changed == {model.stem_name, *model.head_names}
