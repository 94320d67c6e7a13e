"""Draw what a wrong noise level costs, from benchmarks/results/wrong_sigma.json, to images/wrong_sigma.png.

python docs/wrong_sigma_figure.py
"""

import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"teacher": "#a8500a", "student": "#1d6b39"}


def main() -> None:
    """Draw distances against the level that was told, as a part of the true one."""
    folder = Path(__file__).parent
    found = json.loads((folder.parent / "benchmarks" / "results" / "wrong_sigma.json").read_text())
    runs = sorted((run for seeds in found["runs"].values() for run in seeds), key=lambda run: run["told"])
    figure, axes = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
    factors = [run["told"] / found["sigma"] for run in runs]
    for model, colour in COLOURS.items():
        axes.plot(factors, [run[model] for run in runs], "o-", color=colour, label=model, markersize=4)
    axes.axvline(1, color="0.8", linewidth=1, zorder=0)
    axes.set(xlabel="σ that training was told / σ of the data", ylabel="Fréchet distance, classifier", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(folder / "images" / "wrong_sigma.png", dpi=110)


if __name__ == "__main__":
    main()
