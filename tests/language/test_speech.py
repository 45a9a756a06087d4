"""How new tokens read behind a prompt, while they are written."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn

from ukulele.models.next_token import NextToken
from ukulele.models.words import Words

WORDS = ["<unk>", "</s>", "▁Anna", "▁sees", "▁Ben", ".", "▁"]


def test_the_space_that_sentencepiece_drops_in_front_of_a_text_is_said() -> None:
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    head = NextToken.__new__(NextToken)
    nn.Module.__init__(head)
    head.words = Words(tokenizer.to_str().encode(), {"eos": 1})
    prompt = torch.tensor(tokenizer.encode("Anna sees").ids)
    assert head.words.text([4, 5]) == "Ben."
    assert head.speech({"ids": prompt})([4, 5]) == " Ben."
