"""``torch.compile(fullgraph=True)`` of whole networks: one graph a canvas, and the values of eager mode.

The check is that of `benchmarks/compilation.py`, which also runs it through Inductor.
"""

import sys
from pathlib import Path

import pytest

from anysize.errors import MissingExtraError

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))


@pytest.mark.slow
# torch's own tracer looks at .grad of every tensor that it meets.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize(
    ("name", "mode"),
    [("resnet18", "training"), ("xception41", "evaluation"), ("deeplabv3plus", "evaluation")],
)
def test_network(name: str, mode: str) -> None:
    import compilation

    try:
        result = compilation.check(name, mode, "aot_eager")
    except MissingExtraError as missing:
        pytest.skip(str(missing))
    assert result.graphs == result.canvases == 3
    assert result.value_error <= 1e-9
    assert result.gradient_error <= 1e-9
