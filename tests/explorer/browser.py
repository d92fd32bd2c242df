"""Debian's Chromium, driven by selenium through Debian's chromedriver: nothing is downloaded for it."""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.paths import ROOT

PROGRAMS = ("chromium", "chromedriver")
TOOLS = ROOT / "tests" / "explorer" / "node_modules"
"""What npm installs: the linter and the type checker of the page's script, and axe."""
PHONE, DESK = (390, 844), (1440, 900)


def missing() -> str:
    """Say in one line what is to be installed for tests in a browser; nothing where all is here."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent:
        how = "install Debian's chromium and chromium-driver (apt-get install chromium chromium-driver)"
        return f"found no {', '.join(absent)}: {how}"
    return "" if importlib.util.find_spec("selenium") else "found no selenium: run `make .venv/test`"


def no_tools() -> str:
    """Say in one line what is to be installed for the checks of the script; nothing where all is here."""
    return "" if TOOLS.is_dir() else f"found no {TOOLS.relative_to(ROOT)}: install nodejs and npm, and run `make node`"


@contextmanager
def started() -> Iterator[Any]:
    """Start the browser without a window; it logs what its pages ask for and complain of."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def wait(done: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Return what `done` says, once that is something. Raises TimeoutError that names `what`."""
    deadline = time.monotonic() + seconds
    while not (found := done()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.01)
    return found


class Explorer:
    """One page in the browser, as a reader uses it."""

    def __init__(self, driver: Any, file: Path):
        self.driver, self.file = driver, file

    def open(self, state: str = "", size: tuple[int, int] = DESK, scheme: str = "light") -> int:
        """Open the page anew and return after how many milliseconds its first picture stood."""
        self.look_like(size, scheme)
        self.driver.get("about:blank")
        self.driver.get(f"{self.file.as_uri()}#{state}")
        return int(wait(lambda: self.js("return document.documentElement.dataset.ready"), "the page is drawn"))

    def look_like(self, size: tuple[int, int], scheme: str) -> None:
        """Set the size of the screen, and whether its reader likes it dark."""
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def js(self, code: str, *arguments: Any) -> Any:
        """Run code in the page."""
        return self.driver.execute_script(code, *arguments)

    def all(self, selector: str) -> list[Any]:
        """Return the elements of a CSS selector."""
        return list(self.driver.find_elements("css selector", selector))

    def one(self, selector: str) -> Any:
        """Return the one element of a CSS selector."""
        (found,) = self.all(selector)
        return found

    def text(self, selector: str) -> str:
        """Return the text of the one element of a selector."""
        return str(self.js("return document.querySelector(arguments[0]).textContent", selector))

    def click(self, selector: str) -> None:
        """Click the one element of a selector, as a mouse does."""
        self.one(selector).click()
        self.settle()

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, where the focus is."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)
            self.settle()

    def settle(self) -> None:
        """Wait until the case that the address names is the one that is shown."""
        wait(
            lambda: self.js("return document.documentElement.dataset.shown") == self.state()["case"], "the case stands"
        )

    def state(self) -> dict[str, str]:
        """Return what the address says."""
        fragment = urlsplit(self.driver.current_url).fragment
        return {key: values[0] for key, values in parse_qs(fragment).items()}

    def listed(self) -> list[str]:
        """Return the ids of the listed cases, in order."""
        links = self.js("return [...document.querySelectorAll('#list a')].map((link) => link.href)")
        return [parse_qs(urlsplit(link).fragment)["case"][0] for link in links]

    def complaints(self) -> list[str]:
        """Return what the console has said since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def asked_for(self) -> set[str]:
        """Return the addresses that were asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}

    def accessibility(self) -> list[str]:
        """Return what axe finds wrong: rule, and the elements."""
        self.js((TOOLS / "axe-core" / "axe.min.js").read_text())
        found = self.driver.execute_async_script("axe.run().then(arguments[0])")
        return [f"{one['id']}: {[node['target'] for node in one['nodes']][:3]}" for one in found["violations"]]
