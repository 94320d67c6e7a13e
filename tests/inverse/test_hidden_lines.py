"""The check on hidden lines: nothing of them reaches a method, errors are theirs alone, inventions show."""

from dataclasses import replace

import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.base.progress import silent
from rsd_med.base.randomness import generator_for
from rsd_med.inverse.base import Solver, SolverSettings
from rsd_med.inverse.cg_sense import CGSenseSettings
from rsd_med.inverse.choice import BASELINE, Row, Table, compared_with
from rsd_med.inverse.consistency import consistency
from rsd_med.inverse.hidden_lines import Candidate, Errors, errors_of, predict
from rsd_med.inverse.hiding import FOLDS, LEAST_LINES, enough_draws, hide, lines_of
from rsd_med.inverse.l1_wavelet import L1WaveletSettings
from rsd_med.operators.fourier import fft2c
from rsd_med.operators.linear import Scaled
from tests.inverse.scenes import columns, disc, measure, smooth_maps

SIZE = 32
CENTRE = range(13, 19)
OUTER = (0, 2, 3, 5, 7, 8, 11, 20, 22, 23, 26, 28, 31)
MASK = columns(*CENTRE, *OUTER, size=SIZE)


def scan(sigma=0.02, mask=MASK, seed=0):
    return measure(disc(SIZE), mask, smooth_maps(4, SIZE), sigma, seed=seed)


def hidden(measurement, draws=FOLDS):
    return hide(measurement, lines_of(measurement), draws, generator_for(0, "hide"))


# --- which lines ----------------------------------------------------------------------------------------------------


def test_each_outer_line_is_hidden_once_and_the_centre_never():
    draws = hidden(scan())
    assert sorted(torch.cat([draw.lines for draw in draws]).tolist()) == sorted(OUTER)
    for draw in draws:
        assert 2 <= len(draw.lines) <= 3  # a sixth of 13
        left = draw.rest.operator.entries(draw.rest.data)
        assert left.shape == (1, 1, 1, SIZE)  # still lines, which operators take a quicker way with
        assert set(left.flatten().nonzero().flatten().tolist()) == {*CENTRE, *OUTER} - set(draw.lines.tolist())


def test_near_and_far_lines_are_hidden_alike():
    wide = measure(disc(64), columns(*range(28, 36), *range(28), *range(36, 64), size=64), smooth_maps(2, 64), 0.0)
    for draw in hidden(wide):
        distance = (draw.lines - 32).abs()
        assert int((distance < 20).sum()) in (3, 4, 5)
        assert int((distance >= 20).sum()) in (3, 4, 5)


def test_nothing_hidden_reaches_a_method():
    """Whatever stands in the hidden lines, NaN included, no solver's result changes by a bit."""
    measurement = scan()
    draw = hidden(measurement)[0]
    spoilt = measurement.data.clone()
    spoilt[..., draw.lines] = torch.nan
    other = hidden(replace(measurement, data=spoilt))[0]
    assert torch.equal(draw.lines, other.lines)
    for settings in (CGSenseSettings(iterations=5), L1WaveletSettings(iterations=5)):
        first, second = (settings.build()(one.rest, generator_for(0, "solve")).mean for one in (draw, other))
        assert torch.equal(first, second)


def test_too_few_lines_are_said_to_be_too_few():
    few = scan(mask=columns(*CENTRE, *OUTER[: LEAST_LINES - 1], size=SIZE))
    with pytest.raises(DataError, match=f"only {LEAST_LINES - 1} measured lines lie outside the centre"):
        lines_of(few)
    some = lines_of(scan(mask=columns(*CENTRE, *OUTER[:LEAST_LINES], size=SIZE)))
    assert enough_draws(some, 3) == FOLDS  # one line at a time: more draws than asked for
    assert enough_draws(lines_of(scan()), 3) == 4
    assert enough_draws(replace(some, hideable=torch.arange(40)), 3) == 3


def test_of_a_plane_of_phase_encodings_single_cells_are_hidden():
    plane = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) < 0.4
    plane[..., 12:20, 12:20] = True
    measurement = scan(mask=plane)
    lines = lines_of(measurement)
    middle = (lines.hideable // SIZE - SIZE // 2, lines.hideable % SIZE - SIZE // 2)
    assert not bool(((middle[0].abs() < 4) & (middle[1].abs() < 4)).any())
    draws = hidden(measurement)
    assert sum(len(draw.lines) for draw in draws) == int(plane.sum()) - 64
    left = draws[0].rest.operator.entries(measurement.data)
    assert int(left.sum()) == int(plane.sum()) - len(draws[0].lines)


def test_off_the_grid_whole_spokes_are_hidden():
    pytest.importorskip("finufft")
    from rsd_med.operators.nonuniform import MultiCoilNonUniformFourier
    from rsd_med.operators.trajectories import radial_trajectory

    trajectory = radial_trajectory(24, 40, SIZE).float()
    operator = Scaled(MultiCoilNonUniformFourier(trajectory, smooth_maps(3, SIZE)[None]), torch.tensor([0.5]))
    measurement = replace(scan(), operator=operator, data=operator(disc(SIZE)))
    lines = lines_of(measurement)
    assert len(lines.hideable) == 24
    assert torch.equal(lines.numbers.flatten(), torch.arange(24).repeat_interleave(40))
    for draw in hidden(measurement):
        assert draw.rest.data.shape[-1] == 20 * 40
        # What is left is the scan of the other spokes: the same image explains it.
        assert consistency(disc(SIZE)[0], replace(draw.rest, sigma=torch.zeros(1))).relative < 1e-5
        assert errors_of(disc(SIZE)[0], measurement, lines, draw).relative < 1e-9


# --- errors ---------------------------------------------------------------------------------------------------------


def test_errors_are_those_of_the_hidden_lines_alone():
    """Beside numpy's way: transform the coil images, subtract, and sum over the hidden columns."""
    measurement = scan(sigma=0.05)
    lines, draw = lines_of(measurement), hidden(measurement)[1]
    image = 0.8 * disc(SIZE)
    errors = errors_of(image[0], measurement, lines, draw)
    kspace = fft2c(smooth_maps(4, SIZE) * image[0])
    chosen = draw.lines.sort().values
    squared = (kspace - measurement.data[0]).abs().square().sum((0, 1))[chosen]
    assert torch.allclose(errors.squared.float(), squared, rtol=1e-4)
    assert torch.allclose(errors.energy.float(), measurement.data[0].abs().square().sum((0, 1))[chosen], rtol=1e-4)
    assert errors.noise.tolist() == pytest.approx([2 * 0.05**2 * 4 * SIZE] * len(chosen))
    columns = measurement.operator.mask.flatten()
    others = [number for number in columns.nonzero().flatten().tolist() if number not in chosen.tolist()]
    misfit = (kspace - measurement.data[0]).abs().square().sum((0, 1))[others].sum()
    assert float(errors.shown) == pytest.approx(float(misfit), rel=1e-4)
    assert float(errors.unmeasured) == pytest.approx(float((~columns).sum()) / len(chosen))


def test_the_truth_leaves_the_noise_and_an_empty_image_everything():
    ratios, empty = [], torch.zeros(1, SIZE, SIZE, dtype=torch.complex64)
    for seed in range(5):
        measurement = scan(0.1, seed=seed)
        lines = lines_of(measurement)
        for draw in hidden(measurement):
            ratios.append(errors_of(disc(SIZE)[0], measurement, lines, draw).noise_ratio)
            assert errors_of(empty, measurement, lines, draw).relative == 1
    assert sum(ratios) / len(ratios) == pytest.approx(1, abs=0.02)


# --- choice ---------------------------------------------------------------------------------------------------------


class Believed(Solver):
    """A prior that believes in an image, and fits it to what it is given."""

    def __init__(self, image, needs="teacher"):
        class Settings(SolverSettings):
            kind: str = "believed"

        Settings.needs = needs
        super().__init__(Settings())
        self.image = image

    def solve(self, measurement, generator, progress):
        misfit = replace(measurement, data=measurement.data - measurement.operator(self.image))
        return self.image + CGSenseSettings(regularisation=1e-2).build().solve(misfit, generator, progress)


def table_of(image):
    measurement = scan(sigma=0.005)
    learned = Candidate("believed", Believed(image))
    candidates = compared_with(learned)
    errors = predict(measurement, candidates, 3, 0, silent)
    return Table(tuple(map(Row, candidates, errors)), 3, 1), learned, measurement


def test_inventions_that_no_residual_sees_are_found():
    letter = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.complex64)
    letter[..., 6:26, 10:13] = letter[..., 6:9, 10:22] = 1
    table, learned, measurement = table_of(letter)
    result = learned.solver(measurement, generator_for(0, "solve"))
    assert result.residual.explains  # it fits what it was given
    assert "worse than l1_wavelet" in table.warning(table.row_of(learned))
    assert table.chosen().candidate.name != "believed"


def test_a_prior_that_fits_is_chosen():
    table, learned, _ = table_of(disc(SIZE) * 1.02)
    assert table.warning(table.row_of(learned)) is None
    assert table.chosen().candidate is learned
    assert table.as_dict()["methods"][table.as_dict()["chosen"]]["method"] == "believed"
    assert next(line for line in table.text().splitlines() if line.endswith("chosen")).split()[0] == "believed"


def rows(*relative, names):
    energy = torch.ones(20, dtype=torch.float64)
    noise = torch.randn(20, generator=torch.Generator().manual_seed(0)).double() * 0.1
    settings, none = CGSenseSettings().build(), torch.zeros(1)
    return [
        Row(Candidate(name, settings), Errors(energy * value + noise * (number % 2), energy, energy * 0, none, none))
        for number, (value, name) in enumerate(zip(relative, names, strict=True))
    ]


def test_a_tie_goes_to_the_simpler_method():
    simple, complicated = rows(0.51, 0.5, names=["zero_filled", BASELINE])
    assert Table((simple, complicated), 3, 1).chosen() is simple  # by 0.01, with a standard error of 0.02
    simple, complicated = rows(0.6, 0.5, names=["zero_filled", BASELINE])
    assert Table((simple, complicated), 3, 1).chosen() is complicated


def test_what_is_taken_from_measured_lines_counts_as_much_as_what_is_missed_of_others():
    faithful, smooth = rows(0.5, 0.4, names=[BASELINE, BASELINE])
    table = Table((faithful, smooth), 3, 1)
    assert table.chosen() is smooth  # by hidden lines alone

    def given(row, misfit):
        # Two draws have hidden 20 lines; 30 were never measured, three times those of a draw.
        return replace(
            row, errors=replace(row.errors, shown=torch.full((2,), misfit), unmeasured=torch.full((2,), 3.0))
        )

    faithful, smooth = given(faithful, 1.0), given(smooth, 7.0)
    assert faithful.errors.expected == pytest.approx(30 * 0.5 + 1.0)
    assert Table((faithful, smooth), 3, 1).chosen() is faithful
    assert Table((faithful, given(smooth, 1.0)), 3, 1).chosen().errors is not faithful.errors


def test_what_predicts_worse_than_nothing_is_flagged():
    good, bad = rows(0.5, 1.3, names=[BASELINE, "cg_sense"])
    assert "empty image" in Table((good, bad), 3, 1).warning(bad)
    assert Table((good, bad), 3, 1).warning(good) is None
