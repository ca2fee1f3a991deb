"""Networks by name: this library's and others', without a download; clear errors where there is none."""

import importlib
from typing import Any

import pytest
from torch import nn

from anysize.errors import MissingExtraError, UsageError
from anysize.models import list_models
from anysize.models.named import import_zoo, named_model


def need(library: str) -> None:
    """Skip where the library is not installed, or does not fit the installed torch."""
    try:
        import_zoo(library)
    except MissingExtraError as error:
        pytest.skip(error.message)


def test_own_models() -> None:
    assert named_model("resnet9").classifier.out_features == 10


@pytest.mark.parametrize(
    "name",
    [
        "timm:resnet18",
        "timm:resnet18.a1_in1k",
        "torchvision:squeezenet1_1",
        "torchvision:lraspp_mobilenet_v3_large",
        "torchvision:fcn_resnet50",
        "smp:Unet/resnet18",
        "smp:Unet/tu-resnet18",
    ],
)
@pytest.mark.filterwarnings("ignore")  # not ours
def test_other_libraries(name: str) -> None:
    need(name.partition(":")[0])
    assert isinstance(named_model(name), nn.Module)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "fcn_smal",
            f"'fcn_smal' names no model; there are {', '.join(list_models())}\nhint: did you mean fcn_small?",
        ),
        (
            "tim:resnet18",
            "'tim:resnet18' names no library; there are smp, timm, torchvision\nhint: did you mean timm:resnet18?",
        ),
        (
            "keras:x",
            "'keras:x' names no library; there are smp, timm, torchvision\n"
            "hint: NAME, timm:NAME, torchvision:NAME or smp:DECODER/ENCODER",
        ),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        named_model(name)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet19", "'timm:resnet19' names no model\nhint: did you mean timm:resnet18?"),
        (
            "torchvision:fcn_resnet51",
            "'torchvision:fcn_resnet51' names no model for classification or segmentation\n"
            "hint: did you mean torchvision:fcn_resnet50?",
        ),
        (
            "torchvision:raft_large",
            "'torchvision:raft_large' names no model for classification or segmentation\n"
            "hint: NAME, timm:NAME, torchvision:NAME or smp:DECODER/ENCODER",
        ),
        ("smp:Unet/resnet81", "'smp:Unet/resnet81' names no encoder\nhint: did you mean smp:Unet/resnet18?"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_unknown_names_of_other_libraries(name: str, message: str) -> None:
    need(name.partition(":")[0])
    with pytest.raises(UsageError) as caught:
        named_model(name)
    assert str(caught.value) == message


@pytest.mark.parametrize("error", [ImportError("no such thing"), RuntimeError("operator x does not exist\nmore")])
def test_a_missing_library_is_an_error_with_the_command_that_installs_it(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = importlib.import_module

    def broken(name: str, package: Any = None) -> Any:
        if name == "timm":
            raise error
        return whole(name, package)

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(MissingExtraError) as caught:
        named_model("timm:resnet18")
    reason = str(error).splitlines()[0]
    assert str(caught.value) == f'timm cannot be imported: {reason}\nhint: pip install "anysize[zoo]"'
    assert caught.value.exit_code == 2
