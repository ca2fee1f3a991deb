"""What makes a plain class stand in for a tensor: every function, method and operator goes through the rules."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

__all__ = ["TensorLike"]

_OPERATORS = (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "neg", "abs", "getitem", "and", "or", "xor",
    "invert", "pos", "bool",
)  # fmt: skip
_IN_PLACE = ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "iand", "ior", "ixor", "setitem")
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_REFLECTED = ("radd", "rsub", "rmul", "rtruediv", "rfloordiv", "rmod", "rpow", "rand", "ror", "rxor")


class TensorLike:
    """Passes whatever computes to ``_dispatch(function, args, kwargs)`` of the subclass."""

    __slots__ = ()

    __hash__ = object.__hash__  # as a tensor: by identity, though == compares pixels

    @classmethod
    def _dispatch(cls, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return cls._dispatch(func, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        method = None if name.startswith("__") else getattr(Tensor, name, None)
        if not callable(method):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return partial(_method, method, self)


def _method(function: Callable[..., Any], batch: TensorLike, *args: Any, **kwargs: Any) -> Any:
    return batch._dispatch(function, (batch, *args), kwargs)


def _define_operators() -> None:
    for name in (*_OPERATORS, *_REFLECTED, *_IN_PLACE, *_COMPARISONS):
        method = getattr(Tensor, f"__{name}__")

        def operator(self: TensorLike, *args: Any, method: Callable[..., Any] = method) -> Any:
            return self._dispatch(method, (self, *args), {})

        setattr(TensorLike, f"__{name}__", operator)


_define_operators()
