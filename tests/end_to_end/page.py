"""The page in a real browser."""

import os
import shutil
import tempfile

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By


class Page:
    def __init__(self, url):
        self.profile = tempfile.mkdtemp(prefix="tickstream-page-")
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        for argument in (
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
            "--window-size=1280,800", f"--user-data-dir={self.profile}",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.get(url)

    def prices(self):
        """{(symbol, source): (exact price, what is shown on hover)} of every row of the table."""
        script = """return [...document.querySelectorAll('#prices tr')].map(row => {
            const digits = row.querySelector('.digits');
            digits.dispatchEvent(new PointerEvent('pointerover', { bubbles: true }));
            return [row.dataset.symbol, row.dataset.source, row.dataset.price, digits.title];
        })"""
        return {(symbol, source): (price, shown) for symbol, source, price, shown in self.driver.execute_script(script)}

    def is_shown(self, element_id):
        return self.driver.find_element(By.ID, element_id).is_displayed()

    def text(self, element_id):
        return self.driver.find_element(By.ID, element_id).text

    def complaints(self):
        """What the browser wrote to its console as an error."""
        return [entry for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def screenshot(self, path):
        if path:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            self.driver.save_screenshot(path)

    def close(self):
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)
