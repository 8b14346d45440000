"""The report is read as a browser would: parsed, then asked for what it shows."""

import copy
import html.parser
import json
import re

import numpy as np
import pyarrow as pa
import pytest

from pipeline.output.profile import Values
from pipeline.output.report import MAX_BARS, prototype_table, render_report
from pipeline.output.run_record import RunRecord
from pipeline.output.tables import Tables
from pipeline.output.words import breakable, change, duration, number, percent, setting, short

VOID = {"br", "hr", "img", "input", "link", "meta", "wbr"}
LOADING = {"src", "href", "srcset", "action", "data", "poster", "background"}
HOSTILE = "</th><script>alert(\"1\")</script> & 'é,日本' $x_1^$ {{ 7 * 7 }} %s "


class Page(html.parser.HTMLParser):
    """Keeps elements and texts; fails where a tag is closed that is not the one open."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(attrs) == len(dict(attrs)), f"an attribute twice in <{tag}>"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at line {self.getpos()[0]}"

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.elements if name == tag]

    def words(self, *tags: str) -> list[str]:
        return [text for tag, text in self.texts if not tags or tag in tags]

    def tiles(self) -> dict[str, str]:
        return dict(zip(self.words("dt"), self.words("dd"), strict=True))

    def said(self, *tags: str) -> str:
        return " ".join(" ".join(self.words(*tags)).split())

    def figures(self) -> list[str]:
        return [attrs["aria-label"] for attrs in self.all("div") if attrs.get("role") == "img"]


def case(k: int = 3, iterations: int = 20, features: tuple[str, ...] = ("x", "y")) -> dict:
    """A run whose numbers are made up but agree with each other."""
    rng = np.random.default_rng(k)
    centres = rng.normal(scale=8, size=(k, len(features)))
    rows = rng.integers(1, 10_000, k)
    cost = 900 + 20_000 * 0.6 ** np.arange(iterations)
    final = float(cost[-1]) if iterations else 940.4503219
    labels = np.arange(k) * 7 + 5
    near = rng.integers(0, k, 200)
    x, y = centres[:, 0], centres[:, -1]
    return {
        "run": {
            "run_id": "night-1",
            "command": ["python", "-m", "pipeline", "fit", "--input", "a b/*.parquet"],
            "configuration": {"k": [k], "tolerance": 1e-4, "deadline": None, "metric": "cosine"},
            "schema": {
                "features": list(features),
                "layout": "scalars",
                "keys": {"id": "int64"},
                "weight": None,
            },
            "counts": {
                "files": 12,
                "row_groups": 120,
                "blocks": 40,
                "rows": 12_345_678,
                "bad_rows": 0,
                "bad": [],
                "weight": 12_345_678.0,
                "sample_rows": 65_536,
            },
            "versions": {"tensorflow": "2.18.0"},
            "input": {"fingerprint": "9f" * 32, "bytes": 9_876_543_210},
            "seconds": {
                "scan": 12.345,
                "seed": 1.5,
                "train": 1234.5,
                "label": 60.2,
                "publish": None,
                "iterations": rng.gamma(9, size=iterations).tolist(),
            },
            "result": {
                "k": k,
                "iterations": iterations,
                "status": "max_iterations" if iterations else "given",
                "cost": final,
                "relocated": 0,
            },
            "scatter": {"x": features[0], "y": features[-1]},
            "warnings": [],
        },
        "scatter": places(
            [("row", x[i] + 0.1, y[i] - 0.1, labels[i]) for i in near.tolist()]
            + [("prototype", x[i], y[i], labels[i]) for i in range(k)]
        ),
        "features": figures_of(features),
        "typical": None,
        "trials": None,
        "history": history(cost),
        "prototypes": pa.table(
            [labels.astype("int32"), rows, rows.astype(float), rows * 1.25, *centres.T],
            names=["label", "rows", "weight", "cost", *features],
        ),
    }


def render(made: dict) -> str:
    """The page of a case."""
    run = RunRecord.parse(json.dumps(made["run"] | {"counters": {}, "workers": []}))
    names = ("history", "prototypes", "features", "scatter", "typical", "trials")
    return render_report(run, Tables(*(made[name] for name in names)))


def places(rows: list[tuple]) -> pa.Table:
    """A scatter: kind, x, y, label."""
    columns = list(zip(*rows, strict=True)) if rows else [[], [], [], []]
    kinds = (pa.string(), pa.float64(), pa.float64(), pa.int32())
    arrays = [pa.array(list(c), kind) for c, kind in zip(columns, kinds, strict=True)]
    return pa.table(arrays, names=["kind", "x", "y", "label"])


def figures_of(features: tuple[str, ...]) -> pa.Table:
    """Features of mean 1 and deviation 2."""
    d = len(features)
    columns = {"mean": [1.0] * d, "standard_deviation": [2.0] * d, "minimum": [-9.0] * d}
    table = pa.table({"feature": list(features)} | columns | {"maximum": [9.0] * d})
    return table.replace_schema_metadata({b"exact": b"yes"})


def history(cost: list[float], trial: int = 0, relocated: list[int] | None = None) -> pa.Table:
    n = len(cost)
    columns = {
        "trial": pa.array([trial] * n, pa.int32()),
        "iteration": pa.array(range(n), pa.int32()),
        "cost": pa.array(cost, pa.float64()),
        "relocated": pa.array(relocated or [0] * n, pa.int32()),
    }
    return pa.table(columns)


def with_bad_rows(count: int) -> dict:
    made = case()
    made["run"]["counts"] |= {
        "bad_rows": sum(range(count + 1)),
        "bad": [
            {"file": f"part-{i}.parquet", "column": "x", "reason": "NaN", "rows": i}
            for i in range(1, count + 1)
        ],
    }
    bad = [("row", 1.0, 2.0, -1), ("row", None, 2.0, -1), ("row", float("nan"), 1.0, 5)]
    made["scatter"] = pa.concat_tables([made["scatter"], places(bad)])
    return made


def without_scatter() -> dict:
    made = case()
    made["scatter"] = None
    return made


def hostile() -> dict:
    """Everything that is a name or a text is hostile."""
    made = case(features=(HOSTILE, HOSTILE + "2"))
    run = made["run"]
    run["run_id"] = HOSTILE
    run["command"] += [HOSTILE]
    run["configuration"] |= {HOSTILE: HOSTILE, "keys": [HOSTILE]}
    run["schema"] |= {"keys": {HOSTILE: "string"}, "weight": HOSTILE}
    run["counts"] |= {
        "bad_rows": 1,
        "bad": [{"file": HOSTILE, "column": HOSTILE, "reason": HOSTILE, "rows": 1}],
    }
    run["versions"] |= {HOSTILE: HOSTILE}
    run["warnings"] = [HOSTILE]
    return made


def with_list_column() -> dict:
    made = case(features=("vector",))
    vectors = pa.array(np.arange(60.0).reshape(3, 20).tolist(), pa.list_(pa.float32(), 20))
    made["prototypes"] = made["prototypes"].set_column(4, "vector", vectors)
    made["features"] = figures_of(tuple(f"vector[{i}]" for i in range(20)))
    made["run"]["schema"]["layout"] = "list"
    return made


def with_nothing() -> dict:
    made = case(iterations=0)
    made["prototypes"] = made["prototypes"].slice(0, 0)
    made["run"] |= {"configuration": {}, "versions": {}, "command": []}
    made["scatter"] = places([])
    made["run"]["schema"] |= {"features": [], "keys": {}}
    made["run"]["seconds"] = {"scan": 0.0, "iterations": []}
    return made


def two_nights() -> dict:
    """Held against last night: a gate that failed, labels that were matched, rows to look at."""
    made = case(k=16, features=tuple(f"feature {i}" for i in range(5)))
    run, labels = made["run"], made["prototypes"].column(0).to_pylist()
    run["gates"] = [
        {"text": "cost_increase<=0.10", "value": 0.02, "passed": True},
        {"text": "moved_share<=0.2", "value": 0.31, "passed": False},
    ]
    moved = [{"label": n, "previous_rows": 9, "rows": 8, "move": 0.25} for n in labels[1:]]
    run["match"] = {
        "previous": "out/monday",
        "labels": moved,
        "new": labels[:1],
        "gone": [3],
        "moved_share": 0.31,
        "previous_cost_per_weight": 2.5,
    }
    run["previous_seconds"] = 600.0
    run["compared"] = {
        "what": "last run",
        "path": "out/monday",
        "run_id": "night-0",
        "rows": 10_000_000,
        "bad_rows": 100,
        "cost_per_weight": 2.5,
        "seconds": None,
        "costs": [9.0, 3.0, 2.5],
        "clusters": [{"label": n, "rows": 9, "cost_per_weight": 4.0} for n in labels[1:]],
    }
    before = [("before", 0.0, 0.0, n) for n in labels[1:]]
    made["scatter"] = pa.concat_tables([made["scatter"], places(before)])
    near = [{"label": labels[0], "distance": 0.5, "file": "a.parquet", "row": 7, "keys": ["41"]}]
    made["typical"] = pa.Table.from_pylist(near)
    made["trials"] = pa.table(
        {"trial": [0, 1], "k": [8, 16], "cost": [9.0, 4.0]}
        | {name: [0.5, 0.75] for name in ("silhouette", "davies_bouldin", "calinski_harabasz")}
        | {"chosen": [False, True]}
    )
    return made


CASES = {
    "two nights": two_nights,
    "typical": case,
    "no iteration": lambda: case(iterations=0),
    "one cluster": lambda: case(k=1, iterations=1),
    "many clusters": lambda: case(1000, 1000, tuple(f"f{i}" for i in range(30))),
    "hostile names": hostile,
    "bad rows": lambda: with_bad_rows(70),
    "no scatter": without_scatter,
    "list column": with_list_column,
    "nothing": with_nothing,
}


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: render(make()) for name, make in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_page_is_whole_and_alone(name: str, pages: dict[str, str]) -> None:
    page = Page(pages[name])
    assert pages[name].startswith("<!DOCTYPE html>")
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.words("title")) == len(page.words("h1")) == 1
    assert not {"script", "link", "iframe", "img", "object"} & {tag for tag, _ in page.elements}
    references = [a[key] for _, a in page.elements for key in LOADING & a.keys()]
    references += re.findall(r"url\(([^)]*)\)", pages[name])
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {reference.removeprefix("#") for reference in references} <= set(ids)
    assert all(key[:2] != "on" for _, a in page.elements for key in a)
    assert "@import" not in pages[name] and "#0000" not in pages[name]


@pytest.mark.parametrize("name", CASES)
def test_page_speaks(name: str, pages: dict[str, str]) -> None:
    page = Page(pages[name])
    assert len(page.figures()) == len(page.all("svg")) == len(page.all("figure"))
    assert all(page.figures())
    assert all(th["scope"] in ("row", "col") for th in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    ids = {a.get("id") for _, a in page.elements}
    assert {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a} <= ids


@pytest.mark.parametrize("name", CASES)
def test_same_run_same_page(name: str, pages: dict[str, str]) -> None:
    made = CASES[name]()
    before = copy.deepcopy(made["run"])
    assert render(made) == pages[name]
    assert repr(made["run"]) == repr(before)


def test_page_does_not_depend_on_matplotlib_settings(pages: dict[str, str]) -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.grid": False}):
        assert render(case()) == pages["typical"]
        assert matplotlib.rcParams["font.size"] == 30


def test_headline(pages: dict[str, str]) -> None:
    page = Page(pages["typical"])
    assert page.words("h1") == page.words("title")[0].split(" · ")[:1]
    assert page.words("h1") == ["3 clusters of 12,345,678 rows"]
    tiles = page.tiles()
    rows = sum(case()["prototypes"].column(1).to_pylist())
    largest = max(case()["prototypes"].column(1).to_pylist())
    assert tiles["Largest cluster"] == percent(largest / rows)
    assert tiles["Cost per row"] == number(901.219 / 12_345_678, 4)
    assert tiles["Iterations"] == "20"
    assert tiles["Time"] == "21 min 49 s"
    assert tiles["Bad rows"] == "0"
    assert page.words("h2")[0] == "Done, with 1 remark"
    assert any("before it converged" in text for text in page.words("li"))
    assert "Bad rows" not in page.words("h2")


def test_figures_and_command(pages: dict[str, str]) -> None:
    page = Page(pages["typical"])
    assert [alt.split()[0] for alt in page.figures()] == ["Sampled", "Rows", "Cost", "Seconds"]
    assert {"5", "12", "19"} <= set(page.words("text"))  # the labels of the bars
    assert page.words("pre") == ["python -m pipeline fit --input 'a b/*.parquet'"]
    marks = re.findall(r'href="#scatter-[^>]*?--(\w+)', pages["typical"])
    assert marks.count("red") == 3
    assert {mark for mark in marks if mark[0] == "c"} == {"c0", "c1", "c2"}


def test_nothing_that_was_not_set_is_told(pages: dict[str, str]) -> None:
    page = Page(pages["typical"])
    assert "deadline" not in page.words("th") and "null" not in page.words("td")
    assert pages["typical"].count("9f" * 32) == 1


def test_two_nights(pages: dict[str, str]) -> None:
    page = Page(pages["two nights"])
    assert page.words("h2")[0] == "Bad: 1 of 2 gates failed"
    assert {"passed", "failed"} <= set(page.words("td"))
    assert {"10,000,000", "+23.5 %", "31.0 %", "10 min 00 s"} <= set(page.words("td"))
    captions = page.said("caption")
    assert "New: 5." in captions and "Gone, and never given again: 3." in captions
    assert "an arrow comes from where one was in the last run" in page.said("figcaption")
    hues = set(re.findall(r'href="#scatter-[^>]*?--(c\d)', pages["two nights"]))
    assert len(hues) == 8, "of which every other shape has one again"
    assert "41" in page.words("td")
    assert "Trials" in page.words("h2") and "1, chosen" in page.words("th")


def test_the_largest_clusters_come_first(pages: dict[str, str]) -> None:
    prototypes = case()["prototypes"]
    rows = prototypes.column(1).to_numpy()
    labels = prototypes.column(0).to_numpy()[np.argsort(-rows)].tolist()
    tables = re.findall(r"<tbody>.*?</tbody>", pages["typical"], re.S)
    first = [re.findall(r'<tr><th scope="row">(\d+)</th>', table) for table in tables]
    assert [list(map(int, each)) for each in first if len(each) == len(labels)] == [labels] * 4


def test_who_moved_most_is_said() -> None:
    made = two_nights()
    moved = made["run"]["match"]["labels"]
    for entry, move in zip(moved, np.arange(len(moved)) / 100, strict=True):
        entry["move"] = float(move)
    last = moved[-1]["label"]
    told = f"in spreads of the cluster; most {last} (0.14), {last - 7} (0.13), {last - 14} (0.12)."
    assert told in Page(render(made)).said("caption")


def test_what_the_best_was_chosen_by_is_drawn() -> None:
    made = two_nights()
    made["run"]["configuration"]["choose"] = "davies_bouldin"
    page = Page(render(made))
    figures = [alt for alt in page.figures() if "of each trial" in alt]
    assert [alt.split(" of ")[0] for alt in figures] == ["Cost", "Davies bouldin"]
    assert "small is good" in page.said("figcaption")
    assert "of which the best was chosen by davies bouldin" in page.said("caption")
    weight = made["run"]["counts"]["weight"]
    assert number(9.0 / weight, 4) in page.words("td"), "costs are per row"


def test_a_long_name_may_break_where_its_words_end() -> None:
    assert str(breakable("a_b.c<d")) == "a_<wbr>b.<wbr>c&lt;d"


def test_the_profile_tells_what_sets_a_cluster_apart() -> None:
    made = case(k=2, features=("orders", "basket"))
    table = made["prototypes"].set_column(4, "orders", pa.array([3.0, 1.0]))
    made["prototypes"] = table.set_column(5, "basket", pa.array([-9.0, 1.0]))
    page = Page(render(made))
    assert "basket \u22129 (\u22125.0 sd), orders 3 (+1.0 sd)" in page.words("td")
    assert "near the mean in every feature" in page.words("td")
    heads = page.words("th")
    assert heads.index("basket") < heads.index("orders"), "the most telling first"


def test_hostile_names_are_shown_and_do_nothing(pages: dict[str, str]) -> None:
    page = Page(pages["hostile names"])
    shown = page.words("th", "td")
    assert shown.count(HOSTILE) >= 5
    assert HOSTILE in page.words("li")
    assert "<script" not in pages["hostile names"] and 'alert("1' not in pages["hostile names"]
    (alt,) = (alt for alt in page.figures() if alt.startswith("Sampled"))
    assert f"{HOSTILE} across and {HOSTILE}2 up" in alt


def test_name_that_is_no_text_can_be_written() -> None:
    made = with_bad_rows(1)
    made["run"]["counts"]["bad"][0]["file"] = b"caf\xe9.parquet".decode(errors="surrogateescape")
    assert rb"caf\udce9.parquet" in render(made).encode()


def test_no_iteration_says_so(pages: dict[str, str]) -> None:
    page = Page(pages["no iteration"])
    assert page.tiles()["Iterations"] == "0"
    assert any("No iteration ran" in text and "940.45" in text for text in page.words("p"))
    assert [alt.split()[0] for alt in page.figures()] == ["Sampled", "Rows"]


def test_one_cluster_one_iteration(pages: dict[str, str]) -> None:
    page = Page(pages["one cluster"])
    assert page.words("h1") == ["1 cluster of 12,345,678 rows"]
    assert any("The one iteration took" in text for text in page.words("p"))


def test_many_clusters_are_ranked_and_cut(pages: dict[str, str]) -> None:
    page = Page(pages["many clusters"])
    captions = [" ".join(text.split()) for text in page.words("caption")]
    cut = (
        "The 50 largest of 1,000 clusters, the first 12 of 30 features, in the units of the input."
    )
    assert cut in captions
    told = page.said("p")
    assert "The 16 features of 30 that set clusters apart most" in told
    assert "the 50 largest of 1,000 clusters; the rest is in prototypes.parquet." in told
    assert any("largest first" in text for text in page.words("p"))
    assert len(pages["many clusters"]) < 1_000_000


@pytest.mark.parametrize(("k", "bars"), [(MAX_BARS, True), (MAX_BARS + 1, False)])
def test_bars_up_to_a_number_of_clusters(k: int, bars: bool) -> None:
    page = Page(render(case(k)))
    assert any("largest first" in text for text in page.words("p")) != bars


def test_bad_rows_the_most_first(pages: dict[str, str]) -> None:
    page = Page(pages["bad rows"])
    files = [text for text in page.words("th") if text.startswith("part-")]
    assert files == [f"part-{i}.parquet" for i in range(70, 20, -1)]
    assert page.tiles()["Bad rows"] == "2,485"
    assert any("20 more places" in text for text in page.words("caption"))
    assert any("a cross is a row without a label" in text for text in page.words("figcaption"))
    assert len(re.findall(r'href="#scatter-[^>]*--mark', pages["bad rows"])) == 1


def test_no_scatter_says_so(pages: dict[str, str]) -> None:
    assert any("There is no scatter" in text for text in Page(pages["no scatter"]).words("p"))


@pytest.mark.parametrize(
    ("costs", "name"),
    [
        ([100.0, 11.0, 10.0], "cost per row"),
        ([100.1, 11.0, 10.0], "cost per row (logarithmic)"),
        ([5.0, 0.0, 0.0], "cost per row (logarithmic)"),
        ([0.0], "cost per row"),
        ([940.4503241, 940.4503240], "cost per row"),
        ([float("inf"), float("nan"), 3.0], "cost per row"),
        ([1e200, 1e-30], "cost per row (logarithmic)"),
    ],
)
def test_cost_axis(costs: list[float], name: str) -> None:
    made = case(iterations=len(costs))
    made["history"] = history(costs)
    made["run"]["result"]["cost"] = costs[-1]
    assert f"↑ {name}" in Page(render(made)).words("p")


def test_trials_and_relocations() -> None:
    made = case(iterations=3)
    trials = [history([9.0, 8.0, 7.0], 0, [0, 2, 0]), history([9.0, 8.0, 6.5], 1, [1, 0, 0])]
    made["history"] = pa.concat_tables(trials)
    source = render(made)
    (caption,) = (text for text in Page(source).words("figcaption") if "ring" in text)
    assert "2 trials" in caption and "(3 in all)" in " ".join(caption.split())
    assert len(re.findall(r'href="#cost_curve-[^>]*--mark', source)) == 2


def test_prototype_table() -> None:
    listed = prototype_table(Values.of(with_list_column()["prototypes"]))
    assert listed["names"] == [f"vector[{i}]" for i in range(12)] and listed["features"] == 20
    assert listed["rows"][1][0] == 12 and listed["rows"][1][1:] == tuple(range(20, 32))
    twice = case(k=2, features=("cost", "weight"))["prototypes"]
    assert prototype_table(Values.of(twice))["names"] == ["cost", "weight"]
    assert prototype_table(Values.of(twice))["rows"][0][1] == twice.column(4)[0].as_py()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0, "0"),
        (0.0, "0"),
        (-0.0, "0"),
        (12_345_678, "12,345,678"),
        (940.4503219, "940.45"),
        (21_533.68954, "21,533.7"),
        (1_234_567.89, "1,234,568"),
        (999_999.99, "1,000,000"),
        (-0.001234567891, "\u22120.00123457"),
        (1.5e-7, "1.5e\u221207"),
        (1.23456789e20, "1.23457e+20"),
        (float("nan"), "nan"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (3.254, "3.25 s"),
        (59.7, "1 min 00 s"),
        (245, "4 min 05 s"),
        (7380, "2 h 03 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_setting() -> None:
    values = ["a,b", ["a,b", "é"], [["hour", "int64"]], False, 1e-4]
    assert list(map(setting, values)) == ["a,b", "a,b, é", "hour:int64", "no", "0.0001"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (128_000_000, "128 M"),
        (9_999, "9,999"),
        (12_500, "12.5 k"),
        (-2.5e9, "\u22122.5 G"),
        (0, "0"),
    ],
)
def test_short(value: float, text: str) -> None:
    assert short(value) == text


def test_the_values_of_an_axis_have_one_prefix() -> None:
    ticks = [short(value, 6, 12_000) for value in (0, 7_500, 10_500, 12_000)]
    assert ticks == ["0", "7.5 k", "10.5 k", "12 k"]


def test_shares_and_changes() -> None:
    assert [percent(share) for share in (0.413, 0.00005, None)] == ["41.3 %", "0.005 %", "—"]
    changes = [change(3.0, 2.0), change(1.0, 2.0), change(1.0, 0.0), change(0, 0)]
    assert changes == ["+50.0 %", "\u221250.0 %", "—", "unchanged"]
