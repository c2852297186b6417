"""An OpenAI-compatible endpoint, such as vLLM, speaches or this platform's own service: what runs elsewhere can be scored, too.

Speech goes to `/audio/transcriptions` and `/audio/translations`, text to `/chat/completions` at temperature 0. OPENAI_API_KEY
holds the key, where it wants one.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from spire_ray.audio import decode, wav
from spire_ray.evaluation.systems import SYSTEMS, Answer, SystemKind, options
from spire_ray.evaluation.tasks import Request
from spire_ray.settings import EvaluatedModel, GenerationSettings
from spire_ray.text import prompts

_RETRIES, _SECONDS = 5, 600.0


class Endpoint:
    """Requests one by one, `batch_size` of them at a time. What it refuses is the error of its row; an endpoint that does not
    answer ends the job, which goes on when it is there again."""  # noqa: D205, D209

    def __init__(self, model: EvaluatedModel, settings: GenerationSettings) -> None:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        given = options(model)
        self._field, self._url, self._name = f"models.{model.name}.options.url", given["url"].rstrip("/"), given["name"]
        self._most, self._at_once = settings.max_new_tokens, settings.batch_size
        self._style = prompts.STYLES[settings.prompts or "spire-2026"]
        self._session = requests.Session()
        again = Retry(_RETRIES, backoff_factor=1, status_forcelist=(429, 502, 503, 504), allowed_methods=None)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=again, pool_maxsize=settings.batch_size))
        if key := os.environ.get("OPENAI_API_KEY"):
            self._session.headers["Authorization"] = f"Bearer {key}"

    def asked(self, request: Request) -> str:
        """See `System`."""
        return f"endpoint {self._name} {request.skill}"

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """See `System`."""
        with ThreadPoolExecutor(self._at_once) as pool:
            return list(pool.map(self._one, requests))

    def _one(self, request: Request) -> Answer:
        began = time.monotonic()
        try:
            text, tokens = self._chat(request) if request.skill in ("mt", "instruct") else self._speech(request)
        except ValueError as error:
            return Answer(error=str(error))
        return Answer(text.strip(), tokens=tokens, seconds=time.monotonic() - began)

    def _chat(self, request: Request) -> tuple[str, int]:
        question = request.text
        if request.skill == "mt":
            question = prompts.mt_prompt(request.text, request.source, request.target, self._style)
        asked = {"messages": [{"role": "user", "content": question}], "max_tokens": self._most, "temperature": 0}
        said = self._post("chat/completions", json={"model": self._name, **asked})
        tokens = (said.get("usage") or {}).get("completion_tokens") or 0
        return said["choices"][0]["message"]["content"] or "", int(tokens)

    def _speech(self, request: Request) -> tuple[str, int]:
        assert request.row.audio is not None
        samples = decode.load(*request.row.audio)
        fields = {"model": self._name, "language": request.source, "response_format": "json", "temperature": "0"}
        path = "audio/transcriptions"
        if request.skill == "st":
            path = "audio/translations"
            fields |= {"to_language": request.target} if request.target != "en" else {}
        said = self._post(path, data=fields, files={"file": ("clip.wav", wav.encode(samples), "audio/wav")})
        return str(said["text"]), 0

    def _post(self, path: str, **content: Any) -> dict[str, Any]:
        """Raises ValueError for what the endpoint refuses, ConnectionError where it does not answer."""
        import requests

        try:
            reply = self._session.post(f"{self._url}/{path}", timeout=_SECONDS, **content)
        except requests.RequestException as error:
            raise ConnectionError(f"{self._field}={self._url}: no answer: {error}") from None
        if reply.status_code in (401, 403, 404) or reply.status_code >= 500:  # no fault of a row
            raise ConnectionError(f"{self._field}={self._url}: {reply.status_code}: {reply.text[:200]}")
        if not reply.ok:
            raise ValueError(f"refused: {reply.status_code}: {reply.text[:200]}")
        return dict(reply.json())


def check(model: EvaluatedModel, wanted: Sequence[tuple[str, str, str]]) -> None:
    """See `SystemKind.check`."""
    given = options(model)
    if not given["url"].startswith(("http://", "https://")) or not given["name"]:
        raise ValueError(f"models.{model.name}.options: needs `url`, as http://host:8000/v1, and `name`, of its model")


SYSTEMS.register(
    "endpoint",
    SystemKind(
        load=Endpoint, skills=("asr", "st", "mt", "instruct"), options={"url": "", "name": ""}, weights=False, check=check
    ),
)
