"""The same answer on every runner."""

from tests import reference
from tests.pipeline.answer import assert_same_answer


def test_every_runner_gives_the_same_answer(fit, three_blobs, tmp_path, small_blocks, runner):
    init = f"--init={three_blobs.start_file}"
    args = ("--features=f0,f1", "--keys=id", init, "--max_iterations=2", "--iterations_per_job=2")
    answer = fit(three_blobs.folder, tmp_path / "out", *args, *runner)
    assert answer.run["counts"]["blocks"] > 3
    assert answer.run["configuration"]["runner"] in runner[0]
    expected = reference.fit(three_blobs.points, three_blobs.start, max_iterations=2)
    assert answer.labels.tolist() == expected.labels.tolist()
    assert_same_answer(answer, fit(three_blobs.folder, tmp_path / "default", *args))


def test_a_runner_by_its_own_path_and_an_option_of_beams(fit, three_blobs, tmp_path):
    path = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
    args = ("--features=f0,f1", "--k=3", "--max_iterations=0", "--job_name=nightly")
    answer = fit(three_blobs.folder, tmp_path / "out", f"--runner={path}", *args)
    assert answer.run["configuration"]["runner"] == path


def test_beams_options_reach_beam(run, three_blobs, tmp_path, monkeypatch):
    from apache_beam.options.pipeline_options import GoogleCloudOptions

    import pipeline.runner

    seen = []

    class Pipeline(pipeline.runner.beam.Pipeline):
        def __init__(self, options):
            seen.append(options.view_as(GoogleCloudOptions).job_name)
            super().__init__(options=options)

    monkeypatch.setattr("pipeline.runner.beam.Pipeline", Pipeline)
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    assert run("fit", *places, "--k=3", "--max_iterations=1", "--job_name=nightly").code == 0
    assert len(seen) >= 3, "scan, train, label"
    assert set(seen) == {"nightly"}


def test_a_runner_that_fails_says_how_to_resume(run, three_blobs, tmp_path, monkeypatch):
    def fail(pipeline):
        raise RuntimeError("first line\nthe cluster is gone")

    monkeypatch.setattr("pipeline.runner.beam.Pipeline.run", fail)
    ran = run("fit", f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    assert ran == (
        5,
        "kmeans-tf: error: the runner failed: the cluster is gone; "
        "run the same command again to resume\n",
    )
