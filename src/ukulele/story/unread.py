"""Options that nothing in a run would read: refused rather than dropped."""

from __future__ import annotations

from collections.abc import Sequence

from ukulele import strategies
from ukulele.config import FitOptions
from ukulele.errors import PlanError
from ukulele.types import CALIBRATED, WRITTEN, Dataset, Modality

CONFIGURED = "config:"
OF_TEXTS, OF_PICTURES = "texts", "pictures"


def refuse_unread(options: FitOptions, dataset: Dataset) -> None:
    """Refuse what was asked for but is read neither by the strategy, nor by its controls, nor for this kind of data.

    Raises
    ------
    PlanError
        That names every such option.
    """
    wrong = [*_of_strategy(options, dataset), *_of_modality(options, dataset.modality)]
    if options.calibrate is not None and any(target.kind not in CALIBRATED for target in dataset.targets):
        wrong.append(f"--calibrate {options.calibrate}: prediction sets are for labels and numbers")
    if options.mosaic and any(target.kind != "detect" for target in dataset.targets):
        wrong.append(f"--mosaic {options.mosaic:g}: for pictures with boxes")
    _refuse(wrong)


def refuse_foreign(options: FitOptions, dataset: Dataset) -> None:
    """Refuse what was asked for and is of another kind of data: texts' options for pictures, and the reverse.

    Raises
    ------
    PlanError
        That names every such option.
    """
    _refuse(_of_modality(options, dataset.modality))


def _refuse(wrong: Sequence[str]) -> None:
    if wrong:
        raise PlanError(
            "these options would change nothing:\n- " + "\n- ".join(wrong),
            hint="Leave them out, or choose what reads them.",
        )


def _of_strategy(options: FitOptions, dataset: Dataset) -> list[str]:
    """Options that a strategy may read, set by the user, and read by none of the run."""
    given = {
        "freeze": (options.freeze != "auto", f"--freeze {options.freeze}"),
        "epochs": (options.epochs is not None, f"--epochs {options.epochs}"),
        "rate": (options.rate is not None, f"--rate {options.rate}"),
        "layer_decay": (options.layer_decay is not None, f"--layer-decay {options.layer_decay}"),
        "penalty": (options.penalty is not None, f"--penalty {options.penalty}"),
        "wise_ft": (options.wise_ft is not None, f"--wise-ft {options.wise_ft}"),
        "soup": (options.soup, "--soup"),
        "batch": (options.batch is not None, f"--batch {options.batch}"),
        "views": (options.views is not None, f"--views {options.views}"),
        "mosaic": (options.mosaic > 0, f"--mosaic {options.mosaic:g}"),
        "patience": (options.patience is not None, f"--patience {options.patience}"),
        "balance": (options.balance != "first", f"--balance {options.balance}"),
        "sampling": (options.sampling is not None, f"--sampling {options.sampling}"),
        "private_stages": (options.private_stages > 0, f"--private-stages {options.private_stages}"),
        "group": (options.group == "auto", "--group auto"),
        "layer": (options.layer != "auto", f"--layer {options.layer}"),
    }
    strategy = "scratch" if _is_made(options, dataset) else options.strategy
    rungs = strategies.rungs(strategy) if options.budget is None else strategies.LADDER
    read = frozenset[str]().union(*(strategies.READS[name] for name in rungs))
    if options.controls == "all" and strategy != "scratch":
        read |= strategies.READS["scratch"] - {"rate", "group", "mosaic"}  # the control's rate is searched for
    return [
        f"{said}: --strategy {strategy} does not read it, {_readers(name)} would"
        for name, (there, said) in given.items()
        if there and name not in read
    ]


def _is_made(options: FitOptions, dataset: Dataset) -> bool:
    """Whether `auto` trains a small model from scratch: one was named, or a text is to be written and none was."""
    writes = any(target.kind in WRITTEN for target in dataset.targets)
    named = options.model or ("" if options.models or not writes else CONFIGURED)
    return options.strategy == "auto" and named.startswith(CONFIGURED)


def _readers(option: str) -> str:
    names = [name for name, read in strategies.READS.items() if option in read]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _of_modality(options: FitOptions, modality: Modality) -> list[str]:
    given = {
        OF_PICTURES: {f"--views {options.views}": options.views is not None},
        OF_TEXTS: {
            f"--long {options.long}": options.long != "cut",
            f"--max-length {options.max_length}": options.max_length is not None,
            f"--new-tokens {' '.join(options.new_tokens)}": bool(options.new_tokens),
        },
    }
    data = OF_PICTURES if modality == "image" else OF_TEXTS
    return [
        f"{said}: for {kind}, and these are {data}"
        for kind, options_ in given.items()
        for said, there in options_.items()
        if there and kind != data
    ]
