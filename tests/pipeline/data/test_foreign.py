"""What is given in the place of Parquet is recognised."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from pipeline.data.foreign import recognised

TABLE = pa.table({"x": [0.5, 1.0], "größe": ["a", "b"]})


def csv(path):
    pyarrow.csv.write_csv(TABLE, path)


def orc(path):
    pyarrow.orc.write_table(TABLE, path)


def feather(path):
    pyarrow.feather.write_feather(TABLE, path)


def json_lines(path):
    path.write_text('{"x": 0.5}\n{"x": 1.0}\n')


def json_array(path):
    path.write_text('[\n {"x": 0.5}\n]')


def excel_csv(path):
    path.write_text("x;y\r\n0,5;1\r\n", encoding="utf-16")


def zipped(path):
    path.write_bytes(gzip.compress(b"x,y\n1,2\n"))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (csv, ["a CSV file", "pyarrow.csv.read_csv"]),
        (excel_csv, ["a CSV file"]),
        (orc, ["an ORC file", "pyarrow.orc.read_table"]),
        (feather, ["Feather", "pyarrow.feather.read_table"]),
        (json_lines, ["a JSON file", "pyarrow.json.read_json"]),
        (json_array, ["a JSON file", "pandas.read_json"]),
        (zipped, ["a gzip file", "gunzip"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("named", ["alone", "as Parquet"])
def test_another_format_is_told_how_to_convert(run, tmp_path, write, words, named):
    path = tmp_path / "in" / ("a.parquet" if named == "as Parquet" else "a.data")
    path.parent.mkdir()
    write(path)
    ran = run("fit", f"--input={path}", f"--output={tmp_path / 'out'}")
    assert ran.code == 3
    for word in [str(path), *words]:
        assert word in ran.stderr


def test_a_folder_of_another_format(run, tmp_path):
    json_lines(tmp_path / "day.jsonl")
    ran = run("label", f"--input={tmp_path}", "--output=out", "--model=none")
    assert ran.code == 2, "the model comes first"
    ran = run("fit", f"--input={tmp_path}", f"--output={tmp_path.parent / 'out'}")
    assert ran.code == 3
    assert (
        "no file ending in .parquet, .parq or .pq in or below this folder; day.jsonl is a JSON file"
        in ran.stderr
    )


@pytest.mark.parametrize(
    "head", [b"", b"PAR1\x15\x04", b"\x00\x01\x02", b"one word", "größe\n".encode("latin-1") * 9]
)
def test_what_is_not_known_is_not_named(head):
    assert recognised(head) is None


def test_a_text_that_is_cut_within_a_character_is_a_text():
    assert "CSV" in (recognised("größe,x\nß".encode()[:-1]) or "")


def test_a_file_that_may_not_be_read(run, tmp_path, monkeypatch):
    pq.write_table(TABLE, tmp_path / "a.parquet")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pipeline.data.files.read_footer", refuse)
    ran = run("fit", f"--input={tmp_path / 'a.parquet'}", f"--output={tmp_path / 'out'}")
    assert ran.code == 3
    assert f"{tmp_path / 'a.parquet'} may not be read: permission denied" in ran.stderr


class Keys:
    """A column's key, and the footer's."""

    @staticmethod
    def write(table, path, *, plaintext_footer):
        encryption = pytest.importorskip("pyarrow.parquet.encryption")

        class Client(encryption.KmsClient):
            def __init__(self, _):
                super().__init__()

            def wrap_key(self, key, _):
                return key.hex().encode()

            def unwrap_key(self, key, _):
                return bytes.fromhex(key.decode())

        factory = encryption.CryptoFactory(Client)
        how = encryption.EncryptionConfiguration(
            footer_key="footer", column_keys={"column": ["s"]}, plaintext_footer=plaintext_footer
        )
        keys = factory.file_encryption_properties(encryption.KmsConnectionConfig(), how)
        with pq.ParquetWriter(path, table.schema, encryption_properties=keys) as writer:
            writer.write_table(table)


@pytest.fixture
def secret():
    return pa.table({"x": [0.0, 1.0, 9.0, 10.0], "s": np.arange(4.0), "v": [[1.0, 2.0]] * 4})


def test_plain_columns_beside_encrypted_ones_are_read(fit, run, secret, tmp_path):
    Keys.write(secret, tmp_path / "a.parquet", plaintext_footer=True)
    answer = fit(tmp_path / "a.parquet", tmp_path / "out", "--k=2", "--features=x")
    assert answer.labels[0] == answer.labels[1] != answer.labels[2]
    for options in (["--features=s"], ["--features=x,s"], ["--features=x", "--keys=s"]):
        path = tmp_path / "a.parquet"
        ran = run("fit", f"--input={path}", f"--output={tmp_path}2", "--k=2", *options)
        assert ran.code == 3
        assert f"{tmp_path / 'a.parquet'}: column 's' is encrypted" in ran.stderr


def test_a_file_that_is_encrypted(run, secret, tmp_path):
    Keys.write(secret, tmp_path / "a.parquet", plaintext_footer=False)
    ran = run("fit", f"--input={tmp_path}", f"--output={tmp_path}2", "--k=2", "--features=x")
    assert ran.code == 3
    assert f"{tmp_path / 'a.parquet'} is an encrypted Parquet file" in ran.stderr
