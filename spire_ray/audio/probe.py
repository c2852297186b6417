"""Rate, length and channels of an audio file, from its header alone."""

from dataclasses import dataclass

from spire_ray.audio import decode


@dataclass(frozen=True)
class Audio:
    """What a header says."""

    rate: int
    """Hz."""
    samples: int
    """Of one channel."""
    channels: int

    @property
    def seconds(self) -> float:
        """Length."""
        return self.samples / self.rate


def probe(source: bytes | str) -> Audio:
    """Read a header. Raises AudioError as decoding does."""
    with decode.reader(source, whole=False) as sound:
        return Audio(sound.samplerate, sound.frames, sound.channels)
