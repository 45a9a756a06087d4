"""The page is complete, harmless and bears with whatever a record lacks."""

import copy
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ukulele.errors import RunError, StorageError
from ukulele.report import compare, render, write
from ukulele.report.phrases import duration

EVIL = "</title></style><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&{{ 7*7 }}"
ALLOWED = frozenset(
    """html head meta title style body a header p main section span h1 h2 h3 figure figcaption dl div dt dd nav table
    caption thead tbody tfoot tr th td small details summary ul ol li code strong pre blockquote img footer br
    svg g line text circle rect""".split()  # noqa: SIM905
)
VOID = frozenset({"meta", "img", "br"})
NEEDED = ("run", "task", "data", "model", "test")


class Page(HTMLParser):
    """Reads a page as a browser does and keeps what matters; tags must match."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.words, self.ids = [], set(), [], [], []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def harmless(html):
    page = Page(html)
    assert page.tags <= ALLOWED, page.tags - ALLOWED
    for _, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "action", "xlink:href"):
            assert value.startswith(("#", "data:image/")), value
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    return page


def poisoned(value):
    """The same shape with every text, and every label used as a key, replaced."""
    match value:
        case str():
            return value if value.startswith("data:image") else EVIL
        case dict():
            return {key: poisoned(item) for key, item in value.items()}
        case list():
            return [poisoned(item) for item in value]
        case _:
            return value


def test_the_page_is_whole_and_loads_nothing(record):
    page = harmless(render(record))
    assert len(page.ids) == len(set(page.ids))
    links = [value[1:] for tag, name, value in page.attributes if tag == "a" and name == "href"]
    assert set(links) <= set(page.ids)
    assert (record["verdict"] or record["multitask"])["sentence"] in page.text
    assert record["run"]["command"] in page.text


def test_the_verdict_comes_first(text):
    words = Page(render(text)).text
    places = [words.index(word) for word in (text["verdict"]["sentence"], "Each dot is a value", "What each candidate")]
    assert places == sorted(places)


def test_every_candidate_and_control_has_an_interval(text):
    words = Page(render(text)).text
    for c in text["candidates"]:
        assert c["name"] in words
        assert f"{c['test']['accuracy']['low']:.3f} to {c['test']['accuracy']['high']:.3f}" in words


def test_the_ladder_tells_what_was_tried_and_what_not(text):
    page = Page(render(text))
    assert "ladder" in page.ids
    for said in (
        duration(96.2),
        "it takes about 19 min",
        "+0.061 over the probe on validation",
        "0.868 to 0.908",
        "not tried",
    ):
        assert said in page.text, said
    label = next(value for _, name, value in page.attributes if name == "aria-label" and "time of the run" in value)
    assert "probe: 0.827 after 20 s; finetune: 0.888 after" in label
    text["ladder"] = text["ladder"][:1]
    assert "time of the run" not in render(text)  # one point is no picture
    text["ladder"] = []
    assert 'id="ladder"' not in render(text)


def test_phases_and_epochs_are_counted_from_one(text):
    page = render(text)
    rows = re.findall(r'<tr><td>(\d+)</td><td class="n">(\d+)</td>', page[page.index("Training loss</th>") :])
    assert rows[:9] == [("2", "1"), *(("3", str(epoch)) for epoch in range(1, 9))]


def test_seeds_are_told_each_by_itself(text):
    page = Page(render(text))
    assert "With 3 seeds" in page.text
    assert "The mean is 0.881 (0.865 to 0.897)" in page.text
    assert "handed over" in page.text
    text["seeds"] = None
    assert "seeds" not in Page(render(text)).text


def test_a_script_in_any_text_is_harmless(record):
    evil = poisoned(record)
    for block in ("data", "run"):
        evil[block] = {k: ({EVIL: 3} if isinstance(v, dict) and k == "versions" else v) for k, v in evil[block].items()}
    evil["data"]["classes"] = {"train": {EVIL: 7}}
    evil["test"] = {EVIL: {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}}
    evil["findings"] = [{"severity": EVIL, "code": EVIL, "message": EVIL, "evidence": {EVIL: [EVIL, {EVIL: EVIL}]}}]
    html = render(evil)
    page = harmless(html)
    assert "<script" not in html
    assert "alert(1)" in page.text
    assert "49" not in page.text.replace(EVIL, "") or "{{ 7*7 }}" in page.text


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "https://example.org/x.png",
        "data:image/svg+xml;base64,PHN2Zz4=",
        'data:image/png;base64,AA" x',
    ],
)
def test_a_thumbnail_must_be_an_inline_picture(text, address):
    text["mistakes"] = [
        {"where": "a.jpg", "input": {"thumbnail": address}, "truth": "a", "answer": "b", "confidence": 1}
    ]
    page = harmless(render(text).replace("https://example.org", ""))
    assert "img" not in page.tags
    assert "(no thumbnail)" in page.text


def test_many_labels_stay_readable():
    from record_kit import many_record

    page = harmless(render(many_record()))
    assert "Most confused" in page.text
    assert "All 77 labels" in page.text
    assert ("table", "class", "matrix") not in page.attributes


def test_pictures_have_a_name():
    from record_kit import image_record

    page = harmless(render(image_record()))
    assert sum(tag == "img" and name == "alt" and bool(value) for tag, name, value in page.attributes) == 8


def test_without_controls_the_page_says_so(text):
    text["candidates"] = [c for c in text["candidates"] if c["role"] == "rung"]
    text |= {"controls": [], "verdict": None}
    page = harmless(render(text))
    assert "No control was trained" in page.text
    assert ("p", "class", "badge") not in page.attributes


def test_the_least_record_renders(text):
    page = harmless(render({name: text[name] for name in NEEDED}))
    assert "0.884" in page.text
    for section in ("cost", "findings", "layers", "training", "confusion", "calibration", "mistakes", "slices"):
        assert section not in page.ids
    harmless(render({name: {} for name in NEEDED}))


@pytest.mark.parametrize("name", NEEDED)
def test_a_needed_block_that_is_missing_is_named(text, name):
    del text[name]
    with pytest.raises(RunError, match=name):
        render(text)


def test_a_newer_record_is_refused(text):
    with pytest.raises(RunError, match="format 2") as caught:
        render(text | {"format": 2})
    assert "Update" in caught.value.hint


def test_the_same_record_gives_the_same_page(record):
    before = json.dumps(record)
    assert render(record) == render(json.loads(before))
    assert json.dumps(record) == before


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value[:3]):
            yield from places(item, (*path, i))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_odd_inside_a_record_the_page_stands(data):
    from record_kit import regress_record, text_record
    from several_kit import several_record

    records = [text_record(), regress_record(), several_record(text_record())]
    record = copy.deepcopy(data.draw(st.sampled_from(records)))
    whole = {(name,) for name in (*NEEDED, "multitask", "format")}
    inner = [p for p in places(record) if len(p) >= 1 and p not in whole]
    for path in data.draw(st.lists(st.sampled_from(inner), min_size=1, max_size=4)):
        at = record
        try:
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = data.draw(
                st.sampled_from([None, [], {}, "", 0, -1.5, float("nan"), "x", [[1]], {"a": 1}, True])
            )
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    harmless(render(record))


def test_write_is_whole_or_says_why(text, tmp_path):
    write(text, tmp_path / "out" / "report.html")
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == render(text)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write(text, tmp_path / "file" / "report.html")


def test_compare_has_a_column_for_each_run(text):
    from record_kit import regress_record

    rows = compare([text, regress_record(), {}])
    assert rows[0] == ["", "sst2", "stsb", "–"]
    assert all(len(row) == 4 for row in rows)
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["test accuracy"] == ["0.884 (0.868 to 0.900)", "–", "–"]
    assert by_name["verdict"][0] == "helped, +0.063 (+0.044 to +0.082) against tf-idf"
    assert by_name["rows (train/val/test)"][0] == "6,920/872/1,821"
    assert compare([]) == [[""]]
