"""Files are whole or absent, and trees of tensors come back as they were."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ukulele.errors import StorageError
from ukulele.tools.files import load_tree, replace_atomic, save_tree, write_atomic, write_json

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool]


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    made = (torch.rand(shape, generator=generator) * 9).to(draw(st.sampled_from(DTYPES)))
    match draw(st.integers(0, 3)):
        case 0 if made.ndim > 1:
            return made.transpose(0, 1)
        case 1 if made.ndim:
            return made[::2]
        case _:
            return made


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["$t", "$d", "0"]), tensors()
)
KEYS = st.one_of(st.text(), st.integers(), st.sampled_from(["$t", "$d"]))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    match left, right:
        case torch.Tensor(), torch.Tensor():
            return left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)
        case Mapping(), Mapping():
            return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
        case ((list() | tuple()), list()):
            return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
        case float(), float() if math.isnan(left):
            return math.isnan(right)
        case _:
            return type(left) is type(right) and left == right


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_any_tree_comes_back_as_it_was(tmp_path: Path, tree: dict[Any, Any]) -> None:
    file = tmp_path / "tree.safetensors"
    save_tree(file, tree)
    assert same(tree, load_tree(file))


def test_tensors_that_share_memory_come_back_apart(tmp_path: Path) -> None:
    base = torch.arange(6.0)
    save_tree(tmp_path / "tree", {"all": base, "some": base[2:], "again": base})
    found = load_tree(tmp_path / "tree")
    found["all"].zero_()
    assert found["some"].tolist() == [2, 3, 4, 5]
    assert found["again"].tolist() == base.tolist()


def test_a_parameter_is_saved_as_its_value(tmp_path: Path) -> None:
    save_tree(tmp_path / "tree", {"weight": torch.nn.Parameter(torch.ones(2))})
    found = load_tree(tmp_path / "tree")["weight"]
    assert type(found) is torch.Tensor
    assert not found.requires_grad


@pytest.mark.parametrize("optimiser", [torch.optim.AdamW, torch.optim.SGD])
def test_an_optimiser_goes_on_from_its_saved_state(tmp_path: Path, optimiser: Any) -> None:
    def begin() -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
        parameter = torch.nn.Parameter(torch.ones(3))
        return parameter, optimiser([parameter], lr=0.1, **({"momentum": 0.9} if optimiser is torch.optim.SGD else {}))

    def steps(parameter: torch.nn.Parameter, by: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            by.zero_grad()
            parameter.pow(3).sum().backward()
            by.step()

    whole, by = begin()
    steps(whole, by, 4)
    part, by = begin()
    steps(part, by, 2)
    save_tree(tmp_path / "state", {"weights": part.detach(), "optimiser": by.state_dict()})
    found, (again, by) = load_tree(tmp_path / "state"), begin()
    with torch.no_grad():
        again.copy_(found["weights"])
    by.load_state_dict(found["optimiser"])
    steps(again, by, 2)
    assert torch.equal(whole, again)


@pytest.mark.parametrize("spoil", ["cut", "empty", "header", "no tree", "text"])
def test_a_damaged_tree_is_an_error_that_names_the_file(tmp_path: Path, spoil: str) -> None:
    file = tmp_path / "tree"
    save_tree(file, {"weight": torch.ones(40), "n": 3})
    content = file.read_bytes()
    match spoil:
        case "no tree":
            from safetensors.torch import save_file

            save_file({"weight": torch.ones(2)}, file)
        case _:
            file.write_bytes(
                {"cut": content[:-20], "empty": b"", "header": b"\xff" + content[1:], "text": b"hello"}[spoil]
            )
    with pytest.raises(ValueError, match="tree is damaged"):
        load_tree(file)


def test_a_missing_tree_is_an_error_of_the_operating_system(tmp_path: Path) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - which one is the library's choice
        load_tree(tmp_path / "none")


# ---------------------------------------------------------------- whole or absent


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file.txt"
    write_atomic(file, "old")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_atomic(file, fail)
    assert file.read_text() == "old"
    assert list(file.parent.iterdir()) == [file]


def test_a_full_disk_is_said_in_words_and_leaves_nothing(tmp_path: Path) -> None:
    def full(part: Path) -> None:
        part.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match="No space left") as error:
        replace_atomic(tmp_path / "file", full)
    assert str(tmp_path / "file") in error.value.message
    assert "uke cache --clear" in error.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_no_folder_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot write"):
        write_atomic(tmp_path / "file" / "below", "x")


def test_files_can_be_read_by_others_and_text_is_utf8(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", "naïve ♪")
    assert (tmp_path / "a").read_text("utf-8") == "naïve ♪"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_json_is_readable_and_refuses_what_is_no_number(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "♪"})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n "b": 1,\n "a": "♪"\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"b": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["b"] == 1
