"""What a run was asked to do: every option of `uke fit`, checked, as plain data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ukulele.data.options import ReadOptions
from ukulele.errors import PlanError
from ukulele.tools.typed import power, seconds
from ukulele.types import Dataset, Kind

METRICS = (
    "accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "log_loss", "roc_auc",
    "subset_accuracy", "r2", "rmse", "mae", "pearson", "spearman",
    "map50_95", "map50", "map75", "precision", "recall", "f1",
    "bleu", "chrf", "rouge1", "rouge2", "rougel", "exact_match", "perplexity", "bits_per_byte",
)  # fmt: skip
TRACKERS = ("tensorboard", "wandb", "mlflow")


@dataclass(frozen=True)
class FitOptions:
    """The options of a run, with their defaults. Plain JSON, so that a run can be repeated and resumed."""

    # data
    target: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    task: Kind | None = None
    group: str | None = None  # a column; "auto": of several tasks, those that had better learn together
    time: str | None = None
    split: str | None = None
    max_bad: float = 0.05
    slice: str | None = None
    retain: str | None = None  # a text whose score is taken before and after
    replay: float | None = None  # windows of it among the training rows, by the number of these
    # model
    model: str | None = None
    models: tuple[str, ...] = ()  # to choose one among
    layer: str = "auto"
    max_length: int | None = None
    languages: tuple[str, ...] = ()
    new_tokens: tuple[str, ...] = ()
    long: Literal["cut", "chunk"] = "cut"
    head: Literal["keep", "new"] = "keep"  # of a detector: its rows of classes that it knows by name
    # strategy
    strategy: str = "auto"
    freeze: str = "auto"
    epochs: int | None = None
    rate: float | str | None = None  # a number, or "auto"
    batch: int | None = None
    views: int | None = None
    mosaic: float = 0.0  # share of a detector's pictures that are put together of four
    patience: int | None = None
    layer_decay: float | None = None  # of the rate, from each stage to the one below it
    penalty: float | None = None  # of l2sp
    wise_ft: float | str | None = None  # a share, or "auto"
    soup: bool = False
    metric: str | None = None
    calibrate: str | None = None  # training rows set apart for prediction sets: how many, or "auto"
    class_weights: Literal["auto", "balanced", "none"] = "auto"
    controls: Literal["none", "tasks", "cheap", "all"] = "cheap"
    balance: str = "first"
    sampling: str | None = None
    weights: Literal["given", "tuned"] = "given"
    private_stages: int = 0
    rank: int | None = None  # of adapters
    alpha: float | None = None
    adapters: Literal["shared", "per-task"] = "shared"
    bits: int | None = None  # 4 or 8, of the weights beside adapters
    budget: str | None = None  # of time for the whole run, for auto
    seed: int = 0
    seeds: int = 1  # of the chosen plan
    # where and how
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int | None = None
    cache: str | None = None
    cache_budget: float = 20.0  # GiB
    save_every: float = 60.0  # seconds
    track: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if strange := [f"{_option(name)} {what}" for name, what in _other_types(self)]:
            raise PlanError("these options cannot be used:\n- " + "\n- ".join(strange))
        faults = [
            f"{_option(name)} {value}: at least {least} was expected"
            for name, least in LEAST.items()
            if (value := getattr(self, name)) is not None and value < least
        ]
        if not 0 <= self.max_bad <= 1:
            faults.append(f"--max-bad {self.max_bad}: a share between 0 and 1 was expected")
        if self.rate is not None and not (self.rate == "auto" if isinstance(self.rate, str) else self.rate > 0):
            faults.append(f"--rate {self.rate}: a rate above 0, or auto, was expected")
        if self.replay is not None and not (self.replay > 0 and self.retain is not None):
            faults.append(f"--replay {self.replay}: a share above 0, of a text that --retain names, was expected")
        faults += [
            f"{_option(name)} {value}: a number above 0 was expected"
            for name in ("alpha", "penalty", "layer_decay")
            if (value := getattr(self, name)) is not None and not value > 0
        ]
        if self.bits is not None and (self.bits not in {4, 8} or self.strategy != "lora"):
            faults.append(f"--bits {self.bits} with --strategy {self.strategy}: 4 or 8 was expected, with lora")
        faults += [*_of_averages(self), *_of_budget(self), *_of_models(self), *_of_pictures(self)]
        if self.weights == "tuned" and self.strategy == "probe":
            faults.append("--weights tuned with --strategy probe: its heads are fitted each by itself")
        if self.strategy not in ADAPTED:
            given = {"--rank": self.rank, "--alpha": self.alpha, "--adapters": self.adapters != "shared" or None}
            faults += [f"{name}: for --strategy {' or '.join(ADAPTED)}" for name, it in given.items() if it is not None]
        elif self.private_stages:
            faults.append(f"--private-stages with --strategy {self.strategy}: --adapters per-task is its counterpart")
        faults += [
            f"{_option(name)} {getattr(self, name)}: 0 or more was expected"
            for name in ("cache_budget", "save_every")
            if not getattr(self, name) >= 0
        ]
        if self.sampling is not None and power(self.sampling) is None:
            faults.append(f"--sampling {self.sampling}: proportional, sqrt, equal or temperature:T was expected")
        if self.metric is not None and self.metric not in METRICS:
            faults.append(f"--metric {self.metric}: one of {', '.join(METRICS)} was expected")
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            faults.append(f"--device {self.device}: auto, cpu, cuda, cuda:N or mps was expected")
        faults += [
            f"--track {name}: one of {', '.join(TRACKERS)} was expected" for name in self.track if name not in TRACKERS
        ]
        if not re.fullmatch(r"\w[\w.-]*", self.freeze):
            faults.append(f"--freeze {self.freeze}: a number of stages, a stage, all, none or auto was expected")
        faults += [
            f"{_option(name)} {getattr(self, name)}: one of {', '.join(allowed)} was expected"
            for name, allowed in CHOICES.items()
            if getattr(self, name) not in allowed
        ]
        faults += _of_calibration(self)
        if faults:
            raise PlanError("these options cannot be used:\n- " + "\n- ".join(faults))

    @property
    def reading(self) -> ReadOptions:
        """The part of them that the readers look at."""
        return ReadOptions(
            target=self.target,
            inputs=self.text,
            task=self.task,
            group=None if self.group == "auto" else self.group,
            time=self.time,
            split=self.split,
            max_bad=self.max_bad,
            seed=self.seed,
            calibrate=self.calibrate,
        )

    def languages_of(self, dataset: Dataset) -> tuple[str, ...]:
        """Of a translation's source and target: as they were given, or the names of their columns."""
        target = dataset.targets[0]
        if self.languages or target.kind != "translate":
            return self.languages
        return (dataset.columns[0], target.column or target.name)

    @property
    def given_rate(self) -> float | None:
        """`rate` where it is a number."""
        return None if isinstance(self.rate, str) else self.rate

    @property
    def seconds(self) -> float | None:
        """`budget` in seconds; None where there is none, or it is none.

        >>> FitOptions(budget="10m").seconds, FitOptions(budget="90").seconds, FitOptions().seconds
        (600.0, 90.0, None)
        """
        try:
            return None if self.budget is None else seconds(self.budget)
        except PlanError:
            return None

    @property
    def cache_folder(self) -> Path:
        """Where tables and features are kept: --cache, $UKULELE_CACHE, or the user's cache folder."""
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(self.cache or os.environ.get("UKULELE_CACHE") or f"{base}/ukulele").expanduser()

    @property
    def frozen(self) -> int | str:
        """`freeze` as a number where it is one."""
        return int(self.freeze) if self.freeze.isdigit() else self.freeze

    def plain(self) -> dict[str, Any]:
        """As plain JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def _of_budget(options: FitOptions) -> Iterator[str]:
    if options.budget is None:
        return
    if options.seconds is None:
        yield f"--budget {options.budget}: a stretch of time such as 90s, 10m or 1h was expected"
    if options.strategy != "auto":
        yield f"--budget with --strategy {options.strategy}: it is for auto, which chooses what to spend it on"


def _of_models(options: FitOptions) -> Iterator[str]:
    if options.models and options.model is not None:
        yield "--models with --model: one of the two, a model or those to choose one among"
    if options.models and options.strategy == "scratch":
        yield "--models with --strategy scratch: models are ranked by what they know, which it throws away"


def _of_averages(options: FitOptions) -> Iterator[str]:
    """Faults of rates by stage, and of weights between two others."""
    if options.layer_decay is not None and options.layer_decay > 1:
        yield f"--layer-decay {options.layer_decay}: 1 at most was expected, so that rates fall to the stem"
    share = options.wise_ft
    if share is not None and not (share == "auto" if isinstance(share, str) else 0 <= share <= 1):
        yield f"--wise-ft {share}: a share between 0 and 1, or auto, was expected"
    if share is not None and options.bits is not None:
        yield "--wise-ft with --bits: weights of few bits have no way between them"
    if share is not None and options.adapters == "per-task":
        yield "--wise-ft with --adapters per-task: choose --adapters shared"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _other_types(options: FitOptions) -> Iterator[tuple[str, str]]:
    """Options, by name, whose value is of another type than they are declared with."""
    for name, declared in get_type_hints(FitOptions).items():
        value, kinds = getattr(options, name), get_args(declared) or (declared,)
        if get_origin(declared) is tuple:
            fits, wanted = (
                isinstance(value, tuple) and all(isinstance(one, str) for one in value),
                "one word or several",
            )
        elif value is None:
            fits, wanted = NoneType in kinds, "a value"
        else:
            found = [TYPES[kind] for kind in TYPES if kind in kinds] or [TYPES[str]]
            wanted = " or ".join(words for _, words in found)
            allowed = tuple(kind for some, _ in found for kind in some)
            fits = isinstance(value, allowed) and (bool in kinds or not isinstance(value, bool))
        if not fits:
            yield name, f"{value!r} ({type(value).__name__}): {wanted} was expected"


def _of_calibration(options: FitOptions) -> list[str]:
    given = options.calibrate
    if given is None:
        return []
    if given != "auto" and not (given.isdigit() and int(given) >= 100):
        return [f"--calibrate {given}: auto, or a number of at least 100 rows, was expected: fewer promise no coverage"]
    if options.time is not None:
        return ["--calibrate with --time: prediction sets hold on rows like those they rest on; the future is not"]
    return []


def _of_pictures(options: FitOptions) -> list[str]:
    if not 0 <= options.mosaic <= 1:
        return [f"--mosaic {options.mosaic}: a share between 0 and 1 was expected"]
    if options.mosaic and options.views:
        return [
            f"--mosaic {options.mosaic} with --views {options.views}: it makes its pictures anew, as --views 0 does"
        ]
    return []


TYPES: Mapping[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "yes or no"),
    float: ((int, float), "a number"),
    int: ((int,), "a whole number"),
    str: ((str,), "a word"),
}
LEAST: Mapping[str, int] = {
    "epochs": 1, "batch": 1, "views": 0, "patience": 1, "threads": 1, "seed": 0, "private_stages": 0,
    "rank": 1, "seeds": 1,
}  # fmt: skip
CHOICES: Mapping[str, tuple[str, ...]] = {
    "long": ("cut", "chunk"),
    "head": ("keep", "new"),
    "class_weights": ("auto", "balanced", "none"),
    "controls": ("none", "tasks", "cheap", "all"),
    "precision": ("auto", "fp32", "bf16"),
    "strategy": (
        "auto",
        "probe",
        "stages",
        "finetune",
        "full",
        "lora",
        "dora",
        "bitfit",
        "gradual",
        "l2sp",
        "autorgn",
        "fewshot",
        "scratch",
    ),
    "adapters": ("shared", "per-task"),
    "weights": ("given", "tuned"),
}
ADAPTED = ("lora", "dora")  # strategies that adapters are put in for


def resumed(given: Mapping[str, Any], begun: Mapping[str, Any], run: Path, out: Any = None) -> FitOptions:
    """The options that a run was begun with; those that are given to resume it must be the same.

    Raises
    ------
    PlanError
        If some are others, or another folder (`out`) is asked for.
    """
    if out is not None:
        raise PlanError(
            f"--out {out} with --resume {run}: a run goes on in its own folder.",
            hint="Leave --out out. Or begin a new run: leave --resume out.",
        )
    _refuse_unknown(given)
    options = options_from(begun)
    own = options.plain()
    other = [
        f"{_option(name)} was {own[name]}, now {value} is asked for"
        for name, value in given.items()
        if own[name] != (list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value)
    ]
    if other:
        raise PlanError(
            f"{run} was begun with other options:\n- " + "\n- ".join(other),
            hint="Leave them out: a resumed run keeps its own. Or begin a new one with another --out.",
        )
    return options


def options_from(plain: Mapping[str, Any]) -> FitOptions:
    """The options that `FitOptions.plain` wrote; what this version does not know is an error."""
    _refuse_unknown(plain)
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    given = {k: str(v) if isinstance(v, Path) else v for k, v in given.items()}
    return FitOptions(**given)


def _refuse_unknown(names: Iterable[str]) -> None:
    unknown = sorted(set(names) - {field.name for field in fields(FitOptions)})
    if unknown:
        raise PlanError(f"unknown options: {', '.join(unknown)}.", hint="See `uke fit --help`.")
