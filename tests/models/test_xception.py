"""Xception against ``keras.applications.Xception`` with the same random weights, and against the paper's counts."""

from typing import Any

import pytest
import torch
from keras_truth import check_agreement, import_keras, keras_answers, randomise_keras, weights_of
from torch import Tensor, nn

from anysize.models import create_model, smallest_side
from anysize.models.layers import SeparableConv2d
from anysize.ragged import RaggedBatch, verify
from oracle import random_images, randomise, relative_error


def test_a_mixed_batch_is_each_image_alone() -> None:
    model = randomise(create_model("xception", num_classes=3)).double().eval()
    images = random_images(((20, 17), (15, 24)), 3)
    alone = torch.cat([model(image[None]) for image in images])
    alone.square().sum().backward()
    expected = [parameter.grad for parameter in model.parameters()]
    model.zero_grad(set_to_none=True)
    together = model(RaggedBatch.from_images(images))
    together.square().sum().backward()
    assert relative_error(together.detach(), alone.detach()) < 1e-12
    for parameter, grad in zip(model.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert grad is not None
        assert relative_error(parameter.grad, grad) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("keras_padding", [True, False])
def test_exact_in_every_mode(keras_padding: bool) -> None:
    model = create_model("xception", num_classes=3, keras_padding=keras_padding)
    report = verify(model, sizes=[(40, 33), (31, 46)], dtype=torch.float64)
    assert report.exact, "\n".join(report.lines())


def keras_xception(size: int | None = None, classes: int = 7) -> Any:
    """Keras's own, with random weights; its head takes any size if it is put on by hand."""
    keras = import_keras()
    if size is not None:
        network = keras.applications.Xception(
            weights=None, input_shape=(size, size, 3), classes=classes, classifier_activation=None
        )
        return randomise_keras(network)
    base = keras.applications.Xception(weights=None, include_top=False, input_shape=(None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D(name="avg_pool")(base.output)
    logits = keras.layers.Dense(classes, name="predictions")(pooled)
    return randomise_keras(keras.Model(base.input, logits))


def copy_weights(theirs: Any, mine: nn.Module) -> None:
    """By layer name; the shortcuts, which have none in Keras, by their order."""
    shortcuts = iter(("block2_residual", "block3_residual", "block4_residual", "block13_residual"))
    name = ""
    for layer in theirs.layers:
        values = weights_of(layer)
        if not values:
            continue
        name = layer.name
        if name.startswith("conv2d"):
            prefix = next(shortcuts)
            name = f"{prefix}_conv"
        elif name.startswith("batch_normalization"):
            name = f"{prefix}_bn"
        copy_layer(mine.get_submodule(name), values)
    assert name == "predictions"
    assert next(shortcuts, None) is None


def copy_layer(layer: nn.Module, values: list[Tensor]) -> None:
    if isinstance(layer, SeparableConv2d):
        state = {"depthwise.weight": values[0].permute(2, 3, 0, 1), "pointwise.weight": values[1].permute(3, 2, 0, 1)}
    elif isinstance(layer, nn.Conv2d):
        state = {"weight": values[0].permute(3, 2, 0, 1)}
    elif isinstance(layer, nn.Linear):
        state = {"weight": values[0].T, "bias": values[1]}
    else:
        state = dict(zip(("weight", "bias", "running_mean", "running_var"), values, strict=True))
        state["num_batches_tracked"] = torch.tensor(0)
    layer.load_state_dict(state)


def test_parameters_are_those_of_the_paper_and_of_keras() -> None:
    with torch.device("meta"):
        model = create_model("xception", num_classes=1000)
    statistics = sum(b.numel() for name, b in model.named_buffers() if "running" in name)
    assert statistics == 54_528
    assert sum(p.numel() for p in model.parameters()) + statistics == 22_910_480
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 40
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
    assert smallest_side(model, 3) == 7


def test_values_are_those_of_keras_at_any_size() -> None:
    theirs = keras_xception()
    mine = create_model("xception", num_classes=7)
    copy_weights(theirs, mine)
    check_agreement(mine, theirs, ((7, 10), (23, 8), (71, 72), (74, 50), (96, 97)))
    assert sum(w.numel() for layer in theirs.layers for w in weights_of(layer)) == 22_910_480 - 993 * 2049


def test_symmetrical_padding_is_that_of_keras_where_each_pooled_map_is_odd() -> None:
    theirs = keras_xception()
    mine = create_model("xception", num_classes=7, keras_padding=False)
    copy_weights(theirs, mine)
    check_agreement(mine, theirs, ((39, 72), (8, 7)))  # each pool sees 16 n + 1 pixels, 8 n + 1, ...
    images = torch.randn(1, 3, 50, 50)
    with torch.no_grad():
        assert relative_error(mine(images), keras_answers(theirs, images)) > 1e-3


@pytest.mark.slow
def test_values_are_those_of_keras_at_299_pixels() -> None:
    theirs = keras_xception(299)
    mine = create_model("xception", num_classes=7)
    copy_weights(theirs, mine)
    check_agreement(mine, theirs, ((299, 299),))
    theirs = keras_xception()
    copy_weights(theirs, mine)
    check_agreement(mine, theirs, ((299, 299), (300, 301), (224, 318)))


def test_dropout_is_an_option_of_training() -> None:
    assert create_model("xception", num_classes=3).dropout.p == 0.0
    model = create_model("xception", num_classes=3, dropout=0.5)
    shares: list[float] = []
    model.predictions.register_forward_pre_hook(lambda _, inputs: shares.append(float((inputs[0] == 0).float().mean())))
    ones = torch.ones(2, 2048)
    for training in (False, True):
        model.dropout.train(training)
        model.predictions(model.dropout(ones))
    assert shares[0] == 0.0
    assert shares[1] == pytest.approx(0.5, abs=0.05)
