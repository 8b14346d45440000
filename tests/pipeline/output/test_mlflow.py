"""An answer logged to a folder, and read back by MLflow itself."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.output.mlflow_log import _SETTINGS
from pipeline.output.publish import Output
from pipeline.output.run_record import RunRecord

mlflow = pytest.importorskip("mlflow")
ARGS = ("--features=f0,f1", "--keys=id", "--k=2,3", "--init=k-means++")


@pytest.fixture(scope="module")
def logged(fit, three_blobs, tmp_path_factory):
    """The answer, and MLflow's run of it."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        for name in (*_SETTINGS, "MLFLOW_TRACKING_URI"):  # which the job and MLflow set
            patch.setenv(name, "")
            patch.delenv(name)
        uri = (folder / "runs").as_uri()
        answer = fit(three_blobs.folder, folder / "out", *ARGS, f"--mlflow={uri}")
        mlflow.set_tracking_uri(uri)
        [run] = mlflow.search_runs(experiment_names=["kmeans-tf"], output_format="list")
        yield answer, run


def test_parameters_and_figures(logged):
    answer, run = logged
    assert run.info.run_name == answer.run.run_id
    assert run.data.params["k"] == "[2, 3]"
    assert run.data.params["metric"] == "sqeuclidean"
    figures = run.data.metrics
    assert (figures["cost"], figures["k"]) == (answer.run.result.cost, 3.0)
    assert figures["rows"] == 600
    assert 0 < figures["silhouette"] < 1


def test_the_costs_of_the_trial_that_was_chosen(logged):
    answer, run = logged
    told = mlflow.MlflowClient().get_metric_history(run.info.run_id, "iteration_cost")
    chosen = answer.history["trial"].to_numpy() == 1
    assert [point.value for point in told] == answer.costs[chosen].tolist()
    assert [point.step for point in told] == list(range(len(told)))


def test_the_model_labels_tables_and_arrays(logged, three_blobs):
    answer, _ = logged
    [model] = mlflow.search_logged_models(output_format="list")
    loaded = mlflow.pyfunc.load_model(model.model_uri)
    table = pd.DataFrame(three_blobs.points[:, ::-1], columns=["f1", "f0"])
    order = np.argsort(answer.table["id"].to_numpy())
    for rows in (table, three_blobs.points):
        found = loaded.predict(rows)
        np.testing.assert_array_equal(found["label"], answer.labels[order])
        np.testing.assert_array_equal(found["distance"].astype("f"), answer.distances[order])


def test_the_report_and_the_record(logged):
    answer, run = logged
    for name in ("report.html", "run.json"):
        path = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=name)
        assert Path(path).read_text() == (answer.folder / name).read_text()


def test_an_answer_is_there_though_the_server_is_not(run, three_blobs, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, *ARGS, "--mlflow=http://user:secret@127.0.0.1:9")
    assert ran.code == 0, ran.stderr
    [line] = [each for each in ran.stderr.splitlines() if "--mlflow" in each]
    assert line.startswith("warning: --mlflow http://")
    assert "secret" not in ran.stderr
    record = (tmp_path / "out" / "run.json").read_text()
    assert RunRecord.parse(record).result.k == 3
    assert "secret" not in record


def test_without_mlflow_nothing_is_begun(run, three_blobs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, *ARGS, "--mlflow=runs")
    assert ran.code == 2
    assert ran.stderr.endswith("--mlflow needs MLflow: pip install 'kmeans-tf[mlflow]'\n")
    assert not (tmp_path / "out").exists()


def command(three_blobs, tmp_path, *args):
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    return ("fit", *places, *ARGS, f"--mlflow={tmp_path / 'runs'}", *args)


def logged_runs(tmp_path):
    mlflow.set_tracking_uri(str(tmp_path / "runs"))
    return mlflow.search_runs(experiment_names=["kmeans-tf"], output_format="list")


def test_a_publishing_that_is_finished_later_is_logged_once(
    run, three_blobs, tmp_path, monkeypatch, capfd
):
    args = command(three_blobs, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Output, "_finish_publishing", lambda *_: 1 / 0)
        assert run(*args).code == 1
    assert run(*args, "--check").code == 0
    assert not (tmp_path / "runs").exists()
    ran = run(*args)
    assert ran.code == 0, ran.stderr
    assert ran.stderr == f"done: {tmp_path / 'out'}\n", "it only publishes, and MLflow is silent"
    assert run(*args).code == 2, "it is finished"
    [logged] = logged_runs(tmp_path)
    record = RunRecord.parse((tmp_path / "out/run.json").read_text())
    assert (logged.info.run_name, logged.info.status) == (record.run_id, "FINISHED")


def test_an_interrupted_logging_leaves_the_answer(run, three_blobs, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.driver.commands.log_to_mlflow", interrupted)
    ran = run(*command(three_blobs, tmp_path))
    assert ran.code == 0
    assert ran.stderr.endswith(f"{tmp_path / 'runs'}: not logged: KeyboardInterrupt\n")


def test_without_pandas_nothing_is_begun(run, three_blobs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert run(*command(three_blobs, tmp_path)).code == 2
    assert not (tmp_path / "out").exists()
