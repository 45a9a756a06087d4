"""The stages of encoder–decoder networks. Live are "memory" in the encoder, and "x" of the answer in the decoder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from ukulele.models.dropout import drop
from ukulele.models.speaking import IGNORED
from ukulele.types import Field, Stage, Tensors

START, END = "target", "norm"  # the decoder's first stage, and its last
SOURCE = {"memory": Field("source")}
TAUGHT = {"labels": Field("target", IGNORED), "bytes": Field()}


def stages_of(net: Any, pad: int, start: int) -> tuple[Stage, ...]:
    """The stages of a network; the decoder begins with the token `start`."""
    encoder, decoder = net.get_encoder(), net.get_decoder()
    below, above = SOURCE | TAUGHT, SOURCE | {"x": Field("target")} | TAUGHT
    relative = hasattr(encoder, "block")  # T5
    made = _relative if relative else _absolute
    first, blocks, last = made(encoder)
    stages = [Stage("embed", Embed("ids", "memory", first), below)]
    stages += [Stage(f"encoder{i}", EncoderBlock(block), below) for i, block in enumerate(blocks)]
    if last is not None:
        stages.append(Stage("memory", End("memory", last), below))
    first, blocks, last = made(decoder)
    stages.append(Stage(START, Target(first, pad, start), above))
    stages += [Stage(f"decoder{i}", DecoderBlock(block), above) for i, block in enumerate(blocks)]
    if last is not None:
        stages.append(Stage(END, End("x", last), above))
    return tuple(stages)


def _absolute(stack: Any) -> tuple[nn.Module, list[nn.Module], nn.Module | None]:
    """BART and its kin."""
    last = getattr(stack, "layer_norm", None)  # only where norms stand in front
    return Absolute(stack), [Plain(layer, first=last is not None) for layer in stack.layers], last


def _relative(stack: Any) -> tuple[nn.Module, list[nn.Module], nn.Module | None]:
    """T5."""
    bias = stack.block[0].layer[0].SelfAttention
    blocks: list[nn.Module] = [Relative(block, bias) for block in stack.block]
    return Bare(stack), blocks, nn.Sequential(stack.final_layer_norm, stack.dropout)


class Bare(nn.Module):
    """Embeddings without positions."""

    def __init__(self, stack: Any) -> None:
        super().__init__()
        self.tokens, self.dropout = stack.embed_tokens, stack.dropout

    def forward(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(self.tokens(ids))
        return embedded


class Absolute(nn.Module):
    """Embeddings with positions, and a layer norm where the family has one."""

    def __init__(self, stack: Any) -> None:
        super().__init__()
        self.tokens = stack.embed_tokens
        self.norm = getattr(stack, "layernorm_embedding", None)
        marian = stack.config.model_type == "marian"  # the others' embeddings scale themselves
        self._scale, self._share, self._shape = stack.embed_scale if marian else 1.0, stack.dropout, marian
        self.positions = None if marian else stack.embed_positions
        self._waves = [stack.embed_positions]  # in a list: Marian's are sines, and stay so

    def forward(self, ids: Tensor) -> Tensor:
        positions = self._waves[0](ids.shape) if self.positions is None else self.positions(ids)
        x = self.tokens(ids) * self._scale
        x = x + positions.to(x.device, x.dtype)
        x = x if self.norm is None else self.norm(x)
        return drop(x, self._share) if self.training else x


class Embed(nn.Module):
    """The source's tokens to vectors."""

    def __init__(self, source: str, result: str, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self._names = (source, result)

    def forward(self, live: Tensors) -> Tensors:
        source, result = self._names
        rest = {name: value for name, value in live.items() if name != source}
        return {**rest, result: self.body(live[source])}


class Target(nn.Module):
    """The answer's tokens to vectors, each at the place of the one that follows it."""

    def __init__(self, body: nn.Module, pad: int, start: int) -> None:
        super().__init__()
        self.body = body
        self._pad, self._start = pad, start

    def forward(self, live: Tensors) -> Tensors:
        labels = live["labels"]
        before = labels.new_full(labels.shape, self._start)
        before[:, 1:] = labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, self._pad)
        return {**live, "x": self.body(before)}


class Plain(nn.Module):
    """A block of BART and its kin: the library's, whose dropout is a function that is slow on the CPU, spelled out."""

    def __init__(self, block: Any, *, first: bool) -> None:
        super().__init__()
        self.block = block
        self._first = first  # whether norms stand in front of what is added, or behind the sum

    def forward(self, x: Tensor, live: Tensors, **given: Any) -> tuple[Tensor, Tensors]:  # noqa: ARG002 - as T5's
        block, memory = self.block, given.get("encoder_hidden_states")
        x = self._added(x, block.self_attn_layer_norm, partial(_attended, block.self_attn, given["attention_mask"]))
        if memory is not None:
            across = partial(_attended, block.encoder_attn, given["encoder_attention_mask"], memory=memory)
            x = self._added(x, block.encoder_attn_layer_norm, across)
        return self._added(x, block.final_layer_norm, self._wide), {}

    def _added(self, x: Tensor, norm: nn.Module, part: Callable[[Tensor], Tensor]) -> Tensor:
        found = self._dropped(part(norm(x) if self._first else x), self.block.dropout)
        summed: Tensor = x + found if self._first else norm(x + found)
        return summed

    def _wide(self, x: Tensor) -> Tensor:
        block = self.block
        found: Tensor = block.fc2(self._dropped(block.activation_fn(block.fc1(x)), block.activation_dropout))
        return found

    def _dropped(self, x: Tensor, share: float) -> Tensor:
        return drop(x, share) if self.training and share else x


def _attended(attention: nn.Module, mask: Tensor | None, x: Tensor, memory: Tensor | None = None) -> Tensor:
    given = {} if memory is None else {"key_value_states": memory}
    found: Tensor = attention(x, attention_mask=mask, **given)[0]
    return found


class Relative(nn.Module):
    """A block of T5. All blocks share the first one's bias of positions: it is looked up once in a pass."""

    def __init__(self, block: Any, bias: Any) -> None:
        super().__init__()
        self.block = block
        self._bias = [bias]  # in a list: it belongs to the first block

    def forward(self, x: Tensor, live: Tensors, **given: Any) -> tuple[Tensor, Tensors]:
        name = "source_bias" if "encoder_hidden_states" not in given else "target_bias"
        bias = live.get(name)
        if bias is None:
            most = x.shape[1] - 1  # by distance, each once: for long rows a bias of all pairs would fill the memory
            bias = self._bias[0].compute_bias(1, 2 * most + 1, past_seen_tokens=most)[:, :, 0].to(x.device)
        x, *_ = self.block(x, position_bias=bias, **given)
        return x, {name: bias}


class EncoderBlock(nn.Module):
    """A block of the encoder."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, live: Tensors) -> Tensors:
        return _through(self.layer, "memory", live, attention_mask=live.get("seen"))


class DecoderBlock(nn.Module):
    """A block of the decoder: each token sees those before it, and the memory."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, live: Tensors) -> Tensors:
        return _through(
            self.layer,
            "x",
            live,
            attention_mask=None,
            encoder_hidden_states=live["memory"],
            encoder_attention_mask=live.get("seen"),
        )


def _through(layer: nn.Module, name: str, live: Tensors, **given: Any) -> Tensors:
    x, derived = layer(live[name], live, **given)
    return {**live, **derived, name: x}


class End(nn.Module):
    """The layer norm behind the last block."""

    def __init__(self, name: str, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self._name = name

    def forward(self, live: Tensors) -> Tensors:
        return {**live, self._name: self.norm(live[self._name])}
