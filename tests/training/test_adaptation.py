"""A prior that adapts to one scan: it learns from measured lines alone, and hidden ones decide what is kept."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from rsd_med.base.errors import FewLinesError, ProtocolError
from rsd_med.base.progress import silent
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions import MultiCoilFourierSettings
from rsd_med.diffusion.compute import ComputeOptions
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.inverse.a_dps import ADPSSettings
from rsd_med.inverse.cg_sense import CGSenseSettings
from rsd_med.inverse.checking import check_slice
from rsd_med.inverse.hidden_lines import Candidate
from rsd_med.inverse.hiding import enough_draws, hidden_of, lines_of
from rsd_med.inverse.prior import Prior
from rsd_med.inverse.reconstructor import ReconstructorSettings
from rsd_med.inverse.student_pnp import StudentPnPSettings
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.operators.soft_sense import SoftSense
from rsd_med.teachers.ambient_fourier import AmbientFourier
from rsd_med.training import adaptation
from rsd_med.training.adaptation import AdaptationSettings, AdaptingSolver
from tests.inverse.scenes import columns, disc, gaussian_prior, measure, smooth_maps, untrained_reconstructor

MASK = columns(0, 2, 3, 6, 7, 8, 9, 11, 12, 14)


class Small(nn.Module):
    """Two convolutions, the second of which begins at zero: an untrained network."""

    def __init__(self, inputs: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(inputs, 16, 5, padding=2), nn.SiLU(), nn.Conv2d(16, 2, 5, padding=2))
        nn.init.zeros_(self.layers[2].weight)
        nn.init.zeros_(self.layers[2].bias)

    def forward(self, x, label):
        return self.layers(x)


def prior():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = Denoiser(Small(), hidden_std=0.3).requires_grad_(False)
    corruption = MultiCoilFourierSettings(acceleration=2, acs_lines=4, further_lines=2).build()
    return Prior(
        denoiser=denoiser,
        show=AmbientFourier(corruption, None).show,
        corruption=corruption,
        masks=None,
        size=(16, 16),
        hides=True,
    )


def wrong_prior():
    """It adds what is not there."""
    before = prior()
    with torch.no_grad():
        before.denoiser.network.layers[2].weight.normal_(0, 1.0, generator=torch.Generator().manual_seed(0))
    return before


def scan(sigma=0.01):
    return measure(disc(), MASK, smooth_maps(4), sigma)


def weights(one):
    return torch.cat([value.flatten() for value in one.denoiser.state_dict().values()])


def adapted(trained, measurement, settings, progress=silent):
    lines = lines_of(measurement)
    _, hidden = hidden_of(measurement, enough_draws(lines, settings.copies), 0)
    result = adaptation.adapt(trained, measurement, hidden, settings, generator_for(0, "adapt"), progress)
    return result.network, result.facts


def test_each_copy_learns_without_other_lines_which_say_when_to_stop_and_nothing_else():
    measurement = scan()
    settings = AdaptationSettings(steps=3, check_every=1, copies=2)
    _, hidden = hidden_of(measurement, 2, 0)
    results = []
    for factor in (1.0, 1.0001):  # other numbers in the lines that the first copy is not given
        data = torch.where(torch.isin(torch.arange(16), hidden[0].lines), factor * measurement.data, measurement.data)
        changed = replace(measurement, data=data)
        _, again = hidden_of(changed, 2, 0)
        results.append(adaptation.adapt(wrong_prior(), changed, again, settings, generator_for(0, "adapt"), silent))
    one, other = results
    assert one.facts.before != other.facts.before
    assert one.facts.steps == other.facts.steps > 0
    assert torch.equal(weights(one.copies[0]), weights(other.copies[0]))
    assert not torch.equal(weights(one.copies[1]), weights(other.copies[1]))
    assert [int(copied.masks.sum()) for copied in one.copies] == [9, 9]  # what each was given
    assert int(one.network.masks.sum()) == 10
    assert torch.allclose(weights(one.network), (weights(one.copies[0]) + weights(one.copies[1])) / 2, atol=1e-7)


def test_the_check_on_hidden_lines_asks_the_copies_and_what_they_learned_serves_the_image():
    solver = AdaptingSolver(ADPSSettings(samples=2, steps=2), prior(), AdaptationSettings(steps=4, check_every=2))
    alone = solver(scan(), generator_for(0, "solve"))
    table = check_slice(scan(), [Candidate("a_dps", solver)], 3, 0, silent)
    latest = solver._latest[-1]
    assert table.draws == len(latest[2].copies) == alone.facts["adaptation"]["copies"] == 6
    errors = table.rows[0].errors.squared
    again = solver(scan(), generator_for(0, "solve"))
    assert solver._latest[-1] is latest
    assert torch.equal(alone.samples, again.samples)  # a check changes nothing
    # What a line holds bears not on the image made without it.
    measurement = scan()
    _, hidden = hidden_of(measurement, 6, 0)
    missed = torch.isin(torch.arange(16), hidden[0].lines)
    changed = replace(measurement, data=torch.where(missed, 1.0001 * measurement.data, measurement.data))
    _, other = hidden_of(changed, 6, 0)
    images = []
    for one, parts in ((measurement, hidden), (changed, other)):
        draws = [generator_for(0, "check", number) for number in range(6)]
        images.append(solver.without(one, parts, draws, silent)[0])
    assert torch.equal(*images)
    assert len(errors) == 6


def test_a_wrong_prior_learns_from_the_scan():
    progress, before = [], wrong_prior()
    state = weights(before)
    settings = AdaptationSettings(steps=60, batch_size=4, check_every=20, learning_rate=5e-3)
    after, facts = adapted(before, scan(), settings, progress.append)
    assert facts.after < 0.7 * facts.before
    assert 0 < facts.floor < facts.after
    assert (progress, progress[-1]) == (sorted(progress), 1)
    assert torch.equal(weights(before), state)  # the prior that was given stays as it was
    assert not torch.equal(weights(after), state)
    assert not any(parameter.requires_grad for parameter in after.denoiser.parameters())
    assert facts.copies == 6


def test_the_mean_of_copies_is_one_network_with_their_mean_weights():
    one, other = prior().denoiser, prior().denoiser
    assert torch.equal(weights(replace(prior(), denoiser=adaptation._mean([one, one, one]))), weights(prior()))
    with torch.no_grad():
        other.network.layers[2].bias += 1
    mean = adaptation._mean([one, other]).network.layers[2].bias
    assert torch.equal(mean, torch.full_like(mean, 0.5))


def test_steps_that_lead_away_are_not_kept():
    settings = AdaptationSettings(steps=9, check_every=1, patience=3, learning_rate=10)
    after, facts = adapted(prior(), scan(), settings)
    assert (facts.steps, facts.taken) == (0, 3)
    assert facts.after == facts.before
    assert torch.equal(weights(after), weights(prior()))


def test_a_method_asks_the_adapted_prior_and_says_so():
    solver = AdaptingSolver(ADPSSettings(samples=2, steps=2), prior(), AdaptationSettings(steps=2, check_every=1))
    progress = []
    first, again = (solver(scan(), generator_for(0, "solve"), progress.append) for _ in range(2))
    assert torch.equal(first.samples, again.samples)
    assert first.facts["adaptation"]["taken"] == 2
    assert first.seconds > first.facts["adaptation"]["seconds"] > 0
    assert progress[: len(progress) // 2] == sorted(progress[: len(progress) // 2])


def test_what_was_adapted_to_serves_the_very_same_measurement_alone():
    solver = AdaptingSolver(ReconstructorSettings(samples=2), untrained_reconstructor(), AdaptationSettings(steps=1))
    measurement = scan()
    operator = measurement.operator
    others = [
        replace(measurement, sigma=0 * measurement.sigma),
        replace(measurement, operator=MultiCoilFourier(operator.mask, operator.maps.roll(1, -3))),
        replace(measurement, ids=("another",)),
    ]
    for one in others:
        solver(measurement, generator_for(0, "solve"))
        latest = solver._latest[-1]
        solver(one, generator_for(0, "solve"))
        assert solver._latest[-1] is not latest
    # So many slices are kept as the check looks at: those of a volume are learned from once.
    assert len(solver._latest) == 3
    kept = list(solver._latest)
    solver(others[-1], generator_for(0, "solve"))
    assert list(solver._latest) == kept
    # A check with fewer draws asks the first copies of as many as the image needs.
    check_slice(measurement, [Candidate("reconstructor", solver)], 1, 0, silent)
    _, hidden = hidden_of(measurement, 2, 0)
    latest = solver._latest[-1]
    draws = [generator_for(0, "check", number) for number in range(2)]
    assert len(solver.without(measurement, hidden, draws, silent)) == 2
    assert solver._latest[-1] is latest
    centre = torch.zeros(16, dtype=torch.bool)
    centre[6:10] = True
    dark = replace(measurement, data=measurement.data * centre)
    with pytest.raises(FewLinesError, match="no signal"):
        solver(dark, generator_for(0, "solve"))


def test_weights_learn_in_single_precision_and_answer_in_the_arithmetic_of_the_network(monkeypatch):
    before = untrained_reconstructor(options=ComputeOptions(precision="bfloat16"))
    before = replace(before, network=before.network.settled())
    dtypes = set()
    step = adaptation.take_step

    def watched(network, *rest):
        dtypes.update(parameter.dtype for parameter in network.parameters())
        return step(network, *rest)

    monkeypatch.setattr(adaptation, "take_step", watched)
    after, _ = adapted(before, scan(), AdaptationSettings(steps=1))
    assert dtypes == {torch.float32}
    assert {p.dtype for p in after.network.denoiser.network.parameters()} == {torch.bfloat16}


def test_a_reconstructor_takes_the_same_lesson():
    before = untrained_reconstructor()
    network = before.network
    settings = AdaptationSettings(steps=4, check_every=2)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    after, facts = adapted(before, scan(), settings)
    assert facts.taken == 4
    assert facts.after <= facts.before
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in after.network.parameters())
    solver = AdaptingSolver(ReconstructorSettings(samples=2), before, AdaptationSettings(steps=2, check_every=1))
    one = solver(scan(), generator_for(0, "solve"))
    assert one.facts["adaptation"]["taken"] == 2
    # Of two sets of coil maps it takes the first, as without adaptation; in the check, too.
    twice = two_sets(scan())
    assert torch.equal(solver(twice, generator_for(0, "solve")).mean, one.mean)
    assert len(check_slice(twice, [Candidate("reconstructor", solver)], 3, 0, silent).rows) == 1


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: AdaptingSolver(ADPSSettings(), gaussian_prior(1.0), AdaptationSettings(steps=1)),
            "undersampled columns",
        ),
        (lambda: AdaptingSolver(StudentPnPSettings(), prior(), AdaptationSettings(steps=1)), "undersampled columns"),
        (
            lambda: AdaptingSolver(ADPSSettings(), replace(prior(), hides=False), AdaptationSettings(steps=1)),
            "undersampled columns",
        ),
        (lambda: AdaptingSolver(CGSenseSettings(), prior(), AdaptationSettings(steps=1)), "undersampled columns"),
        (lambda: _adapted(columns(6, 7, 8, 9, 10)), "too few"),
        (lambda: _adapted(torch.rand(1, 1, 16, 16) > 0.5), "whole columns"),
        (lambda: _adapted(MASK, SoftSense), "one map of each coil"),
    ],
)
def test_what_cannot_adapt_is_said(build, sentence):
    with pytest.raises((ProtocolError, FewLinesError), match=sentence):
        build()


def two_sets(measurement):
    maps = measurement.operator.maps
    operator = SoftSense(measurement.operator.mask, torch.stack([maps, 0 * maps], dim=-4))
    return replace(measurement, operator=operator)


def _adapted(mask, kind=MultiCoilFourier):
    measurement = scan()
    maps = measurement.operator.maps
    operator = kind(mask, maps if kind is MultiCoilFourier else torch.stack([maps, maps.roll(1, -3)], dim=-4))
    measurement = replace(measurement, operator=operator, data=measurement.data * mask)
    solver = AdaptingSolver(ADPSSettings(samples=2, steps=2), prior(), AdaptationSettings(steps=1))
    return solver(measurement, generator_for(0, "a"))
