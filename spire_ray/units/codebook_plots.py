"""Pictures of a codebook."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def codebook(
    inertia: Sequence[float], counts: np.ndarray, quality: Mapping[str, float], joint: Mapping[str, np.ndarray]
) -> bytes:
    """PNG: inertia over the iterations, frames of each unit, and how units and phones go together where that is known."""
    figure = Figure(figsize=(10, 6.5) if joint else (10, 3), layout="constrained")
    axes: dict[str, Axes] = figure.subplot_mosaic([["inertia", "use"], ["phones", "phones"]] if joint else [["inertia", "use"]])
    line = axes["inertia"]
    line.plot(range(1, len(inertia) + 1), inertia, marker="o", markersize=3, label="fit")
    if held_out := quality.get("held_out_inertia"):
        line.axhline(held_out, color="tab:orange", linestyle="--", label="held out, at the end")
    line.set(title="inertia", xlabel="iteration", ylabel="mean squared distance")
    line.legend()
    use = axes["use"]
    use.semilogy(range(1, len(counts) + 1), np.sort(np.maximum(counts, 0.5))[::-1])
    bits = f"{quality['entropy']:.2f} of {np.log2(max(2, len(counts))):.2f} bits"
    use.set(title=f"use of the units: {bits}, {quality['dead']:.0f} dead", xlabel="units by use", ylabel="frames")
    if joint:
        _phones(axes["phones"], joint, quality)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _phones(axes: Axes, joint: Mapping[str, np.ndarray], quality: Mapping[str, float]) -> None:
    """P(phone | unit), units beside each other that stand for the same phone."""
    names = sorted(joint, key=lambda phone: -int(joint[phone].sum()))
    counts = np.stack([joint[name] for name in names]).astype(np.float64)
    counts = counts[:, counts.sum(0) > 0]
    shares = counts / counts.sum(0)
    order = np.lexsort((-shares.max(0), shares.argmax(0)))
    image = axes.imshow(shares[:, order], aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set(
        title=f"phone given unit, held out: PNMI {quality['pnmi']:.3f}, phone purity {quality['phone_purity']:.3f}",
        xlabel="units by phone",
        yticks=range(len(names)),
    )
    axes.set_yticklabels(names, fontsize=5)
    axes.figure.colorbar(image, ax=axes)


def sweep(rows: Sequence[Mapping[str, float]]) -> bytes:
    """PNG: what changes with K, one line for each layer."""
    shown = [name for name in ("held_out_inertia", "entropy", "units_per_second", "pnmi") if name in rows[0]]
    figure = Figure(figsize=(3.4 * len(shown), 3.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for layer in sorted({row["layer"] for row in rows}):
            points = sorted((row["clusters"], row[name]) for row in rows if row["layer"] == layer)
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=f"layer {layer:.0f}")
        axes.set(title=name.replace("_", " "), xlabel="clusters", xscale="log")
    axes.legend(fontsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
