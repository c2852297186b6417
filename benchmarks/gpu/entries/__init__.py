"""What the day shows, most worthy first."""

ORDER = (
    "smoke_units",
    "smoke_training",
    "smoke_engine",
    "smoke_generation",
    "memory",
    "train",
    "units",
    "kmeans",
    "serve",
    "ray",
    "learn",
)
