#!/usr/bin/env python3
"""Opens a report in a browser without a screen, uses everything on it, and looks at what comes of it.

    drive.py REPORT.html OUT_DIR

Needs python3-selenium, chromium and chromium-driver, of Debian. Leaves screenshots and a PDF in OUT_DIR. Fails where the page
complains, is blank, doesn't follow the pointer, or asks for anything but itself.
"""

import base64
import json
import os
import sys
import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-dev-shm-usage", "--window-size=1280,900",
]
WIDTHS = [1280, 1920]
# how many colours a map has, and a digest of its pixels
PIXELS = """
const canvas = document.querySelector('#map-data canvas');
const pixels = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
return [new Set(pixels).size, pixels.reduce((digest, pixel) => (31 * digest + pixel) % 2147483647, 0)];
"""
PAINTED = """
const paint = performance.getEntriesByName('first-contentful-paint')[0], drawn = performance.getEntriesByName('drawn')[0];
return Math.max(paint ? paint.startTime : 0, drawn.startTime);
"""


def need(truth, otherwise):
    if not truth:
        raise SystemExit(f"failed: {otherwise}")


def browser(folder):
    options = webdriver.ChromeOptions()
    for flag in [*FLAGS, f"--user-data-dir={folder}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options)


class Page:
    def __init__(self, driver):
        self.driver, self.run = driver, driver.execute_script

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def picked(self):
        return int(self.run("return document.documentElement.dataset.angle"))

    def point(self, selector, click=False, aside=0):
        """The pointer over the middle of an element, which is brought into view, or so many pixels to the right of it."""
        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({ block: 'center' })", element)
        actions = ActionChains(self.driver, duration=50).move_to_element_with_offset(element, aside, 0)
        (actions.click() if click else actions).perform()

    def picture(self, path, width):
        # the whole page: as high a window as it takes
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        size["height"] = self.run("return document.documentElement.scrollHeight")
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        # two frames: one in which the page learns its width, one in which it draws for it
        self.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(arguments[0], 50)))")
        over = self.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        need(over <= 0, f"at {width} px the page is {over} px too wide")
        self.driver.save_screenshot(str(path))
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def angles(page):
    """Picks every angle and looks at its maps; returns their number."""
    menu = Select(page.find("#angle"))
    count, before = len(menu.options), None
    need(count > 0, "there is no angle to pick")
    for angle in range(count):
        menu.select_by_index(angle)
        need(page.picked() == angle, f"angle {angle} was picked, but {page.picked()} is shown")
        colors, digest = page.run(PIXELS)
        need(colors > 2, f"the map of angle {angle} is blank: {colors} colours")
        need(digest != before, f"angles {angle - 1} and {angle} have the same map")
        before = digest
        # the diagonal has no value where every frame has a cell of its own
        page.point("#map-data canvas", aside=40)
        said = page.find("#angles .readout").text
        need(all(word in said for word in ("t₁ =", "t₂ =", "data", "fit", "residual")), f"under the pointer: {said!r}")
        need(sum(c.isdigit() for c in said) > 6, f"no numbers under the pointer: {said!r}")
        page.point("#lags svg")
        need("lag" in page.find("#lags .tip").text, f"angle {angle}: nothing is said over the lag plot")
    return count


def stepping(page, count):
    """Buttons, a click over φ, and the address."""
    menu = Select(page.find("#angle"))
    menu.select_by_index(0)
    need(not page.find("#previous-angle").is_enabled(), "one can go back from the first angle")
    if count == 1:
        return
    page.point("#next-angle", click=True)
    need(page.picked() == 1, "the button to the next angle does nothing")
    page.point("#previous-angle", click=True)
    need(page.picked() == 0, "the button to the previous angle does nothing")
    page.point(f"#chi-squared circle:nth-of-type({count})", click=True)
    need(page.picked() == count - 1, f"a click at the last point over φ picked {page.picked()}")
    need(page.run("return location.hash") == f"#angle={count}", "the address doesn't follow")
    page.run("location.hash = '#angle=1'")
    WebDriverWait(page.driver, 5).until(lambda _: page.picked() == 0)


def complaints(driver, address):
    """What the page said on the console, and what it asked for."""
    said = [f"{m['level']}: {m['message']}" for m in driver.get_log("browser") if m["level"] in ("SEVERE", "WARNING")]
    need(not said, "on the console:\n" + "\n".join(said))
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        # the browser's own first tab isn't the page
        if message["method"] == "Network.requestWillBeSent" and not message["params"]["documentURL"].startswith("chrome://"):
            url = message["params"]["request"]["url"]
            need(url.split("#")[0] == address or url.startswith(("data:", "blob:")), f"the page asked for {url}")


def main(report, out):
    address = Path(report).resolve().as_uri()
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    # neither settings nor a profile of whoever runs this
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HOME"] = folder
        driver = browser(f"{folder}/profile")
        try:
            driver.get_log("performance")
            driver.get(address)
            page = Page(driver)
            WebDriverWait(driver, 30).until(lambda _: page.run("return document.documentElement.dataset.ready") == "true")
            painted = page.run(PAINTED)
            drawn = page.run("return document.querySelector('#map-data canvas') !== null")
            count = angles(page) if drawn else len(Select(page.find("#angle")).options)
            stepping(page, count)
            for width in WIDTHS:
                page.picture(out / f"{width}.png", width)
            pdf = base64.b64decode(driver.print_page())
            (out / "report.pdf").write_bytes(pdf)
            need(pdf.startswith(b"%PDF") and len(pdf) > 10_000, f"the print of {len(pdf)} bytes is no PDF of a report")
            complaints(driver, address)
        except WebDriverException as error:
            raise SystemExit(f"failed: {error.msg}") from None
        finally:
            driver.quit()
    print(f"ok: {count} angles, first paint {painted:.0f} ms")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
