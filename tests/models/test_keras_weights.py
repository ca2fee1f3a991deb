"""Weights from Keras into our networks and back: the answers agree, whatever the form of the file."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from keras_truth import check_agreement, import_keras, keras_answers, randomise_keras
from torch import nn

from anysize.errors import CheckpointError, UsageError
from anysize.models import create_model
from anysize.models.weights.keras import keras_network, read_keras, write_keras
from oracle import randomise, relative_error

# Keras on torch hands its variables to numpy in a way that numpy 2 will drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

FORMS = (".h5", ".weights.h5", ".keras")
LARGE = {
    "xception": ("Xception", {}),
    "resnet50": ("ResNet50", {"stride_in_1x1": True, "conv_bias": True, "norm_eps": 1.001e-5}),
    "mobilenet_v2": ("MobileNetV2", {"keras_padding": True, "norm_eps": 1e-3}),
}


def keras_small(name: str, classes: int = 7, channels: int = 1) -> Any:
    """The four small networks as their authors would write them in Keras."""
    keras = import_keras()
    x = inputs = keras.Input((28, 28, channels) if name == "mnist_dense" else (None, None, channels))

    def conv(x: Any, filters: int, side: int, padding: str = "same", activation: str | None = "relu") -> Any:
        return keras.layers.Conv2D(filters, side, padding=padding, activation=activation)(x)

    pool = keras.layers.MaxPooling2D
    if name == "mnist_dense":
        x = keras.layers.Flatten()(conv(x, 32, 3, "valid"))
        x = keras.layers.Dense(classes)(keras.layers.Dense(128, activation="relu")(x))
    elif name == "mnist_fcn":
        x = conv(pool()(conv(pool()(conv(x, 16, 3)), 32, 3)), 32, 7, "valid")
        x = conv(x, classes, 1, activation=None)
    elif name == "mnist_anysize":
        x = keras.layers.GlobalMaxPooling2D()(conv(conv(x, 16, 3), 32, 3))
        x = conv(keras.layers.Reshape((1, 1, 32))(x), classes, 1, activation=None)
        x = keras.layers.Reshape((classes,))(x)
    else:
        x = pool()(conv(pool()(conv(x, 32, 3)), 32, 3, activation=None))
        x = conv(conv(conv(x, 16, 1), 8, 1), classes, 1)
        x = keras.layers.GlobalAveragePooling2D()(x)
    return randomise_keras(keras.Model(inputs, x))


SMALL: dict[str, tuple[tuple[int, int], ...]] = {
    "mnist_dense": ((28, 28),),
    "mnist_fcn": ((32, 37), (45, 33)),
    "mnist_anysize": ((28, 28), (5, 3), (1, 1)),
    "fcn_small": ((28, 28), (33, 17), (4, 5)),
}


def save(model: Any, path: Path) -> Path:
    (model.save_weights if path.name.endswith(".weights.h5") else model.save)(path)
    return path


def loaded(path: Path, model: nn.Module) -> nn.Module:
    """Our network with what the file holds; counters, which Keras lacks, stay."""
    state = read_keras(path, model)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return model


def back(mine: nn.Module, path: Path, rebuild: Callable[[], Any], size: tuple[int, int] | None = None) -> Any:
    """Written by us, loaded by Keras itself: the whole network, or weights into one that it builds."""
    write_keras(mine, path, size=size)
    keras = import_keras()
    if not path.name.endswith(".weights.h5"):
        return keras.models.load_model(path, compile=False)
    theirs = rebuild()
    theirs.load_weights(path)
    return theirs


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SMALL)
def test_small_networks_both_ways(name: str, form: str, tmp_path: Path) -> None:
    theirs = keras_small(name)
    mine = loaded(save(theirs, tmp_path / f"theirs{form}"), create_model(name, num_classes=7, in_channels=1))
    check_agreement(mine, theirs, SMALL[name], channels=1)
    randomise(mine, seed=3)
    returned = back(mine, tmp_path / f"mine{form}", lambda: keras_small(name))
    images = torch.randn(2, 1, *SMALL[name][0])
    with torch.no_grad():
        assert relative_error(mine(images), keras_answers(returned, images)) <= 1e-5
    check_agreement(mine, returned, SMALL[name], channels=1)


def test_a_network_with_other_channels_and_a_map_for_an_answer(tmp_path: Path) -> None:
    mine = randomise(create_model("mnist_fcn", num_classes=4, in_channels=3, average=True))
    returned = back(mine, tmp_path / "mine.keras", lambda: None, size=(40, 41))
    assert returned.input_shape == (None, 40, 41, 3)
    check_agreement(mine, returned, ((40, 41),))
    mine = randomise(create_model("fcn_small", num_classes=4, in_channels=3, final_relu=False))
    check_agreement(mine, back(mine, tmp_path / "mine.h5", lambda: None), ((21, 14),))
    mine = randomise(create_model("mnist_dense", num_classes=4, in_channels=2, image_size=9))
    check_agreement(mine, back(mine, tmp_path / "mine.h5", lambda: None), ((9, 9),), channels=2)


GAINS = {"xception": 1.0, "resnet50": 1.0, "mobilenet_v2": 2.3}


def application(name: str, size: tuple[int, int] | None, classes: int = 5) -> Any:
    """Keras's own network for images of one size, or of any: then the head is put on by hand."""
    keras = import_keras()
    builder = getattr(keras.applications, LARGE[name][0])
    if size is not None:
        network = builder(weights=None, input_shape=(*size, 3), classes=classes, classifier_activation=None)
        return randomise_keras(network, gain=GAINS[name])
    base = builder(weights=None, include_top=False, input_shape=(None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D(name="avg_pool")(base.output)
    network = keras.Model(base.input, keras.layers.Dense(classes, name="predictions")(pooled))
    return randomise_keras(network, gain=GAINS[name])


def test_xception_from_keras_at_a_small_size(tmp_path: Path) -> None:
    theirs = application("xception", None)
    path = save(theirs, tmp_path / "theirs.weights.h5")
    mine = loaded(path, create_model("xception", num_classes=5))
    check_agreement(mine, theirs, ((71, 66), (50, 39)))
    # Another number of classes or channels is for whoever loads it: the file's own tensors are given.
    with torch.device("meta"):
        other = create_model("xception", num_classes=2, in_channels=1)
    state = read_keras(path, other)
    assert state["predictions.weight"].shape == (5, 2048)
    assert state["block1_conv1.weight"].shape == (32, 3, 3, 3)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LARGE)
def test_large_networks_both_ways(name: str, form: str, tmp_path: Path) -> None:
    sizes = ((299, 299), (97, 128), (107, 75))
    # MobileNetV2 pads in Keras by the size that it is built for; the others take any.
    groups = [(size, (size,)) for size in sizes] if name == "mobilenet_v2" else [(None, sizes)]
    for built_for, compared in groups:
        theirs = application(name, built_for)
        path = save(theirs, tmp_path / f"theirs{form}")
        mine = loaded(path, create_model(name, num_classes=5, **LARGE[name][1]))
        check_agreement(mine, theirs, compared)
        with torch.no_grad():
            for parameter in mine.parameters():
                parameter.mul_(1.01)
        rebuild = partial(application, name, built_for)
        check_agreement(mine, back(mine, tmp_path / f"mine{form}", rebuild, built_for), compared)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_networks_without_a_head(name: str, tmp_path: Path) -> None:
    keras = import_keras()
    base = getattr(keras.applications, LARGE[name][0])(weights=None, include_top=False, input_shape=(None, None, 3))
    model = create_model(name, num_classes=5, **LARGE[name][1])
    for form in FORMS:
        state = read_keras(save(base, tmp_path / f"base{form}"), model)
        absent = {key for key in model.state_dict() if key not in state and not key.endswith("num_batches_tracked")}
        assert absent == {f"{model.head_names[0]}.weight", f"{model.head_names[0]}.bias"}


@pytest.mark.parametrize(
    ("name", "options", "lacking", "hint"),
    [
        (
            "xception", {"keras_padding": False}, "keras_padding=True",
            "create_model('xception', ..., keras_padding=True, norm_eps=0.001)",
        ),
        (
            "resnet50", {"conv_bias": True}, "stride_in_1x1=True, norm_eps=1.001e-05",
            "create_model('resnet50', ..., stride_in_1x1=True, conv_bias=True, norm_eps=1.001e-05)",
        ),
        (
            "mobilenet_v2", {"norm_eps": 1e-3}, "keras_padding=True",
            "create_model('mobilenet_v2', ..., keras_padding=True, norm_eps=0.001)",
        ),
    ],
)  # fmt: skip
def test_options_that_compute_something_else_are_named(
    name: str, options: dict[str, Any], lacking: str, hint: str, tmp_path: Path
) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=5, **options)
    path = tmp_path / "mine.keras"
    with pytest.raises(CheckpointError) as info:
        write_keras(model, path)
    said = f"{path} is to be keras.applications.{LARGE[name][0]}, and this {name} was built without {lacking}"
    assert str(info.value) == f"{said}: it would compute something else\nhint: {hint}"
    assert list(tmp_path.iterdir()) == []


def test_what_no_shape_says_is_warned_of() -> None:
    with torch.device("meta"):
        models = {name: create_model(name, num_classes=5, **LARGE[name][1]) for name in LARGE}
    for name, model in models.items():
        warnings = keras_network(model).warnings
        assert bool(warnings) == (name == "resnet50")
        assert all("was trained on BGR" in warning for warning in warnings)


def test_what_keras_does_not_have_is_refused(tmp_path: Path) -> None:
    known = "xception, resnet50, mobilenet_v2, fcn_small, mnist_anysize, mnist_dense, mnist_fcn"
    for call in (lambda m: read_keras(tmp_path / "a.h5", m), lambda m: write_keras(m, tmp_path / "a.h5")):
        with pytest.raises(UsageError) as info:
            call(create_model("resnet9", num_classes=2))
        assert str(info.value) == f"Resnet9 has no form in Keras; the networks that have one are {known}"
    path = tmp_path / "a.safetensors"
    with pytest.raises(UsageError) as info:
        write_keras(create_model("fcn_small", num_classes=2), path)
    suffixes = ".keras, .h5, .hdf5, .weights.h5"
    assert str(info.value) == f"{path} has the suffix '.safetensors'; Keras's files end in {suffixes}"


def test_other_widths_and_strides_are_not_written(tmp_path: Path) -> None:
    import_keras()
    path = tmp_path / "a.keras"
    keras_form = LARGE["mobilenet_v2"][1]
    narrow = create_model("mobilenet_v2", num_classes=2, width=0.5, **keras_form)
    wrong = r"\n  Conv1/kernel has shape \(3, 3, 3, 32\) in Keras, here it is \(3, 3, 3, 16\)\n"
    with pytest.raises(CheckpointError, match=wrong):
        write_keras(narrow, path)
    dilated = create_model("mobilenet_v2", num_classes=2, output_stride=16, **keras_form)
    with pytest.raises(CheckpointError) as info:
        write_keras(dilated, path)
    assert str(info.value) == (
        f"{path} is to be keras.applications.MobileNetV2, whose output stride is 32, and this mobilenet_v2 is dilated: "
        "it computes something else\nhint: load the weights into one that is not: output_stride=32"
    )
    assert list(tmp_path.iterdir()) == []
