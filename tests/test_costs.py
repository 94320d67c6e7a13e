"""What is counted is what happens: against passes that are taken, and the document against a new count."""

from pathlib import Path

import pytest
import torch

from benchmarks import costs as document
from rsd_med import costs, doctor
from rsd_med.base.randomness import generator_for
from rsd_med.costs import GIB, ImageShape, StageCosts, count_network, count_stages, describe_memory
from rsd_med.diffusion.denoiser import build_denoiser
from tests.published import published

KNEES = document.CASES[3]


class Held:
    """Adds up what autograd holds of real passes, each storage once."""

    def __init__(self):
        self.storages = {}

    def __call__(self, tensor):
        storage = tensor.untyped_storage()
        self.storages[storage.data_ptr()] = storage.nbytes()
        return tensor


@pytest.mark.parametrize("name", ["cifar10_inpaint0.6", "quickstart"])
def test_what_is_counted_is_held_by_a_real_pass(tmp_path, name):
    """Weights are held as well, the same for one image and for three: the difference is that of two images."""
    experiment = published(name, tmp_path)
    protocol, channels = experiment.protocol, 2 if name == "quickstart" else 3
    denoiser = build_denoiser(
        protocol.backbone, protocol.diffusion, channels, 1, generator_for(0, "weights"), compute_options=None
    )
    held = []
    for items in (1, 3):
        hold = Held()
        with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            answer = denoiser.learning(generator_for(0, "d"))(
                torch.zeros(items, channels, 16, 16), torch.ones(items), torch.zeros(items, 1, 16, 16)
            )
        held.append(sum(hold.storages.values()))
        del answer
    counted = count_network(protocol, ImageShape(channels, 1, 16, 16), "float32")
    # What kernels of a processor hold beside (padding, statistics) lies within what a card is granted for it.
    assert (held[1] - held[0]) / 2 == pytest.approx(counted.learning, rel=costs.SPARE)
    assert counted.weights == sum(parameter.numel() for parameter in denoiser.parameters())
    assert 0 < counted.frozen <= counted.learning
    assert 0 < counted.drawing < counted.learning


def test_knees_run_on_one_card_of_80_gib_as_shipped_and_the_document_says_what_is_counted():
    stages = count_stages(KNEES.load(), KNEES.shape, "bfloat16")
    assert all(describe_memory(name, stage, 8, 80)[0] for name, stage in stages.items())
    assert not describe_memory("student", stages["student"], 24, 40)[0]
    text = document.DOCUMENT.read_text()
    for row in (*document.memory_rows(KNEES), document.network_row(document.CASES[1])):
        assert f"| {' | '.join(row)} |" in text, "python -m benchmarks.costs --write"


def test_ranks_share_a_batch_and_the_work_stays():
    protocol = KNEES.load()
    network = costs.NetworkCosts(1e9, 10**6, 100 * 2**20, 90 * 2**20, 2**20, 2**20)
    shape = ImageShape(2, 1, 32, 32, 4)
    alone, eight = (costs._student(protocol, shape, network, "bfloat16", ranks) for ranks in (1, 8))
    assert (alone.at_once, eight.at_once) == (4, 3)  # of 24 images, at most 4 at once; of 3, all
    assert eight.memory < alone.memory
    assert eight.flops == alone.flops
    # 11 passes of an image, and a generation for each of the samples behind a distance.
    student = protocol.student
    evaluations = student.images // student.evaluate_every
    assert alone.flops == 1e9 * (11 * student.images + evaluations * student.evaluate_samples)


@pytest.mark.parametrize(
    ("memory", "card", "good", "mend"),
    [
        (40, 80, True, ""),
        (200, 80, False, "set engine.micro_batch=4, with the same result"),
        (900, 8, False, "make the backbone smaller"),
    ],
)
def test_what_does_not_fit_names_its_mend(memory, card, good, mend):
    stage = StageCosts(memory * GIB, 8 * GIB, 12, 1e15)
    fits, sentence = describe_memory("student", stage, 12, card)
    assert fits == good
    assert mend in sentence
    assert f"{memory}.0 GiB on a card of {card}" in sentence


def test_the_doctor_counts_for_a_card_that_is_named(tmp_path, capsys):
    protocol = str(Path(__file__).parents[1] / "protocols" / "quickstart.yaml")
    assert doctor.main([protocol, "--runs", str(tmp_path), "--device-memory", "80"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "GPU for quickstart" in line)
    assert line.startswith("ok")
    assert "GPU-days (teacher + student" in line
