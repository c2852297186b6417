"""What every stage has."""

from dataclasses import dataclass, field

from spire_ray.settings.types import NonNegativeFloat, Operational, PositiveFloat

SAMPLE_RATE = 16_000
"""Hz. Every waveform inside the platform is mono float32 at this rate."""


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """Where outputs live when more than one node works on them."""

    shared_root: str = ""
    """Folder that every Ray node sees; with more than one node a path without a scheme must lie below it."""
    endpoint_url: str = ""
    """S3 endpoint other than the default one; empty: AWS_ENDPOINT_URL, else AWS itself."""
    schemes: tuple[str, ...] = ()
    """Schemes beside `s3` that the audio of a row may have, such as `https`; other rows are rejected."""
    roots: tuple[str, ...] = ()
    """Folders and prefixes that the audio of a row must lie below; empty: anywhere."""
    largest_gb: PositiveFloat = 4.0
    """An object whose audio is larger is rejected."""


@dataclass(frozen=True, kw_only=True)
class LicenseSettings:
    """Consent to terms. A job prints the license of every model it uses."""

    accept: tuple[str, ...] = ()
    """Non-commercial licenses accepted by name, such as cc-by-nc-4.0."""


@dataclass(frozen=True, kw_only=True)
class UnitSettings:
    """What may be joined. Units of another identity never are."""

    strict: bool = False
    """Refuse units that were made with different dtypes, processors or versions, which change a few in a hundred; else a warning
    says so."""


@dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """The MLflow run of a stage. The store is MLFLOW_TRACKING_URI, else sqlite beside the working directory."""

    enabled: bool = True
    experiment: str = "spire"
    run_name: str = ""
    """Empty: the name of the stage."""
    parent: str = ""
    """Folder of the recipe whose run this one is a child of."""


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """What every stage has."""

    stage: str
    root: Operational[str] = "runs"
    """What `{root}` stands for in every path of the file."""
    output: Operational[str]
    """The folder this stage makes. One folder belongs to one configuration."""
    plugins: Operational[tuple[str, ...]] = ()
    """Python modules that declare encoders, metrics, stages and the like; imported before anything else is read."""
    wait_minutes: Operational[NonNegativeFloat] = 60.0
    """How long a cluster is waited for that has no room for the work; then the job ends with what is lacking."""
    storage: Operational[StorageSettings] = field(default_factory=StorageSettings)
    tracking: Operational[TrackingSettings] = field(default_factory=TrackingSettings)
    license: Operational[LicenseSettings] = field(default_factory=LicenseSettings)
