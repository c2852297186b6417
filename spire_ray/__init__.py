"""spire-ray: teach a text LLM to hear, at any scale."""

__version__ = "0.1.0"
