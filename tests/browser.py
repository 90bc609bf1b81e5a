"""A real Chromium for looking at pages; scripts/install-browser sees to it that there is one.

Run as a program it starts that browser and prints its version.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Playwright, StorageState, ViewportSize, expect, sync_playwright

from noise_search.errors import CallerError

VARIABLE = "NOISE_SEARCH_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Nothing of its own goes over the network: where that is closed, look-ups that are refused hold up the pages.
OPTIONS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
SIZE: ViewportSize = {"width": 1280, "height": 800}
WAIT_MS = 60_000  # for a heavy page on two busy cores
expect.set_options(timeout=WAIT_MS)


@dataclass(frozen=True, slots=True)
class Watched:
    """A page and what was noted while it was open.

    Args:
        page: The page.
        errors: Errors of its console and its scripts, each with the address that it comes from.
        requests: Every address that it asked for.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def find_program(playwright: Playwright) -> str:
    """A Chromium: $NOISE_SEARCH_BROWSER, else one on PATH, else the one that playwright has downloaded.

    Raises:
        CallerError: Where there is none.
    """
    if named := os.environ.get(VARIABLE):
        if found := shutil.which(named):
            return found
        raise CallerError(f"{VARIABLE}: expected a program, got {named!r}; without it, one on PATH is taken")
    own = playwright.chromium.executable_path
    programs = [*filter(None, map(shutil.which, NAMES)), *([own] if Path(own).is_file() else [])]
    if not programs:
        raise CallerError(f"browser: expected one of {', '.join(NAMES)} on PATH, none found; scripts/install-browser")
    return programs[0]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """The browser, without a window; closed at the end.

    Raises:
        CallerError: Where there is none.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_program(playwright), args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, *, remembered: StorageState | None = None) -> Iterator[Watched]:
    """A page of its own, which remembers nothing but what it is given; closed at the end."""
    context = browser.new_context(viewport=SIZE, storage_state=remembered)
    try:
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        yield watch(page)
    finally:
        context.close()


def watch(page: Page) -> Watched:
    """Note what goes wrong in a page from now on, and what it asks for."""
    watched = Watched(page)
    page.on(
        "console",
        lambda said: watched.errors.append(f"{said.location['url']}: {said.text}") if said.type == "error" else None,
    )
    page.on("pageerror", lambda error: watched.errors.append(f"{page.url}: {error}"))
    page.on("request", lambda request: watched.requests.append(request.url))
    return watched


def colours(place: Locator) -> int:
    """How many distinct colours are drawn in a box of a page: one where it is empty."""
    with Image.open(io.BytesIO(place.screenshot())) as image:
        return len(image.convert("RGB").getcolors(maxcolors=image.width * image.height) or [])


def main() -> int:
    """Start the browser and say which it is."""
    try:
        with open_browser() as browser:
            print(f"Chromium {browser.version}")
    except CallerError as error:
        print("\n".join(error.mistakes), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
