"""Take the picture of the report that the README shows: `python -m examples.pandas_docs.screenshot demo`.

Needs Debian's chromium, and a folder in which the demo has run.
"""

import io
import sys
from pathlib import Path

from examples.pandas_docs.demo import POLICY
from train.report.write import REPORT_FILE

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "report.png"
CHROMIUM = "/usr/bin/chromium"
WIDTH, HEIGHT = 1100, 2080  # as far as the way from logs to triplets
_COLOURS = 64  # a quarter of the bytes, and nobody sees it


def take(demo: Path, picture: Path = PICTURE) -> None:
    """Show the demo's newest report in a browser and save the top of it."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    pages = sorted((demo / "models").glob(f"{POLICY}-*/{REPORT_FILE}"), key=lambda page: page.stat().st_mtime)
    if not pages:
        sys.exit(f"{demo} holds no report: uncited demo {demo}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(pages[-1].resolve().as_uri())
        taken = page.screenshot()
        browser.close()
    few_colours = Image.open(io.BytesIO(taken)).convert("RGB").quantize(_COLOURS)
    few_colours.save(picture, optimize=True)


if __name__ == "__main__":
    take(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("demo"))
