"""Sound over a WebSocket: whose turn it is, what is said in it, in several languages, and what is refused."""

import asyncio
import base64
import json
import threading
import time
from dataclasses import replace

import numpy as np
import openai
import pytest
import soxr
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from spire_ray.inference.asking import Found
from spire_ray.inference.generate import Answer
from spire_ray.serving import realtime
from spire_ray.serving.api import application
from spire_ray.serving.refusal import Refusal
from spire_ray.serving.session import Session, updated
from spire_ray.serving.writing import _agreed
from tests.serving.conftest import run, speech

MANUAL = {"type": "transcription", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 16_000}, "turn_detection": None}}}


def pcm(*parts, rate=16_000):
    """16-bit PCM of waveforms, of numbers that many seconds of silence."""
    waveform = np.concatenate([np.zeros(int(16_000 * p), np.float32) if isinstance(p, (int, float)) else p for p in parts])
    resampled = waveform if rate == 16_000 else soxr.resample(waveform, 16_000, rate)
    return (np.clip(resampled, -1, 1) * 32_767).astype("<i2").tobytes()


def encoded(sound):
    return base64.b64encode(sound).decode()


class Line:
    """A connection of our own."""

    def __init__(self, url, **given):
        self.socket = connect(url.replace("http", "ws", 1) + "/v1/realtime?model=spire", **given)

    def send(self, kind, **given):
        self.socket.send(json.dumps({"type": kind, **given}))

    def next(self, kind, timeout=30):
        """The next event of a kind, which must not be preceded by an error."""
        while True:
            event = json.loads(self.socket.recv(timeout))
            if event["type"] == kind:
                return event
            assert event["type"] != "error", event


@pytest.fixture
def line(server):
    made = Line(server)
    made.next("session.created")
    yield made
    made.socket.close()


def test_the_official_client_gets_each_turn_as_the_route_of_files_would(server, http):
    sound = pcm(0.7, speech(1.6, 1), 1.0, speech(1.2, 2), 1.0, rate=24_000)

    async def ask():
        events = []
        async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key="none") as client:
            query = {"intent": "transcription"}
            async with client.realtime.connect(model="whisper-1", extra_query=query) as connection:
                detection = {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 400, "prefix_padding_ms": 200}
                sound_ = {"format": {"type": "audio/pcm", "rate": 24_000}, "turn_detection": detection}
                sound_["transcription"] = {"model": "whisper-1", "language": "en"}
                await connection.session.update(session={"type": "transcription", "audio": {"input": sound_}})
                for start in range(0, len(sound), 4_800):
                    await connection.input_audio_buffer.append(audio=encoded(sound[start : start + 4_800]))
                async for event in connection:
                    events.append(event)
                    if sum(e.type.endswith("transcription.completed") for e in events) == 2:
                        break
        return events

    events = asyncio.run(asyncio.wait_for(ask(), 60))
    kinds = [event.type for event in events if not event.type.endswith("delta")]
    turn = ["speech_started", "speech_stopped", "committed"]
    assert kinds[:2] == ["session.created", "session.updated"] and "threshold is not used" in events[1].warnings[0]
    assert [kind.split(".")[1] for kind in kinds if kind.startswith("input_audio_buffer")] == 2 * turn
    started = [event for event in events if event.type.endswith("speech_started")]
    stopped = [event for event in events if event.type.endswith("speech_stopped")]
    completed = [event for event in events if event.type.endswith("completed")]
    assert [event.item_id for event in started] == [event.item_id for event in completed]
    for begins, ends, done, (first, last) in zip(started, stopped, completed, ((0.7, 2.3), (3.3, 4.5)), strict=True):
        assert first - 0.5 < begins.audio_start_ms / 1000 < first + 0.1 and last < ends.audio_end_ms / 1000 < last + 0.7
        cut = sound[48 * begins.audio_start_ms : 48 * ends.audio_end_ms]
        answer = http.post(f"{server}/v1/audio/transcriptions", content=cut, headers={"Content-Type": "audio/pcm; rate=24000"})
        assert done.transcript == answer.json()["text"] != ""
        assert done.usage.seconds == pytest.approx(ends.audio_end_ms / 1000 - begins.audio_start_ms / 1000, abs=0.01)
        said = "".join(e.delta for e in events if e.type.endswith("delta") and e.item_id == done.item_id)
        assert said == done.transcript or not done.transcript.startswith(said)


def test_a_client_commits_its_turns_and_gets_several_languages(line, http, server):
    wanted = {"model": "spire", "to_language": ["de", "fr"]}
    line.send("session.update", session={**MANUAL, "audio": {"input": {**MANUAL["audio"]["input"], "transcription": wanted}}})
    assert line.next("session.updated")["session"]["audio"]["input"]["transcription"]["to_language"] == ["de", "fr"]
    previous = None
    for seed in (3, 4):
        sound = pcm(0.2, speech(40 if seed == 3 else 1, seed))
        line.send("input_audio_buffer.append", audio=encoded(sound))
        line.send("input_audio_buffer.commit")
        committed = line.next("input_audio_buffer.committed")
        assert committed["previous_item_id"] == previous
        previous = committed["item_id"]
        done = line.next("conversation.item.input_audio_transcription.completed")
        url = f"{server}/v1/audio/transcriptions?to_language=de,fr"
        expected = http.post(url, content=sound, headers={"Content-Type": "audio/pcm; rate=16000"}).json()
        assert (done["transcript"], done["translations"]) == (expected["text"], expected["translations"])
        assert done["item_id"] == previous and done["usage"] == expected["usage"]


def test_events_as_they_were_before(line):
    given = {"input_audio_format": "pcm16", "input_audio_transcription": {"model": "spire"}, "turn_detection": None}
    line.send("transcription_session.update", session=given)
    assert line.next("transcription_session.updated")["session"]["audio"]["input"]["turn_detection"] is None
    line.send("input_audio_buffer.append", audio=encoded(pcm(speech(1), rate=24_000)))
    line.send("input_audio_buffer.clear")
    line.next("input_audio_buffer.cleared")
    line.send("input_audio_buffer.append", audio=encoded(pcm(1.0, rate=24_000)))
    line.send("input_audio_buffer.commit")
    done = line.next("conversation.item.input_audio_transcription.completed")
    assert done["transcript"] == "" and done["usage"]["seconds"] == 1.0  # silence, and nothing of what was cleared


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("{", "invalid_event"),
        ("[]", "invalid_event"),
        (b"\x00", "invalid_event"),
        ({"type": "response.create"}, "unknown_event"),
        ({"type": "input_audio_buffer.commit", "item_id": "a"}, "unknown_field"),
        ({"type": "input_audio_buffer.append"}, "invalid_field"),
        ({"type": "input_audio_buffer.append", "audio": ""}, "input_audio_buffer_commit_empty"),  # of the commit below
        ({"type": "input_audio_buffer.append", "audio": "é"}, "invalid_field"),
        ({"type": "input_audio_buffer.append", "audio": 7}, "invalid_field"),
        ({"type": "input_audio_buffer.append", "audio": "QUJD"}, "invalid_field"),
        ({"type": "input_audio_buffer.append", "audio": encoded(bytes(3 << 20))}, "file_too_large"),
        ({"type": "session.update"}, "invalid_field"),
        ({"type": "session.update", "session": {"type": "realtime"}}, "invalid_field"),
        ({"type": "session.update", "session": {"voice": "x"}}, "invalid_field"),
        ({"type": "session.update", "session": {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}}, "invalid_field"),
        ({"type": "session.update", "session": {"turn_detection": {"type": "semantic_vad"}}}, "invalid_field"),
        (
            {"type": "session.update", "session": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 1}}},
            "invalid_field",
        ),
        (
            {"type": "session.update", "session": {"input_audio_transcription": {"language": "Klingon"}}},
            "unknown_language",
        ),
        ({"type": "session.update", "session": {"input_audio_transcription": {"model": "other"}}}, "model_not_found"),
        ({"type": "session.update", "session": {"input_audio_transcription": {"to_language": [7]}}}, "invalid_field"),
        ({"type": "session.update", "session": {"modalities": ["audio"]}}, "invalid_field"),
    ],
)
def test_what_is_not_understood_is_said_and_the_session_goes_on(line, sent, code):
    line.send("session.update", session=MANUAL)
    line.next("session.updated")
    message = {**sent, "event_id": "mine"} if isinstance(sent, dict) else sent
    line.socket.send(json.dumps(message) if isinstance(sent, dict) else sent)
    line.send("input_audio_buffer.commit")
    error = json.loads(line.socket.recv(30))
    assert (error["type"], error["error"]["code"]) == ("error", code)
    assert code == "input_audio_buffer_commit_empty" or error["error"]["event_id"] == ("mine" if isinstance(sent, dict) else None)
    line.send("input_audio_buffer.append", audio=encoded(pcm(speech(1))))
    line.send("input_audio_buffer.commit")
    while (event := json.loads(line.socket.recv(30)))["type"] == "error":
        pass
    assert event["type"] == "input_audio_buffer.committed"


def test_who_may_connect(serve_settings, hearing):
    from spire_ray.serving import keys

    url, end = run(replace(serve_settings, max_requests=1), hearing, (keys._hash("one"),))
    key = {"additional_headers": {"Authorization": "Bearer one"}}
    for status, given in (
        (401, {}),
        (401, {"subprotocols": ["realtime", "openai-insecure-api-key.two"]}),
        (403, {**key, "origin": "http://elsewhere"}),
    ):
        with pytest.raises(InvalidStatus) as refused:
            Line(url, **given)
        assert refused.value.response.status_code == status
    first = Line(url, subprotocols=["realtime", "openai-insecure-api-key.one"], origin=url)
    assert first.socket.subprotocol == "realtime" and first.next("session.created")
    with pytest.raises(InvalidStatus) as refused:
        Line(url, **key)
    assert refused.value.response.status_code == 503 and refused.value.response.headers["Retry-After"]
    first.socket.close()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            Line(url, **key).socket.close()
            break
        except InvalidStatus:
            time.sleep(0.05)
    else:
        raise AssertionError("a connection that has ended keeps its place")
    end()


def test_who_says_nothing_for_long_is_disconnected(server, monkeypatch):
    monkeypatch.setattr(realtime, "_IDLE_SECONDS", 0.3)
    silent = Line(server)
    silent.next("session.created")
    assert json.loads(silent.socket.recv(10))["error"]["code"] == "idle_timeout"
    with pytest.raises(ConnectionClosed):
        silent.socket.recv(10)


class Slow:
    """A backend that answers when it may, with a word for each second of sound."""

    def __init__(self, hearing):
        self.describe, self.stats, self.may = hearing.describe, hearing.stats, threading.Event()
        self.asked = self.left = 0

    async def answer(self, samples, wanted, stream):
        self.asked += 1
        try:
            while not self.may.is_set():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.left += 1
            raise
        yield Found(Answer(" ".join(map(str, range(round(len(samples) / 16_000))))))


def test_turns_that_wait_are_answered_one_after_the_other(serve_settings, hearing, monkeypatch):
    monkeypatch.setattr(realtime, "_IDLE_SECONDS", 0.5)
    slow = Slow(hearing)
    url, end = run(serve_settings, slow)
    line = Line(url)
    line.send("session.update", session=MANUAL)
    for _ in range(12):
        line.send("input_audio_buffer.append", audio=encoded(pcm(speech(0.8))))
        line.send("input_audio_buffer.commit")
    for _ in range(12):
        line.next("conversation.item.created")
    while not slow.asked:
        time.sleep(0.05)
    with pytest.raises(TimeoutError):
        line.socket.recv(1)  # who waits for an answer is not idle
    assert slow.asked == 1
    slow.may.set()
    for _ in range(12):
        line.next("conversation.item.input_audio_transcription.completed")
    line.socket.close()
    end()


class Client:
    """One behind Ray Serve: whatever it sends is taken from it at once, and nothing is cancelled when it goes."""

    def __init__(self, app):
        self.sent, self.got, self.takes = asyncio.Queue(), [], asyncio.Event()
        self.takes.set()
        self.put({"type": "websocket.connect"})
        self.put_event("session.update", session=MANUAL)
        scope = {"type": "websocket", "path": "/v1/realtime", "query_string": b"model=spire", "headers": [], "subprotocols": []}
        self.served = asyncio.create_task(app(scope, self.sent.get, self.take))

    async def take(self, message):
        await self.takes.wait()
        self.got.append(message)

    def put(self, message):
        self.sent.put_nowait(message)

    def put_event(self, kind, **given):
        self.put({"type": "websocket.receive", "text": json.dumps({"type": kind, **given})})

    def put_turn(self, sound):
        self.put_event("input_audio_buffer.append", audio=sound)
        self.put_event("input_audio_buffer.commit")


@pytest.mark.parametrize("takes", [True, False])
def test_who_sends_faster_than_it_is_answered_is_disconnected(serve_settings, hearing, monkeypatch, takes):
    monkeypatch.setattr(realtime, "_GOODBYE_SECONDS", 0.1)
    second = encoded(pcm(speech(1)))

    async def flood():
        client, turns = Client(application(replace(serve_settings, max_upload_mb=1), slow)), 1
        client.put_turn(second)
        while not slow.asked:
            await asyncio.sleep(0.01)
        if not takes:
            client.takes.clear()
        while not client.served.done() and turns < 200:
            client.put_turn(second)
            turns += 1
            await asyncio.sleep(0.005)
        await asyncio.wait_for(client.served, 5)
        return turns, client.got

    slow = Slow(hearing)
    turns, got = asyncio.run(asyncio.wait_for(flood(), 30))
    assert turns < 100 and slow.asked == slow.left == 1  # a second is 32 kB of sound, 43 kB of base64
    if takes:
        assert json.loads(got[-2]["text"])["error"]["code"] == "too_much_waits"
        assert got[-1]["type"] == "websocket.close"


def test_nothing_is_answered_to_who_has_gone(serve_settings, hearing):
    slow, second = Slow(hearing), encoded(pcm(speech(1)))

    async def leave():
        app = application(replace(serve_settings, max_requests=1), slow)
        for _ in range(2):  # the place of the first is free again
            client = Client(app)
            for _ in range(12):
                client.put_turn(second)
            while slow.left == slow.asked or sum("item.created" in message.get("text", "") for message in client.got) < 12:
                await asyncio.sleep(0.01)
            client.put({"type": "websocket.disconnect", "code": 1005})
            await asyncio.wait_for(client.served, 5)
            assert slow.asked == slow.left
            slow.may.set()
            await asyncio.sleep(0.1)
            slow.may.clear()

    asyncio.run(asyncio.wait_for(leave(), 30))
    assert slow.asked == slow.left == 2


def test_what_is_certain_is_said_while_the_turn_goes_on(serve_settings, hearing):
    slow = Slow(hearing)
    slow.may.set()
    url, end = run(serve_settings, slow)
    line = Line(url)
    line.send("input_audio_buffer.append", audio=encoded(pcm(speech(1), rate=24_000)))
    line.send("input_audio_buffer.commit")
    line.next("conversation.item.input_audio_transcription.completed")  # what decodes has started
    sound, texts = pcm(1.0, speech(6), rate=24_000), []
    for start in range(0, len(sound), 24_000):
        line.send("input_audio_buffer.append", audio=encoded(sound[start : start + 24_000]))
        time.sleep(0.25)
    line.send("input_audio_buffer.append", audio=encoded(pcm(1, rate=24_000)))
    stopped = False
    while (event := json.loads(line.socket.recv(30)))["type"] != "conversation.item.input_audio_transcription.completed":
        stopped |= event["type"] == "input_audio_buffer.speech_stopped"
        texts += [(stopped, event["delta"])] if event["type"].endswith("delta") else []
    early = "".join(text for late, text in texts if not late)
    assert early.startswith("0") and event["transcript"].startswith(early) and len(event["transcript"]) > len(early)
    line.socket.close()
    end()


@pytest.mark.parametrize(
    ("one", "other", "spaces", "agreed"),
    [
        ("", "the dog", True, ""),
        ("the dog", "the dogs bark", True, "the"),
        ("the dog", "the dog", True, "the dog"),
        ("我们去", "我们来", False, "我们"),
    ],
)
def test_guesses_agree_on_whole_words(one, other, spaces, agreed):
    assert _agreed(one, other, spaces) == agreed


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("session.modalities", {"modalities": ["audio"]}),
        ("session.modalities", {"modalities": "text"}),
        ("session.modalities", {"modalities": ["text", 7]}),
        ("session.object", {"object": "realtime.session"}),
        ("session.id", {"id": 7}),
        ("session.include", {"include": False}),
        ("session.audio", {"audio": 0}),
        ("session.audio.input", {"audio": {"input": False}}),
        *((f"transcription.{name}", {"input_audio_transcription": {name: 0}}) for name in ("model", "language", "mode")),
        *((f"transcription.{name}", {"input_audio_transcription": {name: False}}) for name in ("language", "to_language")),
    ],
)
def test_what_a_session_cannot_be_is_refused_by_name(field, given):
    with pytest.raises(Refusal) as refused:
        updated(Session(), given)
    assert refused.value.param == field


def test_what_clients_always_send_is_accepted_and_said_where_it_changes_nothing():
    session, warnings = updated(Session(language="en"), {"modalities": ["text", "audio"], "id": "sess_1", "include": None})
    assert session == Session(language="en") and {said.split()[0] for said in warnings} == {"modalities:", "id"}
    assert updated(session, session.shown() | {"modalities": ["text"]}) == (session, [])
    assert updated(session, {"input_audio_transcription": {"language": None}}) == (Session(), [])
