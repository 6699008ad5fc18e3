"""The site of `make docs` in a headless Chromium, and the notebook at its smallest size: `make test-docs`."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.docs, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]
SITE = ROOT / "build" / "site"
WIDTHS = (390, 1100, 1400)  # a phone's, a tablet's and a desktop's, in pixels
PAGES = sorted(SITE.rglob("*.html"))
SMALLEST = {"EPOCHS": "1", "SEEDS": "1"}

# What is wrong with the page that is shown. A wide table or block of code has to scroll within itself.
LOOK = """
const wrong = [];
for (const image of document.images)
    if (!image.complete || image.naturalWidth === 0) wrong.push('no image: ' + image.src);
for (const entry of performance.getEntriesByType('resource'))
    if (!entry.name.startsWith('file:') && !entry.name.startsWith('data:')) wrong.push('from the network: ' + entry.name);
const width = document.documentElement.scrollWidth;
if (width > arguments[0]) wrong.push(`scrolls sideways: ${width} pixels wide`);
if (!document.body.innerText.trim()) wrong.push('no text');
return wrong;
"""


@pytest.fixture(scope="module")
def browser():
    """Returns a driver of Debian's Chromium; skips without one."""
    from selenium import webdriver

    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no chromium and chromedriver: tests/browser/install.sh installs Debian's")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


def test_the_site_has_every_page():
    pages = {str(page.relative_to(SITE)) for page in PAGES}
    written = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "docs/tour.ipynb",
        ROOT / "experiments/PLANNED.md",
    ]
    missing = {str(path.relative_to(ROOT).with_suffix(".html")) for path in written} - pages
    assert not missing and "docs/api/convnets.layers.html" in pages, (
        f"make docs builds {missing or 'the API reference'}"
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_whole(browser, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wrong = {}
    for page in PAGES:
        browser.get(page.as_uri())
        logged = [line["message"] for line in browser.get_log("browser")]
        if found := logged + browser.execute_script(LOOK, width):
            wrong[str(page.relative_to(SITE))] = found
    assert not wrong


def test_the_notebook_runs(tmp_path, monkeypatch):
    """A reader's commands find this environment's python; the cell tagged 'sizes' is replaced."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "docs" / "tour.ipynb", as_version=4)
    (sizes,) = (cell for cell in notebook.cells if "sizes" in cell.metadata.get("tags", []))
    sizes.source = "\n".join(f"%env {name}={value}" for name, value in {**SMALLEST, "RUNS": tmp_path}.items())
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT / "docs")}}).execute()
