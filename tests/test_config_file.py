"""Options as YAML: what is written reads back, and what does not fit is said in full."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from anysize.config_file import from_mapping, read_config, to_mapping, write_config
from anysize.errors import UsageError
from anysize.inference import EvalConfig, PredictConfig
from anysize.training import TrainConfig


@pytest.mark.parametrize(
    "options",
    [
        TrainConfig(),
        TrainConfig(
            data=Path("photos/with: a colon"),
            lr=1e-7,
            scale=(0.5, 2.0),
            model_kwargs=("width=8", "a=b"),
            in_channels="1",
            max_side=300,
            warmup_epochs=0.0,
            tensorboard=False,
        ),
        EvalConfig(run=Path("runs/a"), split="all"),
        PredictConfig(run=Path("1"), images=(Path("a.png"), Path("null")), top=3),
    ],
)
def test_what_is_written_reads_back(options: Any, tmp_path: Path) -> None:
    write_config(tmp_path / "a.yaml", options)
    assert read_config(type(options), tmp_path / "a.yaml") == options
    assert from_mapping(type(options), to_mapping(options), source="here") == options


def test_what_is_left_out_keeps_its_default_and_hyphens_are_underscores(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("batch-size: 4\nmax_side: null\n")
    assert read_config(TrainConfig, tmp_path / "a.yaml") == TrainConfig(batch_size=4)
    (tmp_path / "a.yaml").write_text("")
    assert read_config(TrainConfig, tmp_path / "a.yaml") == TrainConfig()


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    """YAML 1.1 takes 1e-3 for text and a bare 1 for a number."""
    (tmp_path / "a.yaml").write_text("lr: 1e-3\nin_channels: 1\nscale: [1, 2]\nmomentum: 0\n")
    config = read_config(TrainConfig, tmp_path / "a.yaml")
    assert config == TrainConfig(lr=0.001, in_channels="1", scale=(1.0, 2.0), momentum=0.0)
    assert isinstance(config.scale[0], float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epohcs: 3", "FILE sets 'epohcs', which is no option\nhint: did you mean epochs?"),
        ("epochs: three", "FILE: epochs is 'three'; int is required"),
        ("epochs: 2.5", "FILE: epochs is 2.5; int is required"),
        ("epochs: true", "FILE: epochs is True; int is required"),
        ("epochs: null", "FILE: epochs is None; int is required"),
        ("lr: fast", "FILE: lr is 'fast'; float is required"),
        ("lr: true", "FILE: lr is True; float is required"),
        ("tensorboard: 1", "FILE: tensorboard is 1; bool is required"),
        ("data: 3", "FILE: data is 3; Path is required"),
        ("mixing: mixt", "FILE: mixing is 'mixt'; it must be one of mixed, similar"),
        ("mixing: [mixed]", "FILE: mixing is ['mixed']; it must be one of mixed, similar"),
        ("in_channels: true", "FILE: in_channels is True; it must be one of auto, 1, 3"),
        ("scale: [1, 2, 3]", "FILE: scale is [1, 2, 3]; tuple[float, float] is required"),
        ("scale: [1, big]", "FILE: scale is 'big'; float is required"),
        ("model_kwargs: width=3", "FILE: model_kwargs is 'width=3'; tuple[str, ...] is required"),
        ("model_kwargs: [3]", "FILE: model_kwargs is 3; str is required"),
        ("[1, 2]", "the config file FILE holds a list; names with values are required"),
        ("just words", "the config file FILE holds a str; names with values are required"),
        ("epochs: 0", "--epochs is 0; it must be at least 1"),
        ("val_split: 1.0", "--val-split is 1.0; it must be between 0 and 1"),
    ],
)
def test_what_does_not_fit(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(TrainConfig, path)
    assert str(caught.value) == message.replace("FILE", str(path))


def test_a_name_that_resembles_nothing_gets_the_list() -> None:
    @dataclass
    class Options:
        width: int = 1
        height: int = 2

    with pytest.raises(UsageError) as caught:
        from_mapping(Options, {"zzz": 1}, source="here")
    assert str(caught.value) == "here sets 'zzz', which is no option\nhint: the options are height, width"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_config(TrainConfig, tmp_path / "none.yaml")
    assert str(caught.value) == f"the config file {tmp_path}/none.yaml cannot be read: No such file or directory"
    for content in (b"\x89PNG\r\n\xff", b"a: [1, 2"):
        (tmp_path / "a.yaml").write_bytes(content)
        with pytest.raises(UsageError) as caught:
            read_config(TrainConfig, tmp_path / "a.yaml")
        assert str(caught.value).startswith(f"the config file {tmp_path}/a.yaml is not YAML: ")


def test_objects_are_never_built_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"data: !!python/object/apply:os.mkdir ['{tmp_path}/made']\n")
    with pytest.raises(UsageError, match="is not YAML"):
        read_config(TrainConfig, tmp_path / "a.yaml")
    assert not (tmp_path / "made").exists()
