"""What a phase trains: its groups resolved to parameters, the cut that follows, and all faults of a plan at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from ukulele.errors import PlanError
from ukulele.types import Head, Model, Phase, Plan


@dataclass(frozen=True)
class Selection:
    """The cut, the optimiser's groups, and all parameters in them: those that all tasks share, and each task's own."""

    cut: int
    groups: tuple[dict[str, Any], ...]
    parameters: tuple[nn.Parameter, ...]
    shared: tuple[nn.Parameter, ...] = ()
    own: Mapping[str, tuple[nn.Parameter, ...]] = field(default_factory=dict)


def owners(model: Model, heads: Mapping[str, Head]) -> dict[nn.Parameter, tuple[str, int]]:
    """Every parameter's full name and stage; a tied one belongs to its lowest stage."""
    found: dict[nn.Parameter, tuple[str, int]] = {}
    for index, stage in enumerate((*model.stages, *model.above)):
        for name, parameter in stage.module.named_parameters():
            found.setdefault(parameter, (f"{stage.name}.{name}", index))
    for task, head in heads.items():
        if isinstance(head, nn.Module):
            for name, parameter in head.named_parameters():
                found.setdefault(parameter, (f"head.{task}.{name}", len(model.stages)))
    return found


def select(model: Model, heads: Mapping[str, Head], phase: Phase) -> Selection:
    """Resolve a phase; parameters it trains require a gradient afterwards, all others do not."""
    known = owners(model, heads)
    chosen: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for parameter, (name, stage) in known.items():
        match = match_group(phase, name)
        parameter.requires_grad_(match is not None)
        if match is not None:
            pulled = phase.penalty > 0 and stage < len(model.stages)  # to its start, then, and not to zero
            chosen.setdefault((match, parameter.ndim > 1 and not pulled), []).append(parameter)
    trained = [p for group in chosen.values() for p in group]
    cut = min((known[p][1] for p in trained), default=len(model.stages))
    groups = tuple(
        {"params": params, "rate": phase.groups[index].rate, "decays": decays, "number": index}
        for (index, decays), params in sorted(chosen.items(), key=lambda item: item[0])
    )
    shared = tuple(p for p in trained if known[p][1] < len(model.stages))
    own = {
        task: tuple(p for p in head.parameters() if p.requires_grad)
        for task, head in heads.items()
        if isinstance(head, nn.Module)
    }
    return Selection(cut, groups, tuple(trained), shared, own)


def cut_of(model: Model, heads: Mapping[str, Head], phase: Phase) -> int:
    """The lowest stage that a phase trains; changes nothing."""
    taken = (stage for name, stage in owners(model, heads).values() if match_group(phase, name) is not None)
    return min(taken, default=len(model.stages))


def changing(model: Model, heads: Mapping[str, Head], phases: Sequence[Phase]) -> dict[str, Tensor]:
    """Every tensor that some phases can change, by its full name: parameters they train, and BatchNorm's
    statistics above the cut, in the heads too, where a phase trains those.
    """
    known = owners(model, heads)
    found: dict[str, Tensor] = {}
    for phase in phases:
        taken = {p: at for p, at in known.items() if match_group(phase, at[0]) is not None}
        found |= {name: parameter.detach() for parameter, (name, _) in taken.items()}
        if phase.norm == "trained":
            cut = min((stage for _, stage in taken.values()), default=len(model.stages))
            for stage in model.stages[cut:]:
                found |= {f"{stage.name}.{name}": buffer for name, buffer in stage.module.named_buffers()}
            for task, head in heads.items():
                if isinstance(head, nn.Module):
                    found |= {f"head.{task}.{name}": buffer for name, buffer in head.named_buffers()}
    return found


def trained(model: Model, heads: Mapping[str, Head], phases: Sequence[Phase]) -> int:
    """How many numbers some phases train: parameters, without statistics that are only followed."""
    known = owners(model, heads)
    return sum(p.numel() for p, at in known.items() if any(match_group(phase, at[0]) is not None for phase in phases))


def put(target: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy values into the tensors of the same names."""
    for name, value in values.items():
        target[name].copy_(value)


def match_group(phase: Phase, name: str) -> int | None:
    """The number of the first group whose pattern matches."""
    return next((i for i, group in enumerate(phase.groups) if fnmatchcase(name, group.names)), None)


def check(model: Model, heads: Mapping[str, Head], plan: Plan) -> None:
    """Find every fault of a plan before its first step.

    Raises
    ------
    PlanError
        With all faults in one message.
    """
    names = [name for name, _ in owners(model, heads).values()]
    known = [*names, *_tied(model, heads)]
    faults: list[str] = []
    for number, phase in enumerate(plan.phases, 1):
        if phase.epochs < 1 or phase.batch < 1:
            faults.append(f"phase {number}: {phase.epochs} epochs of batches of {phase.batch}; both must be at least 1")
        if not any(match_group(phase, name) is not None for name in names):
            faults.append(f"phase {number}: nothing is trained")
        faults += [_unmatched(number, group.names, names) for group in phase.groups if not _matches(group.names, known)]
        faults += [
            f"phase {number}: a rate of {group.rate} for {group.names!r}; it must be above 0"
            for group in phase.groups
            if not group.rate > 0
        ]
    if faults:
        raise PlanError(f"the plan {plan.strategy!r} cannot be carried out:\n- " + "\n- ".join(faults))


def _tied(model: Model, heads: Mapping[str, Head]) -> list[str]:
    """The other names of parameters that belong to a lower stage: a group that names them is no mistake."""
    modules = {stage.name: stage.module for stage in (*model.stages, *model.above)}
    modules |= {f"head.{task}": head for task, head in heads.items() if isinstance(head, nn.Module)}
    found = [(f"{at}.{name}", p) for at, module in modules.items() for name, p in module.named_parameters()]
    owned = owners(model, heads)
    return [name for name, parameter in found if owned[parameter][0] != name]


def _matches(pattern: str, names: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def _unmatched(number: int, pattern: str, names: Sequence[str]) -> str:
    stages = list(dict.fromkeys(name.split(".")[0] for name in names))
    near = difflib.get_close_matches(pattern.split(".", maxsplit=1)[0], stages, 1)
    return f"phase {number}: {pattern!r} matches no parameter" + (f" (did you mean {near[0]}.*?)" if near else "")
