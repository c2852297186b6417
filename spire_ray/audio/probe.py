"""Rate, length and channels of an audio file, without decoding it."""

from dataclasses import dataclass

from spire_ray.audio import decode


@dataclass(frozen=True)
class Audio:
    """What a file says of itself."""

    rate: int
    """Hz."""
    samples: int
    """Of one channel."""
    channels: int

    scale: float = 1.0
    """Seconds of the file in one second of what its effects make of it."""
    is_known: bool = True
    """Whether the file says how long it is."""

    @property
    def seconds(self) -> float:
        """Length."""
        return self.samples / self.rate / self.scale


def probe(source: bytes | str) -> Audio:
    """Ask a file. Raises AudioError as decoding does."""
    with decode.reader(source, whole=False) as sound:
        return Audio(sound.samplerate, sound.frames, sound.channels, sound.effects.scale, decode.knows_length(sound))
