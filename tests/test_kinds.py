"""The lists of kinds agree with what they name, and a new kind is one new file and one line: tried for every sort."""

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from rsd_med.base.kinds import Kinds
from rsd_med.base.settings import KindSettings
from rsd_med.protocol import protocol_json_schema

ROOT = Path(__file__).parents[1]
LISTS = [
    (module, name)
    for module, names in {
        "rsd_med.data.kinds": ["SOURCES"],
        "rsd_med.corruptions.kinds": ["CORRUPTIONS"],
        "rsd_med.teachers.kinds": ["OBJECTIVES"],
        "rsd_med.students.kinds": ["LOSSES"],
        "rsd_med.diffusion.kinds": ["BACKBONES", "SAMPLERS"],
        "rsd_med.metrics.kinds": ["FEATURES"],
        "rsd_med.inverse.kinds": ["SOLVERS"],
        "rsd_med.training.kinds": ["OPTIMISERS"],
    }.items()
    for name in names
]


def kinds(module, name):
    return getattr(import_module(module), name)


def test_all_lists_are_known_here():
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.glob("rsd_med/*/kinds.py")]
    modules.remove("rsd_med.base.kinds")
    there = {(module, name) for module in modules for name, value in vars(import_module(module)).items()
             if isinstance(value, Kinds)}  # fmt: skip
    assert there == set(LISTS)


@pytest.mark.parametrize(("module", "name"), LISTS)
def test_a_list_names_settings_of_its_own_room(module, name):
    listed = kinds(module, name)
    assert len(listed) > 1
    for kind, settings in listed.items():
        assert issubclass(settings, KindSettings)
        assert settings.model_fields["kind"].default == kind
        assert settings.__module__.startswith(module.removesuffix("kinds"))
        assert not settings.__abstractmethods__
    assert listed.default is None or listed.default in listed
    if name != "SOLVERS":
        assert set(listed) <= {tag for part in mappings(protocol_json_schema()) for tag in part}


@pytest.mark.parametrize(("module", "name"), LISTS)
def test_the_documentation_names_every_kind(module, name):
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    assert [kind for kind in kinds(module, name) if f"`{kind}`" not in text and f"kind: {kind}" not in text] == []


def mappings(part):
    """Yield the discriminators' mappings of a JSON schema."""
    if isinstance(part, dict):
        if "discriminator" in part:
            yield part["discriminator"]["mapping"]
        for inner in part.values():
            yield from mappings(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from mappings(inner)


# --- a new kind of every sort: its file, and the list that gets its line --------------------------------------------

NEW = {
    "data/stripes.py": ("data/kinds.py", "SOURCES", '''
import torch
from typing import Literal
from rsd_med.data.scan import Picture
from rsd_med.data.source import Source, SourceSettings

class NewSettings(SourceSettings):
    """Stripes of a random phase."""
    kind: Literal["stripes"] = "stripes"
    def build(self, base_dir=None, seed=0):
        return Stripes()

class Stripes(Source):
    def __len__(self):
        return 16
    def __getitem__(self, index):
        return Picture(self.id(index), torch.sin(torch.arange(8.0) + index).expand(1, 8, 8).clone())
    def id(self, index):
        return f"stripes_{index}"
    def shape(self, index):
        return (1, 8, 8)
'''),
    "corruptions/dark.py": ("corruptions/kinds.py", "CORRUPTIONS", '''
from typing import Literal
from rsd_med.corruptions.base import CorruptionSettings
from rsd_med.corruptions.none import NoCorruption

class NewSettings(CorruptionSettings):
    """Nothing happens in the dark."""
    kind: Literal["dark"] = "dark"
    def build(self):
        return NoCorruption()
'''),
    "teachers/plain.py": ("teachers/kinds.py", "OBJECTIVES", '''
from typing import Literal
from rsd_med.teachers.base import ObjectiveSettings
from rsd_med.teachers.denoising import Denoising

class NewSettings(ObjectiveSettings):
    """The plain objective."""
    kind: Literal["plain"] = "plain"
    def build(self, corruption):
        return Denoising(corruption, self.levels)
'''),
    "students/pull.py": ("students/kinds.py", "LOSSES", '''
from typing import Literal
from rsd_med.students.base import LossSettings
from rsd_med.students.sds import SDS

class NewSettings(LossSettings):
    """A pull to the teacher's mode."""
    kind: Literal["pull"] = "pull"
    def build(self):
        return SDS(self)
'''),
    "diffusion/backbones/single.py": ("diffusion/kinds.py", "BACKBONES", '''
from typing import Literal
from torch import nn
from rsd_med.diffusion.backbones.base import BackboneSettings

class NewSettings(BackboneSettings):
    """A single convolution."""
    kind: Literal["single"] = "single"
    def build(self, in_channels, out_channels):
        return Single(in_channels, out_channels)

class Single(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.layer = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    def forward(self, x, noise_label):
        return self.layer(x)
'''),
    "diffusion/samplers/leap.py": ("diffusion/kinds.py", "SAMPLERS", '''
from typing import ClassVar, Literal
from rsd_med.diffusion.samplers.base import SamplerSettings

class NewSettings(SamplerSettings):
    """One leap from the largest level."""
    deterministic: ClassVar[bool] = True
    kind: Literal["leap"] = "leap"
    def calls(self, data_sigma):
        return 1
    def walk(self, denoiser, view, noise, data_sigma, fresh):
        level = self.levels(noise.device)[:1]
        return view.denoise(denoiser, level * noise, level.expand(len(noise)))
'''),
    "metrics/moments.py": ("metrics/kinds.py", "FEATURES", '''
from typing import Literal
import torch
from rsd_med.metrics.features import FeatureSettings

class NewSettings(FeatureSettings):
    """Mean and spread of the pixels."""
    kind: Literal["moments"] = "moments"
    def build(self, reference=None, base_dir=None):
        return Moments()

class Moments:
    name, dimension = "moments-2", 2
    def __call__(self, images):
        flat = images.flatten(1).double().cpu()
        return torch.stack([flat.mean(1), flat.std(1)], 1)
'''),
    "training/still.py": ("training/kinds.py", "OPTIMISERS", '''
from typing import Literal
import torch
from rsd_med.training.optim import OptimiserSettings

class NewSettings(OptimiserSettings):
    """Plain steps along the gradient."""
    kind: Literal["still"] = "still"
    def build(self, module):
        return torch.optim.SGD(module.parameters(), lr=self.learning_rate)
'''),
    "inverse/half.py": ("inverse/kinds.py", "SOLVERS", '''
from typing import Literal
from rsd_med.inverse.base import Solver, SolverSettings

class Half(Solver):
    def solve(self, measurement, generator, progress):
        return measurement.image() / 2

class NewSettings(SolverSettings):
    """Half of what zero-filling gives."""
    solver = Half
    kind: Literal["half"] = "half"
'''),
}  # fmt: skip

PROTOCOL = """
schema_version: 1
name: new_kinds
data: {kind: stripes}
corruption: {kind: dark}
backbone: {kind: single}
teacher: {objective: {kind: plain}, images: 4, batch_size: 4, optimiser: {kind: still}}
student: {loss: {kind: pull}, images: 4, batch_size: 4}
evaluation:
  {num_samples: 8, monitor_images: 16, audited_samples: 0, samplers: [{kind: leap}], features: {kind: moments}}
engine: {device: cpu}
"""

PROGRAM = """
import sys
import rsd_med.reconstruct, rsd_med.sample
assert rsd_med.__file__.startswith(sys.argv[1])
sampling = rsd_med.sample.parse(["run", "--num", "8", "--from", "teacher", "--sampler", "leap", "--out", "out"])
method = rsd_med.reconstruct.parser().parse_args(["-", "scan.h5", "--method", "half", "--out", "out"])
assert "torch" not in sys.modules and "pydantic" not in sys.modules

import json
from pathlib import Path
from rsd_med import schema
for kind in "stripes dark plain pull single still leap moments".split():
    assert f'"const": "{kind}"' in schema.schema_text(), kind

from rsd_med.inverse.kinds import SOLVERS
assert type(SOLVERS[method.method]().build()).__name__ == "Half"

from rsd_med import doctor, train
assert train.main(["protocol.yaml", "--run-dir", "run", "--quiet"]) == 0
assert doctor.report(Path("."), Path("protocol.yaml")) in (0, 2)
assert rsd_med.sample.main(["run", "--num", "8", "--from", "teacher", "--sampler", "leap", "--out", "out"]) == 0
metrics = json.loads(Path("run/metrics.json").read_text())
assert metrics["features"] == "moments-2" and metrics["teacher"]["leap"]["network_calls"] == 1, metrics

try:
    import fastapi
except ImportError:  # the app is an extra
    pass
else:
    from apps.inspector.reading.account import methods_for
    assert "Half of it" in [method["title"] for method in methods_for(None)]
"""


def test_a_new_kind_of_every_sort_is_one_file_and_one_line(tmp_path):
    house = tmp_path / "house"
    for package in ("rsd_med", "apps"):
        shutil.copytree(ROOT / package, house / package, ignore=shutil.ignore_patterns("__pycache__", "demo_model"))
    for file, (listing, name, code) in NEW.items():
        (house / "rsd_med" / file).write_text(code, encoding="utf-8")
        kind = code.split('kind: Literal["')[1].split('"')[0]
        place = ".".join(("rsd_med", *Path(file).with_suffix("").parts))
        line = f'    Kind("{kind}", "{place}:NewSettings", "Half of it"),\n'
        before, start, after = (house / "rsd_med" / listing).read_text(encoding="utf-8").partition(f"{name}: ")
        head, opened, rest = after.partition("Kinds(\n")
        (house / "rsd_med" / listing).write_text(before + start + head + opened + line + rest, encoding="utf-8")
    (tmp_path / "protocol.yaml").write_text(PROTOCOL)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(house)],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(house)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
