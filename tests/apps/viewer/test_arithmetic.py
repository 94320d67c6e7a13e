"""The numbers of the page's scripts, computed in the browser, against numpy."""

from base64 import b64decode, b64encode

import numpy as np
import pytest

from rsd_med.data.display import Plane, turn
from rsd_med.data.windowing import grey_levels


@pytest.fixture(scope="module")
def compute(chromium, served):
    """Run an expression on the page's own modules."""
    from apps.inspector.web.stored import add_volume

    pane = add_volume(served.session, np.zeros((1, 2, 2)), title="a", unit="", window=(0, 1))
    context = chromium.new_context()
    context.add_cookies(
        [{"name": name, "value": value, "url": served.address} for name, value in served.cookie.items()]
    )
    page = context.new_page()
    page.goto(served.show(pane))
    modules = "const m = await import('/viewer/static/arithmetic.js');"

    def run(expression: str, argument=None):
        return page.evaluate(f"async (given) => {{ {modules} {expression} }}", argument)

    yield run
    context.close()


@pytest.mark.parametrize(("low", "high", "invert"), [(0.0, 1.0, False), (-0.3, 2.7, True), (0.4, 0.400001, False)])
@pytest.mark.parametrize("turning", [(False, False, False), (True, False, True), (True, True, False)])
def test_every_grey_level_is_the_one_numpy_computes(compute, low, high, invert, turning):
    generator = np.random.default_rng(5)
    values = generator.normal(0.4, 0.6, (37, 23)).astype(np.float32)
    values[0, :6] = [np.nan, np.inf, -np.inf, low, high, (low + high) / 2]
    plane = Plane(0, "Axial", *turning)
    drawn = compute(
        """
        const slice = { values: new Float32Array(Uint8Array.from(given.bytes).buffer), rows: 37, columns: 23 };
        const pixels = new Uint32Array(37 * 23);
        m.paint(pixels, slice, given.plane, given, Uint32Array.from({ length: 256 }, (_, i) => i + 1), 999);
        return [...pixels];
        """,
        {
            "bytes": list(values.tobytes()),
            "plane": dict(zip(("transpose", "flipDown", "flipAcross"), turning, strict=True)),
            "low": low,
            "high": high,
            "invert": invert,
        },
    )
    expected = turn(grey_levels(values, (low, high), invert=invert).astype(int) + 1, plane)
    expected[np.isnan(turn(values, plane))] = 999
    assert np.array_equal(np.reshape(drawn, expected.shape), expected)


@pytest.mark.parametrize("window", [(0.0, 510.0), (-0.3, 2.7), (-1024.0, 3071.0)])
def test_every_16_bit_value_and_every_half_gets_the_level_of_the_files(compute, window):
    patterns = np.arange(65536, dtype=np.uint16)
    with np.errstate(invalid="ignore"):  # some halves are signalling NaNs
        values = np.concatenate([patterns, patterns / 2, patterns.view(np.float16)]).astype(np.float32)
    for invert in (False, True):
        drawn = compute(
            """
            const values = new Float32Array(Uint8Array.from(atob(given.bytes), (c) => c.charCodeAt(0)).buffer);
            const pixels = new Uint32Array(values.length);
            const lut = Uint32Array.from({ length: 256 }, (_, i) => i);
            m.paint(pixels, { values, rows: 1, columns: values.length }, {}, given, lut, 0);
            return btoa(Array.from(pixels, (level) => String.fromCharCode(level)).join(""));
            """,
            {"bytes": b64encode(values.tobytes()).decode(), "low": window[0], "high": window[1], "invert": invert},
        )
        levels = np.frombuffer(b64decode(drawn), np.uint8)
        np.testing.assert_array_equal(levels, grey_levels(values, window, invert=invert))


def test_percentiles_leave_out_what_is_no_number(compute):
    values = np.random.default_rng(1).normal(size=501)
    found = compute("return m.percentiles([...given, NaN, Infinity], 1, 99);", values.tolist())
    assert found == pytest.approx(np.percentile(values, [1, 99]), rel=1e-12)
    assert compute("return m.percentiles([NaN], 1, 99);") is None


def test_an_oval_holds_the_pixels_whose_centres_lie_in_it(compute):
    picture = np.random.default_rng(2).normal(1e4, 1, (40, 50))
    found = compute(
        "return m.ellipseStatistics((y, x) => given[y][x], [5.2, 11.5], [22.8, 31.1], 40, 50);", picture.tolist()
    )
    y, x = np.indices(picture.shape) + 0.5
    inside = picture[((y - 14.0) / 8.8) ** 2 + ((x - 21.3) / 9.8) ** 2 <= 1]
    assert found["n"] == inside.size > 200
    assert found["mean"] == pytest.approx(inside.mean(), rel=1e-12)
    assert found["sd"] == pytest.approx(inside.std(ddof=1), rel=1e-9)
    assert (found["low"], found["high"]) == (inside.min(), inside.max())


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.12345, "0.1235"), (-12.5, "−12.5"), (4.2e-5, "4.200e−5"), (1234567, "1.235e+6"), (None, "no value")],
)
def test_numbers_are_shown_with_four_digits_and_never_rounded_to_nothing(compute, value, text):
    assert compute("return m.show(given);", value) == text


def test_a_scale_bar_has_a_round_length(compute):
    assert [compute("return m.niceLength(given);", most) for most in (0.7, 1, 4.9, 73, 120, 990)] == [
        0.5, 1, 2, 50, 100, 500,
    ]  # fmt: skip
    assert compute("return m.distance([1, 1], [4, 5], [2, 0.5]);") == pytest.approx(np.hypot(6, 2))
