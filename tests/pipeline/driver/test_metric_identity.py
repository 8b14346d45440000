"""A metric is any callable, and what it computes is a part of what a job is."""

import importlib
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from kmeans_tf import get_metric
from pipeline.driver.attempt import Attempt
from pipeline.driver.metric_identity import metric_identity
from tests.pipeline.answer import Answer

NAMES = (
    *("pseudo_huber", "partial_power", "lambda_power", "closed_power", "graph_power"),
    *("called_power", "method_power", "weighted_l1"),
)
TRAIN = ("--features=f0,f1", "--k=3", "--optimizer=adam", "--learning_rate=0.5")


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """write_module(name, text): a module as a new process would import it."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a cache goes by the second
    written = set()

    def forget():
        for name in written:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        get_metric.cache_clear()

    def write(name, text):
        (folder / f"{name}.py").write_text(text)
        written.add(name)
        forget()

    yield write
    forget()


# What it is made of

IMPORTS = "import functools, math, os\nimport numpy as np\nimport tensorflow as tf\n"
POWER = "def power(a, b, p=2.0):\n    return tf.reduce_sum(tf.abs(a - b) ** p, 1)\n"
HELPERS = f"{IMPORTS}P = 1.5\nTABLE = {{'p': [1.5, 2.5]}}\n{POWER}"
MAKE = "def make(p):\n    def cost(a, b):\n        return power(a, b, p)\n    return cost\n"
CLASS = (
    "class Power:\n"
    "    def __init__(self, p):\n        self.p = p\n"
    "    def __call__(self, a, b):\n        return power(a, b, self.p)\n"
)
SLOTS = CLASS.replace("class Power:\n", "class Power:\n    __slots__ = ('p',)\n")
PARAMETER = "P = float(os.environ['KMEANS_TF_TEST_POWER'])\n"

# (the metric's module, which imports `helpers`; what of a text is changed, to what)
CHANGES = {
    "a constant": (f"{POWER}Q = 1.5\ncost = lambda a, b: power(a, b, Q)\n", "Q = 1.5", "Q = 1.25"),
    "a comment in the module": (f"{POWER}cost = power  # so\n", "# so", "# or so"),
    "a constant of another module": (
        "from helpers import P, power\ndef cost(a, b):\n    return power(a, b, P)\n",
        "P = 1.5",
        "P = 1.75",
    ),
    "an attribute of another module": (
        "import helpers\ndef cost(a, b):\n    return helpers.power(a, b, helpers.P)\n",
        "P = 1.5",
        "P = 1.75",
    ),
    "a container of another module": (
        "from helpers import TABLE, power\ncost = lambda a, b: power(a, b, TABLE['p'][0])\n",
        "[1.5, 2.5]",
        "[1.5, 2.25]",
    ),
    "a function of another module": ("from helpers import power as cost\n", "tf.abs(", "tf.sin("),
    "what another module gives to a partial": (
        "from helpers import P, power\ncost = functools.partial(power, p=P)\n",
        "P = 1.5",
        "P = 1.75",
    ),
    "what another module gives to an instance": (
        f"from helpers import P, power\n{CLASS}cost = Power(P)\n",
        "P = 1.5",
        "P = 1.75",
    ),
}

# Modules whose text stays as it is, with the environment's number as P.
PLACES = {
    "a global": "cost = lambda a, b: power(a, b, P)\n",
    "a global in a function within": (
        "def cost(a, b):\n    return (lambda: power(a, b, P))()\nother = P\n"
    ),
    "a default": "def cost(a, b, p=P):\n    return power(a, b, p)\n",
    "a default by keyword": "def cost(a, b, *, p=P):\n    return power(a, b, p)\n",
    "a cell": f"{MAKE}cost = make(P)\n",
    "a cell of a tf.function": f"{MAKE}cost = tf.function(make(P))\n",
    "a partial's keyword": "cost = functools.partial(power, p=P)\n",
    "a partial of a partial": "cost = functools.partial(functools.partial(power), p=P)\n",
    "an instance": f"{CLASS}cost = Power(P)\n",
    "a slot": f"{SLOTS}cost = Power(P)\n",
    "a method's instance": f"{CLASS}cost = Power(P).__call__\n",
    "an instance in an instance": f"{CLASS}cost = Power(Power(P))\n",
    "an array": f"{CLASS}cost = Power(np.array([1.0, P]))\n",
    "a tensor": f"{CLASS}cost = Power(tf.constant([[1.0, P]]))\n",
    "a variable": f"{CLASS}cost = Power(tf.Variable(P))\n",
    "a container": f"{CLASS}cost = Power({{'p': (None, True, 'a', [P])}})\n",
    "a set": f"{CLASS}cost = Power({{'a', 'b', P}})\n",
    "the bound": "def cost(a, b):\n    return power(a, b)\ncost.gradient_bound = P\n",
    "a property": (
        "class Of:\n    @property\n    def p(self):\n        return P\n"
        "    @staticmethod\n    def still():\n        return 0\n"
        "ITS = Of()\ndef cost(a, b):\n    return power(a, b, ITS.p)\n"
    ),
    "an abstract class's": (
        "import abc\nclass Of(abc.ABC):\n    __slots__ = ('p',)\n"
        "ITS = Of()\nITS.p = P\ndef cost(a, b):\n    return power(a, b, ITS.p)\n"
    ),
    "what functools.cache holds": "cost = functools.cache(lambda a, b: power(a, b, P))\n",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_text_that_changes_is_another_metric(write_module, change):
    text, before, after = CHANGES[change]
    write_module("helpers", HELPERS)
    write_module("mine", IMPORTS + text)
    first = metric_identity(get_metric("mine:cost"))
    assert (before in HELPERS) + (before in text) == 1
    write_module("helpers", HELPERS.replace(before, after))
    write_module("mine", IMPORTS + text.replace(before, after))
    assert metric_identity(get_metric("mine:cost")) != first


@pytest.mark.parametrize("place", PLACES)
def test_a_value_that_changes_is_another_metric(write_module, monkeypatch, capsys, place):
    def identity(number):
        monkeypatch.setenv("KMEANS_TF_TEST_POWER", number)
        write_module("mine", IMPORTS + PARAMETER + POWER + PLACES[place])
        return metric_identity(get_metric("mine:cost"))

    first = identity("1.5")
    assert identity("1.75") != first
    assert identity("1.5") == first
    assert capsys.readouterr().err == ""


CONF = "import os\nSCALE = float(os.environ['KMEANS_TF_TEST_POWER'])\n"
READS = {
    "of a module": "import conf\ndef cost(a, b):\n    return power(a, b, conf.SCALE)\n",
    "in a function within": (
        "import conf\ndef cost(a, b):\n    return (lambda: power(a, b, conf.SCALE))()\n"
    ),
    "of a module's module": "import outer\ncost = lambda a, b: power(a, b, outer.conf.SCALE)\n",
    "of one that is imported within": (
        "import conf as _\ndef cost(a, b):\n    import conf\n    return power(a, b, conf.SCALE)\n"
    ),
    "by another module's function": (
        "import outer\ndef cost(a, b):\n    return power(a, b, outer.scale())\n"
    ),
}


@pytest.mark.parametrize("read", READS)
def test_an_attribute_that_changes_is_another_metric(write_module, monkeypatch, capsys, read):
    def identity(number):
        monkeypatch.setenv("KMEANS_TF_TEST_POWER", number)
        write_module("conf", CONF)
        write_module("outer", "import conf\ndef scale():\n    return conf.SCALE\n")
        write_module("mine", IMPORTS + POWER + READS[read])
        return metric_identity(get_metric("mine:cost"))

    first = identity("1.5")
    assert identity("1.75") != first
    assert identity("1.5") == first
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            "class Held:\n    def __init__(self):\n"
            "        self.lock, self.p = __import__('threading').Lock(), 2.0\n"
            "HELD = Held()\ndef cost(a, b):\n    return power(a, b, HELD.p)\n",
            "HELD: what a _thread.lock holds cannot be told",
        ),
        (
            "POWERS = np.array([2.0, None])\ncost = lambda a, b: power(a, b, POWERS[0])\n",
            "POWERS: an array of object",
        ),
        (
            "import conf\ndef cost(a, b):\n    return power(a, b, next(conf.SCALES))\n",
            "SCALES: what a builtins.generator holds cannot be told",
        ),
        (
            f"{CLASS}Power.held = open(__file__)\ncost = Power(2.0)\n",
            "held: what a _io.TextIOWrapper holds cannot be told",
        ),
    ],
)
def test_what_is_read_and_cannot_be_known_is_named(write_module, capsys, text, named):
    write_module("conf", "SCALES = (number for number in (2.0,))\n")
    write_module("mine", IMPORTS + POWER + text)
    metric = get_metric("mine:cost")
    assert metric_identity(metric) != metric_identity(metric)
    assert f"metric mine:cost cannot be identified: {named}" in capsys.readouterr().err


def test_an_instance_that_holds_itself_is_known(write_module):
    text = f"{IMPORTS}{POWER}{CLASS}cost = Power(1.5)\ncost.me = [cost]\n"
    write_module("mine", text)
    first = metric_identity(get_metric("mine:cost"))
    write_module("mine", text)
    assert metric_identity(get_metric("mine:cost")) == first


def test_a_library_is_known_by_its_name(write_module, capsys):
    write_module("mine", f"{IMPORTS}cost = functools.partial(tf.norm, ord=np.inf, axis=math.floor)")
    first = metric_identity(get_metric("mine:cost"))
    assert metric_identity(get_metric("mine:cost")) == first
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("__import__('threading').Lock()", "_thread.lock"),
        ("(number for number in ())", "builtins.generator"),
        ("[{1: open(__file__)}]", "_io.TextIOWrapper"),
        ("np.array([print])", "array of object"),
        ("eval('lambda: 0', {'__name__': 'nowhere'})", "<lambda> is of no module"),
    ],
)
def test_what_cannot_be_known_is_never_the_same_and_a_line_says_so(
    write_module, capsys, value, named
):
    write_module("mine", f"{IMPORTS}{POWER}{CLASS}cost = Power({value})\n")
    metric = get_metric("mine:cost")
    assert metric_identity(metric) != metric_identity(metric)
    first, second = capsys.readouterr().err.splitlines()
    assert first == second
    assert first.startswith("metric mine:cost cannot be identified: ")
    assert first.endswith(": the job starts anew")
    assert named in first


def test_it_is_the_same_in_every_process():
    code = (
        "from kmeans_tf import get_metric\n"
        "from pipeline.driver.metric_identity import metric_identity\n"
        f"for name in {NAMES}:\n"
        "    print(metric_identity(get_metric(f'tests.user_metrics:{name}')))\n"
    )
    hashes = str(1 + int(os.environ.get("PYTHONHASHSEED", "0").replace("random", "0")))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": hashes},
    )
    here = [metric_identity(get_metric(f"tests.user_metrics:{name}")) for name in NAMES]
    assert done.stdout.split() == here
    assert len(set(here)) == len(NAMES)


# The job


@pytest.mark.parametrize("name", ["lambda_power", "graph_power", "partial_power", "called_power"])
def test_any_callable_trains_and_labels(fit, three_blobs, tmp_path, closed, name):
    args = (*TRAIN, f"--metric=tests.user_metrics:{name}", "--max_iterations=2")
    answer = fit(three_blobs.folder, tmp_path / "out", *args)
    np.testing.assert_array_equal(answer.labels, closed.labels)
    np.testing.assert_allclose(answer.costs, closed.costs, rtol=1e-9)
    np.testing.assert_allclose(answer.distances, closed.distances, rtol=1e-6)


@pytest.fixture(scope="module")
def closed(fit, three_blobs, tmp_path_factory):
    args = (*TRAIN, "--metric=tests.user_metrics:closed_power", "--max_iterations=2")
    return fit(three_blobs.folder, tmp_path_factory.mktemp("closed") / "out", *args)


def test_a_metric_that_fails_is_named_with_its_option(run, three_blobs, tmp_path):
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, *TRAIN, "--metric=tests.user_metrics:silent")
    assert ran.code == 2
    assert re.fullmatch(
        "kmeans-tf: error: --metric: 'tests.user_metrics:silent' fails on two rows: "
        r"AssertionError \(.*/tests/user_metrics\.py, line \d+\)\n",
        ran.stderr,
    )


@pytest.mark.parametrize(
    ("code", "reason", "line"),
    [
        ("import sys\n\nsys.exit('not today')", "SystemExit: not today", 3),
        ("raise SystemExit", "SystemExit", 1),
        ("x = 1\ncost = (", "SyntaxError: '(' was never closed", 2),
        ("def f():\n\treturn 1\n        return 2", "TabError: inconsistent use of", 3),
        ("x = 1\n\n\nx.y", "AttributeError: 'int' object has no attribute 'y'", 4),
        ("import json\njson.loads('{')", "JSONDecodeError: Expecting property name", 2),
        ("class Stop(BaseException): pass\nraise Stop('now')", "Stop: now", 2),
    ],
)
def test_what_a_module_raises_on_import_is_told_with_its_place(
    run, three_blobs, tmp_path, code, reason, line
):
    path = tmp_path / "spoilt.py"
    path.write_text(code)
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    ran = run("fit", *places, *TRAIN, f"--metric={path}:cost")
    assert ran.code == 2
    (told,) = ran.stderr.splitlines()
    assert f"--metric: metric '{path}:cost' cannot be imported: {reason}" in told
    assert told.endswith(f"({path}, line {line})")
    assert not (tmp_path / "out").exists()


def stopped_fit(run, three_blobs, output, *args):
    """A command line whose job trained with `mine:cost` and failed before its labels."""

    def fail(*args):
        raise OSError(5, "Input/output error")

    places = (f"--input={three_blobs.folder}", f"--output={output}")
    command = ("fit", *places, *TRAIN, "--metric=mine:cost", *args)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Attempt, "label", fail)
        ran = run(*command, "--max_iterations=3")
    assert ran.code == 5, ran.stderr
    return (*command, "--max_iterations=3")


def test_a_constant_that_changes_before_the_job_resumes_begins_another(
    run, fit, three_blobs, tmp_path, write_module
):
    text = f"{IMPORTS}{POWER}P = 1.5\ncost = functools.partial(power, p=P)\n"
    changed = text.replace("P = 1.5", "P = 1.125")
    write_module("mine", text)
    command = stopped_fit(run, three_blobs, tmp_path / "out")
    write_module("mine", changed)
    ran = run(*command, "--resume=require")
    assert ran.code == 2
    assert "metric_code was" in ran.stderr
    write_module("mine", text)
    assert run(*command, "--check").code == 0
    write_module("mine", changed)
    ran = run(*command)
    assert ran.code == 0, ran.stderr
    assert "resuming" not in ran.stderr
    other = fit(three_blobs.folder, tmp_path / "other", *command[3:])
    np.testing.assert_array_equal(Answer(tmp_path / "out").costs, other.costs)


def test_a_metric_that_stays_is_resumed(run, three_blobs, tmp_path, write_module):
    text = f"{IMPORTS}{POWER}{CLASS}cost = Power(1.25)\n"
    write_module("mine", text)
    command = stopped_fit(run, three_blobs, tmp_path / "out")
    write_module("mine", text)
    ran = run(*command, "--resume=require")
    assert ran.code == 0, ran.stderr
    assert "resuming after iteration 3" in ran.stderr


def test_a_metric_that_cannot_be_known_starts_anew(run, three_blobs, tmp_path, write_module):
    write_module("mine", "from tests.user_metrics import locked_power as cost\n")
    command = stopped_fit(run, three_blobs, tmp_path / "out")
    ran = run(*command)
    assert ran.code == 0, ran.stderr
    assert "metric mine:cost cannot be identified: " in ran.stderr
    assert "resuming" not in ran.stderr


def test_labels_of_a_metric_that_changed_are_not_published(
    run, fit, three_blobs, tmp_path, write_module, monkeypatch
):
    """A label run that failed before publishing does not publish the labels of another metric."""
    text = f"{IMPORTS}{POWER}P = 1.5\ncost = lambda a, b: power(a, b, P)\n"
    write_module("mine", text)
    args = (*TRAIN, "--metric=mine:cost", "--max_iterations=0")
    model = fit(three_blobs.folder, tmp_path / "model", *args)
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.driver.jobs.write_results", lambda *args, **named: 1 / 0)
        assert run("label", *places, f"--model={model.folder}", "--metric=mine:cost").code == 1
    write_module("mine", text.replace("P = 1.5", "P = 3.25"))
    assert run("label", *places, f"--model={model.folder}", "--metric=mine:cost").code == 0
    distances = Answer(tmp_path / "out").distances
    assert np.abs(distances - model.distances).max() > 1


def test_a_model_whose_metric_is_not_there_is_named(run, fit, three_blobs, tmp_path, write_module):
    write_module("mine", f"{IMPORTS}{POWER}cost = power\n")
    args = (*TRAIN, "--metric=mine:cost", "--max_iterations=0")
    model = fit(three_blobs.folder, tmp_path / "model", *args).folder
    write_module("mine", "")
    places = (f"--input={three_blobs.folder}", f"--output={tmp_path / 'out'}")
    ran = run("label", *places, f"--model={model}", "--metric=mine:cost")
    assert ran.code == 2
    assert f"--model {model}: metric 'mine:cost' cannot be imported" in ran.stderr
