"""The command line. `uke --help` answers without importing torch."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ukulele import __version__
from ukulele.errors import UkuleleError
from ukulele.tools.memory import keep_freed_memory

app = typer.Typer(
    name="uke",
    help="Transfer learning that proves it paid: from a labelled data set to a model you can ship.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

DATA = "Data"
MODEL = "Model"
TRAINING = "Strategy and training"
PROOF = "Proof"
MACHINE = "Machine"

Data = Annotated[
    str, typer.Argument(help="A file (CSV, TSV, Parquet, JSONL), a folder, or a hub id of a data set.", metavar="DATA")
]
RunArgument = Annotated[Path, typer.Argument(help="A run's folder, as `uke fit` printed it.", metavar="RUN")]
Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target", "-t", help="Column with the answers; several 0/1 columns for several labels.", rich_help_panel=DATA
    ),
]
Text = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        help="Column with the text, or two for pairs: --text a --text b (or: --text a b).",
        rich_help_panel=DATA,
    ),
]
Task = Annotated[
    str | None, typer.Option(help="classify, multilabel or regress; inferred by default.", rich_help_panel=DATA)
]
Group = Annotated[
    str | None,
    typer.Option(help="Rows that share a value of this column stay on one side of the split.", rich_help_panel=DATA),
]
Time = Annotated[str | None, typer.Option(help="Split from past to future by this column.", rich_help_panel=DATA)]
SplitColumn = Annotated[
    str | None, typer.Option("--split", help="Column that names each row's split.", rich_help_panel=DATA)
]
MaxBad = Annotated[
    float, typer.Option(help="Stop if a larger share of the rows must be set aside.", rich_help_panel=DATA)
]


@app.command()
def fit(
    data: Data,
    target: Target = None,
    text: Text = None,
    task: Task = None,
    group: Group = None,
    time: Time = None,
    split: SplitColumn = None,
    max_bad: MaxBad = 0.05,
    slice_by: Annotated[
        str | None,
        typer.Option("--slice", help="Also give figures by the values of this column.", rich_help_panel=PROOF),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Hub id, local folder or weights file, a run to go on from, or `minilm`.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    layer: Annotated[
        str, typer.Option(help="Stage the probe stands on: auto, last, or a stage's name.", rich_help_panel=MODEL)
    ] = "auto",
    max_length: Annotated[
        int | None, typer.Option(help="Tokens a text; what the model takes by default.", rich_help_panel=MODEL)
    ] = None,
    long: Annotated[
        str, typer.Option(help="Longer texts: cut, or chunk (read whole, in pieces).", rich_help_panel=MODEL)
    ] = "cut",
    strategy: Annotated[
        str, typer.Option("--strategy", "-s", help="auto, probe, finetune, full or scratch.", rich_help_panel=TRAINING)
    ] = "auto",
    freeze: Annotated[
        str,
        typer.Option(
            help="Stages that stay as they are, from the bottom: a number, all, none or auto.", rich_help_panel=TRAINING
        ),
    ] = "auto",
    epochs: Annotated[
        int | None, typer.Option(help="At most so many; early stopping may end before.", rich_help_panel=TRAINING)
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Learning rate of the head and the top stage.", rich_help_panel=TRAINING)
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Rows a step.", rich_help_panel=TRAINING)] = None,
    views: Annotated[
        int | None,
        typer.Option(
            help="Augmented views of a picture that are cached; 0: a fresh one every epoch.", rich_help_panel=TRAINING
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Epochs without a better validation score before stopping.", rich_help_panel=TRAINING),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="The metric that decides: accuracy, macro_f1, roc_auc, r2, pearson, …", rich_help_panel=PROOF
        ),
    ] = None,
    class_weights: Annotated[
        str, typer.Option(help="auto (follow the metric), balanced or none.", rich_help_panel=TRAINING)
    ] = "auto",
    controls: Annotated[
        str,
        typer.Option(
            help="none, cheap (majority, no pre-training) or all (also the model from scratch).", rich_help_panel=PROOF
        ),
    ] = "cheap",
    seed: Annotated[int, typer.Option(help="Of every random draw.", rich_help_panel=TRAINING)] = 0,
    folder: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the run; runs/NAME-N by default.", rich_help_panel=MACHINE),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this run, with its own options.", rich_help_panel=MACHINE)
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show the plan, predicted time, memory and disk; train nothing.", rich_help_panel=MACHINE
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=MACHINE)] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.", rich_help_panel=MACHINE)] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads.", rich_help_panel=MACHINE)] = None,
    cache: Annotated[
        str | None,
        typer.Option(help="Folder of the feature cache; $UKULELE_CACHE by default.", rich_help_panel=MACHINE),
    ] = None,
    cache_budget: Annotated[
        float, typer.Option(help="GiB the feature cache may take.", rich_help_panel=MACHINE)
    ] = 20.0,
    save_every: Annotated[
        float,
        typer.Option(
            help="Seconds between checkpoints within an epoch; after each epoch always.", rich_help_panel=MACHINE
        ),
    ] = 60.0,
    track: Annotated[
        list[str] | None, typer.Option(help="Also log to tensorboard, wandb or mlflow.", rich_help_panel=MACHINE)
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the result only.", rich_help_panel=MACHINE)
    ] = False,
) -> None:
    """Fit a model on DATA, prove it against controls, and write a report and a bundle."""
    given = locals()
    from ukulele.config import FitOptions

    names = FitOptions.__dataclass_fields__.keys() & given.keys()
    lists = {"target", "text", "track"}
    plain: dict[str, Any] = {name: tuple(given[name] or ()) if name in lists else given[name] for name in names}
    _fit(data, FitOptions(**plain, slice=slice_by), (folder, resume), dry_run=dry_run, quiet=quiet)


def _fit(data: str, options: Any, places: tuple[Path | None, Path | None], *, dry_run: bool, quiet: bool) -> None:
    from ukulele.api import source_name
    from ukulele.runs.folder import next_folder, read_record
    from ukulele.show import Screen, summary

    folder, resume = places
    place = resume or folder or next_folder(source_name(data))
    try:
        with Screen(err, quiet=quiet) as screen:
            from ukulele import pipeline

            if dry_run:
                from ukulele.forecast import forecast

                out.print(forecast(data, options, screen.hear), markup=False, soft_wrap=True)
                return
            path = pipeline.fit(data, options, place, screen.hear, resume=resume is not None, command=_command())
    except KeyboardInterrupt:
        begun = not dry_run and (place / "manifest.json").exists()
        on = f" Go on with: uke fit {shlex.quote(data)} --resume {shlex.quote(str(place))}" if begun else ""
        err.print(f"\nStopped.{on}", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    out.print(summary(read_record(path), path), markup=False, soft_wrap=True)


@app.command()
def check(
    data: Data,
    target: Target = None,
    text: Text = None,
    task: Task = None,
    group: Group = None,
    time: Time = None,
    split: SplitColumn = None,
    max_bad: MaxBad = 0.05,
    quarantine: Annotated[Path | None, typer.Option(help="Write the rows set aside to this CSV file.")] = None,
) -> None:
    """Read DATA, say what was understood, and list what is wrong with it. Trains nothing."""
    from ukulele import data as reading
    from ukulele.config import FitOptions
    from ukulele.show import checked

    options = FitOptions(
        target=_tuple(target),
        text=_tuple(text),
        task=task,  # type: ignore[arg-type]
        group=group,
        time=time,
        split=split,
        max_bad=max_bad,  # type: ignore[arg-type]
    )
    dataset = reading.read(data, options.reading, options.cache_folder)
    if quarantine is not None:
        reading.write_quarantine(quarantine, dataset.quarantine)
    checked(dataset, out)


@app.command(name="models")
def list_models(
    filter_: Annotated[
        str, typer.Argument(help="Part of a name, or a pattern like `*mobilenet*`.", metavar="[FILTER]")
    ] = "",
) -> None:
    """List models: those that work without network, and the hub's image networks by name."""
    from ukulele.catalogue import listing
    from ukulele.show import table

    table(out, ("model", "kind", "where", "licence"), listing(filter_))


@app.command()
def predict(
    run: RunArgument,
    inputs: Annotated[
        list[str], typer.Argument(help="Texts, pictures, a folder of pictures, or a file of rows.", metavar="INPUT…")
    ],
    target: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write CSV or JSONL here; printed otherwise.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="Input column(s) of a file; those of training by default.")
    ] = None,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
) -> None:
    """Answer for new texts, pictures or rows with the model of RUN."""
    from ukulele.answering import answer_to

    answer_to(run, inputs, target, _tuple(text), (precision, device), (out, err))


@app.command()
def evaluate(
    run: RunArgument,
    data: Data,
    slice_by: Annotated[
        str | None, typer.Option("--slice", help="Also give figures by the values of this column.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score the model of RUN on labelled DATA, with intervals."""
    from ukulele.answering import evaluate_on
    from ukulele.show import estimates

    scores = evaluate_on(run, data, slice_by)
    if as_json:
        import json

        out.print_json(json.dumps(scores))
    else:
        estimates(scores, out)


@app.command()
def report(run: RunArgument) -> None:
    """Write RUN's report anew from its record, and print where it is."""
    from ukulele.api import Run

    out.print(str(Run(run).report()), markup=False, soft_wrap=True)


@app.command()
def compare(runs: Annotated[list[Path], typer.Argument(help="Two or more runs.", metavar="RUN RUN…")]) -> None:
    """Put runs side by side."""
    from ukulele import report as pages
    from ukulele.runs.folder import read_record
    from ukulele.show import table

    header, *rows = pages.compare([read_record(run) for run in runs])
    table(out, header, rows)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Empty it.")] = False,
    folder: Annotated[str | None, typer.Option("--cache", help="Its folder; $UKULELE_CACHE by default.")] = None,
) -> None:
    """Show what the feature cache holds, or empty it."""
    from ukulele.config import FitOptions
    from ukulele.features.cache import Cache

    held = Cache(FitOptions(cache=folder).cache_folder)
    entries = held.entries()
    size = sum(entry[1] for entry in entries)
    out.print(f"{held.blocks}: {len(entries)} blocks, {size / 2**20:,.1f} MiB", markup=False, soft_wrap=True)
    if clear:
        out.print(f"freed {held.clear() / 2**20:,.1f} MiB", markup=False)


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the run.")] = None,
) -> None:
    """Fit the bundled example (messages to a shop for musical instruments) on the embedded text model."""
    from ukulele.config import FitOptions
    from ukulele.demo import path

    _fit(str(path()), FitOptions(model="minilm"), (folder, None), dry_run=False, quiet=False)


def _version(value: bool) -> None:
    if value:
        out.print(f"ukulele {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.", envvar="UKULELE_DEBUG")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Transfer learning that proves it paid."""
    if debug:
        os.environ["UKULELE_DEBUG"] = "1"


def main() -> None:
    """The entry point: errors become one message and an exit code, 2 for the user's faults and 1 for ours."""
    keep_freed_memory()
    try:
        app(args=_spread(sys.argv[1:]), standalone_mode=True)
    except UkuleleError as error:
        if os.environ.get("UKULELE_DEBUG"):
            traceback.print_exc()
        err.print(f"error: {error.message}", style="red", markup=False, soft_wrap=True)
        if error.hint:
            err.print(error.hint, markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        if os.environ.get("UKULELE_DEBUG"):
            traceback.print_exc()
        err.print(
            f"error: this is a fault of ukulele, not yours: {type(error).__name__}: {error}",
            style="red",
            markup=False,
            soft_wrap=True,
        )
        err.print("Run it again with `uke --debug …` and report what it prints.", markup=False)
        sys.exit(1)


def _spread(args: list[str]) -> list[str]:
    """`--text a b` as `--text a --text b`: the second word is a column where no option or file is expected."""
    spread: list[str] = []
    at = 0
    while at < len(args):
        spread.append(args[at])
        if args[at] == "--text" and at + 2 < len(args) and not args[at + 2].startswith("-"):
            spread += [args[at + 1], "--text", args[at + 2]]
            at += 2
        at += 1
    return spread


def _tuple(value: list[str] | None) -> tuple[str, ...]:
    return tuple(value or ())


def _command() -> str:
    return shlex.join(["uke", *sys.argv[1:]])


if __name__ == "__main__":
    main()
