"""While a model with adapters writes, what they learned stands in the weights that the library's loop knows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from text_kit import pairs, request

from ukulele import models
from ukulele.models.adapters import adapted, written_in
from ukulele.tools.collate import collate
from ukulele.types import Adapters, Writing


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_the_whole_network_is_for_a_while_the_adapted_one_and_then_as_it_was(kind: str, t5: Path) -> None:
    model = models.load(request(t5), "text")
    torch.manual_seed(0)
    names = tuple(stage.name for stage in model.stages if stage.name.startswith("decoder"))
    stages = adapted(model.stages, Adapters(kind, names, rank=4))  # type: ignore[arg-type]
    modules = [stage.module for stage in stages]
    for module in modules:
        module.eval()
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.5)
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    live = collate(model.encode(pairs(3), [0] * 3), model.inputs)
    head = model.heads["write"]("summarise").eval()  # type: ignore[attr-defined]

    def through(parts: list[torch.nn.Module]) -> torch.Tensor:
        at = model.prepare(dict(live))
        for part in parts:
            at = part(at)
        return head(at)  # type: ignore[no-any-return, operator]

    with torch.no_grad():
        wanted = through(modules)
        plain = through([stage.module for stage in model.stages])
        assert not torch.allclose(wanted, plain, atol=0.1)
        with written_in(modules):
            torch.testing.assert_close(through([stage.module for stage in model.stages]), wanted, rtol=1e-3, atol=5e-3)
            texts = head.predict(model.run(dict(live)), Writing(tokens=6))
        assert len(texts) == 3
        assert all(torch.equal(before[name], value) for name, value in model.net.state_dict().items())
        torch.testing.assert_close(through(modules), wanted)
