"""The bundled example is what its description says, faults included."""

from collections import Counter

from ukulele import demo

TOPICS = {"delivery", "billing", "repair", "lessons", "praise"}


def read():
    """Rows that are whole, by our own simple reading, and the lines that are not UTF-8."""
    import csv

    rows, undecodable = [], []
    for line in demo.path().read_bytes().splitlines()[1:]:
        try:
            rows.append(next(csv.reader([line.decode()])))
        except UnicodeDecodeError:
            undecodable.append(line)
    return rows, undecodable


def test_the_planted_faults_are_there_and_no_others():
    rows, undecodable = read()
    assert len(undecodable) == 1
    assert sum(len(row) != 2 for row in rows) == 1
    rows = [row for row in rows if len(row) == 2]
    assert sum(not text.strip() for text, _ in rows) == 2
    assert sum(not topic for _, topic in rows) == 2
    rows = [(text, topic) for text, topic in rows if text.strip() and topic]
    copies = Counter(rows)
    assert sorted(n for n in copies.values() if n > 1) == [2, 2, 2]
    topics = {}
    for text, topic in copies:
        topics.setdefault(text, set()).add(topic)
    assert sum(len(found) > 1 for found in topics.values()) == 1


def test_topics_are_uneven_and_none_is_tiny():
    rows, _ = read()
    counts = Counter(row[1] for row in rows if len(row) == 2 and row[1])
    assert set(counts) == TOPICS
    assert min(counts.values()) >= 40
    assert max(counts.values()) > 2 * min(counts.values())
    assert 470 <= counts.total() <= 520
