"""The command line: help that loads nothing, exit codes, where text goes, and output for programs."""

import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from anysize import errors
from anysize.cli import commands, main
from anysize.version import __version__
from toy import write_stripes

cli = sys.modules["anysize.cli.main"]  # as an attribute, the function of the same name hides the module
COMMANDS = tuple(module.name.replace("_", " ") for module in pkgutil.iter_modules(commands.__path__))
KNOWN = ", ".join(COMMANDS)
QUICK = ["--model", "fcn_small", "--model-kwargs", "final_relu=false"]
QUICK += ["--batch-size", "8", "--workers", "0", "--no-tensorboard"]
LOADED = (
    "import sys; from anysize.cli import main; code = main(sys.argv[1:]); "
    "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(code)"
)


@pytest.fixture(autouse=True)
def _as_in_a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "1024")  # torch is loaded already, which would be noted


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), *((*name.split(), "--help") for name in COMMANDS)])
def test_help_teaches_by_example_and_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    loaded = set(done.stderr.split())
    assert "anysize" in loaded
    assert not loaded & {"torch", "numpy", "matplotlib", "PIL", "rich", "safetensors", "tensorboard"}
    if arguments == ("--version",):
        assert done.stdout == f"anysize {__version__}\n"
    elif arguments == ("--help",):
        assert "start here:\n  anysize plan photos/" in done.stdout
        assert all(f"\n  {name} " in done.stdout for name in COMMANDS)
    else:
        assert "examples:" in done.stdout
        assert done.stdout.count(f"\n  anysize {' '.join(arguments[:-1])} ") >= 2
        assert "--json" in done.stdout


def test_without_a_command_the_overview_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "trian x",
            f"error: there is no command 'trian'; the commands are {KNOWN}\nhint: did you mean 'anysize train'?\n",
        ),
        (
            "xyzzy",
            f"error: there is no command 'xyzzy'; the commands are {KNOWN}\nhint: anysize --help\n",
        ),
        ("train x --epohcs 3", "error: anysize train has no option --epohcs\nhint: did you mean --epochs?\n"),
        ("plan x --no-jsn", "error: anysize plan has no option --no-jsn\nhint: did you mean --json?\n"),
        (
            "plan x --zzz=3",
            "error: anysize plan has no option --zzz\nhint: anysize plan --help shows the options\n",
        ),
        (
            "train x --mixing mixt",
            "error: invalid choice 'mixt' for argument '--mixing'. Expected one of ('mixed', 'similar')\n"
            "hint: anysize train --help shows the options\n",
        ),
        (
            "train x --lr fast",
            "error: --lr: no type matching {None}|FLOAT could be instantiated from ['fast']\n"
            "hint: anysize train --help shows the options\n",
        ),
        (
            "train x --epochs",
            "error: Missing value for argument '--epochs'. Expected 1 values\n"
            "hint: anysize train --help shows the options\n",
        ),
        ("plan x y", "error: Unrecognized options: y\nhint: anysize plan --help shows the options\n"),
        ("train x --batch-size 0", "error: --batch-size is 0; it must be at least 1\n"),
        ("train x --hflip 2", "error: --hflip is 2.0; it must be at least 0 and at most 1\n"),
        ("train x --scale 2 1", "error: --scale is 2 1; it must be two positive factors, smaller first\n"),
        (
            "train x --model-kwargs width=[",
            "error: --model-kwargs was given 'width=['; '[' is not a YAML value\nhint: for example width=64\n",
        ),
        ("train", "error: no data was given\nhint: anysize train FOLDER\n"),
        ("plan", "error: no data was given\nhint: anysize plan FOLDER\n"),
        ("eval", "error: no run folder was given\nhint: pass the folder that 'anysize train' made\n"),
        ("predict", "error: no run folder was given\nhint: pass the folder that 'anysize train' made\n"),
        ("train --config", "error: --config was given without a path\nhint: --config PATH\n"),
    ],
)
def test_what_cannot_be_understood(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    shown = capsys.readouterr()
    assert shown.err == message
    assert shown.out == ""


EXIT_CODES = {
    "AnysizeError": 1,
    "UsageError": 2,
    "MissingExtraError": 2,
    "DataError": 3,
    "LayoutError": 3,
    "UnreadableImagesError": 3,
    "ImageSizeError": 3,
    "RaggedError": 4,
    "UnsupportedOperatorError": 4,
    "MixedSizesError": 4,
    "PlanError": 5,
    "TrainingError": 6,
    "NonFiniteLossError": 6,
    "CheckpointError": 7,
}


def test_every_error_has_its_exit_code() -> None:
    assert EXIT_CODES.keys() == set(errors.__all__)


@pytest.mark.parametrize("name", EXIT_CODES)
def test_errors_go_to_standard_error_with_their_code(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(given: list[str]) -> int:
        raise getattr(errors, name)("what was found", hint="how to mend it")

    monkeypatch.setattr(cli, "_run", fail)
    assert main(["plan"]) == EXIT_CODES[name]
    assert capsys.readouterr() == ("", "error: what was found\nhint: how to mend it\n")


def test_an_interruption_and_the_system_s_errors_have_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = {
        130: (KeyboardInterrupt(), "interrupted\n"),
        1: (PermissionError(13, "Permission denied", "/runs/a"), "error: Permission denied: /runs/a\n"),
    }
    for code, (failure, text) in failures.items():

        def fail(given: list[str], failure: BaseException = failure) -> int:
            raise failure

        monkeypatch.setattr(cli, "_run", fail)
        assert main(["plan"]) == code
        assert capsys.readouterr() == ("", text)


def test_plan_as_json(stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = tmp_path / "plan.png"
    flags = ["--batch-size", "8", "--multiple-of", "1", "--output", str(figure), "--no-measure", "--json"]
    assert main(["plan", str(stripes), *flags]) == 0
    shown = capsys.readouterr()
    report = json.loads(shown.out)
    assert shown.err == ""
    assert (report["num_train"], report["num_val"], report["num_classes"]) == (32, 8, 2)
    assert report["num_steps"] == 4
    assert 0 < report["padding_share"] < report["pad_to_largest_share"] < 1
    with Image.open(report["figure"]) as image:
        assert image.width > 100


def test_train_eval_and_predict_as_json(stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_folder = tmp_path / "run"
    assert main(["train", str(stripes), "--output", str(run_folder), "--epochs", "2", *QUICK, "--json"]) == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert (result["run"], result["ended"], result["epochs"]) == (str(run_folder), "finished", 2)
    assert result["best"]["epoch"] == result["best_epoch"]
    assert "val loss" in shown.err
    assert "\x1b" not in shown.err

    assert main(["eval", str(run_folder), "--workers", "0", "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    assert evaluation["num_images"] == 8
    assert evaluation["loss"] == pytest.approx(result["best"]["val_loss"], rel=1e-5)
    assert [row["class"] for row in evaluation["per_class"]] == ["across", "down"]

    images = [str(stripes / "down" / "00.png"), str(stripes / "across" / "01.png")]
    assert main(["predict", str(run_folder), *images, "--top", "2", "--workers", "0", "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["path"] for answer in answers["predictions"]] == images
    assert all(sum(item["probability"] for item in a["top"]) == pytest.approx(1) for a in answers["predictions"])
    assert answers["left_out"] == []


def test_text_for_people(trained: Path, stripes: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    image = stripes / "down" / "00.png"
    assert main(["predict", str(trained), str(image), "--workers", "0"]) == 0
    path, name, probability = capsys.readouterr().out.rstrip("\n").split("\t")
    assert (path, name) == (str(image), "down")
    assert 0.5 < float(probability) <= 1

    assert main(["eval", str(trained), "--output", str(tmp_path), "--workers", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"8 images: validation images of {stripes} (those that the run held out)"
    assert lines[3].split() == ["class", "images", "accuracy", "precision"]
    assert [line.split()[0] for line in lines[4:6]] == ["across", "down"]

    assert main(["plan", str(stripes), "--no-measure", "--output", str(tmp_path / "plan.png")]) == 0
    assert capsys.readouterr().out.startswith("images        32 to train on, 8 to validate on in 2 classes")


def test_flags_override_the_config_file(stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = tmp_path / "preset.yaml"
    preset.write_text("batch-size: 4\nmixing: similar\nval_split: 0.5\n")
    base = ["plan", str(stripes), "--no-measure", "--output", str(tmp_path / "plan.png"), "--json"]
    base += ["--config", str(preset)]
    assert main(base) == 0
    assert json.loads(capsys.readouterr().out)["num_steps"] == 5  # 20 images
    assert main([*base, "--batch-size", "10"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["num_steps"], report["num_val"]) == (2, 20)


def test_a_wrong_name_in_the_config_file(stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = tmp_path / "preset.yaml"
    preset.write_text("bach_size: 4\n")
    assert main(["plan", str(stripes), "--config", str(preset)]) == 2
    message = f"error: {preset} sets 'bach_size', which is no option\nhint: did you mean batch_size?\n"
    assert capsys.readouterr() == ("", message)


def test_resume_takes_the_options_of_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "nothing"
    assert main(["train", "--resume", str(missing)]) == 2
    assert capsys.readouterr().err == (
        f"error: there is no run to resume in {missing}: it holds no config.yaml\n"
        "hint: --resume takes the folder of a run that was started before\n"
    )


def test_no_colour_without_a_terminal_and_none_with_no_color() -> None:
    """One process for both: NO_COLOR where colour is forced upon it. A warning is what has colour."""
    code = (
        "import sys; from anysize.console import Console; Console().warn(':dog: [red]/x.png'); "
        "import os; os.environ.update(FORCE_COLOR='1', NO_COLOR='1'); Console().warn('second')"
    )
    env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stderr == "warning: :dog: [red]/x.png\nwarning: second\n"  # and file names stay what they are


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"]])
def test_a_reader_that_has_gone_is_no_traceback(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "anysize", *arguments]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, env=env)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are no UTF-8 exist on Linux")
def test_file_names_of_any_bytes(trained: Path, stripes: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Path(os.fsdecode(name)).write_bytes((stripes / "down" / "00.png").read_bytes())
    table = tmp_path / "answers.csv"
    command = [sys.executable, "-m", "anysize", "predict", str(trained), name, "--output", str(table)]
    done = subprocess.run([*command, "--workers", "0"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(name + b"\tdown\t")
    assert name in table.read_bytes()


def test_what_is_left_out_is_told_and_not_in_the_results(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_stripes(tmp_path / "new", count=1)
    (folder / "down" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    assert main(["predict", str(trained), str(folder), "--workers", "0", "--json"]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"error: 1 of 3 images cannot be read:\n  {folder}/down/torn.png: ")
    assert shown.err.splitlines()[-1].startswith("hint: --skip-unreadable ")
    assert main(["predict", str(trained), str(folder), "--workers", "0", "--json", "--skip-unreadable"]) == 0
    shown = capsys.readouterr()
    content = json.loads(shown.out)
    assert len(content["predictions"]) == 2
    assert [item["path"] for item in content["left_out"]] == [f"{folder}/down/torn.png"]
    assert shown.err.startswith(f"warning: left out: {folder}/down/torn.png: ")


def test_a_recipe_by_flag_goes_before_a_file_and_a_flag_before_both(tmp_path: Path) -> None:
    from anysize.cli.arguments import parse
    from anysize.training import TrainConfig

    file = tmp_path / "run.yaml"
    file.write_text("lr: 0.5\nopt: sgd\nepochs: 7\n")
    given = parse("train", TrainConfig, "", ["--config", str(file), "--epochs", "9"]).options.given
    assert given == {"lr", "opt", "epochs"}
    given = parse("train", TrainConfig, "", ["--config", str(file), "--recipe", "voc", "--epochs", "9"]).options.given
    assert given == {"recipe", "epochs"}


def test_a_misspelt_second_word_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "lern", "data"]) != 0
    assert "there is no 'doctor lern'\nhint: did you mean 'anysize doctor learn'?" in capsys.readouterr().err
