"""A sagittal knee, drawn from signed distances: bones, cartilage, menisci, tendons, muscle and fat.

Coordinates are half fields of view: x to the right (posterior), y down (towards the foot), the joint at the origin.
Every structure is a signed distance (negative inside), every tissue a grey value that depends on the weighting of
the scan; structures are painted one over the other, each with an edge one pixel wide.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor

ZOOM = 1.2
"""The leg fills most of the field of view, as it does in a scan that is planned on the joint."""

COIL_REACH = 0.78
"""Half fields of view from the middle to where the signal has halved: a knee coil sees some 12 cm of the leg."""

Point = tuple[float, float]
Weighting = Literal["mixed", "proton_density", "t1", "fat_suppressed"]

TISSUES = ("fat", "marrow", "muscle", "cartilage", "fluid", "fibrous", "skin", "vessel")
WEIGHTINGS = {  # one grey value for each of TISSUES
    "proton_density": (0.80, 0.72, 0.42, 0.64, 0.95, 0.07, 0.45, 0.20),
    "t1": (1.00, 0.88, 0.36, 0.50, 0.28, 0.06, 0.40, 0.12),
    "fat_suppressed": (0.22, 0.16, 0.46, 0.74, 1.00, 0.07, 0.34, 0.70),
}
"""Relative signal of each tissue under three usual weightings: plausible values, not measured ones."""


@dataclass(frozen=True)
class KneeDraws:
    """The random numbers behind one knee: uniform in [0, 1] and normal ones, consumed in a fixed order."""

    generator: torch.Generator

    def between(self, low: float, high: float) -> float:
        """Return a uniform number between ``low`` and ``high``."""
        return low + (high - low) * torch.rand((), generator=self.generator).item()

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers, float32."""
        return torch.randn(shape, generator=self.generator)


def draw_knee(
    size: int,
    generator: torch.Generator,
    supersample: int = 2,
    weighting: Weighting = "mixed",
    partial_volume: float = 0.0,
) -> Tensor:
    """Draw one knee.

    Parameters
    ----------
    size
        Side of the square image in pixels.
    generator
        Draws shape, pose, flexion, weighting and texture.
    supersample
        The knee is drawn this many times finer and averaged.
    weighting
        One weighting for every knee, as in a study of one sequence, or "mixed".
    partial_volume
        Standard deviation, in pixels, of the Gaussian by which a slice of some thickness blurs oblique edges.

    Returns
    -------
    Tensor
        float32, (size, size), magnitude between 0 (air) and about 1.
    """
    draws = KneeDraws(generator)
    fine = size * supersample
    axis = (torch.arange(fine, dtype=torch.float32) + 0.5) * (2 / fine) - 1
    y, x = axis[:, None].expand(fine, fine), axis[None, :].expand(fine, fine)
    reach = 0.5 * (1 + torch.tanh((COIL_REACH - y.abs()) / 0.1))
    x, y = _posed(x, y, draws)
    image = reach * _Painter(x, y, edge=2 / fine, tissues=_tissues(draws, weighting), draws=draws).paint()
    if partial_volume > 0:
        image = _blurred(image, partial_volume * supersample)
    if supersample > 1:
        image = functional.avg_pool2d(image[None, None], supersample)[0, 0]
    return image


def _blurred(image: Tensor, deviation: float) -> Tensor:
    """Convolve with a Gaussian, separably; the edges are repeated."""
    reach = math.ceil(3 * deviation)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    weights = weights / weights.sum()
    padded = functional.pad(image[None, None], (reach,) * 4, mode="replicate")
    along_y = functional.conv2d(padded, weights[None, None, :, None])
    return functional.conv2d(along_y, weights[None, None, None, :])[0, 0]


def _tissues(draws: KneeDraws, weighting: Weighting) -> dict[str, float]:
    """Draw a weighting, mostly one of the three, a little of the others, and each tissue's own deviation."""
    choice = draws.between(0, 1)
    main = 0 if choice < 0.5 else 1 if choice < 0.75 else 2
    other = int(draws.between(0, 3))
    blend = draws.between(0, 0.25)
    if weighting != "mixed":
        main, blend = list(WEIGHTINGS).index(weighting), 0.0
    table = torch.tensor(list(WEIGHTINGS.values()))
    values = (1 - blend) * table[main] + blend * table[other]
    values = values * torch.exp(0.08 * draws.normal(len(TISSUES)))
    return dict(zip(TISSUES, values.tolist(), strict=True))


def _posed(x: Tensor, y: Tensor, draws: KneeDraws) -> tuple[Tensor, Tensor]:
    """Undo pose, deformation and flexion: from the pixels of the image to the coordinates of the straight knee."""
    turn, zoom = math.radians(draws.between(-10, 10)), ZOOM * draws.between(0.88, 1.12)
    shift_x, shift_y = draws.between(-0.10, 0.10), draws.between(-0.12, 0.12)
    x, y = (x - shift_x) / zoom, (y - shift_y) / zoom
    x, y = math.cos(turn) * x + math.sin(turn) * y, math.cos(turn) * y - math.sin(turn) * x
    bends = draws.normal(2, 3).tolist()
    (ax, bx, cx), (ay, by, cy) = bends
    sway = 0.035 * (ax * torch.sin(2.2 * y + cx) + bx * torch.sin(3.1 * x + cy))
    stretch = 0.03 * (ay * torch.sin(2.0 * x + cx) + by * torch.sin(2.7 * y + cy))
    x, y = x + sway, y + stretch
    # Flexion turns everything below the joint about the centre of the condyle; the blend is the soft tissue's.
    flexion = math.radians(draws.between(-4, 22))
    centre_x, centre_y = 0.06, -0.2
    amount = flexion * torch.sigmoid((y - 0.16) / 0.05)
    cos, sin = torch.cos(amount), torch.sin(amount)
    dx, dy = x - centre_x, y - centre_y
    return centre_x + cos * dx + sin * dy, centre_y + cos * dy - sin * dx


class _Painter:
    """Paints the structures of one knee, back to front."""

    def __init__(self, x: Tensor, y: Tensor, edge: float, tissues: dict[str, float], draws: KneeDraws) -> None:
        self.x, self.y, self.edge, self.tissues, self.draws = x, y, edge, tissues, draws
        self.image = torch.zeros_like(x)
        between = draws.between
        self.cap: Point = (-0.50 + between(-0.03, 0.02), -0.30 + between(-0.08, 0.06))  # the patella's centre
        self.cap_size = (between(0.10, 0.125), between(0.18, 0.23))

    def paint(self) -> Tensor:
        """Return the image."""
        draws = self.draws
        skin = self._leg()
        deep = skin + draws.between(0.05, 0.13)
        self._over(skin, self.tissues["skin"])
        self._over(skin + 0.022, self.tissues["fat"] * self._mottled(6, 0.06))
        self._muscles(deep)
        femur, tibia, patella = self._femur(), self._tibia(), self._patella()
        self._joint(femur, tibia, patella)
        self._tendons()
        for bone in (femur, tibia, patella):
            self._bone(bone)
        self._physis(femur, self.draws.between(-0.56, -0.48))
        self._physis(tibia, self.draws.between(0.44, 0.50))
        return self.image.clamp_min(0) * self._shade()

    # --- tissues -----------------------------------------------------------------------------------------------

    def _leg(self) -> Tensor:
        x, y, between = self.x, self.y, self.draws.between
        thigh, calf, cap = between(0.0, 0.12), between(0.02, 0.16), between(0.06, 0.13)
        front = -0.56 - cap * torch.exp(-(((y + 0.22) / 0.28) ** 2)) - thigh * torch.sigmoid(-(y + 0.65) / 0.12)
        front = front + between(0.14, 0.24) * torch.sigmoid((y - 0.5) / 0.12)
        hollow = torch.exp(-(((y - 0.05) / 0.35) ** 2))
        back = between(0.62, 0.74) - 0.10 * hollow + calf * torch.sigmoid((y - 0.5) / 0.12)
        back = back + 0.5 * thigh * torch.sigmoid(-(y + 0.6) / 0.12)
        return torch.maximum(front - x, x - back)

    def _muscles(self, deep: Tensor) -> None:
        between = self.draws.between
        hamstrings = self._limb((0.52, -1.5), (0.50 + between(-0.04, 0.04), -0.2), between(0.17, 0.25), 0.05)
        calf_top = (0.40, between(-0.12, 0.02))
        gastrocnemius = self._limb(calf_top, (0.56, 1.2), 0.06, between(0.20, 0.30))
        deep_calf = self._limb((0.22, 0.55), (0.34, 1.5), 0.05, between(0.16, 0.22))
        vastus = self._limb((-0.32, -1.5), (-0.27, -0.68), between(0.16, 0.24), 0.05)
        for muscle, lean in ((deep_calf, 0.05), (gastrocnemius, 0.15), (hamstrings, -0.05), (vastus, 0.1)):
            region = torch.maximum(muscle, deep)
            value = self.tissues["muscle"] * self._fibres(lean + between(-0.15, 0.15))
            self._over(region, value)
        # The popliteal vessels run down behind the joint, in the fat between the muscles.
        vessel = self._limb((0.44, -0.9), (0.36 + between(-0.02, 0.03), 1.2), 0.028, 0.024)
        self._over(torch.maximum(vessel, deep), self.tissues["vessel"])
        if between(0, 1) < 0.4:
            fibula = torch.maximum(self._limb((0.42, 0.52), (0.40, 1.6), 0.085, 0.065), deep)
            self._bone(fibula)

    def _femur(self) -> Tensor:
        between = self.draws.between
        back = between(0.08, 0.16)
        condyle = self._ellipse((0.04, -0.20), between(0.36, 0.42), 0.375)
        heel = self._ellipse((back + 0.10, -0.24), 0.30, 0.29)
        shaft_radius = between(0.17, 0.22)
        shaft = self._limb((0.03, -1.7), (0.0, -0.62), shaft_radius, shaft_radius)
        flare = self._limb((0.0, -0.75), (0.02, -0.30), shaft_radius, 0.33)
        return _merge(_merge(_merge(condyle, heel, 0.05), flare, 0.06), shaft, 0.08)

    def _tibia(self) -> Tensor:
        between = self.draws.between
        width, radius = between(0.36, 0.42), between(0.16, 0.20)
        head = self._limb((0.06 - width + 0.13, 0.42), (0.06 + width - 0.13, 0.42), 0.16, 0.16)
        neck = self._limb((0.03, 0.50), (0.02, 1.05), 0.30, radius)
        shaft = self._limb((0.02, 0.95), (0.04, 1.8), radius, radius)
        tuberosity = self._ellipse((-0.20, 0.56), between(0.09, 0.13), 0.14)
        whole = _merge(_merge(_merge(head, neck, 0.08), shaft, 0.08), tuberosity, 0.08)
        slope = between(-0.02, 0.10)  # the plateau falls backwards
        return torch.maximum(whole, 0.275 - self.y + slope * (self.x - 0.05))

    def _patella(self) -> Tensor:
        return self._ellipse(self.cap, *self.cap_size, turn=self.draws.between(-0.05, 0.25)) - 0.01

    def _joint(self, femur: Tensor, tibia: Tensor, patella: Tensor) -> None:
        x, y, between = self.x, self.y, self.draws.between
        thickness = between(0.028, 0.048)
        cap_x, cap_y = self.cap
        # The capsule: fluid lines the joint; with an effusion it fills the pouch above the patella.
        effusion = between(0, 1) ** 2
        line = torch.maximum(torch.minimum(femur, tibia) - thickness - 0.012, (y - 0.05).abs() - 0.30)
        width = 0.02 + 0.05 * effusion
        pouch = self._limb((cap_x + 0.13, cap_y - 0.12), (-0.27, -0.85), width, 0.6 * width)
        behind = self._limb((0.44, 0.02), (0.42, 0.20), 0.02 + 0.04 * effusion, 0.02)
        for fluid in (line, pouch, behind):
            self._over(fluid, self.tissues["fluid"])
        on_femur = torch.maximum(femur - thickness, -0.34 - y - 0.5 * (x - 0.05).clamp_max(0.0))
        on_tibia = torch.maximum(tibia - thickness, y - 0.31)
        on_patella = torch.maximum(patella - thickness, cap_x - x)
        for cartilage in (on_femur, on_tibia, on_patella):
            self._over(cartilage, self.tissues["cartilage"])
        # Menisci: wedges, thick at the rim of the joint and sharp towards its middle.
        height, reach = between(0.055, 0.08), between(0.14, 0.22)
        middle = 0.245
        for rim, side in ((-0.32, 1.0), (0.42, -1.0)):
            inwards = side * (x - rim)
            wedge = torch.maximum((y - middle).abs() - height * (1 - inwards / reach), -inwards - 0.015)
            bones = torch.minimum(femur, tibia)
            self._over(torch.maximum(wedge, 0.012 - bones), self.tissues["fibrous"] + 0.04)

    def _tendons(self) -> None:
        between = self.draws.between
        cap_x, cap_y = self.cap
        half = self.cap_size[1]
        thickness = between(0.026, 0.042)
        quadriceps = self._limb((cap_x + 0.03, cap_y - half + 0.03), (-0.42, -1.5), thickness, thickness)
        patellar = self._limb((cap_x + 0.0, cap_y + half - 0.04), (-0.30, 0.56), thickness, 0.9 * thickness)
        capsule = self._limb((0.40, -0.12), (0.46, 0.28), 0.018, 0.018)
        for tendon in (quadriceps, patellar, capsule):
            self._over(tendon, self.tissues["fibrous"])
        if between(0, 1) < 0.5:  # a slice through the notch shows a cruciate ligament's end behind the condyle
            cruciate = self._limb((0.33, 0.10), (0.40, 0.34), 0.030, 0.036)
            self._over(cruciate, self.tissues["fibrous"] + 0.05)

    def _bone(self, distance: Tensor) -> None:
        """Paint a dark cortical rim around bright marrow with its trabeculae."""
        rim = self.draws.between(0.014, 0.025)
        self._over(distance, self.tissues["fibrous"])
        self._over(distance + rim, self.tissues["marrow"] * (self._mottled(24, 0.05) + self._mottled(5, 0.06) - 1))

    def _physis(self, bone: Tensor, height: float) -> None:
        """Paint the scar of the growth plate: a thin, slightly wavy dark line across a bone."""
        wave = 0.02 * torch.sin(6 * self.x + self.draws.between(0, 6.3))
        line = (self.y - height - wave).abs() - 0.008
        self._over(torch.maximum(line, bone + 0.03), 0.55 * self.tissues["marrow"], strength=0.7)

    # --- textures ----------------------------------------------------------------------------------------------

    def _mottled(self, cells: int, contrast: float) -> Tensor:
        """Smooth random texture around 1, with ``cells`` grains across the field of view."""
        coarse = self.draws.normal(1, 1, cells + 2, cells + 2)
        grain = functional.interpolate(coarse, size=self.image.shape, mode="bicubic", align_corners=True)
        return 1 + contrast * grain[0, 0]

    def _fibres(self, lean: float) -> Tensor:
        """Texture of a muscle around 1: wavy streaks along its length, and lighter septa of fat."""
        across = self.x - lean * self.y
        phase, bend = self.draws.between(0, 6.3), self.draws.between(0, 6.3)
        wavy = across + 0.02 * torch.sin(5 * self.y + bend)
        streaks = 0.10 * torch.sin(46 * wavy + phase) + 0.08 * torch.sin(27 * wavy + 2 * phase)
        septa = 0.35 * torch.exp(-(((torch.sin(13 * wavy + bend) - 1) / 0.06) ** 2))
        return 1 + streaks + septa * (self.tissues["fat"] / self.tissues["muscle"] - 1)

    def _shade(self) -> Tensor:
        """Return the slow shading that remains after coil combination."""
        tilt_x, tilt_y = (0.06 * self.draws.normal(2)).tolist()
        return 1 + tilt_x * self.x + tilt_y * self.y

    # --- shapes ------------------------------------------------------------------------------------------------

    def _over(self, distance: Tensor, value: Tensor | float, strength: float = 1.0) -> None:
        cover = strength * (0.5 - distance / self.edge).clamp(0, 1)
        self.image = self.image + cover * (value - self.image)

    def _ellipse(self, centre: Point, width: float, height: float, turn: float = 0.0) -> Tensor:
        """Distance to an ellipse, exact for a circle and first-order right near the edge otherwise."""
        dx, dy = self.x - centre[0], self.y - centre[1]
        if turn:
            cos, sin = math.cos(turn), math.sin(turn)
            dx, dy = cos * dx + sin * dy, cos * dy - sin * dx
        inner = torch.hypot(dx / width, dy / height)
        slope = torch.hypot(dx / width**2, dy / height**2).clamp_min(1e-6)
        return inner * (inner - 1) / slope

    def _limb(self, start: Point, end: Point, start_radius: float, end_radius: float) -> Tensor:
        """Distance to a rounded stick whose radius runs from one end's to the other's."""
        along_x, along_y = end[0] - start[0], end[1] - start[1]
        dx, dy = self.x - start[0], self.y - start[1]
        part = ((dx * along_x + dy * along_y) / (along_x**2 + along_y**2)).clamp(0, 1)
        gap = torch.hypot(dx - part * along_x, dy - part * along_y)
        return gap - start_radius - part * (end_radius - start_radius)


def _merge(first: Tensor, second: Tensor, blend: float) -> Tensor:
    """Union of two shapes with a fillet of about ``blend`` (polynomial smooth minimum)."""
    part = (0.5 + 0.5 * (second - first) / blend).clamp(0, 1)
    return second + part * (first - second) - blend * part * (1 - part)
