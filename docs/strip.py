"""The first picture of the README: the shipped detector on two rendered cameras that it never saw.

`make pictures` runs it."""

from pathlib import Path
from tempfile import mkdtemp

import cv2
import numpy as np

from spotnet.explore import figure_strip
from spotnet.explore.figures import pixels
from spotnet.masks import write_masks
from spotnet.network import Detector
from spotnet.scenes.render import default_scenes, render_scene

ROWS = {"test-fixed-sunny": ("median", 105), "test-drone-cloudy": ("flow", 80)}


def row(detector: Detector, name: str, method: str, number: int) -> np.ndarray:
    "One row as RGB uint8 (H, W, 3): frame `number` of the scene, with its mask by `method`."
    [config] = [c for c in default_scenes() if c.name == name]
    scene = render_scene(config)
    folder = Path(mkdtemp())
    write_masks([scene], folder, method)
    i = int(np.flatnonzero(scene.numbers == number)[0])
    mask = cv2.imread(str(folder / name / f"{scene.frames.names[i]}.png"), cv2.IMREAD_GRAYSCALE)
    figure = figure_strip(scene, {name.removeprefix("test-"): detector}, [i], {i: mask})
    figure.set(dpi=110, figheight=figure.get_figheight() + 0.15)
    figure.tight_layout(pad=0.4)
    return pixels(figure)


if __name__ == "__main__":
    detector = Detector()
    rows = [row(detector, name, *what) for name, what in ROWS.items()]
    path = Path(__file__).parent.parent / "nbs" / "images" / "strip.png"
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
