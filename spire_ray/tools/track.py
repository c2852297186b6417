"""What MLflow did not take while a job ran: `spire track replay FOLDER` sends it."""

import argparse
from collections.abc import Sequence

from spire_ray.core import command


@command.cli_errors("track")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the tool; returns the exit status."""
    parser = argparse.ArgumentParser("spire track", description="Send to MLflow what it did not take while a job ran.")
    parser.add_argument("action", choices=["replay"])
    parser.add_argument("folder", help="output folder of a stage")
    parser.add_argument("--to", default="", metavar="URI", help="tracking store; else that of MLFLOW_TRACKING_URI")
    options = parser.parse_args(arguments)
    from spire_ray.core import mlflow_store
    from spire_ray.runtime import spool

    try:
        sent = spool.replay(options.folder, options.to or mlflow_store.store())
    except Exception as error:  # of mlflow, its store, or what lies below it
        raise ValueError(f"{options.folder}: MLflow does not take it: {type(error).__name__}: {error}") from error
    print(f"{sent} events sent" if sent else f"{options.folder}: nothing is left to send")
    return 0
