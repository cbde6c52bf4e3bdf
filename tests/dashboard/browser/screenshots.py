"""Takes the pictures of the documentation: ``make screenshots``."""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
from pathlib import Path

import httpx
from PIL import Image

from tests.dashboard.showcase import Showcase, serving

from .chromium import running
from .watch import Watch

SIZES = {
    "light": {"color_scheme": "light", "viewport": {"width": 1200, "height": 720}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1200, "height": 720}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 760}},
}
PAGES = {"live": "", "deliveries": "deliveries", "dead": "dead", "sources": "sources"}


async def _take(page, home: str, folder: Path, name: str) -> None:
    async def picture(what: str) -> None:
        await page.evaluate("document.activeElement.blur()")
        taken = await page.screenshot(animations="disabled")
        # Few colours are on a page, and a palette of them is a third of the bytes.
        with Image.open(io.BytesIO(taken)) as image:
            small = image.convert("RGB").quantize(
                256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
            )
            small.save(folder / f"dashboard-{what}-{name}.png", optimize=True)

    for what, path in PAGES.items():
        await page.goto(f"{home}{path}")
        await page.locator("main h1").wait_for()
        if what == "live":
            await page.locator("#status.live").wait_for()
        await picture(what)
    await page.goto(f"{home}dead")
    await page.get_by_role("link", name="inv_77").click()
    await page.get_by_role("heading", name="Attempts").wait_for()
    await picture("delivery")


async def main(folder: Path) -> None:
    """Write the pictures into a folder."""
    with tempfile.TemporaryDirectory() as place:
        async with (
            Showcase(f"sqlite:///{place}/showcase.db") as showcase,
            serving(showcase.app) as url,
            httpx.AsyncClient(base_url=url) as client,
            running() as browser,
        ):
            await showcase.fill(client, hostile=False)
            home = f"{url}/webhook-dedup/"
            for name, options in SIZES.items():
                context = await browser.new_context(**options)
                page = await context.new_page()
                await Watch(page, home).sign_in()
                await _take(page, home, folder, name)
                await context.close()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target))
