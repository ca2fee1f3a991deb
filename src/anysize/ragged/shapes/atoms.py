"""Which atoms of a shape make up each of the sizes that a reshape asks for, in row-major order.

An atom is a number or a `Space`, one spatial axis.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from anysize.errors import ImageSizeError
from anysize.ragged.batch import RaggedBatch
from anysize.ragged.lengths import Length, same_lengths
from anysize.sizes import format_size

__all__ = ["Atom", "Axes", "Space", "Spaces", "match_sizes"]

Function = Callable[..., Any]


class Space(NamedTuple):
    """One spatial axis, by its place in a `Spaces`."""

    axis: int


Atom = int | Space
Axes = list[list[Atom]]
"""For each axis but the images', its atoms."""


class Spaces:
    """The spatial axes that a reshape knows of: the batch's, then those that it makes by splitting or merging."""

    def __init__(self, batch: RaggedBatch) -> None:
        self.lengths = list(batch.lengths)
        self.extents = list(batch.extents)
        self.crops: dict[int, int] = {}
        """Axes of the batch whose canvas is cropped first."""

    def new(self, length: Length, extent: int) -> Space:
        self.lengths.append(length)
        self.extents.append(extent)
        return Space(len(self.lengths) - 1)

    def constant(self, space: Space) -> int | None:
        """The length that all images share, where that is known."""
        known = self.lengths[space.axis].known
        return int(known[0]) if known is not None and known.count(known[0]) == len(known) else None

    def is_one(self, atom: Atom) -> bool:
        return self.lengths[atom.axis].is_one if isinstance(atom, Space) else atom == 1


def match_sizes(
    function: Function, batch: RaggedBatch, spaces: Spaces, atoms: list[Atom], sizes: Sequence[Any]
) -> Axes | None:
    """Deal the atoms out to the sizes asked for, in row-major order; None where that does not come out even."""
    rest = _joined(_split(function, batch, spaces, atoms, sizes))
    holes = [number for number, size in enumerate(sizes) if isinstance(size, int) and size == -1]
    if len(holes) > 1:
        raise RuntimeError("only one dimension can be inferred")
    front, back = (sizes[: holes[0]], sizes[holes[0] + 1 :]) if holes else (sizes, [])
    axes: Axes = []
    for number, size in enumerate(front):
        taken = _take(spaces, rest, size, _num_lengths(sizes[number + 1 :]) + len(holes))
        if taken is None:
            return None
        axes.append(taken)
    if not holes:
        return axes if all(spaces.is_one(atom) for atom in rest) else None
    rest.reverse()
    behind: Axes = []
    for number in reversed(range(len(back))):
        taken = _take(spaces, rest, back[number], _num_lengths(back[:number]))
        if taken is None:
            return None
        behind.insert(0, taken[::-1])
    return [*axes, rest[::-1], *behind]


def _num_lengths(sizes: Sequence[Any]) -> int:
    return sum(isinstance(size, Length) for size in sizes)


def _joined(atoms: Sequence[Atom]) -> list[Atom]:
    """Multiply neighbouring numbers."""
    result: list[Atom] = []
    for atom in atoms:
        if result and isinstance(atom, int) and isinstance(result[-1], int) and 1 not in (atom, result[-1]):
            result[-1] = result[-1] * atom
        else:
            result.append(atom)
    return result


def _take(spaces: Spaces, rest: list[Atom], size: Any, num_lengths: int) -> list[Atom] | None:
    """Take the atoms off the front of ``rest`` whose product is ``size``; None if there are none."""
    if not isinstance(size, Length):
        return _take_number(spaces, rest, size)
    while len(rest) > 1 and isinstance(rest[0], int) and rest[0] == 1:
        rest.pop(0)
    if rest and isinstance(rest[0], Space):
        count = _count(spaces, rest, size, num_lengths)
        if count is not None:
            taken = rest[:count]
            del rest[:count]
            return taken
        return _take_scaled(spaces, rest, size)
    return _take_number(spaces, rest, 1) if size.is_one else None


def _take_number(spaces: Spaces, rest: list[Atom], number: int) -> list[Atom] | None:
    taken: list[Atom] = []
    if number == 1 and rest and spaces.is_one(rest[0]):
        return [rest.pop(0)]
    while number > 1:
        if not rest:
            return None
        head = rest[0]
        length = head if isinstance(head, int) else spaces.constant(head)
        if length is not None and number % length == 0:
            taken.append(rest.pop(0))
            number //= length
        elif isinstance(head, int) and head % number == 0:
            taken.append(number)
            rest[0] = head // number
            number = 1
        else:
            return None
    return taken if number == 1 else None


def _count(spaces: Spaces, rest: list[Atom], size: Length, num_lengths: int) -> int | None:
    """Return how many spaces at the front of ``rest`` have the product ``size``.

    Where images are one pixel wide or high, several numbers of them may: that one is meant which leaves each of the
    ``num_lengths`` behind it as many.
    """
    run = 0
    while run < len(rest) and isinstance(rest[run], Space):
        run += 1
    share = run / (num_lengths + 1)
    fitting: list[int] = []
    product: Length | None = None
    for count, atom in enumerate(rest[:run], start=1):
        assert isinstance(atom, Space)  # noqa: S101 - for the type checker
        length = spaces.lengths[atom.axis]
        product = length if product is None else product * length
        known, wanted = product.known, size.known
        if known is not None and wanted is not None:
            fitting += [count] * (known == wanted)
        elif count == max(run - num_lengths, 1):  # by order: the graph checks it when it runs
            return count if same_lengths([product], [size]) else None
    return min(fitting, key=lambda count: abs(count - share)) if fitting else None


def _take_scaled(spaces: Spaces, rest: list[Atom], size: Length) -> list[Atom] | None:
    """Take a space and a part of the number behind it, as depth-to-space merges them."""
    space = rest[0]
    number = rest[1] if len(rest) > 1 else None
    if not isinstance(space, Space) or not isinstance(number, int):
        return None
    lengths, wanted = spaces.lengths[space.axis].known, size.known
    if lengths is None or wanted is None:
        return None
    factor = int(wanted[0]) // int(lengths[0])
    if factor < 2 or number % factor or any(a * factor != b for a, b in zip(lengths, wanted, strict=True)):
        return None
    rest[:2] = [number // factor] * (number != factor)
    return [space, factor]


def _split(
    function: Function, batch: RaggedBatch, spaces: Spaces, atoms: list[Atom], sizes: Sequence[Any]
) -> list[Atom]:
    """Split spaces where ``sizes`` has a length divided by a number, and that number behind it: H // b, b."""
    result = list(atoms)
    places = [place for place, atom in enumerate(atoms) if isinstance(atom, Space)]
    for size, factor in zip(sizes, [*sizes[1:], None], strict=True):
        if not isinstance(size, Length) or not places:
            continue
        space = atoms[places[0]]
        assert isinstance(space, Space)  # noqa: S101 - for the type checker
        length = spaces.lengths[space.axis]
        if length.known is None or size.known is None:
            break
        if length.known != size.known:
            if not isinstance(factor, int) or factor < 2 or atoms.count(space) > 1:
                break
            if any(a // factor != b for a, b in zip(length.known, size.known, strict=True)):
                break
            _require_divisible(function, batch, length, factor)
            extent = spaces.extents[space.axis] // factor
            spaces.crops[space.axis] = extent * factor
            offset = len(result) - len(atoms)
            result[places[0] + offset : places[0] + offset + 1] = [spaces.new(size, extent), factor]
        places.pop(0)
    return result


def _require_divisible(function: Function, batch: RaggedBatch, length: Length, factor: int) -> None:
    for index, value in enumerate(length.values):
        if value % factor:
            raise ImageSizeError(
                f"image {index} of the batch is {format_size(batch.sizes[index])} where it reaches "
                f"{function.__name__}, which divides its length of {value} into parts of {factor}",
                hint=f"crop or pad images so that what reaches this layer is a multiple of {factor}",
            )
