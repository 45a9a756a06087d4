"""The command line. `uke --help` answers without importing torch."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ukulele import __version__
from ukulele.doors import afterwards, beforehand
from ukulele.doors import options as o
from ukulele.errors import BadRowsError, ModelError, UkuleleError
from ukulele.tools.process import collect_seldom, keep_freed_memory, leave

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


@app.command()
def fit(
    context: typer.Context,
    data: o.Data,
    target: o.Target = None,
    text: o.Text = None,
    task: o.Task = None,
    group: o.Group = None,
    time: o.Time = None,
    split: o.Split = None,
    max_bad: o.MaxBad = 0.05,
    model: o.Model = None,
    models: o.Models = None,
    layer: o.Layer = "auto",
    max_length: o.MaxLength = None,
    languages: o.Languages = None,
    new_tokens: o.AddedTokens = None,
    long: o.Long = "cut",
    strategy: o.Strategy = "auto",
    budget: o.Budget = None,
    freeze: o.Freeze = "auto",
    epochs: o.Epochs = None,
    patience: o.Patience = None,
    rate: o.Rate = None,
    layer_decay: o.LayerDecay = None,
    penalty: o.Penalty = None,
    wise_ft: o.WiseFt = None,
    soup: o.Soup = False,
    batch: o.Batch = None,
    views: o.Views = None,
    mosaic: o.Mosaic = 0.0,
    head: o.DetectorHead = "keep",
    class_weights: o.ClassWeights = "auto",
    balance: o.Balance = "first",
    sampling: o.Sampling = None,
    weights: o.Weights = "given",
    private_stages: o.PrivateStages = 0,
    rank: o.Rank = None,
    alpha: o.Alpha = None,
    adapters: o.AdapterSets = "shared",
    bits: o.Bits = None,
    seed: o.Seed = 0,
    metric: o.Metric = None,
    calibrate: o.Calibrate = None,
    controls: o.Controls = "cheap",
    seeds: o.Seeds = 1,
    slice_by: o.Slice = None,
    retain: o.Retain = None,
    replay: o.Replay = None,
    folder: o.Out = None,
    resume: o.Resume = None,
    dry_run: o.DryRun = False,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    threads: o.Threads = None,
    cache: o.CacheFolder = None,
    cache_budget: o.CacheBudget = 20.0,
    save_every: o.SaveEvery = 60.0,
    track: o.Track = None,
    quiet: o.Quiet = False,
) -> None:
    """Fit a model on DATA, prove it against controls, and write a report and a bundle.

    Everything is inferred that is not said, and every inference is printed.
    """
    given = locals()
    from ukulele.config import FitOptions, resumed
    from ukulele.runs.folder import read_manifest
    from ukulele.tools.typed import number_or_word, words_or_lines

    names = FitOptions.__dataclass_fields__.keys() & given.keys()
    lists = {"target", "text", "track", "languages", "models", "new_tokens"}
    plain: dict[str, Any] = {name: tuple(given[name] or ()) if name in lists else given[name] for name in names}
    plain |= {name: number_or_word(plain[name]) for name in ("wise_ft", "rate")}
    plain["new_tokens"] = words_or_lines(plain["new_tokens"])
    plain["slice"] = slice_by
    if resume is None:
        options = FitOptions(**plain)
    else:
        typed = {name for name in given if str(context.get_parameter_source(name)).endswith("COMMANDLINE")}
        typed |= {"slice"} if "slice_by" in typed else set()
        said = {name: value for name, value in plain.items() if name in typed}
        options = resumed(said, read_manifest(resume)["options"], resume, folder)
    _fit(data, options, (folder, resume), dry_run=dry_run, quiet=quiet)


def _fit(data: list[str], options: Any, places: tuple[Path | None, Path | None], *, dry_run: bool, quiet: bool) -> None:
    from ukulele.api import source_name
    from ukulele.data import named
    from ukulele.doors.show import Screen, summary
    from ukulele.runs.folder import NextFolder, read_record

    folder, resume = places
    source = named(data)
    place = resume or folder or NextFolder(source_name(source))
    try:
        with Screen(err, quiet=quiet or os.environ.get("RANK", "0") != "0") as screen:
            from ukulele.story import pipeline

            if dry_run:
                from ukulele.doors.forecast import forecast

                out.print(forecast(source, options, screen.hear), markup=False, soft_wrap=True)
                return
            path = pipeline.fit(source, options, place, screen.hear, resume=resume is not None, command=_command())
    except KeyboardInterrupt:
        run = place.path if isinstance(place, NextFolder) else place
        begun = not dry_run and run is not None and (run / "manifest.json").exists()
        on = f" Go on with: uke fit {shlex.join(data)} --resume {shlex.quote(str(run))}" if begun else ""
        err.print(f"\nStopped.{on}", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    if os.environ.get("RANK", "0") == "0":  # of several processes the main one speaks
        out.print(summary(read_record(path), path, min(out.width, 100)), markup=False, soft_wrap=True)


for command in (beforehand.check, beforehand.choose, beforehand.diagnose, beforehand.curve):
    app.command()(command)


@app.command()
def convert(data: o.Data, to: o.Format, folder: o.Folder) -> None:
    """Write DATA, pictures with boxes, as YOLO, COCO or VOC. Pictures are copied, and checked as by `uke check`."""
    from ukulele import data as reading
    from ukulele.config import FitOptions

    options = FitOptions()
    dataset = reading.read(reading.named(data), options.reading, options.cache_folder)
    notes = (*dataset.notes, *reading.convert(dataset, to, folder))
    for note in notes:
        err.print(note, markup=False, soft_wrap=True)
    for aside in dataset.quarantine:
        err.print(f"set aside {aside.where}: {aside.reason}", style="yellow", markup=False, soft_wrap=True)
    out.print(str(folder), markup=False, soft_wrap=True)


@app.command(name="models")
def list_models(filter_: o.Filter = "") -> None:
    """List models: those that work without network, and the hub's image networks by name."""
    from ukulele.doors.catalogue import listing
    from ukulele.doors.show import table

    found = listing(filter_)
    if not found:
        raise ModelError(
            f"no model here matches {filter_!r}.",
            hint="`uke models` lists all; a part of a name is enough. For texts, any encoder of the hub does.",
        )
    table(out, ("model", "kind", "where", "licence"), found)


app.command()(afterwards.predict)
app.command(name="label-next")(afterwards.label_next)
app.command()(afterwards.evaluate)


@app.command()
def report(run: o.RunFolder) -> None:
    """Write RUN's report anew from its record, and print where it is."""
    from ukulele.api import Run

    out.print(str(Run(run).report()), markup=False, soft_wrap=True)


app.command()(afterwards.compare)


@app.command()
def cache(clear: o.Clear = False, folder: o.CacheFolder = None) -> None:
    """Show what the cache holds (features, tables, verdicts on pictures), or empty it."""
    from ukulele.config import FitOptions
    from ukulele.features.cache import Cache

    held = Cache(FitOptions(cache=folder).cache_folder)
    out.print(str(held.folder), markup=False, soft_wrap=True)
    for part, (files, size) in held.parts().items():
        out.print(f"  {part:8}  {files:,} files, {size / 2**20:,.1f} MiB", markup=False)
    if clear:
        out.print(f"freed {held.clear() / 2**20:,.1f} MiB", markup=False)


@app.command()
def demo(folder: o.Out = None) -> None:
    """Fit the bundled example (messages to a shop for musical instruments) on the embedded text model."""
    from ukulele.config import FitOptions
    from ukulele.demo import path

    _fit([str(path())], FitOptions(model="minilm"), (folder, None), dry_run=False, quiet=False)


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
    """The entry point of a process of our own."""
    keep_freed_memory()
    collect_seldom()
    leave(answer(sys.argv[1:]))


def answer(args: list[str]) -> int:
    """Carry out a command line. Errors become one message and an exit code, 2 for the user's faults and 1 for ours."""
    try:
        app(args=_spread(args), standalone_mode=True)
    except SystemExit as ended:  # the way typer says that it is done
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except UkuleleError as error:
        if os.environ.get("UKULELE_DEBUG"):
            traceback.print_exc()
        err.print(f"error: {error.message}", style="red", markup=False, soft_wrap=True)
        if error.hint:
            err.print(error.hint, markup=False, soft_wrap=True)
        if isinstance(error, BadRowsError) and error.listed is None and len(error.bad) > 1:
            err.print("All of them: --quarantine FILE of `uke check` and of `uke evaluate`.", markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
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
        return 1
    return 0


COMMANDS: Mapping[str, int] = {  # that have options which may be given several words: arguments that stand first
    **dict.fromkeys(("fit", "check", "choose", "diagnose", "curve"), 1), "predict": 2, "label-next": 2,
}  # fmt: skip
SPREAD = frozenset(  # those options
    {"--text", "--source", "--prompt", "--target", "-t", "--languages", "--new-tokens", "--models"}
)


def _spread(args: list[str]) -> list[str]:
    """`fit DATA --text a b` as `fit DATA --text a --text b`; so also `--target`, `--models`. All DATA must stand first.

    >>> _spread(["fit", "d.csv", "--text", "a", "b", "--seed", "3"])
    ['fit', 'd.csv', '--text', 'a', '--text', 'b', '--seed', '3']
    >>> _spread(["predict", "run", "d.csv", "--text", "a", "b"])[3:]
    ['--text', 'a', '--text', 'b']
    >>> _spread(["predict", "run", "--text", "a", "d.csv"])[2:]
    ['--text', 'a', 'd.csv']
    """
    command = next((at for at, word in enumerate(args) if not word.startswith("-")), len(args))
    first = COMMANDS.get(args[command], 0) if command < len(args) else 0
    begin = command + 1 + first
    if not first or any(word.startswith("-") and word != "-" for word in args[command + 1 : begin]):
        return args
    spread: list[str] = args[:begin]
    option = ""
    for before, word in zip(args[begin - 1 :], args[begin:], strict=False):
        if word.startswith("-"):
            option = word if word in SPREAD else ""
        elif option and before != option:
            spread.append(option)
        spread.append(word)
    return spread


def _command() -> str:
    return shlex.join(["uke", *sys.argv[1:]])


if __name__ == "__main__":
    main()
