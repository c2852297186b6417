"""The page at `/docs` says what every route takes, and a browser without a network shows it."""

from html import unescape

from spire_ray.serving import reference
from spire_ray.serving.door import ROUTES


def test_it_names_every_route_and_field_and_asks_no_other_server(server, http):
    answer = http.get(f"{server}/docs")
    assert answer.status_code == 200 and answer.headers["Content-Security-Policy"] == reference.POLICY
    text, schema = unescape(answer.text), http.get(f"{server}/openapi.json").json()
    assert set(ROUTES) - {"/", "/docs", "/openapi.json", "/v1/realtime"} <= set(schema["paths"])
    for path, methods in schema["paths"].items():
        assert f"</b> {path}</h2>" in text
        for operation in methods.values():
            assert operation["description"] in text
            for body in operation.get("requestBody", {}).get("content", {}).values():
                assert all(f"<code>{name}</code>" in text for name in body["schema"]["properties"])
    assert not any(word in answer.text for word in ("http:", "https:", "<script", "<link", " src="))


def test_what_a_schema_says_is_text_and_no_markup():
    schema = {"info": {"title": "<a>", "description": "<b>"}, "paths": {"/<c>": {"get": {"description": "<d>"}}}}
    shown = reference.html(schema)
    assert all(f"&lt;{name}&gt;" in shown and f"<{name}>" not in shown for name in ("a", "d")) and "/&lt;c&gt;" in shown
