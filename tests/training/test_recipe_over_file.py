"""A recipe asked for by a flag goes before a config file, and says what of it; a resumed run keeps its own."""

from pathlib import Path

import pytest

from anysize.cli import main
from anysize.cli.arguments import parse
from anysize.errors import UsageError
from anysize.training import TrainConfig
from anysize.training.recipe import with_recipe
from anysize.training.run import train
from heard import Heard
from toy import QUIET, quick_segmenter, write_shapes


def read(file: Path, *flags: str) -> tuple[TrainConfig, Heard]:
    heard = Heard()
    config = parse("train", TrainConfig, "", ["data", "--config", str(file), *flags]).options
    return with_recipe(config, "segment", heard), heard


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text("epochs: 30\nlr: 0.5\nscale: [0.8, 1.25]\nhflip: 0.5\nmax_side: 700\nopt: sgd\npatience: 3\n")
    return path


def test_the_log_names_each_value_of_the_file_that_is_overruled(file: Path) -> None:
    """Also those that are the option's default; not those that agree, nor what a flag says, nor what is no recipe's."""
    config, heard = read(file, "--recipe", "voc", "--patience", "5")
    assert (config.epochs, config.lr, config.scale, config.patience, config.max_side) == (46, 0.007, (0.5, 2.0), 5, 700)
    assert heard.starting("note: --recipe voc") == [
        "note: --recipe voc goes before the config file: --lr is 0.007 (the file has 0.5), --epochs is 46 (the file "
        "has 30), --scale is 0.5 2 (the file has 0.8 1.25)"
    ]


def test_a_recipe_of_the_file_itself_leaves_its_values(file: Path) -> None:
    file.write_text(file.read_text() + "recipe: voc\n")
    config, heard = read(file)
    assert (config.epochs, config.lr, config.sched) == (30, 0.5, "poly")
    assert not heard.starting("note: --recipe")


def test_nothing_to_name_is_nothing_said(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("max_side: 300\nhflip: 0.5\n")
    assert not read(tmp_path / "a.yaml", "--recipe", "voc")[1].starting("note: --recipe")
    config, heard = read(tmp_path / "a.yaml", "--recipe", "none")
    assert (config.max_side, heard.lines) == (300, [])


def test_another_optimiser_by_a_flag_has_the_rate_of_the_file(file: Path) -> None:
    """The recipe has none for it, so nothing overrules the file."""
    config, heard = read(file, "--recipe", "voc", "--opt", "adadelta")
    assert (config.opt, config.lr, config.weight_decay) == ("adadelta", 0.5, None)
    assert "--lr" not in heard.starting("note: --recipe voc")[0]


def test_resuming_with_a_recipe_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_shapes(tmp_path / "voc", count=6, val=2)
    run = train(quick_segmenter(data, tmp_path / "run", epochs=1, preflight=False), console=QUIET).run
    before = (run / "config.yaml").read_text()
    expected = f"--recipe is voc beside --resume {run}; a resumed run keeps its recipe, which is none"
    hint = f"leave out --recipe, or start anew: --recipe voc --pretrained {run}/weights/best.safetensors"
    assert main(["train", "--resume", str(run), "--recipe", "voc", "--epochs", "2"]) == 2
    assert capsys.readouterr().err == f"error: {expected}\nhint: {hint}\n"
    for config in (TrainConfig(resume=run, recipe="voc"), quick_segmenter(data, None, resume=run, recipe="voc")):
        with pytest.raises(UsageError) as caught:
            train(config, console=QUIET)
        assert (caught.value.message, caught.value.hint) == (expected, hint)
    assert (run / "config.yaml").read_text() == before
    assert train(TrainConfig(resume=run, epochs=2), console=QUIET).epochs == 2
