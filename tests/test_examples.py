"""The examples run, and do what they say."""

import importlib.util
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]
LOADERS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "loaders.md").read_text(encoding="utf-8"), re.DOTALL)


def test_own_loop_learns() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "own_loop.py")], capture_output=True, text=True, check=True
    )
    last = done.stdout.splitlines()[-1]
    assert last.startswith("epoch 4: ")
    assert float(last.removeprefix("epoch 4: ").split("%")[0]) > 95


@pytest.mark.parametrize(
    ("name", "packages"), [("lightning_module", ["lightning"]), ("hf_trainer", ["transformers", "accelerate"])]
)
def test_trainers_learn(name: str, packages: list[str], tmp_path: Path) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"NOT TESTED: {package} is not installed, so examples/{name}.py was not run")
    # Both load torchvision where there is one, and one built for CUDA does not load beside a torch for CPUs.
    (tmp_path / "sitecustomize.py").write_text(
        "import contextlib, anysize.errors, anysize.models.named\n"
        "with contextlib.suppress(anysize.errors.MissingExtraError):\n"
        "    anysize.models.named.import_zoo('torchvision')\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1].removeprefix("validation accuracy ").removesuffix("%")) > 95


def test_the_page_on_loaders_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    from own_loop import Stripes, convnet

    dataset, model = Stripes(40), convnet()
    scope: dict[str, Any] = {"dataset": dataset, "sizes": dataset.sizes, "model": model, "path": tmp_path / "state.pt"}
    scope["optimizer"] = torch.optim.SGD(model.parameters(), lr=0.1)
    blocks = [block for block in LOADERS if not block.startswith("# torchrun")]
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, "docs/loaders.md", "exec"), scope)  # noqa: S102 - our own page
    images, boxes = scope["with_boxes"]([(dataset[n][0], torch.zeros(n, 4)) for n in range(3)])
    assert [len(images), *map(len, boxes)] == [3, 0, 1, 2]
    assert scope["sampler"].epoch == 1


def test_ranks_as_on_the_page_train_as_one(tmp_path: Path) -> None:
    """No rank hangs over its share, and together they get the weights that one process gets."""
    (script,) = (block for block in LOADERS if block.startswith("# torchrun"))
    changes = {
        # Without batch normalisation, which sees one rank and one part at a time.
        "convnet()": "torch.nn.Sequential(torch.nn.Conv2d(1, 6, 5, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), "
        "torch.nn.Flatten(), torch.nn.Linear(6, 2))",
        # Taking gloo down aborts now and then, and is not what is tested.
        "distributed.destroy_process_group()": "import os, sys\n"
        "torch.save((model.module.state_dict(), met), sys.argv[1])\ndistributed.barrier()\nos._exit(0)",
        "        parts = list": "        met.append(len(images.parts))\n        parts = list",
        "for epoch in": "met = []\nfor epoch in",
    }
    for old, new in changes.items():
        assert script.count(old) == 1
        script = script.replace(old, new)
    (tmp_path / "train.py").write_text(script, encoding="utf-8")
    results = {}
    for ranks in (1, 2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
        workers = [
            subprocess.Popen(
                [sys.executable, str(tmp_path / "train.py"), str(tmp_path / f"{rank}.pt")],
                env={
                    **os.environ,
                    **place,
                    "RANK": str(rank),
                    "PYTHONPATH": os.pathsep.join([str(ROOT / "examples"), os.environ.get("PYTHONPATH", "")]),
                },
            )
            for rank in range(ranks)
        ]
        try:
            assert [worker.wait(timeout=120) for worker in workers] == [0] * ranks
        finally:
            for worker in workers:
                worker.kill()
        results[ranks] = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(ranks)]
    ((alone, _),) = results[1]
    (first, first_met), (second, second_met) = results[2]
    assert len(first_met) == len(second_met) == 2 * 6
    assert first_met != second_met, "equal numbers of parts prove little"
    for name, weight in alone.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_demo_reaches_what_it_promises(tmp_path: Path) -> None:
    """It ends with an error below 97 %."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "the commands that were run:" in done.stdout


@pytest.mark.slow
def test_the_wheel_gives_the_command(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "torch"], check=True)  # first and pinned, as the Makefile does
    subprocess.run([*pip, str(wheel)], check=True)
    answer = subprocess.run(
        [str(environment / "bin" / "anysize"), "--version"], check=True, capture_output=True, text=True
    )
    assert answer.stdout.startswith("anysize ")
