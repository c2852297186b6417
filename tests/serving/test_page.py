"""The page in a browser: a file and a microphone become text, units, segments and subtitles, and nothing is asked elsewhere."""

import json
import os
import shutil

import numpy as np
import pytest

from spire_ray.serving import page
from tests.serving.browser import Browser
from tests.serving.conftest import audio, speech

SHOTS = os.environ.get("SPIRE_SCREENSHOTS", "")
pytestmark = [pytest.mark.long, pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")]
DONE = "document.querySelector('#go').disabled === false && document.querySelector('#stop').hidden"


@pytest.fixture
def browser(server, tmp_path):
    spoken = np.concatenate([speech(2, 4), np.zeros(24_000, np.float32)])
    (tmp_path / "microphone.wav").write_bytes(audio(spoken, rate=16_000))
    made = Browser(tmp_path, tmp_path / "microphone.wav")
    made.call("Page.navigate", url=server)
    made.until("document.querySelector('#state')?.className === 'ready'")
    yield made
    made.close()


def shot(browser, name):
    if SHOTS:
        browser.screenshot(f"{SHOTS}/{name}.png")


def test_a_file(browser, server, post, tmp_path):
    clip = tmp_path / "talk.wav"
    clip.write_bytes(audio(np.concatenate([speech(30, 1), np.zeros(8_000, np.float32), speech(10, 2)])))
    shot(browser, "empty")
    browser.choose("#file", clip)
    browser.until("document.querySelector('#go').disabled === false && units !== null")
    for code in ("de", "fr"):
        browser.run(f"document.querySelector('#targets input[value={code}]').click()")
    browser.run("document.querySelector('#go').click()")
    browser.until(f"texts.fr && {DONE}")
    expected = post(clip.read_bytes(), to_language=["de", "fr"], response_format="verbose_json").json()
    assert browser.run("texts['']") == expected["text"]
    assert browser.run("texts.de") == expected["translations"]["de"]
    assert browser.run("segments.length") == len(expected["segments"]) == 3
    assert browser.run("subtitles(true)") == post(clip.read_bytes(), response_format="vtt").text
    assert browser.run("subtitles(false)") == post(clip.read_bytes(), response_format="srt").text
    assert browser.run("units.units.length") == len(post(clip.read_bytes(), path="/v1/units").json()["units"])
    browser.run("document.querySelector('#segments li:nth-child(2) button').click()")
    assert browser.run("document.querySelector('#player').currentTime") == pytest.approx(
        expected["segments"][1]["start"], abs=0.5
    )
    assert "-F to_language=de" in browser.run("document.querySelector('#curl').textContent")
    compile(browser.run("document.querySelector('#python').textContent"), "page", "exec")
    shot(browser, "light")
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    browser.run("new Promise(done => setTimeout(done, 300))")
    shot(browser, "dark")
    browser.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
    browser.run("new Promise(done => setTimeout(done, 300))")
    assert browser.run("document.documentElement.scrollWidth") <= 390
    shot(browser, "phone")
    assert [url for url in browser.requests if not url.startswith((server, "blob:", "data:", "about:"))] == []
    assert browser.messages == []


def test_a_microphone(browser):
    browser.run("document.querySelector('#mic').click()")
    browser.until("recorder && texts['']")  # said while it is spoken
    assert browser.run("document.querySelector('#said article p').textContent")
    shot(browser, "listening")
    browser.run("document.querySelector('#mic').click()")
    browser.until(f"texts[''] && {DONE}")
    assert 1.5 < browser.run("seconds") < 60
    assert browser.run("Math.max(...samples)") > 0.01
    assert browser.messages == []


def test_the_keyboard_reaches_everything(browser, tmp_path):
    reached = set()
    for _ in range(14):
        for kind in ("rawKeyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.add(browser.run("document.activeElement.id || document.activeElement.value || document.activeElement.tagName"))
    assert {"mic", "choose", "source", "de", "curl"} <= reached


def test_what_fails_is_said(browser, tmp_path):
    (tmp_path / "no.wav").write_text("no audio")
    browser.choose("#file", tmp_path / "no.wav")
    browser.until("document.querySelector('#go').disabled === false")
    browser.run("document.querySelector('#go').click()")
    browser.until("document.querySelector('#error').textContent")
    assert "not readable as audio" in browser.run("document.querySelector('#error').textContent")
    assert browser.run("document.querySelector('#go').disabled") is False


def test_it_asks_no_other_server():
    text = page.html()
    assert "http://" not in text and "https://" not in text and "<link" not in text and " src=" not in text
    assert json.dumps(page.POLICY).count("self") == 1
