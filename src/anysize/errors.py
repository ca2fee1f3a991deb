"""Every error that anysize raises on purpose, in one tree.

Each answers three questions: what was received, what is required, and how to fix it (the hint). The command line
prints ``error: ...`` and ``hint: ...`` and leaves with the class's exit code.

    AnysizeError (1)
    ├── UsageError (2)                 a flag, a config file or an argument
    │   └── MissingExtraError          an optional package is not installed
    ├── DataError (3)                  files and folders
    │   ├── LayoutError                the folder's layout is not recognised, or not consistent
    │   ├── UnreadableImagesError      files that cannot be decoded, all of them in one error
    │   └── ImageSizeError             images too small or too large for what is asked
    ├── RaggedError (4)                exact ragged batches
    │   ├── UnsupportedOperatorError   no rule: refused, rather than run on the padding
    │   └── MixedSizesError            one number was asked for, and the images differ
    ├── PlanError (5)                  sizes and limits that allow no plan
    ├── TrainingError (6)
    │   └── NonFiniteLossError         stopped before the update, with the files of the batch
    └── CheckpointError (7)            weights or a checkpoint that do not fit
"""

__all__ = [
    "AnysizeError",
    "CheckpointError",
    "DataError",
    "ImageSizeError",
    "LayoutError",
    "MissingExtraError",
    "MixedSizesError",
    "NonFiniteLossError",
    "PlanError",
    "RaggedError",
    "TrainingError",
    "UnreadableImagesError",
    "UnsupportedOperatorError",
    "UsageError",
]


class AnysizeError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: what was received and what is required, in one or more lines.
        hint: how to fix it; shown on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\nhint: {hint}")
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Errors travel from worker processes; the hint is keyword-only, which pickle cannot know.
        return _restore, (type(self), self.message, self.hint)


def _restore(kind: type[AnysizeError], message: str, hint: str | None) -> AnysizeError:
    return kind(message, hint=hint)


class UsageError(AnysizeError, ValueError):
    """A flag, a config file or an argument that cannot be used as given."""

    exit_code = 2


class MissingExtraError(UsageError):
    """An optional package is needed, and is not installed or does not load."""


class DataError(AnysizeError, ValueError):
    """Files or folders that cannot be used as they are."""

    exit_code = 3


class LayoutError(DataError):
    """The folder is in no layout that is known, or contradicts itself."""


class UnreadableImagesError(DataError):
    """Files that cannot be decoded: all of them in one error, each with its reason."""


class ImageSizeError(DataError):
    """Images too small or too large for the model or the limits that were asked for."""


class RaggedError(AnysizeError):
    """Base of what exact ragged batches raise."""

    exit_code = 4


class UnsupportedOperatorError(RaggedError, TypeError):
    """No rule says how this operator works on images of mixed sizes, so it is refused."""


class MixedSizesError(RaggedError, ValueError):
    """A single number was asked for where the images of the batch have different ones."""


class PlanError(AnysizeError, ValueError):
    """Sizes and limits that allow no plan."""

    exit_code = 5


class TrainingError(AnysizeError, RuntimeError):
    """Training cannot go on."""

    exit_code = 6


class NonFiniteLossError(TrainingError):
    """The loss is NaN or infinite; nothing was updated with it."""


class CheckpointError(AnysizeError, ValueError):
    """Weights or a checkpoint that do not fit what they are loaded into."""

    exit_code = 7
