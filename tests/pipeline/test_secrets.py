"""What gives access to a store is neither kept nor said."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from pipeline.data import store
from pipeline.data.addresses import masked, masked_words
from pipeline.output.publish import Output

SECRET = "Zq9/x+7"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://KEY:Zq9x7@bucket/in", "s3://KEY:***@bucket/in"),
        ("s3://KEY:Zq9/x+7@bucket/in,s3://b/c", "s3://KEY:***@bucket/in,s3://b/c"),
        ("s3://KEY:Zq@9x@bucket/in/a@b", "s3://KEY:***@bucket/in/a@b"),
        ("--input 's3://KEY:Zq9x7@b/in': no file", "--input 's3://KEY:***@b/in': no file"),
        ("s3://:Zq9x7@bucket", "s3://:***@bucket"),
        (
            "s3://b/in?region=eu&secret_key=Zq9/x&access_key=AK,out",
            "s3://b/in?region=eu&secret_key=***&access_key=***,out",
        ),
        ("abfs://c@acct/in?sig=Zq9%2Fx", "abfs://c@acct/in?sig=***"),
        ("hdfs://host:9000/in/a@b", "hdfs://host:9000/in/a@b"),
        ("abfs://container@account.host/in", "abfs://container@account.host/in"),
        ("s3://b/key=7/x?region=eu", "s3://b/key=7/x?region=eu"),
        ("s3://KEY:7/x+9@bucket/in", "s3://KEY:***@bucket/in"),
        ("s3a://KEY:12345@bucket/in", "s3a://KEY:***@bucket/in"),
        ("--input 's3://KEY:Zq9/in,s3://b/c", "--input 's3://KEY:***@,s3://b/c"),
        ("s3://b/in?pwd=Zq9&db_pass=Zq9", "s3://b/in?pwd=***&db_pass=***"),
        (
            "s3:/KEY:Zq9@bucket: write s3://KEY:Zq9@bucket",
            "s3:/KEY:***@bucket: write s3://KEY:***@bucket",
        ),
        ("hdfs3://host:9000/in/a@b", "hdfs3://host:9000/in/a@b"),
        ("s3://bucket: no such store, ask a@b", "s3://bucket: no such store, ask a@b"),
        (
            """--environment_config={"env": {"AWS_SECRET_ACCESS_KEY": "Zq9/x", "HOME": "/x"}}""",
            """--environment_config={"env": {"AWS_SECRET_ACCESS_KEY": "***", "HOME": "/x"}}""",
        ),
        (r"{\"api_token\": \"Zq9\"}", r"{\"api_token\": \"***\"}"),
        ("{'password': 'Zq9', 'user': 'me'}", "{'password': '***', 'user': 'me'}"),
        ("column 'key': 3 NaN", "column 'key': 3 NaN"),
    ],
)
def test_uris_are_told_without_their_secrets(text, told):
    assert masked(text) == told


def test_options_that_are_keys_are_told_without_their_values():
    words = ["fit", "--keys", "id,x", "--keys=a", "--s3_secret_access_key", SECRET]
    words += [f"--s3_access_key_id={SECRET}", "--input", f"s3://K:{SECRET}@b/in", "--k", "3"]
    told = ["fit", "--keys", "id,x", "--keys=a", "--s3_secret_access_key", "***"]
    told += ["--s3_access_key_id=***", "--input", "s3://K:***@b/in", "--k", "3"]
    assert masked_words(words) == told


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A folder that is reached as s3://bucket, by whoever brings the secret."""
    folder = tmp_path / "bucket"
    (folder / "in").mkdir(parents=True)
    pq.write_table(pa.table({"x": [0.0, 1.0, 9.0, 10.0]}), folder / "in" / "a.parquet")
    asked = []

    def remote(uri, plain):
        asked.append(uri)
        return fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem()), ""

    monkeypatch.setattr(store, "_remote", remote)
    return f"s3://KEY:{SECRET.replace('/', '%2F')}@bucket", asked


def bytes_below(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("failing", [False, True])
def test_a_secret_is_in_no_file_and_in_no_message(run, bucket, tmp_path, monkeypatch, failing):
    address, asked = bucket
    secret = address.split(":")[2].split("@")[0]
    monkeypatch.setattr("sys.argv", ["kmeans-tf", "fit", f"--input={address}/in", f"--x={address}"])
    if failing:
        monkeypatch.setattr("pipeline.driver.attempt.Attempt.label", lambda *_: 1 / 0)
    args = ("fit", f"--input={address}/in", f"--output={tmp_path / 'out'}", "--k=2")
    ran = run(*args)
    assert ran.code == (1 if failing else 0), ran.stderr
    assert any(secret in uri for uri in asked), "the premise: it is used"
    kept = bytes_below(tmp_path / "out")
    for found in (secret, SECRET, secret[:3]):
        assert found.encode() not in kept
        assert found not in ran.stderr
    if failing:
        assert list((tmp_path / "out" / "_work").rglob("configuration")), "what was kept"
        return
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    assert told["configuration"]["input"] == "s3://KEY:***@bucket/in"
    assert told["command"][2:] == ["--input=s3://KEY:***@bucket/in", "--x=s3://KEY:***@bucket"]
    (labels,) = (tmp_path / "out" / "labels").iterdir()
    assert set(pq.read_table(labels)["file"].to_pylist()) == {"s3://bucket/in/a.parquet"}


def test_a_message_names_the_place_without_the_secret(run, bucket, tmp_path):
    address, _ = bucket
    ran = run("fit", f"--input={address}/none", f"--output={tmp_path / 'out'}", "--k=2")
    assert ran.code == 3
    assert "s3://bucket/none" in ran.stderr
    assert "Zq9" not in ran.stderr


def test_a_new_key_takes_up_what_the_old_one_began(run, bucket, tmp_path, monkeypatch):
    address, _ = bucket
    args = (f"--output={tmp_path / 'out'}", "--k=2")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.driver.attempt.Attempt.label", lambda *_: 1 / 0)
        assert run("fit", f"--input={address}/in", *args).code == 1
    other = address.replace("Zq9", "Other")
    assert run("fit", f"--input={other}/in", *args, "--resume=require").code == 0


@pytest.mark.parametrize("option", ["--match", "--init"])
def test_an_earlier_night_that_is_not_there_is_told_without_the_secret(
    run, bucket, tmp_path, monkeypatch, option
):
    address, _ = bucket
    kept = []
    publish = Output._finish_publishing

    def recorded(output, files):
        kept.append(bytes_below(tmp_path / "out"))  # the record of what is to be moved, too
        publish(output, files)

    monkeypatch.setattr(Output, "_finish_publishing", recorded)
    places = (f"--input={tmp_path / 'bucket' / 'in'}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, "--k=2", f"{option}={address}/gone")
    assert ran.code == 0, ran.stderr
    kept.append(bytes_below(tmp_path / "out"))
    assert b"s3://bucket/gone: no finished output there" in kept[-1], "the premise: it is told"
    assert all(b"Zq9" not in told for told in kept)
    assert "Zq9" not in ran.stderr
