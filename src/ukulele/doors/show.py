"""What a person sees while a run goes on: events to lines and one progress bar. No torch."""

from __future__ import annotations

import shlex
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ukulele.data import input_of, places
from ukulele.events import Event, Judged, Lookahead, Said, Saved, Souped, Stepped
from ukulele.events import Progress as Counted
from ukulele.types import BadRow, Dataset, Finding

SHOWN = 5  # rows set aside that are said; a file lists them all
EXAMPLES, LONGEST = 3, 80  # of a finding that are shown, and the letters of each


class Screen:
    """Hears events. A context manager: the bar goes when the work is done."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.console, self._quiet = console, quiet
        self._bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=console, transient=True, disable=quiet or not console.is_terminal,
        )  # fmt: skip
        self._task: int | None = None
        self._what = ""
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def hear(self, event: Event) -> None:
        """One event."""
        match event:
            case Said(text, severity):
                style = "yellow" if severity == "warning" else "dim"
                self._say(f"{text}", style)
            case Counted(what, done, total):
                self._advance(what, done, total)
            case Stepped(place, of, epochs, losses, rows) if rows:
                loss = sum(losses.values())
                self._advance(f"train · loss {loss:.3f}", place.epoch * of + place.step + 1, of * epochs)
            case Judged(place, loss, score, best, scores):
                each = ", ".join(f"{name} {value:.4f}" for name, value in scores.items()) if len(scores) > 1 else ""
                self._say(
                    f"  epoch {place.epoch}: validation loss {loss:.4f}, score {score:.4f}"
                    f"{f' ({each})' if each else ''}{' · best' if best else ''}",
                    "dim",
                )
            case Souped(_, epochs, score, alone):
                which = ", ".join(str(epoch + 1) for epoch in sorted(epochs))
                one = len(epochs) == 1
                said = "no mean of epochs is better than the best" if one else f"mean of the epochs {which}"
                self._say(f"  soup: {said}, score {score:.4f}{'' if one else f'; the best alone {alone:.4f}'}", "dim")
            case Lookahead() | Saved() | Stepped():
                pass

    def _say(self, text: str, style: str) -> None:
        if not self._quiet:
            at = f"[{time.monotonic() - self._began:6.1f} s]"
            if not self.console.is_terminal:
                self.console.print(f"{at} {text}", markup=False, soft_wrap=True)
                return
            line = Table.grid(padding=(0, 1), pad_edge=False)
            line.add_row(Text(at), Text(text))
            self.console.print(line, style=style)

    def _advance(self, what: str, done: int, total: int) -> None:
        kind = what.split(" · ", maxsplit=1)[0]
        if self._task is None or kind != self._what:
            if self._task is not None:
                self._bar.remove_task(self._task)  # type: ignore[arg-type]
            self._task, self._what = self._bar.add_task(what, total=total), kind
        self._bar.update(self._task, description=what, completed=done, total=total)  # type: ignore[arg-type]
        if done >= total and self._task is not None:
            self._bar.remove_task(self._task)  # type: ignore[arg-type]
            self._task = None


def summary(record: Mapping[str, Any], path: Path, width: int = 100) -> str:
    """What a finished run prints: the verdict, the figures, where the report and the model are."""
    told = ("verdict", "multitask", "gain_over_untouched", "gain_over_probe")
    said = [record[what]["sentence"] for what in told if record.get(what)]
    worst = [finding["message"] for finding in record["findings"] if finding["severity"] != "info"]
    more = [f"! and {len(worst) - 5} more in the report"] if len(worst) > 5 else []
    found = [textwrap.fill(message, width, initial_indent="! ", subsequent_indent="  ") for message in worst[:5]]
    place = shlex.quote(str(path))
    example = {"image": "photo.jpg", "pair": '"…" "…"'}.get(record["data"]["modality"], '"…"')
    ends = [f"report  {path / 'report.html'}", f"model   {path / 'bundle'}", f"try it  uke predict {place} {example}"]
    figures = _together(record["multitask"], width) if record.get("multitask") else _figures(record)
    blocks = [[textwrap.fill(sentence, width) for sentence in said], figures, [*found, *more], ends]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _figures(record: Mapping[str, Any]) -> list[str]:
    metric, candidates = record["task"]["metric"], record["candidates"]
    width = max(len(candidate["name"]) for candidate in candidates)
    lines = [f"{metric} on {record['data']['rows']['test']:,} test rows, with 95 % intervals"]
    for candidate in candidates:
        mark = "*" if candidate["name"] == record["chosen"] else " "
        figure, seconds = interval(candidate["test"].get(metric)), candidate["cost"]["seconds"]
        lines.append(f"{mark} {candidate['name']:{width}}  {figure:28} {seconds:8.1f} s")
    if record.get("seeds"):
        block = record["seeds"]
        lines.append(
            f"  mean of {len(block['each'])} seeds of {record['chosen']}: {interval(block['test'].get(metric))}"
        )
    return [*lines, "(* is the model that was packed)"]


def _together(block: Mapping[str, Any], width: int) -> list[str]:
    """Every task together, alone and against its best control: a row each if that fits, else some lines each."""
    head = ("task", "metric", "together", "alone", "control", "verdict")
    rows = [_task(task) for task in block["tasks"]]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (head, *rows)]
    if max(map(len, lines)) > width:
        lines = []
        for name, metric, *cells in rows:
            lines.append(f"{name}, {metric}")
            lines += [f"  {what:8}  {cell}" for what, cell in zip(head[2:], cells, strict=True) if cell != "-"]
    return ["on the test rows of each task, with 95 % intervals", *lines, *_mean(block), *_apart(block, width)]


def _apart(block: Mapping[str, Any], width: int) -> list[str]:
    """The suggested groups, where they are others than those that answer, and why."""
    found = block.get("grouping") or {}
    if found.get("carried_out") or len(found.get("groups", ())) < 2:
        return []
    return textwrap.wrap(f"Suggested: {found['text']} {found.get('reason', '')}".rstrip(), width)


def _task(task: Mapping[str, Any]) -> tuple[str, ...]:
    control, verdict = task.get("control") or {}, task.get("verdict") or {}
    word = {"helped": "better", "hurt": "worse", "inconclusive": "unclear"}.get(verdict.get("outcome", ""), "-")
    numbers = [interval(e, 3).strip() for e in (task.get("multi"), task.get("single"), control.get("value"))]
    return (task["name"], task["metric"], *numbers[:2], f"{numbers[2]} {control.get('name', '')}".rstrip(), word)


def _mean(block: Mapping[str, Any]) -> list[str]:
    """The mean change and the time, each if it was measured."""
    delta, seconds = block.get("delta_m_percent"), block.get("seconds") or {}
    found = [f"Δm {delta['value']:+.2f} % ({delta['low']:+.2f} to {delta['high']:+.2f})"] if delta else []
    times = [
        f"{what} {seconds[key]:.1f} s"
        for what, key in (("together", "together"), ("a model for each", "singles"))
        if seconds.get(key)
    ]
    return [", ".join([*found, *times])] if found or times else []


def interval(estimate: Mapping[str, Any] | None, decimals: int = 4) -> str:
    """A number and its interval."""
    if not estimate or estimate["value"] is None:
        return "    -"
    value, low, high = (f"{estimate[name]:.{decimals}f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def estimates(scores: Mapping[str, Any], console: Console) -> None:
    """Scores by metric, and by slice; by task, too, of several."""
    several = not all("value" in found for found in scores["test"].values())
    tests = scores["test"] if several else {"": scores["test"]}
    groups = max((one.get("groups") or 0 for test in tests.values() for one in test.values()), default=0)
    said = f"{scores['rows']} rows, {scores['set_aside']} set aside"
    console.print(f"{said}; intervals are by {groups} groups" if groups else said, markup=False)
    slices = scores.get("slices", {}) if several else {"": scores.get("slices", ())}
    rows = []
    for task, test in tests.items():
        parts = [("all", test)]
        parts += [(f"{part['column']} = {part['value']} ({part['n']})", part["test"]) for part in slices.get(task, ())]
        rows += [(task, where, name, interval(value)) for where, found in parts for name, value in found.items()]
    header = ("task", "rows", "metric", "value (95 % interval)")
    table(console, header if several else header[1:], rows if several else [row[1:] for row in rows])


def checked(dataset: Dataset, console: Console) -> None:
    """What was read, and what is wrong with it."""
    for note in dataset.notes:
        console.print(note, markup=False, soft_wrap=True)
    console.print(f"Rows set aside: {len(dataset.quarantine)}.", markup=False)
    findings(dataset.findings, console)
    for bad in dataset.quarantine[:10]:
        console.print(f"set aside {bad.where}: {bad.reason}", style="yellow", markup=False, soft_wrap=True)
    if len(dataset.quarantine) > 10:
        console.print(f"and {len(dataset.quarantine) - 10} more; --quarantine FILE lists all", markup=False)


def findings(found: Iterable[Finding], console: Console, rest: str = "--findings FILE") -> None:
    """Findings, the worst first, with the first of their examples; `rest` says where the others are."""
    for finding in sorted(found, key=lambda f: ("error", "warning", "info").index(f.severity)):
        style = {"error": "red", "warning": "yellow", "info": "dim"}[finding.severity]
        console.print(f"{finding.severity}: {finding.message}", style=style, markup=False, soft_wrap=True)
        examples = () if finding.code == "bad-rows" else finding.evidence.get("examples", ())  # those follow below
        for example in examples[:EXAMPLES]:
            shown = f"    {places(example)}  {textwrap.shorten(input_of(example), LONGEST, placeholder=' …')}"
            console.print(shown.rstrip(), style="dim", markup=False, soft_wrap=True)
        more = finding.evidence.get("count", 0) > EXAMPLES and examples
        if more:
            console.print(f"    and more; {rest} lists all", style="dim", markup=False)
        if finding.advice:
            console.print(f"    {finding.advice}", markup=False, soft_wrap=True)


def table(
    console: Console, header: Sequence[str], rows: Iterable[Sequence[str]], spare: Sequence[str] = ()
) -> tuple[str, ...]:
    """Rows under a header. Of the `spare` columns, the first first, those are left out, and given back, that a narrow
    screen has no room for.
    """
    lines = [[str(cell) for cell in row] for row in rows]
    columns = [(name, [line[at] for line in lines]) for at, name in enumerate(header)]
    left_out = list[str]()
    for name in spare:
        if _width(columns) <= console.width:
            break
        columns = [column for column in columns if column[0] != name]
        left_out.append(name)
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    whole = sum(max(map(cell_len, [*cells, name])) for name, cells in columns) + 2 * len(columns) - 2 <= console.width
    for name, cells in columns:
        drawn.add_column(name if whole or not name else textwrap.fill(name, _widest(name, cells)), overflow="fold")
    for at in range(len(lines)):
        drawn.add_row(*(cells[at].replace("[", r"\[") for _, cells in columns))
    console.print(drawn)
    return tuple(left_out)


def _width(columns: Sequence[tuple[str, Sequence[str]]]) -> int:
    """Of a table whose header alone is broken, between words."""
    return sum(_widest(name, cells) for name, cells in columns) + 2 * (len(columns) - 1)


def _widest(name: str, cells: Sequence[str]) -> int:
    return max(map(cell_len, [" ", *cells, *name.split()]))


def say_aside(bad: Sequence[BadRow], err: Console, where: str) -> None:
    """The first rows set aside, how many more there are, and where all are listed."""
    for row in bad[:SHOWN]:
        err.print(f"set aside {row.where}: {row.reason}", style="yellow", markup=False, soft_wrap=True)
    if len(bad) > SHOWN:
        err.print(f"and {len(bad) - SHOWN:,} more; {where}", style="yellow", markup=False, soft_wrap=True)


def say_cut(rows: int, of: int, err: Console) -> None:
    """That some rows were longer than the model takes."""
    if rows:
        err.print(
            f"{rows:,} of {of:,} rows are longer than the model takes: only a part of each was read",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
