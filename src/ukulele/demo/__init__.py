"""The bundled example: letters to a shop that sells, hires out and repairs musical instruments.

`reviews.csv` has about 490 rows with two columns, `text` and `topic` (delivery, billing, repair, lessons and
praise, in uneven shares). The Ukulele authors wrote every text for this project; the licence is Apache-2.0, like
that of the code. The letters, the shop and the people in them are made up.

A few faults are planted on purpose, for the check to find: two empty texts, two rows without a topic, three
exact duplicates, one text that stands there with two topics, one row with a cell too many, and one row that is
not UTF-8.
"""

from importlib import resources
from pathlib import Path


def path() -> Path:
    """Where the example file lies.

    >>> path().name
    'reviews.csv'
    """
    return Path(str(resources.files(__name__).joinpath("reviews.csv")))
