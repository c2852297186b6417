"""The server over HTTP, as the official client and others call it."""

import asyncio
import json
import re
from itertools import pairwise

import numpy as np
import openai
import pytest

from spire_ray import SpeechToText
from spire_ray.quickstart.espeak import Espeak
from tests.serving.conftest import NEW_TOKENS, audio, speech

TRANSCRIPTIONS = "/v1/audio/transcriptions"
GRAIN = "timestamp_granularities[]"


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def offline(tiny_model):
    return SpeechToText.from_pretrained(tiny_model, max_new_tokens=NEW_TOKENS)


def events(response):
    return [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]


# --- what is said ---------------------------------------------------------------------------------------------------


def test_the_official_client_gets_the_text_of_the_offline_object(client, offline):
    clip = audio(speech(1.5))
    answer = client.audio.transcriptions.create(file=("a.wav", clip), model="spire", language="en", temperature=0)
    assert answer.text == offline.transcribe(clip).text != ""
    assert answer.usage.type == "duration" and answer.usage.seconds == 1.5
    german = client.audio.transcriptions.create(file=("a.wav", clip), model="whisper-1", extra_body={"to_language": "de"})
    assert german.text == offline.transcribe(clip, to="de").translations["de"] != answer.text
    assert client.audio.transcriptions.create(file=("a.wav", clip), model="spire", response_format="text") == answer.text
    english = client.audio.translations.create(file=("a.wav", clip), model="spire")
    assert english.text == offline.transcribe(clip, to="en").translations["en"]


def test_the_asynchronous_client(server, offline):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as client:
            create = client.audio.transcriptions.create
            clips = [audio(speech(1, seed)) for seed in range(6)]
            answers = await asyncio.gather(*(create(file=("a.wav", clip), model="spire") for clip in clips))
            return [answer.text for answer in answers], [offline.transcribe(clip).text for clip in clips]

    served, expected = asyncio.run(ask())
    assert served == expected


def test_the_official_client_streams(client, offline):
    clip = audio(speech(1.5))
    with client.audio.transcriptions.create(file=("a.wav", clip), model="spire", stream=True) as stream:
        found = list(stream)
    deltas = [event.delta for event in found if event.type == "transcript.text.delta"]
    assert len(deltas) > 2 and found[-1].type == "transcript.text.done"
    assert "".join(deltas) == found[-1].text == offline.transcribe(clip).text


def test_several_languages_in_one_request(post, offline):
    clip = audio(speech(1))
    expected = offline.transcribe(clip, to=["de", "fr"])
    for targets in (["de", "fr"], "de, French", ["de-AT", "FR"]):
        answer = post(clip, to_language=targets).json()
        assert (answer["text"], answer["translations"]) == (expected.text, expected.translations)
    found = events(post(clip, to_language=["de", "fr"], stream="true"))
    for code in ("de", "fr"):
        deltas = [e["delta"] for e in found if e["type"] == "translation.text.delta" and e["language"] == code]
        assert "".join(deltas) == expected.translations[code]
    assert found[-1]["translations"] == expected.translations


def test_ten_languages_share_one_prefill(post, hearing):
    stats = hearing._model.generator.engine.stats
    clip = audio(speech(12, 5))
    codes = ["de", "fr", "nl", "it", "es", "pt", "ko", "ru", "zh", "en"]
    before = stats.prompt_tokens, stats.reused_tokens
    assert set(post(clip, to_language=codes).json()["translations"]) == set(codes)
    asked, reused = stats.prompt_tokens - before[0], stats.reused_tokens - before[1]
    assert reused > 0.8 * asked * 10 / 11


def test_a_long_recording_is_cut_and_told_in_order_with_its_times(post, offline):
    clip = audio(speech(55, 1))
    expected = offline.transcribe(clip, to="de")
    verbose = post(clip, response_format="verbose_json", **{"timestamp_granularities[]": "segment"}).json()
    assert [s["text"] for s in verbose["segments"]] == [s.text for s in expected.segments]
    assert [(s["start"], s["end"]) for s in verbose["segments"]] == [
        (pytest.approx(s.start, abs=1e-3), pytest.approx(s.end, abs=1e-3)) for s in expected.segments
    ]
    assert verbose["text"] == expected.text and verbose["duration"] == 55.0 and verbose["language"] == "english"
    assert all(segment["avg_logprob"] < 0 and segment["tokens"] for segment in verbose["segments"])
    found = events(post(clip, to_language="de", stream="true"))
    assert "".join(e["delta"] for e in found if e["type"] == "transcript.text.delta") == expected.translations["de"]
    assert [e["text"] for e in found if e["type"] == "transcript.text.segment"] == [
        s.translations["de"] for s in expected.segments
    ]


def test_subtitles(post):
    clip = audio(np.concatenate([speech(1), np.zeros(16_000 * 20, np.float32), speech(18, 2)]))
    srt, vtt = (post(clip, response_format=how).text for how in ("srt", "vtt"))
    assert re.match(r"1\n00:00:00,000 --> 00:00:\d\d,\d\d\d\n", srt)
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:")


def test_words_at_the_cuts_are_kept(post):
    """Every sample of a recording is in one piece."""
    segments = post(audio(speech(60, 3)), response_format="verbose_json").json()["segments"]
    assert segments[0]["start"] == 0 and segments[-1]["end"] == 60.0
    assert all(one["end"] == pytest.approx(other["start"], abs=2e-3) for one, other in pairwise(segments))


def test_what_is_no_speech_has_no_text(post):
    noise = np.random.default_rng(0).standard_normal(32_000).astype(np.float32) / 8
    for samples in (np.zeros(32_000), noise, speech(0.025), np.zeros(1)):
        answer = post(audio(samples))
        assert (answer.status_code, answer.json()["text"]) == (200, ""), answer.text
        assert post(audio(samples), to_language=["de", "fr"]).json()["translations"] == {"de": "", "fr": ""}
    assert [e["type"] for e in events(post(audio(noise), stream="true"))] == ["transcript.text.segment", "transcript.text.done"]
    assert post(audio(noise), response_format="verbose_json").json()["segments"][0]["no_speech_prob"] == 1


def test_a_person_is_heard(post):
    speaker = Espeak()
    said = speaker.speak("The dog sees a cat.", "en").samples
    speaker.close()
    assert post(audio(said)).json()["text"]


def test_the_units_of_a_recording(server, post, offline):
    clip = audio(speech(2))
    answer = post(clip, path="/v1/units").json()
    [piece] = offline.hear(clip)
    assert answer["units"] == piece.units.tolist()
    assert len(answer["durations"]) == len(answer["starts"]) == len(answer["units"])
    assert answer["frame_rate"] == 25 and answer["usage"]["seconds"] == 2.0
    assert answer["starts"][1] == answer["durations"][0] / 25


# --- how it is asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status", "param", "words"),
    [
        ({"language": "xx"}, 400, "language", "no language of this server"),
        ({"to_language": "Klingon"}, 400, "to_language", "'Klingon': no language"),
        ({"response_format": "tape"}, 400, "response_format", "supported are json, text, srt, vtt, verbose_json"),
        ({"response_format": "srt", "to_language": ["de", "fr"]}, 400, "response_format", "holds one text"),
        ({"stream": "perhaps"}, 422, "stream", "true or false"),
        ({"model": "gpt"}, 404, "model", "'gpt' does not exist; this server has 'spire', 'whisper-1'"),
        ({"temperature": "warm"}, 422, "temperature", "number"),
        ({"temperature": "nan"}, 400, "temperature", "from 0 to 2"),
        ({"temperature": "inf"}, 400, "temperature", "from 0 to 2"),
        ({"temperature": "1e999"}, 400, "temperature", "from 0 to 2"),
        ({"temperature": "0.5"}, 400, "temperature", "greedily"),
        ({"mode": "fast", "to_language": "de"}, 400, "mode", "direct, two_turns, cascade"),
        ({"mode": "direct"}, 400, "mode", "to_language says into what"),
        ({"mode": "two_turns", "to_language": "de"}, 400, "mode", "no conversations"),
        (
            {"timestamp_granularities[]": "word", "response_format": "verbose_json"},
            400,
            "timestamp_granularities[]",
            "no times of",
        ),
        ({"timestamp_granularities[]": "segment"}, 400, "timestamp_granularities[]", "verbose_json"),
        ({"beams": "4"}, 400, "beams", "no field"),
        ({"file": b"no audio"}, 415, "file", "not readable as audio"),
        ({"file": b""}, 415, "file", "empty file"),
        ({"file": bytes(2 * 2**20 + 2**20 + 1)}, 413, "file", "larger than 2 MB"),
    ],
)
def test_errors_have_the_shape_of_the_api(post, fields, status, param, words):
    response = post(fields.pop("file", None), **fields)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param and error["type"] == "invalid_request_error" and error["code"]
    assert re.search(words, error["message"]) and "yaml" not in error["message"].lower()


def test_a_language_is_what_is_spoken_and_one_that_was_not_trained_is_refused(taught, http):
    url = taught("asr.en", "st.en-de", "turns.en-fr", "mt.en-de").url

    def ask(**fields):
        return http.post(f"{url}{TRANSCRIPTIONS}", files={"file": ("a.wav", audio(speech(1)))}, data=fields)

    for language in ("", "auto", "en", "en-US", "EN", "English", "eng"):
        assert ask(language=language).status_code == 200
    for fields, param, words in (
        ({"language": "de"}, "language", "hears en"),
        ({"language": "fr", "to_language": "de"}, "language", "hears en"),
        ({"to_language": "nl"}, "to_language", "into de, fr"),
        ({"to_language": ["de", "zh-CN"]}, "to_language", "into de, fr"),
    ):
        refused = ask(**fields)
        assert refused.status_code == 400, refused.text
        error = refused.json()["error"]
        assert (error["param"], error["code"]) == (param, "untrained_language") and words in error["message"]


def test_two_turns_are_asked_where_they_were_trained(taught, http, hearing, offline, monkeypatch):
    url = taught("asr.en", "turns.en-de", "st.en-fr").url
    monkeypatch.setattr(offline, "record", hearing._model.record)
    monkeypatch.setattr(offline.generator.tokenizer, "record", hearing._model.record)
    clip = audio(speech(1))
    answer = http.post(f"{url}{TRANSCRIPTIONS}", files={"file": ("a", clip)}, data={"to_language": ["de", "fr"]}).json()
    expected = {code: offline.transcribe(clip, to=code, mode=mode).translations[code] for code, mode in MODES.items()}
    assert answer["translations"] == expected


MODES = {"de": "two_turns", "fr": "direct"}


def test_fields_of_other_servers_are_named_where_they_are_not_used(post):
    answer = post(prompt="a dog", vad_filter="true", hotwords="cat").json()
    assert len(answer["warnings"]) == 3 and "prompt is not used" in answer["warnings"][0]
    assert "warnings" not in post(prompt="").json()


@pytest.mark.parametrize("path", ["/audio/transcriptions", f"{TRANSCRIPTIONS}/", "/audio/transcriptions/"])
def test_paths_as_clients_write_them(post, path):
    assert post(path=path).json()["text"]


def test_head_and_options(server, http):
    for path in ("/health", "/v1/models", "/", "/ready"):
        head = http.head(f"{server}{path}")
        assert (head.status_code, head.content) == (200, b"")
        assert http.options(f"{server}{path}").headers["allow"] == "GET, HEAD, OPTIONS"
    assert http.options(f"{server}{TRANSCRIPTIONS}").headers["allow"] == "POST, OPTIONS"
    assert "access-control-allow-origin" not in http.options(f"{server}{TRANSCRIPTIONS}", headers={"Origin": "http://x"}).headers


def test_models_health_and_metrics(server, client, http, post):
    assert http.get(f"{server}/health").json() == http.get(f"{server}/ready").json() == {"status": "ok"}
    assert [model.id for model in client.models.list()] == ["spire", "whisper-1"]
    assert client.models.retrieve("spire").id == "spire"
    post()
    text = http.get(f"{server}/metrics").text
    assert 'spire_requests_total{route="/v1/audio/transcriptions",status="200"}' in text
    for name in ("spire_audio_seconds_total", "spire_engine_waiting", "spire_engine_reused_tokens", "spire_encoder_batches"):
        assert float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1]) >= 0
    assert "spire_first_token_seconds_bucket" in text


def test_an_unknown_path_and_a_missing_file_have_that_shape_too(server, http):
    missing = http.post(f"{server}{TRANSCRIPTIONS}", files={"other": b"x"})
    assert missing.status_code == 422 and missing.json()["error"]["param"] == "file"
    assert http.post(f"{server}{TRANSCRIPTIONS}", json={}).status_code == 415
    unknown = http.get(f"{server}/v1/nothing")
    assert unknown.status_code == 404 and unknown.json()["error"]["message"] == "Not Found"


def test_the_official_client_raises_its_errors(client):
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.audio.transcriptions.create(file=("a.wav", audio(speech(1))), model="gpt")
    with pytest.raises(openai.BadRequestError) as raised:
        client.audio.transcriptions.create(file=("a.wav", audio(speech(1))), model="spire", language="xx")
    assert raised.value.code == "unknown_language" and raised.value.param == "language"
