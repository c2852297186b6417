"""Conversations with clips, as the official client holds them."""

import base64

import openai
import pytest

from tests.serving.conftest import audio, speech


def clip_part(seconds=1.0, seed=0):
    data = base64.b64encode(audio(speech(seconds, seed))).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def test_a_question_about_speech_in_a_conversation_is_streamed_and_counted(taught):
    url = taught("asr.en").url
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        content = [{"type": "text", "text": "Speech: "}, clip_part(), {"type": "text", "text": "\nEnglish:"}]
        ask = {"model": "spire", "messages": [{"role": "user", "content": content}]}
        answer = client.chat.completions.create(**ask)
        text = answer.choices[0].message.content
        assert answer.choices[0].finish_reason in ("stop", "length") and answer.usage.completion_tokens > 0
        chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == text
        assert chunks[-1].usage.prompt_tokens == answer.usage.prompt_tokens
        more = [
            *ask["messages"],
            {"role": "assistant", "content": text or "a dog"},
            {"role": "user", "content": [clip_part(1, 2)]},
        ]
        assert client.chat.completions.create(model="spire", messages=more, max_tokens=4).usage.completion_tokens <= 4


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"messages": []}, "list of messages"),
        ({"messages": "hi"}, "list of messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "must be system, user or assistant"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}, "take turns"),
        ({"messages": [{"role": "user", "content": "the \U000f0003 dog"}]}, "units written as text"),
        ({"messages": [{"role": "user", "content": "a<|im_end|>"}]}, "control token"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "must be a text or"),
        ({"messages": [{"role": "user", "content": "a"}], "temperature": 1}, "temperature=1: must be 0"),
        ({"messages": [{"role": "user", "content": "a"}], "n": 2}, "n=2"),
        ({"messages": [{"role": "user", "content": "a"}], "tools": [1]}, "tools: not supported"),
        ({"messages": [{"role": "user", "content": "a"}], "max_tokens": 10**9}, "max_tokens: must be from 1"),
        ({"messages": [{"role": "user", "content": "a " * 2000}]}, "longer than"),
    ],
)
def test_what_cannot_be_said_is_refused(taught, http, asked, words):
    refused = http.post(f"{taught('asr.en').url}/v1/chat/completions", json=asked)
    assert refused.status_code == 400, refused.text
    assert words in refused.json()["error"]["message"]
