"""Draws `page.webp`: `python docs/make_page_picture.py PAGE.html`, with a page about a run of the sample images.

Needs Chromium and ChromeDriver.
"""

import base64
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

WIDTH, HEIGHT = 1280, 820

options = webdriver.ChromeOptions()
options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-prefers-reduced-motion"):
    options.add_argument(flag)
shots = []
with webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver"))) as browser:
    size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(Path(sys.argv[1]).resolve().as_uri())
    for action in ("keep", "drop"):
        browser.find_element("css selector", f"#body tr:not([data-done]) [data-action={action}]").click()
        browser.execute_script("document.querySelector('#body tr[aria-selected=true]').dataset.done = 1")
    rows, grid = "document.querySelector('#rows h2').scrollIntoView()", "document.querySelector('#as-grid').click()"
    for scene in ("scrollTo(0, 0)", rows, grid):
        browser.execute_script(scene)
        browser.execute_async_script("setTimeout(arguments[0], 500)")
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
        shots.append(Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGB"))
picture = Image.new("RGB", (WIDTH, len(shots) * HEIGHT))
for i, shot in enumerate(shots):
    picture.paste(shot, (0, i * HEIGHT))
picture.save(Path(__file__).with_name("page.webp"), quality=82, method=6)
