"""The options of the command line: their names, metavariables, panels and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DATA, MODEL, TRAINING, PROOF, RUN = "Data", "Model", "Strategy and training", "Proof", "Run and machine"


def _option(panel: str, text: str, metavar: str | None, *names: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(*names, help=text, metavar=metavar, rich_help_panel=panel)
    return found


def _argument(text: str, metavar: str) -> typer.models.ArgumentInfo:
    found: typer.models.ArgumentInfo = typer.Argument(help=text, metavar=metavar, show_default=False)
    return found


Data = Annotated[
    list[str],
    _argument(
        "A file (CSV, TSV, Parquet, JSONL), a folder, or the hub id of a data set. Several tasks: NAME=DATA for each, "
        "or a file of tasks (YAML).",
        "DATA…",
    ),
]
RunFolder = Annotated[Path, _argument("A run's folder, as `uke fit` printed it.", "RUN")]
Runs = Annotated[list[Path], _argument("Two or more runs.", "RUN RUN…")]
Inputs = Annotated[list[str], _argument("Texts, pictures, a folder of pictures, or a file of rows.", "INPUT…")]
Filter = Annotated[str, _argument("Part of a name, or a pattern like '*mobilenet*'.", "[FILTER]")]

Target = Annotated[
    list[str] | None,
    _option(
        DATA,
        "Column with the answers; several columns for several tasks, or, all 0/1, for several labels.",
        "COLUMN…",
        "--target",
        "-t",
    ),
]
Text = Annotated[
    list[str] | None,
    _option(DATA, "Column with the text; two columns for pairs of texts.", "COLUMN…", "--text", "--source", "--prompt"),
]
Task = Annotated[
    str | None,
    _option(
        DATA,
        "What is asked; inferred by default, but where a text is to be written.",
        "classify|multilabel|regress|detect|translate|summarise|generate",
    ),
]
Group = Annotated[
    str | None,
    _option(
        DATA,
        "Rows that share a value of this column stay on one side of the split, and intervals are by such groups. auto: "
        "of several tasks, train those together that help each other.",
        "COLUMN|auto",
    ),
]
Time = Annotated[str | None, _option(DATA, "Split from past to future by this column.", "COLUMN")]
Split = Annotated[str | None, _option(DATA, "Column that names each row's split.", "COLUMN", "--split")]
MaxBad = Annotated[float, _option(DATA, "Stop if a larger share of the rows must be set aside.", "SHARE")]

Model = Annotated[
    str | None,
    _option(
        MODEL,
        "Hub id, local folder or weights file, an earlier run, or minilm. Default: minilm for texts, "
        "mobilenetv3_small_100 for pictures, yolox-s for pictures with boxes.",
        "MODEL",
        "--model",
        "-m",
    ),
]
Models = Annotated[
    list[str] | None,
    _option(
        MODEL,
        "Models to choose among: names as --model takes them, a folder of weights or runs, a text file with one a "
        "line, or local: all on this machine (of uke choose the default).",
        "MODEL…|FILE|local",
        "--models",
    ),
]
MaxLatency = Annotated[
    float | None, _option(MODEL, "Leave out models that take longer to answer one row here.", "MS", "--max-latency")
]
MaxSize = Annotated[float | None, _option(MODEL, "Leave out models with larger weights.", "MB", "--max-size")]
Layer = Annotated[str, _option(MODEL, "The stage that the probe stands on.", "auto|last|STAGE")]
MaxLength = Annotated[
    int | None,
    _option(
        MODEL,
        "Tokens of a text; by default what an encoder was made to read, else as many as the model takes, but of those "
        "that read no more than 512, of those that write no more than 1,024.",
        "N",
    ),
]
Languages = Annotated[
    list[str] | None,
    _option(
        MODEL,
        "Of a model that translates between several: the codes it has for the source and the target, such as en_XX and "
        "de_DE.",
        "CODE CODE",
        "--languages",
    ),
]
AddedTokens = Annotated[
    list[str] | None,
    _option(
        MODEL,
        "Words that get tokens of their own, or a text file with one a line; each begins as the mean of its pieces.",
        "WORD…|FILE",
        "--new-tokens",
    ),
]
Long = Annotated[str, _option(MODEL, "Longer texts are cut, or read whole in chunks.", "cut|chunk")]

Strategy = Annotated[
    str,
    _option(
        TRAINING,
        "How to transfer. auto: probe, then finetune if validation says it gains; with --budget also what is dearer.",
        "auto|probe|stages|finetune|full|gradual|l2sp|autorgn|lora|dora|bitfit|fewshot|scratch",
        "--strategy",
        "-s",
    ),
]
Budget = Annotated[
    str | None,
    _option(
        TRAINING,
        "Time for the whole run, such as 90s or 10m: auto then climbs from the probe to dearer strategies, as long as "
        "each gains on validation and the next one, measured beforehand, still fits.",
        "TIME",
    ),
]
Freeze = Annotated[
    str,
    _option(
        TRAINING,
        "Stages that stay as they are, from the bottom: how many, or the last one; of a detector also backbone.",
        "N|STAGE|backbone|all|none|auto",
    ),
]
Epochs = Annotated[
    int | None, _option(TRAINING, "At most so many; by default as many as suit the number of rows.", "N")
]
Patience = Annotated[int | None, _option(TRAINING, "Stop after so many epochs without a better validation score.", "N")]
Rate = Annotated[
    str | None,
    _option(
        TRAINING,
        "Learning rate of the head and the top stage; auto: a third, once or three times the usual one, as validation "
        "likes best after a third of the epochs.",
        "RATE|auto",
    ),
]
LayerDecay = Annotated[
    float | None,
    _option(TRAINING, "What the rate is multiplied by from each stage to the one below it, 1 at most.", "X"),
]
Penalty = Annotated[
    float | None, _option(TRAINING, "Of l2sp: how strongly weights are pulled to where they started; 0.1.", "X")
]
WiseFt = Annotated[
    str | None,
    _option(
        TRAINING,
        "Go back towards the start (WiSE-FT): weights this share of the way from the loaded model and the probe's head "
        "to the fine-tuned ones, or the share that validation likes best.",
        "ALPHA|auto",
    ),
]
Soup = Annotated[bool, _option(TRAINING, "Average the best epochs where validation likes that.", None, "--soup")]
Batch = Annotated[int | None, _option(TRAINING, "Rows of a step; of several tasks, of each.", "N")]
Views = Annotated[int | None, _option(TRAINING, "Augmented views of each picture; 0: a fresh one in every epoch.", "N")]
Mosaic = Annotated[float, _option(TRAINING, "Share of a detector's pictures put together of four of a step.", "SHARE")]
DetectorHead = Annotated[
    str,
    _option(
        TRAINING,
        "Of a detector: the head's rows of classes that it knows by name are kept, or all are drawn anew.",
        "keep|new",
    ),
]
ClassWeights = Annotated[
    str, _option(TRAINING, "Weigh rare classes more. auto: if the metric asks for it.", "auto|balanced|none")
]
Balance = Annotated[
    str,
    _option(
        TRAINING,
        "How the losses of several tasks become one. first: each divided by its first value; also sum, uncertainty, "
        "geometric, dwa, famo, stch, pcgrad, cagrad, gradvac, mgda, imtl-g, aligned-mtl, upgrad, random.",
        "NAME",
    ),
]
Sampling = Annotated[
    str | None,
    _option(TRAINING, "How often each of several tasks is seen.", "proportional|sqrt|equal|temperature:T"),
]
Weights = Annotated[
    str,
    _option(
        TRAINING,
        "What the loss of each of several tasks counts: as the file of tasks says, or chosen on validation among that "
        "and each task raised, in a third of the epochs.",
        "given|tuned",
    ),
]
PrivateStages = Annotated[
    int, _option(TRAINING, "Of several tasks each has so many of the top stages for its own.", "N")
]
Rank = Annotated[int | None, _option(TRAINING, "Of lora's and dora's adapters: 8 by default.", "N")]
Alpha = Annotated[
    float | None,
    _option(TRAINING, "What adapters add is multiplied by this and divided by the rank; twice the rank.", "X"),
]
AdapterSets = Annotated[
    str, _option(TRAINING, "Of several tasks all share one set of adapters, or each has its own.", "shared|per-task")
]
Bits = Annotated[
    int | None,
    _option(
        TRAINING,
        "Of lora: the weights beside adapters have so few bits while these are trained (QLoRA), which takes a quarter "
        r"or an eighth of their memory; needs ukulele\[quantised].",
        "4|8",
    ),
]
Gain = Annotated[
    list[float] | None,
    _option(
        PROOF,
        "How much better, in the metric's unit: how many more labels would that take? May be given again; else .01, "
        ".02 and .05, of an error or a loss as shares of it.", "X", "--gain",
    ),
]  # fmt: skip
Against = Annotated[
    str | None,
    _option(
        DATA, "Other data: how far do the rows of DATA lie from it? By default its own splits.", "DATA", "--against"
    ),
]
Seed = Annotated[int, _option(TRAINING, "Of every random draw.", "N")]
Seeds = Annotated[
    int,
    _option(
        PROOF,
        "Fit what was chosen with so many seeds: intervals and the verdict then know of chance in training, too. The "
        "first one is handed over.",
        "N",
    ),
]

Metric = Annotated[
    str | None,
    _option(PROOF, "The metric that decides: accuracy, macro_f1, roc_auc, r2, pearson, ….", "NAME"),
]
Calibrate = Annotated[
    str | None,
    _option(
        PROOF,
        "Set so many training rows apart for prediction sets (uke predict --abstain). auto: a tenth, at most 1000.",
        "N|auto",
    ),
]
Controls = Annotated[
    str,
    _option(
        PROOF,
        "What to hold the model against. tasks: each of several tasks alone; cheap: also models without pre-training; "
        "all: also from scratch.",
        "none|tasks|cheap|all",
    ),
]
Retain = Annotated[
    str | None,
    _option(
        PROOF,
        "Of models that write: also score these data, such as those that the model comes from, before and after.",
        "DATA",
        "--retain",
    ),
]
Replay = Annotated[
    float | None,
    _option(
        TRAINING,
        "Also train on windows of the text that --retain names, so many for each of the data: less is forgotten.",
        "SHARE",
        "--replay",
    ),
]
Slice = Annotated[str | None, _option(PROOF, "Also give figures by the values of this column.", "COLUMN", "--slice")]

GroupsOf = Annotated[
    str | None,
    _option(PROOF, "Rows that share a value of this column are alike: intervals by such groups.", "COLUMN", "--group"),
]

Spend = Annotated[
    str | None,
    _option(RUN, "About how long it may take: 90s, 5m, 1h. Then fewer rows are looked at.", "TIME", "--budget"),
]
Out = Annotated[Path | None, _option(RUN, "Folder of the run; runs/NAME-N by default.", "DIR", "--out", "-o")]
Resume = Annotated[Path | None, _option(RUN, "Go on with this run, with its own options.", "DIR")]
DryRun = Annotated[
    bool, _option(RUN, "Show the plans and predict time, memory and disk; train nothing.", None, "--dry-run")
]
Device = Annotated[str, _option(RUN, "Where to compute.", "auto|cpu|cuda|cuda:N|mps")]
Precision = Annotated[str, _option(RUN, "bf16 is faster where the hardware has it.", "auto|fp32|bf16")]
Threads = Annotated[int | None, _option(RUN, "CPU threads.", "N")]
CacheFolder = Annotated[
    str | None, _option(RUN, "Folder of the feature cache; $UKULELE_CACHE by default.", "DIR", "--cache")
]
CacheBudget = Annotated[float, _option(RUN, "How much the feature cache may take.", "GiB")]
SaveEvery = Annotated[
    float,
    _option(RUN, "Seconds between checkpoints; sooner after an epoch, if writing one is quick.", "SECONDS"),
]
Track = Annotated[list[str] | None, _option(RUN, "Also log there; may be given again.", "tensorboard|wandb|mlflow")]
Quiet = Annotated[bool, _option(RUN, "Print the result alone.", None, "--quiet", "-q")]

Format = Annotated[str, typer.Option("--to", help="The format.", metavar="yolo|coco|voc")]
Folder = Annotated[Path, typer.Option("--out", "-o", help="A new folder.", metavar="DIR")]
Quarantine = Annotated[Path | None, typer.Option(help="Write the rows set aside to this CSV file.", metavar="FILE")]
Findings = Annotated[
    Path | None, typer.Option(help="Write every finding, with all its places, to this CSV file.", metavar="FILE")
]
Answers = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Write .csv, .tsv, .jsonl or .json here, or answers.jsonl into a folder; printed otherwise.",
        metavar="FILE|DIR",
    ),
]
Confidence = Annotated[
    float | None,
    typer.Option("--conf", help="Of a detector: show boxes from this score on; as tuned by default.", min=0, max=1),
]
Overlap = Annotated[
    float | None,
    typer.Option("--iou", help="Of a detector: boxes of a class that overlap by more are one.", min=0, max=1),
]
Beams = Annotated[
    int | None, typer.Option("--beams", help="Of a model that writes: how many texts it follows at once.", min=1)
]
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", help="Of a model that writes: draw words, the more evenly the higher it is.", min=0),
]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", help="Draw from the likeliest words that together have this share.", min=0, max=1),
]
NewTokens = Annotated[
    int | None, typer.Option("--max-new-tokens", help="Of a model that writes: tokens of a text at most.", min=1)
]
Seconds = Annotated[
    float | None, typer.Option("--seconds", help="Of a model that writes: stop after so long, for each batch.", min=0)
]
DrawSeed = Annotated[int | None, typer.Option("--seed", help="Of what is drawn at a temperature.", min=0)]
Stream = Annotated[
    bool, typer.Option("--stream", help="Of a model that continues texts: show each text as it is written.")
]
Abstain = Annotated[
    float | None,
    typer.Option(
        help="Sets of answers that hold the truth so often, such as 0.95, and whether to abstain; for numbers, "
        "intervals. Of runs with --calibrate.",
        metavar="SHARE",
    ),
]
Draw = Annotated[bool, typer.Option("--draw", help="Of a detector: write the pictures with their boxes, too.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--text", help="Input column of a file; those of training by default.", metavar="COLUMN"),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task", help="Of a model for several tasks: answer this one alone; may be given again.", metavar="NAME"
    ),
]
Unlabelled = Annotated[Path, _argument("A file of rows, or a folder of pictures.", "UNLABELLED")]
Wanted = Annotated[int, typer.Option("-n", help="How many.", min=1, metavar="N")]
Chosen = Annotated[Path | None, typer.Option("--out", "-o", help="Write CSV here; printed otherwise.", metavar="FILE")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Clear = Annotated[bool, typer.Option("--clear", help="Empty it.")]
