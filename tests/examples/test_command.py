"""A command of the job as a user would run it, in a process of its own that loads no library."""

import pytest

from examples import command


def test_a_command_is_printed_and_run(capfd):
    command.run("report", "--help")
    told = capfd.readouterr().out
    assert told.startswith("$ ")
    assert "python -m pipeline report --help\nusage: kmeans-tf report" in told


def test_a_failed_command_ends_the_example_with_its_exit_code(capfd):
    with pytest.raises(SystemExit) as ended:
        command.run("fit", "--input=nowhere")
    assert ended.value.code == 2
    assert "--output" in capfd.readouterr().err
