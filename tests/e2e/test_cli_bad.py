"""Bad input through the command line: the right exit code, a message that helps, no traceback, nothing corrupted."""

from __future__ import annotations

import json
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e_kit import Answer, environment, record_of, rows_of, write_csv
from PIL import Image

Uke = Callable[..., Answer]
ROWS = rows_of(60)


def refused(answer: Answer, *said: str) -> None:
    """The user's fault, said in words that help."""
    assert answer.code == 2, answer
    assert "Traceback" not in answer.err
    for words in said:
        assert words in answer.flat, answer.err
    first, *more = answer.err.strip().splitlines()
    assert "error" in first.lower() or more


@pytest.fixture
def reviews(tmp_path: Path) -> Callable[..., Path]:
    """Makes a table of good rows and some more."""

    def make(*more: dict[str, Any], rows: list[dict[str, Any]] | None = None, columns: str = "text label") -> Path:
        return write_csv(tmp_path / "rows.csv", [*(ROWS if rows is None else rows), *more], columns.split())

    return make


# ---------------------------------------------------------------- the data


def test_no_such_file(uke: Uke, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("text,label\n")
    refused(uke("fit", tmp_path / "reviewz.csv"), "reviewz.csv")
    refused(uke("check", tmp_path / "nowhere" / "rows.parquet"), "rows.parquet")


def test_empty_files(uke: Uke, tmp_path: Path) -> None:
    for name, content in (("a.csv", ""), ("b.csv", "text,label\n"), ("c.jsonl", ""), ("d.parquet", "")):
        (tmp_path / name).write_text(content)
        refused(uke("fit", tmp_path / name), name.split(".")[0])
    (tmp_path / "nothing").mkdir()
    refused(uke("fit", tmp_path / "nothing"), "nothing")


def test_one_class_only(uke: Uke, reviews: Callable[..., Path], tmp_path: Path) -> None:
    data = reviews(rows=[row | {"label": "good"} for row in ROWS])
    refused(uke("fit", data, "--out", tmp_path / "run"), "one class only", "'good'", "--target")
    assert not (tmp_path / "run").exists(), "a run that never began leaves nothing behind"


def test_a_missing_column_and_its_neighbours(uke: Uke, reviews: Callable[..., Path], tmp_path: Path) -> None:
    data = reviews(columns="text label shop")
    for option in ("--target", "--text", "--group", "--time", "--split", "--slice"):
        run = tmp_path / "run"
        refused(
            uke("fit", data, option, "shopp", "--out", run), "no column 'shopp'", "Did you mean 'shop'", "text, label"
        )
        assert not run.exists()


def test_ids_as_target(uke: Uke, reviews: Callable[..., Path]) -> None:
    data = reviews(rows=[row | {"label": f"id-{number:05}"} for number, row in enumerate(ROWS)])
    refused(uke("fit", data, "--target", "label"), "label", "identif")


@pytest.mark.parametrize(
    ("row", "reason"),
    [({"text": "", "label": "good"}, "empty"), ({"text": "good w1", "label": ""}, "missing target 'label'")],
)
def test_rows_set_aside(row: dict[str, str], reason: str, uke: Uke, reviews: Callable[..., Path]) -> None:
    answer = uke("check", reviews(row))
    assert answer.code == 0
    assert "rows.csv:62" in answer.flat
    assert reason in answer.flat


def test_a_number_that_is_none(uke: Uke, reviews: Callable[..., Path]) -> None:
    answer = uke("check", reviews({"text": "w1", "score": "much"}, columns="text score"), "--task", "regress")
    assert answer.code == 0
    assert "rows.csv:62" in answer.flat
    assert "much" in answer.flat


def test_wrong_column_counts(uke: Uke, reviews: Callable[..., Path]) -> None:
    data = reviews()
    with data.open("a") as file:
        file.write("one,two,three,four\njust one\n")
    answer = uke("check", data)
    assert answer.code == 0
    for line in ("rows.csv:62", "rows.csv:63"):
        assert line in answer.flat
    assert "columns" in answer.flat or "cells" in answer.flat


def test_wrong_encoding(uke: Uke, tmp_path: Path) -> None:
    lines = ["text;label", *(f"{row['text']} café {number};{row['label']}" for number, row in enumerate(ROWS))]
    (tmp_path / "latin.csv").write_bytes("\n".join(lines).encode("latin-1"))
    answer = uke("check", tmp_path / "latin.csv")
    assert answer.code == 0
    assert "UTF-8" in answer.flat or "encoding" in answer.flat.lower()


def test_too_many_bad_rows(uke: Uke, reviews: Callable[..., Path], bert: Path, tmp_path: Path) -> None:
    data = reviews(*[{"text": "", "label": "good"}] * 8)
    out = ("--out", tmp_path / "run", "--model", bert, "--strategy", "probe", "--controls", "none")
    listed = tmp_path / "run" / "quarantine.csv"
    refused(uke("fit", data, *out), "8 of 68 rows", "5 % allowed", "rows.csv:62", "--max-bad", f"All are in {listed}")
    assert [line.split(",")[1] for line in listed.read_text().splitlines()[1:]] == [str(n) for n in range(62, 70)]
    assert [file.name for file in listed.parent.iterdir()] == ["quarantine.csv"]
    assert uke("fit", data, "--max-bad", 0.2, *out).code == 0, "the folder is free for the next attempt"
    assert len((tmp_path / "run" / "quarantine.csv").read_text().splitlines()) == 9
    assert record_of(tmp_path / "run")["data"]["quarantined"] == 8


def test_what_the_check_finds(uke: Uke, tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    train = [dict(row, source="web") for row in rows_of(200)]
    train += [train[0], dict(train[1], label="good"), {"text": "w3 fine", "label": "lonely", "source": "web"}]
    train += [dict(row, text=f"{row['text']} {number} extra") for number, row in enumerate(train[:160:2])]
    test = [dict(row, source="web") for row in [*rows_of(40, 3), train[4]]]
    write_csv(folder / "train.csv", train, ["text", "label", "source"])
    write_csv(folder / "test.csv", test, ["text", "label", "source"])
    said = uke("check", folder)
    assert said.code == 0
    for words in (
        "also in train",
        "more than one value of 'label'",
        "fewer than 2 rows",
        "no row in test",
        "164 times",
        "source",
    ):
        assert words in said.flat, words


def test_long_texts(uke: Uke, reviews: Callable[..., Path], bert: Path, tmp_path: Path) -> None:
    data = reviews(rows=[row | {"text": " ".join([row["text"]] * 20)} for row in ROWS])
    args = ("--model", bert, "--strategy", "probe", "--controls", "none", "--out", tmp_path / "run")
    assert uke("fit", data, *args).code == 0
    found = {finding["code"]: finding for finding in record_of(tmp_path / "run")["findings"]}
    assert "--long chunk" in found["texts-cut"]["advice"]
    told = uke("check", data, "--model", bert)
    assert told.code == 0
    assert "60 of 60 texts (100.0%) are longer than the model's 64 tokens" in told.flat
    assert "--long chunk" in told.flat
    assert "longer than the model" not in uke("check", reviews(), "--model", bert).flat
    refused(uke("check", data, "--model", "tfidf"), "no tokenizer")
    refused(uke("fit", data, "--model", "tfidf"), "--model tfidf: that is a control")


@pytest.mark.parametrize(("family", "pairs"), [("bert", True), ("albert", False)])
def test_chunks_are_advised_only_where_they_are_accepted(
    family: str, pairs: bool, uke: Uke, encoder_folder: Callable[..., Path], tmp_path: Path
) -> None:
    text = [" ".join([row["text"]] * 20) for row in ROWS]
    rows = [
        {"text": text[n], "label": row["label"]} | ({"other": text[-n]} if pairs else {}) for n, row in enumerate(ROWS)
    ]
    data = write_csv(tmp_path / "long.csv", rows, list(rows[0]))
    model, columns = encoder_folder(family), ("--text", "text", "other") if pairs else ()
    args = ("--model", model, "--strategy", "probe", "--controls", "none", "--out", tmp_path / "run")
    assert uke("fit", data, *args, *columns).code == 0
    found = {finding["code"]: finding for finding in record_of(tmp_path / "run")["findings"]}
    assert "--max-length" in found["texts-cut"]["advice"]
    assert "--long chunk" not in found["texts-cut"]["advice"]
    told = uke("check", data, "--model", model, *columns).flat
    assert "--max-length takes more" in told
    assert "--long chunk" not in told
    refused(uke("fit", data, *args, *columns, "--long", "chunk", "--out", tmp_path / "other"), "Use --long cut")


@pytest.mark.parametrize("strategy", ["probe", "finetune"])
def test_texts_that_fit_exactly_are_not_cut(
    strategy: str, uke: Uke, reviews: Callable[..., Path], bert: Path, tmp_path: Path
) -> None:
    words = [" ".join([*ROWS[at]["text"].split(), *["w1"] * 14][:14]) for at in range(len(ROWS))]  # and two special
    words[5] += " w2"
    splits = [("train", "train", "val", "test")[at % 4] for at in range(len(ROWS))]
    rows = [row | {"text": t, "split": s} for row, t, s in zip(ROWS, words, splits, strict=True)]
    data = reviews(rows=rows, columns="text label split")
    args = ("--model", bert, "--max-length", 16)
    assert f"1 of {len(ROWS)} texts" in uke("check", data, *args).flat
    args = (*args, "--strategy", strategy, "--controls", "none", "--out", tmp_path / "run")
    assert uke("fit", data, *args).code == 0
    cut = [found for found in record_of(tmp_path / "run")["findings"] if found["code"] == "texts-cut"]
    assert [found["evidence"]["rows"] for found in cut] == [1]


# ---------------------------------------------------------------- pictures


def bomb(path: Path, side: int) -> None:
    """A PNG of a few kilobytes that claims side x side pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(3 * 1000 * 1000), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def test_a_folder_with_everything_in_it(uke: Uke, pictures: Path, network: Path, tmp_path: Path) -> None:
    """A large picture works; a bomb, a truncated file and strays are set aside and listed."""
    folder, run = tmp_path / "mixed", tmp_path / "run"
    shutil.copytree(pictures, folder)
    Image.new("RGB", (8000, 6250), (200, 20, 20)).save(folder / "red" / "large.jpg", quality=30)
    bomb(folder / "red" / "bomb.png", 60_000)
    whole = (folder / "blue" / "1.png").read_bytes()
    (folder / "blue" / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "blue" / "notes.txt").write_text("not a picture")
    (folder / "README.md").write_text("a stray")
    (folder / "blue" / ".DS_Store").write_bytes(b"x")
    args = ("--model", network, "--strategy", "probe", "--controls", "none", "--out", run, "--max-bad", 0.2)
    answer = uke("fit", folder, *args)
    assert answer.code == 0, answer.err
    listed = (run / "quarantine.csv").read_text()
    for name in ("bomb.png", "half.png"):
        assert name in listed
    assert "large.jpg" not in listed
    assert "notes.txt" in listed + answer.flat
    assert sum(record_of(run)["data"]["rows"].values()) == 49
    assert uke("predict", run, folder / "red" / "large.jpg").code == 0
    refused(uke("predict", run, folder / "red" / "bomb.png"), "bomb.png")


# ---------------------------------------------------------------- names and options


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--strategy", "probee"), "--strategy probee: one of auto, probe"),
        (("--metric", "accuracyy"), "--metric accuracyy"),
        (("--metric", "r2"), "r2"),
        (("--freeze", "99"), "stages"),
        (("--freeze", "some"), "--freeze some"),
        (("--epochs", "0", "--batch", "0"), "--batch 0"),
        (("--layer", "block9"), "block9"),
        (("--task", "sing"), "sing"),
        (("--controls", "many"), "--controls many"),
        (("--precision", "fp8"), "--precision fp8"),
        (("--long", "tall"), "--long tall"),
        (("--device", "abacus"), "abacus"),
        (("--max-bad", "7"), "--max-bad 7"),
        (("--seed", "-1"), "--seed -1: at least 0 was expected"),
        (("--epochs", "three"), "--epochs"),
        (("--nonsense",), "--nonsense"),
        (("--track", "paper"), "--track paper"),
        (("--device", "cuda:99"), "no such device"),
    ],
)
def test_options_that_cannot_be(
    args: tuple[str, ...], said: str, uke: Uke, reviews: Callable[..., Path], bert: Path, tmp_path: Path
) -> None:
    refused(uke("fit", reviews(), "--model", bert, *args, "--out", tmp_path / "run"), said)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--strategy", "probe", "--freeze", 3, "--epochs", 7, "--rate", 1), ("--freeze 3", "--epochs 7", "--rate 1")),
        (("--strategy", "probe", "--batch", 4, "--patience", 2), ("--batch 4", "--patience 2", "finetune")),
        (("--strategy", "probe", "--controls", "all", "--rate", 0.1), ("--rate 0.1",)),
        (("--strategy", "scratch", "--freeze", 1, "--layer", "last"), ("--freeze 1", "--layer last")),
        (("--views", 3), ("--views 3", "pictures")),
    ],
)
def test_options_that_nothing_reads(
    args: tuple[object, ...], said: tuple[str, ...], uke: Uke, reviews: Callable[..., Path], bert: Path, tmp_path: Path
) -> None:
    for more in ((), ("--dry-run",)):
        refused(uke("fit", reviews(), "--model", bert, *args, *more, "--out", tmp_path / "run"), *said)
    assert not (tmp_path / "run").exists()


def test_groups_and_times_are_kept_or_refused_and_told_where_given_splits_break_them(
    uke: Uke, tables: Path, tmp_path: Path
) -> None:
    asked = ("--target", "label", "--group", "shop", "--time", "day")
    refused(uke("check", tables / "reviews.csv", *asked), "--time or --group")
    rows = [{**row, "split": ("train", "val", "test")[number % 3]} for number, row in enumerate(rows_of(60))]
    data = write_csv(tmp_path / "given.csv", rows, ["text", "label", "shop", "day", "split"])
    told = uke("check", data, *asked)
    assert told.code == 0, told.err
    assert "older than the newest training row by column 'day'" in told.flat
    assert "column 'shop' stand in more than one" not in told.flat  # shop and split go together: 9 is three times 3


def test_options_of_texts_are_refused_for_pictures(uke: Uke, pictures: Path, network: Path, tmp_path: Path) -> None:
    args = ("--long", "chunk", "--max-length", 9, "--out", tmp_path / "run")
    refused(uke("fit", pictures, "--model", network, *args), "--long chunk", "--max-length 9", "these are pictures")


def test_models_that_are_not_there(uke: Uke, reviews: Callable[..., Path], pictures: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "run")
    refused(uke("fit", reviews(), "--model", "nobody/nothing", *out), "nobody/nothing", "Available locally", "minilm")
    refused(uke("fit", reviews(), "--model", tmp_path / "gone", *out), "gone")
    (tmp_path / "hollow").mkdir()
    refused(uke("fit", reviews(), "--model", tmp_path / "hollow", *out), "config.json")
    refused(uke("fit", pictures, "--model", "mobilenetv2_10", *out), "mobilenetv2_100")
    refused(uke("fit", pictures, "--model", tmp_path / "gone.safetensors", *out), "gone.safetensors")


def test_commands_without_what_they_need(uke: Uke, tmp_path: Path) -> None:
    for args in (("fit",), ("predict",), ("nonsense",), ("report", tmp_path), ("compare", tmp_path, tmp_path)):
        refused(uke(*args))
    refused(uke("fit", "x.csv", "--resume", tmp_path), "holds no run to resume")


# ---------------------------------------------------------------- the disk


def test_unwritable_output(uke: Uke, reviews: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused(uke("fit", reviews(), "--out", tmp_path / "file" / "run"), "file")
    refused(uke("fit", reviews(), "--out", "/proc/ukulele/run"), "/proc/ukulele")


def test_full_disk_while_checkpointing(
    uke: Uke, reviews: Callable[..., Path], bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint before it stays whole, and the run goes on from there to the same end."""
    data, run = reviews(), tmp_path / "run"
    args = ("--model", bert, "--strategy", "finetune", "--epochs", 3, "--controls", "none", "--save-every", 0)
    assert uke("fit", data, *args, "--out", tmp_path / "whole").code == 0
    held = resource.getrlimit(resource.RLIMIT_FSIZE)
    code = (
        "import resource, signal, sys\n"
        "from ukulele import cli, runs\n"
        "from ukulele.runs.folder import RunFolder\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "real, calls = RunFolder.checkpoint, []\n"
        "def checkpoint(self, *given):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 4: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))\n"
        "    return real(self, *given)\n"
        "RunFolder.checkpoint = checkpoint\n"
        f"sys.argv = {['uke', 'fit', str(data), *map(str, args), '--out', str(run)]!r}\n"
        "cli.main()\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(tmp_path), check=False
    )
    assert found.returncode == 2, found.stderr
    assert "cannot write" in found.stderr
    assert "Traceback" not in found.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == held
    assert list(run.glob("checkpoints/finetune*"))
    assert not list(run.rglob("*.part"))
    assert uke("fit", data, "--resume", run).code == 0
    ours, theirs = (path / "bundle" / "weights.safetensors" for path in (run, tmp_path / "whole"))
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_damaged_cache(uke: Uke, reviews: Callable[..., Path], bert: Path, tmp_path: Path) -> None:
    args = (reviews(), "--model", bert, "--strategy", "finetune", "--epochs", 1, "--controls", "none")
    assert uke("fit", *args, "--out", tmp_path / "first").code == 0
    blocks = list((tmp_path / "cache" / "features").rglob("*.block"))
    assert blocks
    for number, block in enumerate(blocks):
        content = bytearray(block.read_bytes())
        content[len(content) // 2] ^= 255
        block.write_bytes(content[: len(content) // 3] if number % 2 else content)
    answer = uke("fit", *args, "--out", tmp_path / "second")
    assert answer.code == 0
    assert "damaged" in answer.flat
    first, second = (tmp_path / name / "bundle" / "weights.safetensors" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


# ---------------------------------------------------------------- bundles and records


@pytest.fixture
def copied(fitted: Path, tmp_path: Path) -> Path:
    """A finished run, to be spoilt."""
    return Path(shutil.copytree(fitted, tmp_path / "copied"))


def test_damaged_bundles(uke: Uke, copied: Path) -> None:
    weights, about = copied / "bundle" / "weights.safetensors", copied / "bundle" / "bundle.json"
    whole, told = weights.read_bytes(), about.read_text()
    for content in (whole[:-100], whole[:5000] + b"\0\1\2\3" + whole[5004:], b""):
        weights.write_bytes(content)
        refused(uke("predict", copied, "good"), "weights.safetensors", "damaged")
    weights.unlink()
    refused(uke("predict", copied, "good"), "weights.safetensors", "missing")
    weights.write_bytes(whole)
    for content in (told[:200], "[]", "", json.dumps({"format": 1})):
        about.write_text(content)
        refused(uke("predict", copied, "good"), "bundle.json", "damaged")
        refused(uke("evaluate", copied, "x.csv"), "damaged")


def test_from_a_newer_version(uke: Uke, copied: Path, tables: Path) -> None:
    for name, args in (
        ("bundle/bundle.json", ("predict", copied, "good")),
        ("record.json", ("report", copied)),
        ("manifest.json", ("fit", tables / "reviews.csv", "--resume", copied)),
    ):
        file = copied / name
        file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))
        refused(uke(*args), "newer" if "bundle" not in name else "format", "pip install --upgrade ukulele")


def test_damaged_records_and_manifests(uke: Uke, copied: Path, tables: Path) -> None:
    (copied / "record.json").write_text('{"format": 1')
    refused(uke("report", copied), "record.json", "damaged")
    (copied / "record.json").unlink()
    refused(uke("report", copied), "--resume")
    (copied / "manifest.json").write_text("{}")
    refused(uke("fit", tables / "reviews.csv", "--resume", copied), "manifest.json", "damaged")


def test_our_own_faults_are_called_so(uke: Uke, fitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("ukulele.runs.folder.read_record", broken)
    answer = uke("compare", fitted, fitted)
    assert answer.code == 1
    assert "ZeroDivisionError: oops" in answer.flat
    assert "Traceback" not in answer.err
    assert "Traceback" in uke("--debug", "compare", fitted, fitted).err


def test_numbers_too_large_to_reckon_with_are_set_aside(bert: Path, uke: Uke, tmp_path: Path) -> None:
    rows = rows_of(90)
    for row in rows[:3]:
        row["score"] = "3.5e300"
    data = write_csv(tmp_path / "large.csv", rows, ["text", "score"])
    checked = uke("check", data, "--target", "score")
    assert checked.code == 0, checked.err
    assert "target 'score' is '3.5e300', beyond 1e+100" in checked.flat
    assert "Rows set aside: 3." in checked.flat
