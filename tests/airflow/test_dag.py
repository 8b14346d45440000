"""The night's DAG run by a real Airflow, and how often it tries which exit code.

The job itself is a command here that only writes down its words, and ends as it is told.
"""

import subprocess
from pathlib import Path

import pytest

from examples import nightly

ROOT = Path(__file__).resolve().parents[2]
AIRFLOW = ROOT / ".venv-airflow" / "bin" / "airflow"
COMMAND = """\
#!/bin/sh
echo "$@" >> "$CALLS"
exit "$(echo "$CODES" | cut -d ' ' -f "$(wc -l < "$CALLS")")"
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    """airflow(*words, **variables): runs it in a home of its own -> the process that is over."""
    home = tmp_path_factory.mktemp("airflow")
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(nightly.__file__).parent),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
    }

    def run(*words, **variables):
        return subprocess.run(
            [AIRFLOW, *words],
            check=False,
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    migrated = run("db", "migrate")
    assert migrated.returncode == 0, migrated.stdout
    return run


@pytest.mark.parametrize(
    ("codes", "tries", "told"),
    [
        ("0", 1, ""),
        ("5 0", 2, "the runner or the disk failed: the next try resumes"),
        ("5", 4, "the runner or the disk failed: the next try resumes"),
        ("4", 1, "exit code 4: a gate said no"),
        ("3", 1, "exit code 3: the data is not as agreed"),
    ],
    ids=lambda value: f"exit {value}" if isinstance(value, str) and len(value) < 4 else None,
)
def test_a_night(airflow, tmp_path, codes, tries, told):
    command, calls = tmp_path / "kmeans-tf", tmp_path / "calls"
    command.write_text(COMMAND)
    command.chmod(0o755)
    places = {"TABLE": f"{tmp_path}/table", "ANSWERS": f"{tmp_path}/answers"}
    variables = {"KMEANS_TF": str(command), "CALLS": str(calls), "CODES": codes}
    ran = airflow("dags", "test", "kmeans_tf", "2026-03-01", **variables, **places)
    nights = calls.read_text().splitlines()
    assert len(nights) == tries, ran.stdout
    assert all(night.startswith("fit --date 2026-03-01 ") for night in nights)
    assert (ran.returncode == 0) == codes.endswith("0"), ran.stdout
    assert told in ran.stdout
