"""The camera: tone, blur, grain and burnt-in marks, alike for healthy and abnormal pictures."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from research.mini.corpus.canvas import Canvas, inside

Picture = Float[Tensor, "batch 3 height width"]


@dataclass(frozen=True)
class Camera:
    """One setting of the camera per image, so that a pair of pictures can be taken alike."""

    gamma: Float[Tensor, "batch 1 1 1"]
    gain: Float[Tensor, "batch 1 1 1"]
    offset: Float[Tensor, "batch 1 1 1"]
    inverted: Float[Tensor, "batch 1 1 1"]
    blur: Float[Tensor, "batch 1 1 1"]
    grain: Float[Tensor, "batch 1 height width"]
    amplitude: Float[Tensor, "batch 1 1 1"]
    clips: Float[Tensor, "batch 1 1 1"]
    marks: Float[Tensor, "batch 1 height width"]

    def part(self, rows: slice) -> Camera:
        """The settings of some of the images."""
        return Camera(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def develop(self, image: Picture) -> Picture:
        """Tone and blur, without grain: what two pictures can be compared by."""
        image = (image.clamp(0, 1) + 1e-4) ** self.gamma
        image = ((image - 0.5) * self.gain + 0.5 + self.offset).clamp(0, 1)
        image = image + self.inverted * (1 - 2 * image)
        padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
        return image + self.blur * (functional.avg_pool2d(padded, 3, 1) - image)

    def expose(self, image: Picture) -> Picture:
        """The finished picture. Black and white that a window clipped carry no grain."""
        image = self.develop(image)
        middle = ((image > 0.01) & (image < 0.99)).float()
        grain = self.amplitude * self.grain * (1 - self.clips * (1 - middle))
        return torch.maximum(image + grain, self.marks).clamp(0, 1)


def _marks(canvas: Canvas, foreground: Tensor) -> Tensor:
    """Letters and scales that scanners burn in, off the organ; never a defect."""
    height, width = canvas.uniform(0.03, 0.08), canvas.uniform(0.02, 0.3)
    place_x, place_y = canvas.sign() * canvas.uniform(0.6, 0.9), canvas.uniform(-0.95, 0.95)
    box = torch.maximum((canvas.x - place_x).abs() - width, (canvas.y - place_y).abs() - height)
    strokes = inside(torch.sin(canvas.uniform(40, 90) * canvas.x) + canvas.noise(28), 10)
    shown = canvas.chance(0.2) * canvas.uniform(0.5, 1)
    return inside(box, 60) * strokes * shown * (1 - foreground)


def draw_camera(canvas: Canvas, foreground: Tensor, *, organ: bool) -> Camera:
    """Settings of one camera per image; organs get milder tones and stronger grain."""
    cells = canvas.size_px // canvas.pick((1, 1, 2, 3))
    marks = _marks(canvas, foreground) if organ else torch.zeros_like(foreground)
    return Camera(
        gamma=canvas.uniform(-0.35, 0.35).exp(),
        gain=canvas.uniform(0.75, 1.2),
        offset=canvas.uniform(-0.08, 0.08),
        inverted=canvas.chance(0.04 if organ else 0.1),
        blur=canvas.uniform(0, 1) * canvas.chance(0.5),
        grain=canvas.white() if cells == canvas.size_px else canvas.noise(cells),
        amplitude=canvas.uniform(0, 0.07 if organ else 0.05) * canvas.chance(0.85),
        clips=canvas.chance(0.6 if organ else 0.0),
        marks=marks,
    )
