"""What schedules the job: each file as its scheduler reads it, and the command that all call."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from examples import nightly
from pipeline.command_line.parse import parse

FOLDER = Path(nightly.__file__).parent
DONE, BUG, USAGE, DATA, GATE, AGAIN = range(6)


@pytest.fixture
def night(tmp_path):
    """night(*args): runs fit.sh with a command that writes down its words -> the words."""
    told = tmp_path / "words"
    command = tmp_path / "kmeans-tf"
    command.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{told}"\n')
    command.chmod(0o755)

    def run(*args):
        places = {"TABLE": f"{tmp_path}/table", "ANSWERS": f"{tmp_path}/answers"}
        environment = {"PATH": "/usr/bin:/bin", "KMEANS_TF": str(command)} | places
        subprocess.run([FOLDER / "fit.sh", *args], check=True, env=environment)
        return told.read_text().splitlines() if told.exists() else None

    return run


def test_the_command_is_one_that_the_job_takes(night, tmp_path):
    options = parse(night("2026-03-01"))
    assert str(options.day) == "2026-03-01"
    assert options.output.output == f"{tmp_path}/answers/{{date}}"
    assert options.init == f"{tmp_path}/answers/{{yesterday}}"
    assert len(options.gates) == 3
    assert parse(night()).day is not None


def test_a_night_that_is_done_is_left_alone(night, tmp_path):
    done = tmp_path / "answers" / "2026-03-01"
    done.mkdir(parents=True)
    (done / "_SUCCESS").touch()
    assert night("2026-03-01") is None
    assert night("2026-03-02") is not None


def test_the_line_of_cron():
    lines = (FOLDER / "crontab").read_text().splitlines()
    [line] = [each for each in lines if each and each[0] not in "#MC"]
    minute, hours, *days, command = line.split()
    assert (minute, hours.split(","), days) == ("15", ["2", "4", "6"], ["*"] * 3)
    assert command.endswith("/examples/nightly/fit.sh")


def test_systemds_units(tmp_path):
    units = {}
    for path in FOLDER.glob("kmeans-tf*"):
        units[path.name] = configparser.ConfigParser(interpolation=None)
        units[path.name].optionxform = str
        units[path.name].read(path)
    service = units["kmeans-tf.service"]
    given_up = service["Service"]["RestartPreventExitStatus"].split()
    assert given_up == [str(code) for code in (BUG, USAGE, DATA, GATE)]
    assert service["Unit"]["OnFailure"] in units
    assert units["kmeans-tf.timer"]["Timer"]["Persistent"] == "true"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_systemd_finds_nothing_wrong(tmp_path):
    for path in FOLDER.glob("kmeans-tf*"):
        text = path.read_text().replace("/opt/kmeans-tf/examples/nightly", str(FOLDER))
        (tmp_path / path.name).write_text(text.replace("User=kmeans-tf\n", ""))
    units = [tmp_path / path.name for path in FOLDER.glob("kmeans-tf*")]
    ran = subprocess.run(
        ["systemd-analyze", "verify", *units], check=False, capture_output=True, text=True
    )
    told = [line for line in ran.stderr.splitlines() if "kmeans-tf" in line]
    assert not told, told


def test_the_cron_job_of_kubernetes():
    job = yaml.safe_load((FOLDER / "cronjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    inner = job["spec"]["jobTemplate"]["spec"]
    assert inner["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [
        BUG,
        USAGE,
        DATA,
        GATE,
    ]
    assert inner["template"]["spec"]["restartPolicy"] == "Never"  # as the policy asks
    [container] = inner["template"]["spec"]["containers"]
    assert container["command"][0].endswith("/examples/nightly/fit.sh")
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    kubernetes_validate.validate(job, "1.31", strict=True)
