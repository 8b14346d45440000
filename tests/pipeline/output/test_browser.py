"""The report in a real browser, where there is one: what a parser cannot see."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.output.test_report import CASES, render

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
PROBE = """<iframe style="width: {width}px; height: 9000px; border: 0" srcdoc="{page}"></iframe>
<pre id="seen"></pre><script>
addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentWindow;
  const headings = [...page.document.querySelectorAll("h1, h2, summary")];
  document.getElementById("seen").textContent = JSON.stringify({{
    width: page.document.documentElement.scrollWidth,
    requests: page.performance.getEntriesByType("resource").map(entry => entry.name),
    headings: headings.map(heading => heading.textContent),
    ground: page.getComputedStyle(page.document.body).backgroundColor,
  }});
}});
</script>"""

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")


def browse(folder: Path, *flags: str) -> str:
    """What Chromium prints of a page that was written to a folder."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


def seen(page: str, folder: Path, width: int, *flags: str) -> dict:
    """What a page looks like in a frame of some width."""
    probe = folder / "probe.html"
    probe.write_text(PROBE.format(width=width, page=html.escape(page)))
    dom = browse(folder, *flags, "--dump-dom", probe.as_uri())
    (found,) = re.findall(r'<pre id="seen">(.*?)</pre>', dom, re.S)
    return json.loads(html.unescape(found))


@pytest.mark.parametrize("name", ["typical", "many clusters", "hostile names", "two nights"])
def test_nothing_is_wider_than_a_phone(name: str, tmp_path: Path) -> None:
    page = seen(render(CASES[name]()), tmp_path, 390)
    assert page["width"] == 390
    assert page["requests"] == []
    told = ["Rows and prototypes", "Cluster sizes", "Clusters", "Profile of each cluster"]
    assert page["headings"][2:6] == told


def test_it_is_dark_where_the_reader_wants_it(tmp_path: Path) -> None:
    page = render(CASES["typical"]())
    light = seen(page, tmp_path, 1280)
    dark = seen(page, tmp_path, 1280, "--blink-settings=preferredColorScheme=0")
    assert light["ground"] == "rgb(255, 255, 255)"
    assert dark["ground"] == "rgb(20, 22, 26)"


def test_it_prints_on_few_pages(tmp_path: Path) -> None:
    page, printed = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text(render(CASES["two nights"]()))
    browse(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={printed}", page.as_uri())
    assert 1 <= len(re.findall(rb"/Type */Page\b", printed.read_bytes())) <= 6
