"""A model on disk: what comes back is what was saved, or an error that says which file does not fit."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import anysize.models.saved
from anysize.errors import CheckpointError
from anysize.models import ModelCard, create_model, list_models, load_model, save_model
from oracle import randomise

CARD = ModelCard(
    model="resnet9",
    classes=("cat", "dog", "süß"),
    in_channels=2,
    mean=(127.5, 99.125),
    std=(60.1, 0.1 + 0.2),
    smallest_side=1,
    max_side=640,
    model_kwargs={"width": 4},
    results={"val_accuracy": 0.875},
)


def saved(folder: Path) -> Path:
    path = folder / "weights" / "best.safetensors"
    save_model(path, randomise(create_model("resnet9", num_classes=3, in_channels=2, width=4)), CARD)
    return path


def failure(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    return str(caught.value)


def edit_card(path: Path, **changes: Any) -> Path:
    card = path.with_suffix(".json")
    content = json.loads(card.read_text(encoding="utf-8"))
    card.write_text(json.dumps(content | changes), encoding="utf-8")
    return card


def test_round_trip(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["best.json", "best.safetensors"]
    model, card = load_model(path)
    assert card == CARD
    assert not model.training
    original = randomise(create_model("resnet9", num_classes=3, in_channels=2, width=4)).eval()
    for (name, tensor), (other, true) in zip(model.state_dict().items(), original.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(tensor, true)
        assert tensor.dtype == true.dtype
    images = torch.randn(2, 2, 20, 30)
    assert torch.equal(model(images), original(images))


def test_channels_last_weights_and_defaults(tmp_path: Path) -> None:
    model = create_model("fcn_small", num_classes=2, in_channels=1).to(memory_format=torch.channels_last)
    card = ModelCard(model="fcn_small", classes=("a", "b"), in_channels=1, mean=(0.0,), std=(1.0,), smallest_side=4)
    save_model(tmp_path / "m.safetensors", model, card)
    loaded, again = load_model(tmp_path / "m.safetensors")
    assert again == card
    assert again.max_side is None
    assert torch.equal(loaded.features[0].weight, model.features[0].weight)


def test_the_card_can_be_read_by_people(tmp_path: Path) -> None:
    text = saved(tmp_path).with_suffix(".json").read_text(encoding="utf-8")
    assert text.startswith('{\n  "format": 1,\n  "model": "resnet9",\n')
    assert text.endswith("}\n")
    assert set(json.loads(text)) == {"format", *(field.name for field in dataclasses.fields(ModelCard))}


def test_saving_replaces_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}

    def fail(tensors: Any, temporary: Path, **options: Any) -> None:
        temporary.write_bytes(b"half of")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(anysize.models.saved, "save_file", fail)
        with pytest.raises(OSError, match="no space left"):
            save_model(path, create_model("resnet9", num_classes=3, in_channels=2, width=4), CARD)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    inode = path.stat().st_ino
    save_model(path, create_model("resnet9", num_classes=3, in_channels=2, width=4), CARD)
    assert path.stat().st_ino != inode, "a new file took the old one's name"
    assert path.read_bytes() != before[path.name]
    assert sorted(file.name for file in path.parent.iterdir()) == sorted(before)


def test_missing_files(tmp_path: Path) -> None:
    path = saved(tmp_path)
    card = path.with_suffix(".json")
    path.unlink()
    assert failure(path) == f"there are no weights at {path}\nhint: pass a run folder or a .safetensors file"
    card.unlink()
    assert failure(path) == (
        f"there is no card at {card}\nhint: weights need the .json file that was written beside them"
    )


def test_damaged_weights(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    message = failure(path)
    assert message.startswith(f"{path} is not a readable safetensors file: ")
    path.write_bytes(b"")
    assert failure(path).startswith(f"{path} is not a readable safetensors file: ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"format": 1,', "Expecting property name enclosed in double quotes: line 1 column 14 (char 13)"),
        (b"{}", "'format'"),
        (b'{"format": 1}', "'classes'"),
        (b"[1, 2]", "'str' object cannot be interpreted as an integer"),
        (b"\xff\xfe", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_damaged_cards(tmp_path: Path, content: bytes, reason: str) -> None:
    path = saved(tmp_path)
    card = path.with_suffix(".json")
    card.write_bytes(content)
    assert failure(path) == f"{card} is not a model card of anysize: {reason}"


def test_cards_that_do_not_fit(tmp_path: Path) -> None:
    path = saved(tmp_path)
    card = edit_card(path, format=2)
    assert failure(path) == f"{card} has format 2; this version of anysize reads format 1"
    edit_card(path, format=1, surprise=3)
    assert failure(path) == (
        f"{card} is not a model card of anysize: ModelCard.__init__() got an unexpected keyword argument 'surprise'"
    )
    card.write_text(json.dumps({"format": 1, "model": "resnet9", "classes": 3}))
    assert failure(path) == f"{card} is not a model card of anysize: 'int' object is not iterable"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "resnet8"}, f"there is no model named 'resnet8'; the models are {', '.join(list_models())}"),
        ({"classes": []}, "num_classes is 0 and in_channels 2; both must be at least 1"),
        ({"model_kwargs": {"depth": 3}}, "resnet9 has no option depth; its options are width"),
        (
            {"model_kwargs": {"weights": "https://example.org/a.pth"}},
            "resnet9 has no option weights; its options are width",
        ),
        ({"in_channels": "two"}, "'<' not supported between instances of 'str' and 'int'"),
    ],
)
def test_cards_of_networks_that_do_not_exist(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    path = saved(tmp_path)
    card = edit_card(path, **changes)
    assert failure(path) == (
        f"the card {card} names a network that cannot be built: {reason}\n"
        "hint: use the card as it was written, with the version of anysize that wrote it or a later one"
    )


FIT_HINT = "hint: use the weights and the .json card of one and the same run"


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = saved(tmp_path)
    tensors = load_file(path)
    tensors["classifier.weight"] = torch.zeros(7, 32)
    tensors["head.weight"] = tensors.pop("classifier.bias")
    save_file(tensors, path)
    assert failure(path) == (
        f"the weights in {path} do not fit the network:\n"
        "  missing: classifier.bias\n"
        "  unexpected: head.weight\n"
        "  classifier.weight has shape (7, 32), the network's is (3, 32)\n" + FIT_HINT
    )


def test_a_long_list_of_differences_is_cut(tmp_path: Path) -> None:
    path = saved(tmp_path)
    edit_card(path, model_kwargs={"width": 8})
    lines = failure(path).splitlines()
    wrong = sum(tensor.dim() > 0 for tensor in load_file(path).values()) - 1  # all but the bias of the classifier
    assert lines[0] == f"the weights in {path} do not fit the network:"
    assert len(lines) == 1 + 20 + 2
    assert lines[-2:] == [f"  ... and {wrong - 20} more", FIT_HINT]
