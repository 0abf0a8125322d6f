"""What tests of pages do in a browser (the fixture ``chromium`` of tests/report)."""

from __future__ import annotations

import json

from selenium.webdriver.support.ui import WebDriverWait


def show(browser, page, width=1280):
    screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get("about:blank")  # so that the page's address tells it from what was open
    browser.get(page)
    there = "return location.href === arguments[0] && document.readyState === 'complete'"
    WebDriverWait(browser, 60).until(lambda it: it.execute_script(there, page))  # get may return too early


def asked_for(browser):
    """Every address that the browser asked for since this log was read last."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
