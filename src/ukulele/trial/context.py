"""What the candidates of a run share: data, tasks, machine, folder, and how a model is loaded for one of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ukulele import data, features, models
from ukulele.config import FitOptions
from ukulele.events import Event, Hear
from ukulele.loop.engine import Engine
from ukulele.loop.private import shared
from ukulele.loop.truth import Truth
from ukulele.models.adapters import places
from ukulele.runs import RunFolder
from ukulele.strategies import Facts
from ukulele.tools.mapped import MappedRows
from ukulele.types import WRITTEN, Candidate, Dataset, Model, Plan, Request, Row, Split, Table, Task, with_answer

Track = Callable[[str, Event], None]  # hears of each event whose it is, by the candidate's name


@dataclass(frozen=True)
class Context:
    """What every candidate of a run shares."""

    options: FitOptions
    data: Dataset
    tasks: Mapping[str, Task]
    cache: features.Cache
    engine: Engine
    dtype: str
    run: RunFolder
    hear: Hear
    taps: bool = False  # every stage's summary is stored with the pooled vector
    track: Track = lambda _candidate, _event: None
    pristine: dict[str, Model] = field(default_factory=dict)  # by name; shared by candidates that train no stage
    truths: dict[Split, Truth] = field(default_factory=dict)  # shared by all
    vocabulary: Mapping[str, bytes] = field(default_factory=dict)  # of the decoder that is to continue texts
    reads: Mapping[str, Any] = field(default_factory=dict)  # how it reads them: its recipe

    @property
    def boxes(self) -> bool:
        """Whether the data are pictures with boxes."""
        return any(target.kind == "detect" for target in self.data.targets)

    def decide(self, what: str, how: Callable[[], Any]) -> Any:
        """A decision that is made once, is the same in all processes, and is replayed in a resumed run."""
        return self.engine.agree(self.run.decide(what, how))

    def asked(self, candidate: Candidate) -> dict[str, Task]:
        """The tasks that a candidate is for."""
        return {n: task for n, task in self.tasks.items() if candidate.tasks is None or n in candidate.tasks}

    @property
    def writes(self) -> str | None:
        """The kind of task, where a text is to be written."""
        return next((target.kind for target in self.data.targets if target.kind in WRITTEN), None)

    def tables(self, tasks: Mapping[str, Task], model: Model | None = None) -> dict[Split, Table]:
        """The splits as tables; their answers stand among the inputs where the model is taught so."""
        taught = next(iter(tasks)) if model is not None and model.teaches else None
        return {
            split: Table(rows if taught is None else MappedRows(rows, partial(_taught, taught)), tasks)
            for split, rows in self.data.splits.items()
        }

    def private(self, plan: Plan) -> int:
        """How many of the top stages each task has for its own, where a plan trains stages."""
        return self.options.private_stages if len(self.tasks) > 1 and not is_still(plan) else 0

    def truth(self, split: Split) -> Truth:
        """The true answers of a split."""
        return self.truths.setdefault(split, Truth(self.data.splits[split]))

    def load(self, candidate: Candidate) -> tuple[Model, Model]:
        """The candidate's model, and the one it was cut from."""
        rows = self.data.splits["train"]
        request = Request(
            name=candidate.model,
            pretrained=candidate.pretrained,
            seed=candidate.plan.seed,
            inputs=len(self.data.columns),
            mixed=any(len(joined.columns) != len(self.data.columns) for joined in self.data.joined),
            max_length=self.options.max_length,
            long=self.options.long,
            rows=rows,
            writes=self.writes,
            chat=self.data.columns == (data.MESSAGES,),
            vocabulary=self.vocabulary,
            reads=self.reads,
            languages=self.options.languages_of(self.data),
            told=bool(self.options.languages),
            new_tokens=self.options.new_tokens,
        )
        still = candidate.pretrained and is_still(candidate.plan)
        if not still or candidate.model not in self.pristine:
            trunk = models.load(request, self.data.modality)
            if still:
                self.pristine[candidate.model] = trunk
        else:
            trunk = self.pristine[candidate.model]
        if self.boxes and self.options.head == "new" and not still:  # untouched, it answers by what it knows
            trunk = models.renewed(trunk)
        stop = candidate.stop
        if candidate.gather:
            return models.gathered(trunk, dict(candidate.gather)), trunk
        return (trunk if stop is None else models.truncate(trunk, stop, [rows[0].inputs])), trunk


def _taught(task: str, row: Row) -> Row:
    """A row whose answer goes into the model with its inputs, where it is known."""
    return replace(row, inputs=with_answer(row, task))


def facts_of(model: Model, context: Context) -> Facts:
    """What strategies look at: of several tasks with stages of their own, the part that they share."""
    own = context.options.private_stages if len(context.tasks) > 1 else 0
    if own and len(model.stages) > own + 1:
        model = shared(model, own)
    bare = frozenset(s.name for s in model.stages if next(s.module.parameters(), None) is None)
    counts = {id(p): p.numel() for stage in model.stages for p in stage.module.parameters()}
    stages = tuple(stage.name for stage in model.stages)
    rows = round(sum(len(context.truth("train").numbers(task)) for task in context.tasks) / len(context.tasks))
    known = {str(label).lower().strip() for label in model.recipe.get("labels", ())}
    return Facts(
        "boxes" if context.boxes else "writing" if context.writes else context.data.modality,
        rows,
        stages,
        bare,
        sum(counts.values()),
        probes=not context.boxes and not context.writes,
        shared=sum(label.lower().strip() in known for target in context.data.targets for label in target.labels),
        linear=frozenset(s.name for s in model.stages if places(s.module)),
        biased=frozenset(s.name for s in model.stages if any(n.endswith("bias") for n in s.module.state_dict())),
        kinds=tuple(target.kind for target in context.data.targets),
        windows=any(target.free for target in context.data.targets),
        pace=model.pace,
        each=min((rows / len(target.labels) for target in context.data.targets if target.labels), default=math.inf),
        classes=max((len(target.labels) for target in context.data.targets), default=0),
    )


def is_still(plan: Plan) -> bool:
    """Whether a plan trains heads alone, to their optimum, and so leaves the model as it was loaded."""
    return all(phase.optimiser == "probe" for phase in plan.phases)
