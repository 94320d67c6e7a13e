"""The protocol as a whole: reading, writing back, the schema for editors, and the protocols that come with rsd_med."""

import json
from pathlib import Path

import pytest

from rsd_med import schema
from rsd_med.base.errors import ProtocolError
from rsd_med.protocol import dump_protocol, load_protocol, protocol_json_schema

ROOT = Path(__file__).parents[2]
PROTOCOLS = sorted((ROOT / "protocols").glob("*.yaml"))

TEXT = """
schema_version: 1
name: small
seed: 1
data: {kind: knee_phantom, num_images: 500}
corruption: {kind: multicoil_fourier, acceleration: 4, acs_lines: 4}
backbone: {kind: monai_unet, channels: [16, 32, 48], attention: [false, false, true]}
teacher: {objective: {kind: ambient_fourier}, images: 1e4, optimiser: {learning_rate: 1e-4}}
student: {images: 1_000}
evaluation:
  reference: {kind: knee_phantom, split: test, num_images: 100}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(TEXT)
    return path


def test_a_protocol_is_read(path):
    protocol = load_protocol(path, ["student.loss.alpha=1", "name=try_2"])
    assert protocol.name == "try_2"
    assert protocol.teacher.images == 10_000
    assert protocol.teacher.optimiser.learning_rate == 1e-4
    assert protocol.student.images == 1000
    assert protocol.student.loss.alpha == 1.0
    assert protocol.evaluation.reference is not None


def test_what_is_written_reads_back_equal_and_says_everything(path, tmp_path):
    protocol = load_protocol(path)
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(dump_protocol(protocol))
    assert load_protocol(resolved) == protocol
    assert "warmup_images: 0" in resolved.read_text()
    assert "channels: [16, 32, 48]" in resolved.read_text()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.kind=knee", "data.kind: there is no kind `knee`; did you mean `knee_phantom`?"),
        ("student.loss.alhpa=1", "student.loss.alhpa: there is no such key; did you mean `alpha`?"),
        ("student.images=-1", "student.images: must be greater than 0 (got -1)"),
        ("teacher.objective.kind=tweedie", "teacher.objective.kind: there is no kind `tweedie`"),
        ("evaluation.reference.splt=test", "evaluation.reference.splt: there is no such key; did you mean `split`?"),
        ("schema_version=2", "schema_version: must be 1 (got 2)"),
        ("name=a b/c", "name: must match the pattern"),
        ("seed=x", "seed: must be a whole number (got 'x')"),
        ("corruption={kind: noise, sigma: 0}", "corruption.sigma: must be greater than 0 or 'estimate' (got 0)"),
        ("corruption.acceleration=0.5", "corruption.acceleration: must be at least 1 (got 0.5)"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(path, override, sentence):
    with pytest.raises(ProtocolError) as caught:
        load_protocol(path, [override])
    assert str(caught.value).startswith(f"small.yaml with --set: {sentence}")
    assert "\n" not in str(caught.value)


def test_every_kind_can_be_told_apart():
    """A settings class that can stand in a union has a kind, and no two in one union share it."""
    mappings = [part["discriminator"]["mapping"] for part in _parts(protocol_json_schema()) if "discriminator" in part]
    assert len(mappings) >= 4
    for part in _parts(protocol_json_schema()):
        if "oneOf" in part:
            assert len(part["oneOf"]) == len(part["discriminator"]["mapping"])


def test_the_schema_for_editors_is_current():
    """If this fails: make schema."""
    committed = ROOT / "docs" / "protocol.schema.json"
    assert committed.read_text(encoding="utf-8") == schema.schema_text()


def test_the_schema_command_prints_and_writes(tmp_path, capsys):
    assert schema.main([]) == 0
    assert json.loads(capsys.readouterr().out) == protocol_json_schema()
    assert schema.main(["--out", str(tmp_path / "s.json")]) == 0
    assert (tmp_path / "s.json").read_text(encoding="utf-8") == schema.schema_text()
    assert schema.main(["--out", str(tmp_path / "nowhere" / "s.json")]) == 2


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_the_protocols_that_come_along_are_good(path, tmp_path):
    protocol = load_protocol(path)
    assert protocol.name == path.stem
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(dump_protocol(protocol))
    assert load_protocol(resolved) == protocol


def test_no_environment_variable_is_read_outside_data_roots(path, monkeypatch):
    monkeypatch.setenv("SEED", "7")
    with pytest.raises(ProtocolError, match="seed: must be a whole number"):
        load_protocol(path, ["seed=$SEED"])


def _parts(node):
    """Yield every object of a JSON schema."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _parts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _parts(value)


def test_every_key_has_a_description():
    """Where the schema shows it to whoever writes a protocol; one kind of settings without them would go unnoticed."""
    groups = {"Protocol": protocol_json_schema(), **protocol_json_schema()["$defs"]}
    keys = {f"{group}.{key}": text for group, part in groups.items() for key, text in part["properties"].items()}
    assert len(keys) > 200
    assert [key for key, text in keys.items() if not text.get("description", "").strip()] == []
