"""What every stage has."""

from dataclasses import dataclass, field

SAMPLE_RATE = 16_000
"""Hz. Every waveform inside the platform is mono float32 at this rate."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Where outputs live when more than one node works on them."""

    shared_root: str = ""
    """Folder that every Ray node sees; with more than one node a path without a scheme must lie below it."""
    endpoint_url: str = ""
    """S3 endpoint other than the default one; empty: AWS_ENDPOINT_URL, else AWS itself."""


@dataclass(frozen=True, kw_only=True)
class License:
    """Consent to terms. A job prints the license of every model it uses."""

    accept: tuple[str, ...] = ()
    """Non-commercial licenses accepted by name, such as cc-by-nc-4.0."""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """The MLflow run of a stage. The store is MLFLOW_TRACKING_URI, else sqlite beside the working directory."""

    enabled: bool = True
    experiment: str = "spire"
    run_name: str = ""
    """Empty: the name of the stage."""
    parent: str = ""
    """Folder of the recipe whose run this one is a child of."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What every stage has."""

    stage: str
    root: str = "runs"
    """What `{root}` stands for in every path of the file."""
    output: str
    """The folder this stage makes. One folder belongs to one configuration."""
    storage: Storage = field(default_factory=Storage)
    tracking: Tracking = field(default_factory=Tracking)
    license: License = field(default_factory=License)
