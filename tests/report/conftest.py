"""Fixtures of the records."""

import pytest
from record_kit import image_record, many_record, regress_record, text_record
from several_kit import several_record

RECORDS = {
    "text": text_record,
    "many": many_record,
    "image": image_record,
    "regress": regress_record,
    "several": lambda: several_record(text_record()),
}


@pytest.fixture(params=RECORDS)
def record(request):
    return RECORDS[request.param]()


@pytest.fixture
def text():
    return text_record()


@pytest.fixture
def several():
    return several_record(text_record())
