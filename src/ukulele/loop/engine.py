"""Where the loop runs: device, precision, processes and trackers, through accelerate."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ukulele.errors import PlanError
from ukulele.events import Event, Judged, Stepped
from ukulele.runs.folder import TRACKED
from ukulele.types import Loss, Tensors

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.tracking import GeneralTracker

    from ukulele.loop.parts import Part

Precision = Literal["fp32", "bf16"]
DEAR = 0.01  # share of the time that is spent on writing states down


def choose_device(wanted: str = "auto") -> str:
    """The device to use: the one asked for, else cuda, then mps, then the CPU.

    Raises
    ------
    PlanError
        If the one asked for is not there.
    """
    if wanted != "auto":
        cuda = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))] if torch.cuda.is_available() else []
        here = ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]
        if wanted not in here:
            raise PlanError(
                f"--device {wanted}: there is no such device here.", hint=f"Choose auto or {', '.join(here)}."
            )
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_precision(wanted: str, device: str) -> Precision:
    """bf16 where the hardware multiplies it natively, else fp32; or the one asked for."""
    if wanted in {"fp32", "bf16"}:
        return "bf16" if wanted == "bf16" else "fp32"
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device == "cpu":
        flags = torch.backends.cpu.get_cpu_capability() if hasattr(torch.backends, "cpu") else ""
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bf16" if native and flags != "DEFAULT" else "fp32"
    return "fp32"


def arithmetic(precision: str, device: str) -> AbstractContextManager[Any]:
    """Autocast to bf16, or nothing."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.split(":", maxsplit=1)[0], torch.bfloat16)


class Engine:
    """One process of a run. Alone it needs nothing of accelerate; under a launcher it joins the others."""

    def __init__(self, device: str, precision: Precision, save_every: float = 60.0) -> None:
        self.device, self._precision, self._save_every = device, precision, save_every
        self._last_save, self._took = time.monotonic(), 0.0
        self._accelerator = _launched(precision, device)
        if self._accelerator is not None:
            found = self._accelerator.device
            self.device = "cpu" if found.type == "cpu" else str(found)  # "cpu:0" would be copied to

    @property
    def rank(self) -> int:
        """The number of this process."""
        return int(self._accelerator.process_index) if self._accelerator else 0

    @property
    def world(self) -> int:
        """How many processes there are."""
        return int(self._accelerator.num_processes) if self._accelerator else 1

    @property
    def main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for the other processes."""
        if self._accelerator:
            self._accelerator.wait_for_everyone()

    def agree(self, value: Any) -> Any:
        """The main process's value, in every process."""
        if self._accelerator is None:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def wrap(self, above: nn.Module) -> nn.Module:
        """The module whose forward the loop calls: wrapped for several processes."""
        if self._accelerator is None:
            return above
        wrapped: nn.Module = self._accelerator.prepare_model(above, device_placement=False)  # it is there
        return wrapped

    def precision(self) -> AbstractContextManager[Any]:
        """Autocast to bf16, or nothing."""
        return arithmetic(self._precision, self.device)

    def share(self, numbers: Sequence[int]) -> Sequence[int]:
        """The rows of a step that are this process's; at least one, so that every process takes part in it."""
        if self.world == 1:
            return numbers
        return numbers[self.rank :: self.world] or numbers[:1]

    def place(self, part: Part) -> Part:
        """A part on the device."""
        if self.device == "cpu":
            return part
        return tuple(
            replace(piece, live=self._moved(piece.live), targets={t: self._moved(f) for t, f in piece.targets.items()})
            for piece in part
        )

    def _moved(self, tensors: Tensors) -> Tensors:
        return {name: value.to(self.device, non_blocking=True) for name, value in tensors.items()}

    def seed(self, what: str) -> None:
        """Draw from here on as these words say, differently in each process."""
        number = zlib.crc32(what.encode()) + self.rank
        if self.device == "cpu":  # torch's own asks for every other kind of device, too: 1 ms a step
            torch.default_generator.manual_seed(number)
        else:
            torch.manual_seed(number)

    def mean(self, loss: Loss) -> Tensor:
        """The mean over all processes' rows, scaled so that averaged gradients come out right."""
        count = loss.counts.sum().float()
        if self._accelerator is None:
            return loss.sums.sum() / count.clamp(min=1)
        total = self._accelerator.reduce(count, "sum")
        scaled: Tensor = loss.sums.sum() * self.world / total.clamp(min=1)
        return scaled

    def shown(self, loss: Tensor) -> Tensor:
        """The loss of all processes' rows."""
        return loss.detach() if self._accelerator is None else self._accelerator.reduce(loss.detach(), "mean")

    def average(self, gradient: Tensor) -> Tensor:
        """A gradient of all processes' rows, where no backward pass reduced it."""
        if self._accelerator is None:
            return gradient
        averaged: Tensor = self._accelerator.reduce(gradient, "mean")
        return averaged

    def backward(self, loss: Tensor) -> None:
        """Gradients of the loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def saves_now(self, *, ended: bool = False) -> bool:
        """Whether so much time has passed that the state should be written down; where an epoch or a phase has ended
        sooner than within one, as soon as writing is `DEAR` of the time since the last.
        """
        wanted = min(self._save_every, self._took / DEAR) if ended else self._save_every
        return time.monotonic() - self._last_save >= wanted

    @contextmanager
    def saving(self) -> Iterator[None]:
        """While the state is written down: how long that takes decides how often it is."""
        began = time.monotonic()
        yield
        self._last_save = time.monotonic()
        self._took = self._last_save - began


class Tracker:
    """TensorBoard, W&B or MLflow, fed with what each candidate's training comes to. One process of a run has one.

    `step` is the number of the last step it was fed before: a run that goes on counts on.
    """

    def __init__(self, names: Sequence[str], folder: str, config: Mapping[str, Any], step: int = 0) -> None:
        refuse_absent(names)
        self._step, self._trackers = step, [_tracker(name, folder) for name in names]
        for tracker in self._trackers:
            tracker.start()
            tracker.store_init_configuration(dict(config))

    def hear(self, candidate: str, event: Event) -> None:
        """The numbers of a step, or of an epoch's end, under the candidate's name."""
        match event:
            case Stepped(losses=losses):
                numbers = {f"{candidate}/loss/{task}": loss for task, loss in losses.items()}
            case Judged(loss=loss, score=score):
                numbers = {f"{candidate}/validation/loss": loss, f"{candidate}/validation/score": score}
            case _:
                return
        self._step += 1
        for tracker in self._trackers:
            tracker.log(numbers, step=self._step)

    def close(self) -> None:
        """Flush."""
        for tracker in self._trackers:
            tracker.finish()


def refuse_absent(names: Sequence[str]) -> None:
    """Refuse trackers whose library is not installed.

    Raises
    ------
    PlanError
        Naming the first of them.
    """
    for name in names:
        if find_spec(name) is None:
            raise PlanError(f"--track {name} needs a library that is not installed.", hint=f"pip install {name}")


def _tracker(name: str, folder: str) -> GeneralTracker:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState(cpu=True)  # they log through it; under a launcher it is there already
    kind = LOGGER_TYPE_TO_CLASS[name]
    tracker: GeneralTracker = kind(TRACKED, folder) if kind.requires_logging_directory else kind(TRACKED)
    return tracker


def _launched(precision: Precision, device: str) -> Accelerator | None:
    """An Accelerator where a launcher (accelerate launch, torchrun) started several processes."""
    import os

    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    from accelerate import Accelerator

    return Accelerator(mixed_precision="bf16" if precision == "bf16" else "no", cpu=device == "cpu")
