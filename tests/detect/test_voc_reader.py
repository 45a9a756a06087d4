"""What VOC's folders look like in the wild: names with spaces, several years, folders in folders."""

from detect_kit import drawn, voc_xml

from ukulele.data import ReadOptions, convert, read


def stems(data):
    return {split: sorted(row.inputs[0].stem for row in rows) for split, rows in data.splits.items()}


def add(root, name, number):
    """One more picture with its annotation, at a path below their folders."""
    picture, boxes = drawn(number)
    for folder, ending in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        (root / folder / f"{name}.{ending}").parent.mkdir(parents=True, exist_ok=True)
    picture.save(root / "JPEGImages" / f"{name}.jpg", quality=95)
    (root / "Annotations" / f"{name}.xml").write_text(voc_xml(name.rpartition("/")[2], boxes))


def listed(root, **names):
    (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    for split, lines in names.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines))


def test_names_with_spaces_are_read_and_written(tmp_path):
    for number, name in enumerate(["a b", "a c", "a 1", "d 0", "e", "f g"]):
        add(tmp_path / "v", name, number)
    listed(tmp_path / "v", train=["a b", "a 1", "d 0  "], val=["a c -1", "e  1"], test=["f g 0"])
    data = read(tmp_path / "v", ReadOptions(), tmp_path / "c")
    assert stems(data) == {"train": ["a 1", "a b", "d 0"], "validation": ["a c", "e"], "test": ["f g"]}
    assert not data.quarantine
    convert(data, "voc", tmp_path / "out")
    assert stems(read(tmp_path / "out", ReadOptions(), tmp_path / "c2")) == stems(data)


def test_xml_beside_pictures_is_read_from_where_one_stands(tmp_path, monkeypatch):
    for number in range(6):
        picture, boxes = drawn(number)
        picture.save(tmp_path / f"p{number}.jpg")
        (tmp_path / f"p{number}.xml").write_text(voc_xml(f"p{number}", boxes, (96, 10**400) if number else (96, 64)))
    (tmp_path / "odd.xml").write_text(voc_xml("lost", []))
    monkeypatch.chdir(tmp_path)
    data = read(".", ReadOptions(max_bad=0.5), tmp_path / "c")
    assert sum(map(len, data.splits.values())) == 6
    assert [bad.reason for bad in data.quarantine] == ["an annotation without a picture: lost.jpg is not there"]
