"""Files of Keras, right and wrong, as they are on disk: made here with h5py, so Keras is not needed."""

import io
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from anysize.errors import CheckpointError
from anysize.models import create_model
from anysize.models.weights.keras import read_keras
from anysize.models.weights.keras.networks import keras_network
from oracle import randomise

h5py = pytest.importorskip("h5py")

Layers = list[tuple[str, list[tuple[str, Any]]]]
"""Layers by name, their variables by name."""


@pytest.fixture
def model() -> nn.Module:
    """`fcn_small`: five convolutions, no names."""
    return randomise(create_model("fcn_small", num_classes=3, in_channels=1))


def layers_of(model: nn.Module) -> Layers:
    """What Keras would store, from the definition of its layout: (h, w, C, C')."""
    convs = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    return [
        (
            f"conv2d_{number}",
            [("kernel", conv.weight.detach().permute(2, 3, 1, 0).numpy()), ("bias", conv.bias.detach())],
        )
        for number, conv in enumerate(convs, start=7)
    ]


def write_legacy(root: Any, layers: Layers, *, suffix: str = ":0", bytes_: bool = True, pieces: int = 1) -> None:
    """Keras 2 and before: lists of names, as bytes, and variables called ``kernel:0``."""

    def put(group: Any, key: str, names: Sequence[str]) -> None:
        values = [name.encode() for name in names] if bytes_ else list(names)
        if pieces == 1:
            group.attrs[key] = values
        for number, part in enumerate(np.array_split(values, pieces) if pieces > 1 else ()):
            group.attrs[f"{key}{number}"] = part

    put(root, "layer_names", ["input_1", *(name for name, _ in layers)])
    root.create_group("input_1").attrs["weight_names"] = []
    for name, variables in layers:
        group = root.create_group(name)
        put(group, "weight_names", [f"{name}/{variable}{suffix}" for variable, _ in variables])
        for variable, value in variables:
            group[f"{name}/{variable}{suffix}"] = value


def write_current(root: Any, layers: Layers, *, group: str = "layers", names: bool = True) -> None:
    """Keras 3: numbered by class; the names of layers are an attribute that early versions lacked."""
    counts: dict[str, int] = {}
    for name, variables in layers:
        kind = re.sub(r"_\d+$", "", name)
        number = counts[kind] = counts.get(kind, -1) + 1
        holder = root.create_group(f"{group}/{kind}_{number}" if number else f"{group}/{kind}").create_group("vars")
        if names:
            holder.attrs["name"] = name
        for index, (_, value) in enumerate(variables):
            holder[str(index)] = value
    root.create_group(f"{group}/dropout/seed_generator/vars")["0"] = np.zeros(2, "uint32")
    root.create_group(f"{group}/dropout/vars")
    root.create_group("optimizer/vars")["0"] = 3


def h5(path: Path, write: Callable[[Any], Any]) -> Path:
    with h5py.File(path, "w") as file:
        write(file)
    return path


def zipped(path: Path, write: Callable[[Any], Any], member: str = "model.weights.h5", **options: Any) -> Path:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        write(file)
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr(member, content.getvalue())
    return path


def refused(path: Path, model: nn.Module) -> str:
    with pytest.raises(CheckpointError) as info:
        read_keras(path, model)
    return str(info.value).replace(str(path), "FILE")


def check_equal(path: Path, model: nn.Module) -> None:
    state = read_keras(path, model)
    assert list(state) == [key for key in model.state_dict() if not key.endswith("num_batches_tracked")]
    for key, value in state.items():
        assert torch.equal(value, model.state_dict()[key]), key


FORMS: dict[str, Callable[[Any, Layers], Any]] = {
    "weights only": lambda root, layers: write_legacy(root, layers),
    "whole": lambda root, layers: write_legacy(root.create_group("model_weights"), layers, bytes_=False, suffix=""),
    "long lists": lambda root, layers: write_legacy(root, layers, pieces=2),
    "version 3": lambda root, layers: write_current(root, layers),
    "early version 3": lambda root, layers: write_current(
        root, layers, group="_layer_checkpoint_dependencies", names=False
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form: str, model: nn.Module, tmp_path: Path) -> None:
    check_equal(h5(tmp_path / "a.h5", lambda root: FORMS[form](root, layers_of(model))), model)
    compressed = {"compression": zipfile.ZIP_DEFLATED}
    for options in ({}, compressed):
        check_equal(zipped(tmp_path / "a.keras", lambda root: FORMS[form](root, layers_of(model)), **options), model)


@pytest.mark.parametrize("names", [True, False])
def test_many_layers_of_one_class_keep_their_order(names: bool, tmp_path: Path) -> None:
    """The tenth comes behind the ninth, not behind the first."""
    options = {"keras_padding": True, "norm_eps": 1e-3, "width": 0.1}
    model = randomise(create_model("mobilenet_v2", num_classes=4, **options))
    state = model.state_dict()
    layers: Layers = []
    for layer in keras_network(model).layers:
        values = [(variable.name, variable.to_keras(state[variable.key])) for variable in layer.variables]
        layers.append((layer.name if names else f"{layer.kind}_1", values))
    if names:
        symmetrical = create_model("mobilenet_v2", num_classes=4, norm_eps=1e-3, width=0.1)
        assert refused(h5(tmp_path / "a.h5", lambda root: write_legacy(root, layers)), symmetrical) == (
            "the weights in FILE are of keras.applications.MobileNetV2, and this mobilenet_v2 was built without "
            "keras_padding=True: it would compute something else\n"
            "hint: create_model('mobilenet_v2', ..., keras_padding=True, norm_eps=0.001)"
        )
        check_equal(h5(tmp_path / "a.h5", lambda root: write_legacy(root, layers)), model)
        check_equal(h5(tmp_path / "b.h5", lambda root: write_legacy(root, layers[::-1])), model)
        renamed = [*layers[:-1], ("Logits", layers[-1][1])]  # as in the file of MobileNetV2 that Keras distributes
        check_equal(h5(tmp_path / "c.h5", lambda root: write_legacy(root, renamed)), model)
        foreign = [(f"x{name}" if index == 4 else name, values) for index, (name, values) in enumerate(layers)]
        text = refused(h5(tmp_path / "d.h5", lambda root: write_legacy(root, foreign)), model)
        assert text == (
            "the weights in FILE do not fit the network:\n  missing: expanded_conv_project\n"
            "  unexpected: xexpanded_conv_project\nhint: they are not those of keras.applications.MobileNetV2"
        )
    else:
        check_equal(h5(tmp_path / "a.h5", lambda root: write_current(root, layers, names=False)), model)


def test_numbers_stay_as_they_are(model: nn.Module, tmp_path: Path) -> None:
    layers = [(name, [(v, np.asarray(value).astype("float16")) for v, value in vs]) for name, vs in layers_of(model)]
    state = read_keras(h5(tmp_path / "a.h5", lambda root: write_legacy(root, layers)), model)
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert all(value.is_contiguous() for value in state.values())


def test_a_file_that_is_none_of_keras(model: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    assert refused(path, model) == "there is no file FILE\nhint: pass a .h5, .weights.h5 or .keras file"
    path.write_bytes(b"\x80\x04not a pickle to be loaded")
    assert refused(path, model) == (
        "FILE is neither an HDF5 file (.h5, .weights.h5) nor a zip archive (.keras)\n"
        "hint: save it in Keras with model.save('model.keras') or model.save_weights('model.weights.h5')"
    )
    h5(path, lambda root: root.create_group("images"))
    assert refused(path, model) == (
        "FILE is an HDF5 file, but not one of Keras: it holds images; Keras's have 'model_weights', 'layers' or a list "
        "'layer_names'"
    )


def test_all_that_is_wrong_is_listed(model: nn.Module, tmp_path: Path) -> None:
    layers = layers_of(model)
    layers[0][1].pop()  # no bias
    layers[1][1].append(("scale", np.zeros(32, "float32")))
    layers[2] = (layers[2][0], [(name, np.asarray(value)[..., :9]) for name, value in layers[2][1]])
    layers[3] = (layers[3][0], [(name, np.asarray(value).astype("int8")) for name, value in layers[3][1]])
    layers[4] = (layers[4][0], [("kernel", np.zeros((3, 3, 8, 3), "float32")), layers[4][1][1]])
    assert refused(h5(tmp_path / "a.h5", lambda root: write_current(root, layers)), model) == (
        "the weights in FILE do not fit the network:\n"
        "  missing: conv2d (features.0 here)/bias\n"
        "  unexpected: conv2d_1/vars/2\n"
        "  conv2d (head.0 here)/kernel has shape (1, 1, 32, 9), the network's is (1, 1, 32, 16)\n"
        "  conv2d (head.0 here)/bias has shape (9,), the network's is (16,)\n"
        "  conv2d (head.2 here)/kernel holds no floating-point numbers\n"
        "  conv2d (head.2 here)/bias holds no floating-point numbers\n"
        "  conv2d (head.4 here)/kernel has shape (3, 3, 8, 3), the network's is (1, 1, 8, 3)\n"
        "hint: they are not those of the Keras form of fcn_small at this width"
    )


@pytest.mark.parametrize("write", [write_legacy, write_current])
def test_another_network(write: Callable[..., None], model: nn.Module, tmp_path: Path) -> None:
    layers = layers_of(model)
    norm = ("batch_normalization_3", [(name, np.ones(8, "float32")) for name in "abcd"])
    text = refused(h5(tmp_path / "a.h5", lambda root: write(root, [*layers[:3], norm])), model)
    assert text == (
        "the weights in FILE do not fit the network:\n  missing: conv2d (head.2 here)\n"
        "  missing: conv2d (head.4 here)\n  unexpected: batch_normalization_3\n"
        "hint: they are not those of the Keras form of fcn_small"
    )
    assert refused(h5(tmp_path / "a.h5", lambda root: write(root, [])), model).count("missing: ") == 5


def test_a_network_within_a_network(model: nn.Module, tmp_path: Path) -> None:
    path = h5(tmp_path / "a.h5", lambda root: root.create_group("layers/functional/layers/conv2d/vars"))
    assert refused(path, model) == (
        "FILE has a network within the network, 'functional'; only plain networks can be read\n"
        "hint: save the inner network by itself: model.get_layer(...).save_weights(...)"
    )


def _link(kind: str, other: Path) -> Callable[[Any], None]:
    def write(root: Any) -> None:
        holder = root.create_group("layers/conv2d/vars")
        if kind == "soft":
            holder["0"] = h5py.SoftLink("/elsewhere")
        elif kind == "external":
            holder["0"] = h5py.ExternalLink(str(other), "/secret")
        elif kind == "raw":
            holder.create_dataset("0", (4,), "float32", external=[(str(other), 0, 16)])
        else:
            layout = h5py.VirtualLayout((4,), "float32")
            layout[:] = h5py.VirtualSource(str(other), "secret", (4,))
            holder.create_virtual_dataset("0", layout)

    return write


@pytest.mark.parametrize("kind", ["soft", "external", "raw", "virtual"])
def test_no_other_file_is_opened(kind: str, model: nn.Module, tmp_path: Path) -> None:
    other = h5(tmp_path / "other.h5", lambda root: root.create_dataset("secret", data=np.ones(4, "float32")))
    text = refused(h5(tmp_path / "a.h5", _link(kind, other)), model)
    ends = {
        "soft": "is a link to elsewhere, which is never followed",
        "external": "is a link to elsewhere, which is never followed",
        "raw": "lies in another file, which is never opened",
        "virtual": "lies in another file, which is never opened",
    }
    assert text == f"FILE: 'conv2d/vars/0' {ends[kind]}"


@pytest.mark.parametrize("name", ["/conv2d_7/kernel", "../kernel", "absent/kernel", "kernel/deeper"])
def test_names_are_no_paths_to_elsewhere(name: str, model: nn.Module, tmp_path: Path) -> None:
    def write(root: Any) -> None:
        root.attrs["layer_names"] = [b"conv2d_7"]
        group = root.create_group("conv2d_7")
        group["kernel"] = np.ones(3)
        group.attrs["weight_names"] = [name.encode()]

    assert refused(h5(tmp_path / "a.h5", write), model) == f"FILE: there is no 'conv2d_7: {name}'"


def test_a_tensor_that_announces_more_than_it_holds_is_not_read(model: nn.Module, tmp_path: Path) -> None:
    layers = layers_of(model)

    def write(root: Any) -> None:
        write_current(root, layers)
        for place in ("conv2d/vars/0", "conv2d_4/vars/0"):  # the stem and the head, whose sizes are free in one axis
            del root[f"layers/{place}"]
            root.create_dataset(f"layers/{place}", (1, 1, 8, 1 << 40), "float32", chunks=(1, 1, 8, 1024))

    text = refused(h5(tmp_path / "a.h5", write), model)
    assert "conv2d (head.4 here)/kernel has shape (1, 1, 8, 1099511627776), the network's is (1, 1, 8, 3)" in text
    assert "conv2d (features.0 here)/kernel has shape (1, 1, 8, 1099511627776)" in text


def test_archives_that_are_not_what_they_say(model: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "a.keras"

    def write(root: Any) -> None:
        write_current(root, layers_of(model))

    zipped(path, write, member="../model.weights.h5")
    assert refused(path, model) == (
        "FILE is a zip archive with 0 members model.weights.h5, a .keras file has one; it holds ../model.weights.h5, "
        "config.json"
    )
    with zipfile.ZipFile(path, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("model.weights.h5", b"\0" * (8 << 20))
    size = path.stat().st_size
    assert refused(path, model) == (
        f"FILE announces 8388608 bytes of weights in an archive of {size}; at most 4294967296, and 1000 times the "
        "archive, are read"
    )
    # One that says less than it holds.
    content = path.read_bytes().replace(struct.pack("<I", 8 << 20), struct.pack("<I", 1 << 10))
    path.write_bytes(content)
    assert refused(path, model).startswith("FILE is a damaged or encrypted zip archive: ")
    zipped(path, write)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # encrypted
    path.write_bytes(content)
    assert refused(path, model).startswith("FILE is a damaged or encrypted zip archive: ")
    assert sorted(tmp_path.iterdir()) == [path]  # nothing was extracted


@pytest.mark.parametrize("form", ["whole", "version 3"])
def test_a_file_that_is_cut_off_is_an_error(form: str, model: nn.Module, tmp_path: Path) -> None:
    whole = h5(tmp_path / "a.h5", lambda root: FORMS[form](root, layers_of(model))).read_bytes()
    path = tmp_path / "cut.h5"
    for length in np.random.default_rng(0).integers(0, len(whole), 25):
        path.write_bytes(whole[:length])
        refused(path, model)
    path.write_bytes(whole)
    check_equal(path, model)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_compression_is_an_error(compression: int, model: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    zipped(path, lambda root: write_current(root, layers_of(model)), compression=compression)
    check_equal(path, model)
    whole = path.read_bytes()
    start = whole.index(b"model.weights.h5") + len("model.weights.h5")
    end = whole.index(b"PK\x01\x02")
    # Deflate has no block of the kind that the first byte then announces; elsewhere the checksum may be what tells.
    for place in (start, *np.random.default_rng(0).integers(start, end, 19).tolist()):
        content = bytearray(whole)
        content[place : place + 8] = b"\xff" * 8
        path.write_bytes(content)
        assert refused(path, model).startswith("FILE is a damaged or encrypted zip archive: ")
