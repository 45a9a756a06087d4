"""The public functions: what `import ukulele as uke` gives."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ukulele.config import FitOptions, options_from, resumed
from ukulele.errors import DataError
from ukulele.events import Hear
from ukulele.runs.folder import NextFolder, read_manifest, read_record
from ukulele.tools.typed import words_or_lines
from ukulele.types import Dataset

if TYPE_CHECKING:
    from ukulele.trial.predict import Grouped, Predictor

LONGEST = 40  # letters of a folder's name that is made of names
SEVERAL = ("target", "text", "track", "models", "languages", "new_tokens")  # options that take one word or several


class Run:
    """A finished run: its record, its model, its report."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.record: dict[str, Any] = read_record(self.path)

    @cached_property
    def predictor(self) -> Predictor | Grouped:
        """The model, loaded when first needed and checked against its own examples."""
        from ukulele.trial.predict import load_model

        return load_model(self.path)

    def predict(self, rows: Any, abstain: float | None = None, **decoding: Any) -> list[dict[str, Any]]:
        """Answers for rows, in their order.

        Rows are texts, pairs of texts, pictures (paths, bytes, PIL images, arrays of height × width × 3, uint8), dicts,
        or a DataFrame; a Path is a file of rows, or a picture. One text, picture or dict is one row.

        With one task an answer is a dict of `label`, `probability` and `probabilities` (classes), `labels`
        and `probabilities` (several labels) or `value` (a number); with several, a dict of those by task: of the
        tasks that take as many inputs a row as are given.

        With `abstain`, a share such as 0.95, an answer has what holds the truth so often, too: a `set` of labels and
        whether it `abstained` (not exactly one label), those `certain` and `possible` of several labels, or `low` and
        `high`; and whether the row is `outside`: unlike those of training. Of runs fitted with `calibrate`.

        `decoding` are options of `uke predict`, for this call alone: of a detector `confidence` and `overlap` (or
        `conf` and `iou`), of a model that writes `beams`, `temperature`, `top_p`, `max_new_tokens`, `seconds` and
        `seed`.

        Raises
        ------
        DataError
            If a row cannot be read, or has other inputs than the model takes.
        PlanError
            If the model's decoding has no such number, or it is out of its range.

        Examples
        --------
        >>> run.predict("photo.jpg", confidence=0.5)  # doctest: +SKIP
        [{'boxes': [{'label': 'cup', 'score': 0.91, 'box': [12.0, 40.5, 88.0, 120.0]}]}]
        """
        from ukulele.trial.asking import read, tasks_for
        from ukulele.trial.calling import listed, with_decoding

        predictor = with_decoding(self.predictor, decoding)
        rows = listed(rows, predictor.modality)
        if isinstance(rows, list) and not rows:
            return []
        found, bad, width = read(rows, predictor)
        if bad:
            raise DataError(
                f"{len(bad)} rows cannot be read. {bad[0].where}: {bad[0].reason}.", hint="Leave such rows out."
            )
        asked = tasks_for(predictor, width)
        answers = predictor.stream((row.inputs for row in found), abstain)
        if len(predictor.tasks) > 1:
            return [{task: answer[task] for task in asked} for answer in answers]
        return [next(iter(answer.values())) for answer in answers]

    def evaluate(
        self, data: Any, *, slice_by: str | None = None, group: str | None = None, max_bad: float = 0.05
    ) -> dict[str, Any]:
        """Scores on labelled data, with intervals: what `uke evaluate --json` prints.

        `data` as for `fit`; of a source with splits its test split. `slice_by` is a column, by whose values there are
        figures, too; `group` one by whose values intervals are: its rows are alike. At most the share `max_bad` of
        the rows may be set aside.

        Raises
        ------
        DataError
            If no row can be used, too many cannot, or there is no such column.
        """
        from ukulele.doors.scoring import evaluate_on

        return evaluate_on(self.path, data, slice_by, max_bad, group=group)

    def report(self) -> Path:
        """The report's page, written anew from the record."""
        from ukulele import report

        page = self.path / "report.html"
        report.write(self.record, page)
        return page

    def __repr__(self) -> str:
        verdict = self.record.get("verdict") or {}
        worse = (self.record.get("gain_over_untouched") or {}).get("outcome") == "hurt"
        said = verdict.get("outcome", "no verdict") + ", worse than untouched" * worse
        return f"Run({str(self.path)!r}, {self.record['chosen']}, {said})"


def fit(
    data: Any,
    *,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    hear: Hear | None = None,
    **options: Any,
) -> Run:
    """Fit, prove and pack a model.

    Parameters
    ----------
    data
        A path, a hub id, a pandas DataFrame, a list of dicts, or a list of (text, label). Of several tasks a mapping
        of names to those, or the path of a file of tasks (YAML).
    out
        The run's folder; runs/NAME-N by default. Not with `resume`.
    resume
        The folder of a run to go on with, with its own options: others are refused.
    hear
        Is called with every event.
    **options
        Those of `uke fit`, with underscores: `target="label"`, `strategy="finetune"`, `epochs=3`, …

    Raises
    ------
    UkuleleError
        Whatever is wrong, said in the user's words.
    """
    from ukulele.story.pipeline import fit as run

    plain = _typed(options)
    if resume is None:
        asked = options_from(plain)
    else:
        asked = resumed(plain, read_manifest(Path(resume))["options"], Path(resume), out)
    place = resume or out
    return Run(
        run(
            data,
            asked,
            Path(place) if place else NextFolder(source_name(data)),
            hear or _silent,
            resume=resume is not None,
            command=_call(data, options),
        )
    )


def _typed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the command line hands them on: one word or path for several, tokens in files, a number for a word."""
    plain = {name: _words(value) if name in SEVERAL else value for name, value in options.items()}
    if isinstance(tokens := plain.get("new_tokens"), tuple) and all(isinstance(token, str) for token in tokens):
        plain["new_tokens"] = words_or_lines(tokens)
    if isinstance(plain.get("freeze"), int):
        plain["freeze"] = str(plain["freeze"])
    return plain


def _words(value: Any) -> Any:
    if not isinstance(value, str | Path | list | tuple):
        return value
    some = [value] if isinstance(value, str | Path) else value
    return tuple(str(one) if isinstance(one, Path) else one for one in some)


def _call(data: Any, options: Mapping[str, Any]) -> str:
    return f"ukulele.fit({', '.join([_shown(data), *(f'{name}={value!r}' for name, value in options.items())])})"


def _shown(data: Any) -> str:
    """A source as it was given, where that can be written down."""
    from ukulele.data import is_several

    if isinstance(data, str | Path):
        return repr(str(data))
    if is_several(data):
        return "{" + ", ".join(f"{name!r}: {_shown(one)}" for name, one in data.items()) + "}"
    return f"<{source_name(data)}>"


def choose(data: Any, models: str | Sequence[str] = (), *, hear: Hear | None = None, **options: Any) -> dict[str, Any]:
    """Rank pre-trained models on a data set, before one of them is trained: what `uke choose --json` prints.

    Parameters
    ----------
    data
        As for `fit`.
    models
        Names, files, folders of either, or ``"local"``: all on this machine (the default).
    hear
        Is called with every event.
    **options
        Those of `uke choose`, with underscores: `budget="5m"`, `max_latency=20` (ms), `max_size=50` (MB), `target=…`.
    """
    from ukulele.doors import choosing

    names = [models] if isinstance(models, str | Path) else list(models)
    limits = {name: options.pop(name, None) for name in ("budget", "max_latency", "max_size")}
    return choosing.answer(data, _reading(options), hear or _silent, models=list(map(str, names)), **limits)


def diagnose(data: Any, *, against: Any = None, hear: Hear | None = None, **options: Any) -> dict[str, Any]:
    """What one pass of a model through the data tells before training: what `uke diagnose --json` prints.

    `against` is other data, labelled or not, that the rows are held against; the options are those of `uke diagnose`.
    """
    from ukulele.doors import diagnosing

    return diagnosing.answer(data, _reading(options), hear or _silent, against=against)


def curve(
    data: Any, *, gains: Sequence[float] | None = None, hear: Hear | None = None, **options: Any
) -> dict[str, Any]:
    """A learning curve, and what more labels would bring: what `uke curve --json` prints.

    `gains` are those of `--gain`; the options are those of `uke curve`.
    """
    from ukulele.doors import curving

    return curving.answer(data, _reading(options), hear or _silent, gains=gains)


def _reading(options: Mapping[str, Any]) -> FitOptions:
    return options_from(_typed(options))


def check(data: Any, **options: Any) -> Dataset:
    """Read and check a data set, and train nothing: splits, notes, findings and the rows set aside."""
    from ukulele.doors.checking import check as run

    return run(data, _reading(options))


def load(path: str | Path) -> Run:
    """A run that was finished before."""
    return Run(path)


def source_name(data: Any) -> str:
    """What to call a data set, or several: a name for a folder.

    >>> source_name("data/reviews.csv"), source_name({"irony": "data/irony", "hate": "data/hate"})
    ('reviews', 'irony-hate')
    """
    from ukulele.data import is_several

    if isinstance(data, str | Path):
        path = Path(data)
        return path.resolve().stem or str(data)
    if is_several(data):
        return re.sub(r"[^\w.-]+", "-", "-".join(map(str, data)))[:LONGEST].strip("-.") or "data"
    return type(data).__name__.lower()


def _silent(_event: Any) -> None:
    return None


__all__ = ["Run", "check", "choose", "curve", "diagnose", "fit", "load", "source_name"]
