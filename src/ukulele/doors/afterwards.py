"""The commands that ask finished runs. They import no torch until they run."""

from __future__ import annotations

from rich.console import Console

from ukulele.doors import options as o
from ukulele.errors import PlanError, RunError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def predict(
    run: o.RunFolder,
    inputs: o.Inputs,
    target: o.Answers = None,
    text: o.Columns = None,
    task: o.Tasks = None,
    precision: o.Precision = "auto",
    device: o.Device = "auto",
    conf: o.Confidence = None,
    iou: o.Overlap = None,
    draw: o.Draw = False,
    abstain: o.Abstain = None,
    beams: o.Beams = None,
    temperature: o.Temperature = None,
    top_p: o.TopP = None,
    max_new_tokens: o.NewTokens = None,
    seconds: o.Seconds = None,
    seed: o.DrawSeed = None,
    stream: o.Stream = False,
) -> None:
    """Answer for new texts, pictures or rows with the model of RUN, or with a pre-trained detector as it is."""
    from ukulele.doors.answering import answer_to

    given = {"confidence": conf, "overlap": iou, "beams": beams, "temperature": temperature, "top_p": top_p}
    given |= {"tokens": max_new_tokens, "seconds": seconds, "seed": seed}
    decoding = {name: value for name, value in given.items() if value is not None}
    if top_p is not None and not temperature:
        raise PlanError("--top-p without --temperature: nothing is drawn.", hint="Add --temperature, such as .8.")
    if stream:
        from ukulele.doors.streaming import stream_to

        rest = {"--out": target, "--text": text, "--task": task, "--draw": draw, "--abstain": abstain}
        if unused := [name for name, value in rest.items() if value]:
            raise PlanError(
                f"--stream with {', '.join(unused)}: it writes each text that is given to the screen.",
                hint="Leave --stream out to answer rows of a file, or to write to one.",
            )
        stream_to(run, inputs, (precision, device), err, decoding)
        return
    places = (_tuple(text), _tuple(task), (precision, device), (out, err))
    answer_to(run, inputs, target, *places, decoding=decoding, draw=draw, abstain=abstain)


def label_next(
    run: o.RunFolder, unlabelled: o.Unlabelled, wanted: o.Wanted = 50, target: o.Chosen = None, text: o.Columns = None
) -> None:
    """Choose rows of UNLABELLED that RUN's model would learn most from: it is unsure of them, and they differ."""
    from ukulele.doors.labelling import label_next as choose_rows

    choose_rows(run, unlabelled, wanted, target, _tuple(text), (out, err))


def evaluate(
    run: o.RunFolder,
    data: o.Data,
    slice_by: o.Slice = None,
    group: o.GroupsOf = None,
    max_bad: o.MaxBad = 0.05,
    quarantine: o.Quarantine = None,
    as_json: o.Json = False,
) -> None:
    """Score the model of RUN on labelled DATA, with intervals."""
    from ukulele.config import FitOptions
    from ukulele.data import named
    from ukulele.doors.scoring import evaluate_on
    from ukulele.doors.show import estimates

    FitOptions(max_bad=max_bad)  # refused now where it is no share
    scores = evaluate_on(run, named(data), slice_by, max_bad, quarantine, err, group)
    if as_json:
        import json

        out.print_json(json.dumps(scores))
    else:
        estimates(scores, out)


def compare(runs: o.Runs) -> None:
    """Put runs side by side."""
    from ukulele import report as pages
    from ukulele.doors.show import table
    from ukulele.runs.folder import read_record

    if len(runs) < 2:
        raise RunError(f"one run was given: {runs[0]}.", hint="Name two or more: uke compare RUN RUN…")
    header, *rows = pages.compare([read_record(run) for run in runs])
    table(out, header, rows)


def _tuple(value: list[str] | None) -> tuple[str, ...]:
    return tuple(value or ())
