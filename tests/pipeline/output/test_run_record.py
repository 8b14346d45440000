import json
import math
from dataclasses import replace

from pipeline.output.run_record import Gate, RunRecord


def test_numbers_that_json_has_not_are_null(fit, three_blobs, tmp_path):
    record = fit(three_blobs.folder, tmp_path / "out", "--features=f0,f1", "--k=2").run
    assert RunRecord.parse(record.to_json()) == record
    grown = [Gate("cost_increase<=0.1", math.inf, passed=False)]
    seconds = record.seconds | {"iterations": [1.0, math.nan]}
    text = replace(record, gates=grown, seconds=seconds).to_json()

    def refuse(name):
        raise AssertionError(name)

    told = json.loads(text, parse_constant=refuse)
    assert told["gates"] == [{"text": "cost_increase<=0.1", "value": None, "passed": False}]
    assert told["seconds"]["iterations"] == [1.0, None]
