"""An interrupted run that goes on ends where an uninterrupted one does: the same weights, the same rows."""

import dataclasses
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import anysize.training.run as run_module
from anysize.cli import main
from anysize.config_file import read_config
from anysize.errors import AnysizeError, CheckpointError, UsageError
from anysize.training import TrainConfig
from anysize.training.interrupt import StopRequest
from anysize.training.run import train
from anysize.training.run_folder import RunFolder
from heard import Heard
from toy import QUIET, quick, table_of

# What has a memory: batch statistics, and the optimiser's moments.
STATEFUL: dict[str, Any] = {
    "model": "resnet9",
    "model_kwargs": ("width=4",),
    "lr": 0.02,
}
STEPS_AN_EPOCH = 4


def stop_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Send SIGINT to this process when ``count`` steps are done."""
    step = run_module.train_step
    done = []

    def counted(*arguments: Any, **options: Any) -> Any:
        sums = step(*arguments, **options)
        done.append(1)
        if len(done) == count:
            os.kill(os.getpid(), signal.SIGINT)
        return sums

    monkeypatch.setattr(run_module, "train_step", counted)


def same_results(run: Path, other: Path) -> None:
    assert table_of(run) == table_of(other)
    for name in ("best", "last"):
        weights = [(folder / "weights" / f"{name}.safetensors").read_bytes() for folder in (run, other)]
        assert weights[0] == weights[1], f"{name} weights differ"


@pytest.fixture(scope="module")
def uninterrupted(stripes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYSIZE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return train(quick(stripes, tmp_path_factory.mktemp("runs") / "whole", **STATEFUL), console=QUIET).run


@pytest.mark.parametrize("count", [1, STEPS_AN_EPOCH + 2, 3 * STEPS_AN_EPOCH])
def test_after_a_stop_within_an_epoch(
    count: int, uninterrupted: Path, stripes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first epoch, in the second, and behind the last step of all but before the validation."""
    config = quick(stripes, tmp_path / "run", **STATEFUL)
    with monkeypatch.context() as patch:
        stop_after(patch, count)
        stopped = train(config, console=QUIET)
    assert (stopped.ended, stopped.epochs) == ("interrupted", (count - 1) // STEPS_AN_EPOCH)
    assert (stopped.run / "metrics.csv").exists() == (count > STEPS_AN_EPOCH)
    result = train(dataclasses.replace(config, output=None, resume=stopped.run), console=QUIET)
    assert (result.ended, result.epochs) == ("finished", 3)
    same_results(result.run, uninterrupted)
    kinds = [json.loads(line)["event"] for line in (result.run / "events.jsonl").read_text().splitlines()]
    assert kinds.count("epoch") == 3
    assert kinds.count("start") == 2


def test_more_epochs_for_a_finished_run(stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the command line: the run's own options, and the flags beside --resume. The plateau goes on counting."""
    plateau = {"sched": "plateau", "plateau_patience": 1, "warmup_epochs": 0.0, "lr": 1e-30, "weight_decay": 0.0}
    whole = train(quick(stripes, tmp_path / "whole", **plateau), console=QUIET)
    assert len({row["lr"] for row in table_of(whole.run)}) == 2
    train(quick(stripes, tmp_path / "run", **plateau, epochs=2), console=QUIET)
    assert main(["train", "--resume", str(tmp_path / "run"), "--epochs", "3"]) == 0
    assert "going on with" in capsys.readouterr().err
    same_results(tmp_path / "run", whole.run)
    assert "epochs: 3" in (tmp_path / "run" / "config.yaml").read_text()
    assert "resume: null" in (tmp_path / "run" / "config.yaml").read_text()


def test_a_signal_from_outside(
    stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command, interrupted as by Ctrl-C (all of its processes): exit code 130, saved, resumable."""
    options = {"epochs": 8, "patience": 0, "workers": 1}
    config = quick(stripes, tmp_path / "run", **options)
    whole = train(dataclasses.replace(config, output=tmp_path / "whole", workers=0), console=QUIET)
    flags = ["--epochs", "8", "--patience", "0", "--workers", "1", "--lr", "0.01", "--batch-size", "8"]
    flags += [
        "--model",
        "fcn_small",
        "--model-kwargs",
        "final_relu=false",
        "--no-tensorboard",
        "--device",
        "cpu",
    ]
    command = [
        sys.executable,
        "-m",
        "anysize",
        "train",
        str(stripes),
        "--output",
        str(tmp_path / "run"),
        *flags,
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 60
        events = tmp_path / "run" / "events.jsonl"
        while not (events.exists() and '"event": "epoch"' in events.read_text()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    num_epochs = len(table_of(tmp_path / "run"))
    assert 1 <= num_epochs < 8
    counted = f"{num_epochs} epoch{'' if num_epochs == 1 else 's'}"
    assert out.startswith(f"interrupted after {counted}; run folder: {tmp_path / 'run'}\n")
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "1024")
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.startswith("finished after 8 epochs")
    same_results(tmp_path / "run", whole.run)


def test_resuming_what_cannot_be(uninterrupted: Path, stripes: Path, tmp_path: Path) -> None:
    def refusal(**changes: Any) -> CheckpointError:
        with pytest.raises(CheckpointError) as caught:
            train(quick(stripes, None, **{**STATEFUL, "epochs": 4, **changes}), console=QUIET)
        return caught.value

    path = uninterrupted / "checkpoints" / "last.safetensors"
    error = refusal(resume=tmp_path)
    assert error.message == f"there is no checkpoint at {tmp_path / 'checkpoints' / 'last.safetensors'}"
    assert error.hint == "--resume takes the folder of a run that was started before"
    error = refusal(resume=uninterrupted, opt="sgd")
    assert error.message == f"the checkpoint {path} is of the optimiser AdamW, and this run has SGD"
    assert error.hint == "resume with the --opt of the run, or start a new one"
    error = refusal(resume=uninterrupted, model="fcn_small", model_kwargs=())
    assert error.message.startswith(
        f"the weights in {path} do not fit the network:\n  missing: features.0.weight\n  missing: features.0.bias\n"
    )
    assert error.message.endswith("\n  ... and 40 more")
    error = refusal(resume=uninterrupted, model_kwargs=("width=8",))
    assert "\n  features.0.0.weight has shape (4, 3, 3, 3), the network's is (8, 3, 3, 3)\n" in error.message
    assert error.hint == "use the weights and the .json card of one and the same run"


def test_a_second_signal_ends_the_process_as_usual() -> None:
    # As Python starts: in the background of a shell the signal is ignored from birth, and would be again.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopRequest() as stop:
            assert not stop.requested
            signal.raise_signal(signal.SIGINT)
            assert stop.requested
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_options_of_a_run_are_kept(uninterrupted: Path) -> None:
    from anysize.config_file import read_config

    config = read_config(TrainConfig, uninterrupted / "config.yaml")
    assert (config.model, config.lr, config.model_kwargs) == ("resnet9", 0.02, ("width=4",))


def test_within_an_epoch_another_plan_is_refused(
    stripes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        run = train(quick(stripes, tmp_path / "run", **STATEFUL), console=QUIET).run
    config = dataclasses.replace(read_config(TrainConfig, run / "config.yaml"), resume=run, batch_size=3)
    with pytest.raises(UsageError) as caught:
        train(config, console=QUIET)
    assert str(caught.value) == (
        f"{run} was stopped within epoch 1, after 1 steps, and the images or the options that plan an epoch have "
        "changed since: images would be lost or come twice\n"
        "hint: resume with the options and images it was started with (batch size, limits, augmentation, seed)"
    )


def test_from_python_a_run_is_resumed_with_its_own_options(
    stripes: Path, tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        run = train(quick(stripes, tmp_path / "run", **STATEFUL), console=QUIET).run
    same_results(train(TrainConfig(resume=run), console=QUIET).run, uninterrupted)


def test_a_run_that_cannot_start_leaves_no_folder(stripes: Path, tmp_path: Path) -> None:
    with pytest.raises(AnysizeError):
        train(quick(stripes, tmp_path / "run", model="no_such_model"), console=QUIET)
    assert not (tmp_path / "run").exists()


def test_two_processes_do_not_write_to_one_run(uninterrupted: Path, stripes: Path) -> None:
    again = quick(stripes, None, **STATEFUL, resume=uninterrupted, epochs=4)
    rows = table_of(uninterrupted)
    # The lock is the open file's: of another process it is the same.
    with (
        RunFolder(uninterrupted).held(QUIET),
        pytest.raises(UsageError, match="another process is training in the run"),
    ):
        train(again, console=QUIET)
    assert table_of(uninterrupted) == rows


def test_a_process_that_was_killed_holds_no_run(tmp_path: Path) -> None:
    script = "import os, sys; from anysize.training.run_folder import RunFolder; from pathlib import Path\n"
    script += "from anysize.console import Console\n"
    script += "with RunFolder(Path(sys.argv[1])).held(Console()): os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / ".lock").exists()
    with RunFolder(tmp_path).held(QUIET):
        pass


def test_from_python_a_run_that_is_not_there_is_named(stripes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no run in .*nowhere"):
        train(quick(stripes, None, resume=tmp_path / "nowhere"), console=QUIET)
    assert not (tmp_path / "nowhere").exists()


def test_a_file_system_without_locks_is_told_and_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    heard = Heard()
    with RunFolder(tmp_path).held(heard):
        pass
    (told,) = heard.lines
    assert told.startswith(f"{tmp_path} cannot be locked (")
    assert told.endswith("): see that no other process trains in it")


def test_a_folder_that_holds_a_lock_alone_is_free(stripes: Path, tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    assert train(quick(stripes, tmp_path, epochs=1), console=QUIET).ended == "finished"
    with pytest.raises(UsageError, match="exists and is not empty"):
        train(quick(stripes, tmp_path), console=QUIET)
