"""Rows of the platform: the manifest, and the units that labelling adds to it."""

import pyarrow as pa

MANIFEST = pa.schema(
    [
        ("utt_id", pa.string()),
        ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("offset", pa.float64()),
        ("duration", pa.float64()),
        ("text", pa.string()),
        ("language", pa.string()),
        ("translations", pa.map_(pa.string(), pa.string())),
        ("corpus", pa.string()),
        ("split", pa.string()),
        ("speaker", pa.string()),
    ]
)
"""One utterance a row. `offset` and `duration` are seconds, `language` is ISO 639-1; `path` may be relative to the manifest."""

UNITS = pa.schema(
    [
        *(MANIFEST.field(name) for name in MANIFEST.names if name != "audio"),
        ("units", pa.list_(pa.uint16())),
        ("durations", pa.list_(pa.uint16())),
        ("status", pa.string()),
        ("error", pa.string()),
    ]
)
"""The manifest without audio, with deduplicated units and their durations in frames; `status` is labelled or rejected."""

LABELLED, REJECTED = "labelled", "rejected"
