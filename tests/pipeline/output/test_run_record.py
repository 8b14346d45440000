import json
import math
from dataclasses import replace

import pytest

from pipeline.output.run_record import Gate, RunRecord


@pytest.fixture(scope="module")
def record(fit, three_blobs, tmp_path_factory):
    output = tmp_path_factory.mktemp("record") / "out"
    return fit(three_blobs.folder, output, "--features=f0,f1", "--k=2").run


def test_numbers_that_json_has_not_are_null(record):
    assert RunRecord.parse(record.to_json()) == record
    grown = [Gate("cost_increase<=0.1", math.inf, passed=False)]
    seconds = record.seconds | {"iterations": [1.0, math.nan]}
    text = replace(record, gates=grown, seconds=seconds).to_json()

    def refuse(name):
        raise AssertionError(name)

    told = json.loads(text, parse_constant=refuse)
    assert told["gates"] == [{"text": "cost_increase<=0.1", "value": None, "passed": False}]
    assert told["seconds"]["iterations"] == [1.0, None]


def test_a_bit_that_is_another_is_noticed_wherever_it_is(record):
    """But in blanks, and in the name of the checksum, without which it is an earlier version's."""
    text = record.to_json()
    unread = 0
    for place in range(0, len(text), 7):
        damaged = bytearray(text)
        damaged[place] ^= 1 << place % 7
        try:
            assert RunRecord.parse(bytes(damaged)) == record
            unread += 1
        except (ValueError, TypeError):
            continue
    assert unread < len(text) / 100


def test_a_record_of_an_earlier_version_has_no_checksum(record):
    told = json.loads(record.to_json())
    del told["checksum"]
    assert RunRecord.parse(json.dumps(told)) == record
