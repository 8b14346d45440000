"""Views of Beam's options that are made once say what Beam's own do."""

import copy
import pickle

from apache_beam import Pipeline
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from pipeline.runners.views import RememberedOptions

WORDS = ["--runner=FnApiRunner", "--direct_num_workers=3", "--job_name=mine"]


def test_a_view_is_made_once():
    options = RememberedOptions(WORDS)
    assert options.view_as(DirectOptions) is options.view_as(DirectOptions)
    assert options.view_as(DirectOptions).direct_num_workers == 3


def test_all_views_share_the_values():
    options = RememberedOptions(WORDS)
    options.view_as(StandardOptions).runner = "another"
    assert options.view_as(DirectOptions).view_as(StandardOptions).runner == "another"
    assert options.get_all_options()["runner"] == "another"


def test_they_are_beams():
    ours, beams = RememberedOptions(WORDS), PipelineOptions(WORDS)
    for options in (ours, beams):
        options.view_as(StandardOptions).streaming = False
    assert ours.get_all_options() == beams.get_all_options()


def test_a_copy_has_views_of_its_own():
    options = RememberedOptions(WORDS)
    kept = options.view_as(DirectOptions)
    for again in (copy.deepcopy(options), pickle.loads(pickle.dumps(options))):
        again.view_as(DirectOptions).direct_num_workers = 5
        assert again.view_as(DirectOptions).direct_num_workers == 5
        assert again.get_all_options()["direct_num_workers"] == 5
    assert kept.direct_num_workers == 3


def test_a_pipeline_takes_them():
    pipeline = Pipeline(options=RememberedOptions(WORDS))
    assert type(pipeline.options) is RememberedOptions, "and keeps what they remember"
