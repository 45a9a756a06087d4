"""Linear layers in 8 or 4 bits while adapters beside them are trained. The only file that imports bitsandbytes.

LLM.int8 (Dettmers et al., 2022, arXiv:2208.07339); NF4 with quantised constants (QLoRA, Dettmers et al., 2023,
arXiv:2305.14314).
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from ukulele.errors import MissingExtraError, PlanError

WHOLE = "wo"  # T5 asks this layer's weights for their precision, and turns what comes in into that
CAPABILITY = {8: (7, 5), 4: (6, 0)}  # of an NVIDIA GPU: the least that has the kernels


def refuse_absent(bits: int, device: str) -> None:
    """Say what is missing before anything is loaded.

    Raises
    ------
    MissingExtraError
        If the library is not installed.
    PlanError
        If the device has no kernels for weights of so few bits.
    """
    _library()
    if device == "cpu":
        return
    least = CAPABILITY[bits]
    found = torch.cuda.get_device_capability(device) if device.startswith("cuda") else None
    if found is None or found < least:
        said = "" if found is None else f" of compute capability {found[0]}.{found[1]}"
        raise PlanError(
            f"--bits {bits}: {device}{said} has no kernels for it.",
            hint=f"An NVIDIA GPU of capability {least[0]}.{least[1]} or more has, and the CPU; or leave it out.",
        )


def _library() -> Any:
    try:
        return importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise MissingExtraError("--bits", "quantised") from error


def narrow(module: nn.Module, bits: int) -> int:
    """Put layers of so few bits in the place of a module's linear ones, and say how many; they round when they are put
    on their device.

    The layers that were there stay as they are, and are known to the new ones: see `widened`.
    """
    count = 0
    for name, part in list(module.named_modules()):
        turned = type(part).__name__ == "Conv1D"
        if (type(part) is nn.Linear or turned) and name.rpartition(".")[2] != WHOLE:
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, _made(part, bits, turned))
            count += 1
    return count


def _made(layer: Any, bits: int, turned: bool) -> nn.Module:
    narrow_nn = _library().nn
    values: Tensor = layer.weight.detach().T if turned else layer.weight.detach()
    high, wide = values.shape
    made: Any
    if bits == 4:
        made = narrow_nn.Linear4bit(wide, high, bias=False, quant_type="nf4", device="meta")
        made.weight = narrow_nn.Params4bit(values, requires_grad=False, quant_type="nf4", module=made)
        made.support_avx512bf16_for_cpu = False  # its kernels are for prediction alone, and round otherwise
    else:
        made = narrow_nn.Linear8bitLt(wide, high, bias=False, has_fp16_weights=False, threshold=6.0, device="meta")
        made.weight = narrow_nn.Int8Params(values, requires_grad=False, has_fp16_weights=False)
    if layer.bias is not None:  # one of its own, as the library changes its precision
        made.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
    made.plain = [layer]  # in a list: no submodule
    return made  # type: ignore[no-any-return]


def plain(layer: nn.Module) -> nn.Module | None:
    """The layer in whose place this one was put; None if it is none of `narrow`."""
    found = getattr(layer, "plain", None)
    return found[0] if isinstance(found, list) else None


def write(layer: Any, more: Tensor) -> None:
    """Into the layer in whose place this one was put: what its few bits mean, and `more` (outputs, inputs).

    Its weights are then other memory, on the device of `layer`.
    """
    kept: Any = plain(layer)
    values = widened(layer).to(more) + more
    kept.weight.data = (values.T if type(kept).__name__ == "Conv1D" else values).contiguous()
    if kept.bias is not None:
        kept.bias.data = kept.bias.data.to(values.device)


def widened(layer: Any) -> Tensor:
    """What the few bits of a layer mean, (outputs, inputs): the very numbers that 4 bits are computed with."""
    functional, weight = _library().functional, layer.weight
    state = getattr(weight, "quant_state", None)
    if state is not None:
        return functional.dequantize_4bit(weight.data, state)  # type: ignore[no-any-return]
    if weight.dtype == torch.int8:
        scale = layer.state.SCB if weight.SCB is None else weight.SCB
        return functional.int8_vectorwise_dequant(weight.data, scale)  # type: ignore[no-any-return]
    return weight.data  # type: ignore[no-any-return]  # never put on a device
