"""What a shortage of memory looks like, and what may be one."""

import pytest
import torch

from anysize.memory.shortage import doubtful_words, is_out_of_memory


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a memory object"), True),
        (RuntimeError("could not execute a primitive"), True),
        (RuntimeError("Unable to find an engine to execute this computation"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_a_shortage_looks_like(error: Exception, answer: bool) -> None:
    assert is_out_of_memory(error) == answer
    wrapped = ValueError("in part 3")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped) == answer


def test_words_that_may_mean_something_else() -> None:
    assert doubtful_words(RuntimeError("could not create a primitive\n more")) == (
        " (torch says: could not create a primitive)"
    )
    assert doubtful_words(torch.OutOfMemoryError("CUDA out of memory")) == ""
