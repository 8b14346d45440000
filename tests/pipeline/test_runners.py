"""The same answer on every runner."""

from tests.runner_cases import (  # noqa: F401  collected here, with this folder's `runner`
    test_a_data_error_in_a_worker_reaches_the_user,
    test_a_job_that_failed_resumes_from_its_checkpoint,
    test_bad_rows_end_the_job,
    test_check_says_who_answers,
    test_fit_gives_the_embedded_runners_answer,
    test_label_gives_the_embedded_runners_answer,
)


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
    assert len(set(seen)) == 1, "one name, by which another attempt finds them"
    assert seen[0].startswith("nightly-")


def test_a_runner_that_fails_says_how_to_resume(run, three_blobs, tmp_path, monkeypatch):
    def fail(pipeline):
        raise RuntimeError("first line\nthe cluster is gone")

    monkeypatch.setattr("pipeline.runner.beam.Pipeline.run", fail)
    ran = run("fit", f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    assert ran == (
        5,
        "kmeans-tf: error: no worker answered on FnApiRunner: the runner failed: "
        "the cluster is gone; "
        "run the same command again to resume\n",
    )
