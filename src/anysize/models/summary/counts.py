"""How many numbers a network holds."""

from dataclasses import dataclass

from torch import nn

__all__ = ["ParameterCounts", "count_parameters"]


@dataclass(frozen=True, kw_only=True)
class ParameterCounts:
    """Numbers; what is shared counts once."""

    parameters: int
    """Weights and biases, those that are not trained too."""
    trainable: int
    """Those of them that are trained."""
    buffers: int
    """Numbers in floating-point buffers that are saved with the weights: means and variances of batch normalisation,
    kernels that are never trained."""
    float32_bytes: int
    """Of a file with all of its state in float32 (counters stay integers), without the file's header."""

    @property
    def all_parameters(self) -> int:
        """Parameters and buffers: what Keras calls total parameters."""
        return self.parameters + self.buffers


def count_parameters(model: nn.Module) -> ParameterCounts:
    """Count what ``model`` holds."""
    parameters = {id(parameter): parameter for parameter in model.parameters()}
    state = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    buffers = [tensor for place, tensor in state.items() if place not in parameters]
    in_buffers = sum(tensor.numel() for tensor in buffers if tensor.is_floating_point())
    total = sum(parameter.numel() for parameter in parameters.values())
    return ParameterCounts(
        parameters=total,
        trainable=sum(parameter.numel() for parameter in parameters.values() if parameter.requires_grad),
        buffers=in_buffers,
        float32_bytes=4 * (total + in_buffers)
        + sum(tensor.nbytes for tensor in buffers if not tensor.is_floating_point()),
    )
