"""Files of weights: what `torch.save` and safetensors wrote, read without running what is in them."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import anysize
from anysize.errors import AnysizeError, CheckpointError, UsageError
from anysize.models.weights.torch_files import mark, read_tensors


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))


def failure(path: Path, kind: type[AnysizeError] = CheckpointError) -> str:
    with pytest.raises(kind) as caught:
        read_tensors(path)
    return str(caught.value)


class Net(nn.Module):
    """What people pickle whole."""


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt"])
def test_files_of_torch_save(suffix: str, tmp_path: Path) -> None:
    original = network()
    prefixed = {f"module._orig_mod.{key}": tensor for key, tensor in original.state_dict().items()}
    path = tmp_path / f"a{suffix}"
    where = "the weights were at {} in the file"
    cases: list[tuple[Any, tuple[str, ...]]] = [
        (original.state_dict(), ()),
        ({"epoch": 3, "state_dict": original.state_dict(), "lr": 0.1}, (where.format("['state_dict']"),)),
        ({"model": {"model_state_dict": original.state_dict()}}, (where.format("['model']['model_state_dict']"),)),
        # Tensors beside the weights are none of them, and what has the likelier name may be something else.
        ({"model": original.state_dict(), "best_acc1": torch.tensor(0.9)}, (where.format("['model']"),)),
        (
            {"model": {"state_dict": original.state_dict()}, "best_acc1": torch.tensor(0.9)},
            (where.format("['model']['state_dict']"),),
        ),
        ({"state_dict": {"lr": 0.1}, "model": original.state_dict()}, (where.format("['model']"),)),
        (
            {"model": OrderedDict(prefixed)},
            (
                where.format("['model']"),
                "the prefix 'module.' was taken off all names",
                "the prefix '_orig_mod.' was taken off all names",
            ),
        ),
    ]
    for content, notes in cases:
        torch.save(content, path)
        found = read_tensors(path)
        assert found.notes == notes
        assert found.layout is None
        wanted = original.state_dict()
        assert list(found.tensors) == list(wanted)
        assert all(torch.equal(found.tensors[key], wanted[key]) for key in wanted)


def test_files_of_torch_save_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(Net(), path)
    assert failure(path) == (
        f"{path} is not a file of tensors only: loading it would run code that it names\n"
        "hint: where you trust it, write torch.save(model.state_dict(), ...) and load that"
    )
    keys = "save model.state_dict(), or keep it under one of state_dict, model_state_dict, model"
    torch.save([1, 2], path)
    assert failure(path) == f"{path} holds list, not tensors by name\nhint: {keys}"
    torch.save({"model": {1: 2}}, path)
    assert failure(path) == f"{path} holds dict at ['model'], not tensors by name\nhint: {keys}"
    endless: dict[str, Any] = {}
    endless["model"] = endless
    torch.save(endless, path)
    assert failure(path).startswith(f"{path} does not hold tensors by name: model is dict\n")
    torch.save({"a": torch.zeros(1), "b": 3}, path)
    only = "hint: save model.state_dict() and nothing beside it"
    assert failure(path) == f"{path} does not hold tensors by name: b is int\n{only}"
    torch.save(network().state_dict(), path)
    whole = path.read_bytes()
    kinds = {b"not a file of torch": "UnpicklingError", whole[:-100]: "RuntimeError", b"": "EOFError"}
    for content, kind in kinds.items():
        path.write_bytes(content)
        assert failure(path) == (
            f"{path} is not a readable file of torch.save ({kind})\nhint: the file may be cut off, or of another kind"
        )
    (tmp_path / "a.safetensors").write_bytes(b"")
    assert failure(tmp_path / "a.safetensors").startswith(
        f"{tmp_path / 'a.safetensors'} is not a readable safetensors file: "
    )
    save_file({}, tmp_path / "a.safetensors")
    assert failure(tmp_path / "a.safetensors") == (
        f"{tmp_path / 'a.safetensors'} does not hold tensors by name: it is empty\n{only}"
    )
    path.rename(tmp_path / "a.onnx")
    assert failure(tmp_path / "a.onnx", UsageError) == (
        f"{tmp_path / 'a.onnx'} is no file of weights: its name ends in '.onnx'\n"
        "hint: one of .safetensors, .pth, .pt, .bin, .ckpt"
    )


def test_files_that_say_whose_names_they_have(tmp_path: Path) -> None:
    tensors = network().state_dict()
    path = tmp_path / "a.safetensors"
    for metadata, layout in ((None, None), ({"format": "pt"}, None), (mark("anysize"), "anysize")):
        save_file(tensors, path, metadata=metadata)
        found = read_tensors(path)
        assert (found.layout, found.notes) == (layout, ())
        assert found.tensors.keys() == tensors.keys()


@pytest.mark.parametrize(
    ("strange", "what"),
    [
        (lambda ones: ones.to("meta"), "holds no numbers (it is on the meta device)"),
        (torch.Tensor.to_sparse, "is sparse"),
    ],
    ids=["meta", "sparse"],
)
def test_tensors_that_cannot_be_copied(
    strange: Callable[[torch.Tensor], torch.Tensor], what: str, tmp_path: Path
) -> None:
    original, model = network(), network()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    path = tmp_path / "a.pth"
    torch.save({**original.state_dict(), "1.bias": strange(torch.ones(3))}, path)
    with pytest.raises(CheckpointError) as caught:
        anysize.load_weights(model, path)
    assert str(caught.value) == (
        f"{path} does not hold tensors by name: 1.bias {what}\n"
        "hint: save dense tensors with numbers: model.state_dict() of a network that is not on the meta device"
    )
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items()), "nothing is overwritten"
