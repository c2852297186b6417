"""Runs in the environment of unbabel-comet: rows as JSON on standard input, scores as the last line of standard output."""

import json
import os
import sys


def main() -> None:
    """Score what standard input holds."""
    from comet import download_model, load_from_checkpoint  # type: ignore[import-not-found]

    given = json.load(sys.stdin)
    path = given["model"]
    if os.path.isdir(path):  # as the Hub has it: hparams.yaml beside checkpoints/
        path = os.path.join(path, "checkpoints", "model.ckpt")
    elif not os.path.exists(path):
        path = download_model(path)
    model = load_from_checkpoint(path)
    scored = model.predict(given["rows"], batch_size=given["batch_size"], gpus=given["gpus"], progress_bar=False)
    print(json.dumps([float(score) for score in scored.scores]))


if __name__ == "__main__":
    main()
