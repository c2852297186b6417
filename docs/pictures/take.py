"""The pictures of the README: `python docs/pictures/take.py` after `make quickstart`, in a checkout with Debian's chromium.

The report, MLflow as `spire ui` opens it, and the page of the service, on which the quickstart's model has heard a clip.
"""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.serving.browser import Browser

HERE = Path(__file__).parent
RUN = Path("runs/quickstart")
ASSISTANT = "[...document.querySelectorAll('button')].find(b => b.getBoundingClientRect().left > 1130)?.click()"
"""Closes what MLflow opens beside its pages."""
RUNS = "[...document.querySelectorAll('*')].filter(e => e.textContent.trim() === 'Run details').pop()"
ASKED = "document.querySelector('#go').disabled === false && document.querySelector('#stop').hidden"


@contextlib.contextmanager
def told(*arguments: str) -> Iterator[str]:
    """The address that a command of spire prints, while it runs."""
    process = subprocess.Popen([sys.executable, "-m", "spire_ray", *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield next(word for line in process.stdout for word in line.split() if word.startswith("http://"))
    finally:
        process.terminate()
        process.wait(120)


def rest(browser: Browser, seconds: float) -> None:
    """Let a page come to rest."""
    browser.run(f"new Promise(done => setTimeout(done, {1000 * seconds}))")


def report(browser: Browser) -> None:
    """The top of the report: what was measured, and the curves."""
    browser.call("Page.navigate", url=(RUN / "report.html").resolve().as_uri())
    rest(browser, 2)
    browser.screenshot(HERE / "report.png", height=1100)


def mlflow(browser: Browser) -> None:
    """The comparison of the models."""
    with told("ui", "--no-browser", "--port", "5055") as address:
        browser.call("Page.navigate", url=address)
        browser.until(f"!!({RUNS})", 60)
        browser.run(ASSISTANT)
        rest(browser, 3)
        browser.call("Emulation.setDeviceMetricsOverride", width=1180, height=1000, deviceScaleFactor=1, mobile=False)
        browser.run(f"{RUNS}.scrollIntoView()")
        rest(browser, 2)
        browser.screenshot(HERE / "mlflow.png", height=840)
        browser.call("Emulation.clearDeviceMetricsOverride")


def page(browser: Browser) -> None:
    """The page of the service with the text of a clip, its translation and its units."""
    with told("serve", "--config", "configs/quickstart/serve.yaml", "keep=true", "port=8055") as address:
        browser.call("Page.navigate", url=address)
        browser.until("document.querySelector('#state')?.className === 'ready'")
        browser.choose("#file", next(iter(sorted((RUN / "corpus").rglob("test-*.flac")))).resolve())
        browser.until("document.querySelector('#go').disabled === false && units !== null")
        browser.run("document.querySelector('#targets input[value=de]').click()")
        browser.run("document.querySelector('#go').click()")
        browser.until(f"texts.de && {ASKED}")
        browser.run("document.querySelector('details').open = false")
        rest(browser, 1)
        browser.screenshot(HERE / "page.png")


def main() -> None:
    """Take all three."""
    if not (RUN / "report.html").exists():
        raise SystemExit(f"{RUN}/report.html: no such file; run make quickstart")
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(folder, "/dev/null")
        try:
            for picture in (report, mlflow, page):
                picture(browser)
        finally:
            browser.close()


if __name__ == "__main__":
    main()
