// Everything that turns stored numbers into grey levels, measures and text. No page, no state: tested by itself.

/** Grey level 0..255 of a value under a window; the same sentence in Python is rendering.levels. */
export function level(value, low, high) {
  const scaled = Math.floor((value - low) * (255 / (high - low)) + 0.5);
  return scaled < 0 ? 0 : scaled > 255 ? 255 : scaled; // NaN stays NaN: callers test for it
}

/** Size on the screen, in pixels of the array, of a slice under a plane. */
export function turnedSize(plane, rows, columns) {
  return plane.transpose ? [columns, rows] : [rows, columns];
}

/** Index into a slice (row-major, `columns` wide) of the pixel drawn at (down, across). */
export function sourceIndex(plane, rows, columns, down, across) {
  const [height, width] = turnedSize(plane, rows, columns);
  const r = plane.flipDown ? height - 1 - down : down;
  const c = plane.flipAcross ? width - 1 - across : across;
  return plane.transpose ? c * columns + r : r * columns + c;
}

/**
 * Fill `pixels` (Uint32, one per drawn pixel) with a slice under a window.
 * `lut` holds 256 packed colours; what is no number gets `nothing`.
 */
export function paint(pixels, slice, plane, window, lut, nothing) {
  const { values, rows, columns } = slice;
  const { low, high, invert } = window;
  const [height, width] = turnedSize(plane, rows, columns);
  const factor = 255 / (high - low);
  const across = plane.transpose ? columns : 1;
  const down = plane.transpose ? 1 : columns;
  const stepX = plane.flipAcross ? -across : across;
  const stepY = plane.flipDown ? -down : down;
  let begin = sourceIndex(plane, rows, columns, 0, 0);
  let at = 0;
  for (let y = 0; y < height; y++, begin += stepY) {
    let i = begin;
    for (let x = 0; x < width; x++, i += stepX) {
      const value = values[i];
      if (value !== value) {
        pixels[at++] = nothing;
        continue;
      }
      let grey = Math.floor((value - low) * factor + 0.5);
      grey = grey < 0 ? 0 : grey > 255 ? 255 : grey;
      pixels[at++] = lut[invert ? 255 - grey : grey];
    }
  }
}

/** Values at two percentiles (0..100), linear between neighbours as numpy does; null if there is no number at all. */
export function percentiles(values, lower, upper) {
  const sorted = Float64Array.from(values).filter(Number.isFinite).sort();
  if (!sorted.length) return null;
  const at = (percent) => {
    const place = ((sorted.length - 1) * percent) / 100;
    const below = Math.floor(place);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
  };
  return [at(lower), at(upper)];
}

/** A window is never empty, and never so narrow that the arithmetic ends. */
export function sane(low, high) {
  const least = Math.max(Math.abs(low), Math.abs(high), 1e-30) * 1e-6;
  if (high - low >= least) return [low, high];
  const middle = (low + high) / 2;
  return [middle - least / 2, middle + least / 2];
}

/** Number, mean, standard deviation (n - 1), minimum and maximum of the pixels whose centres lie in an ellipse. */
export function ellipseStatistics(valueAt, [y0, x0], [y1, x1], height, width) {
  const cy = (y0 + y1) / 2, cx = (x0 + x1) / 2;
  const ry = Math.abs(y1 - y0) / 2, rx = Math.abs(x1 - x0) / 2;
  let n = 0, mean = 0, squares = 0, low = Infinity, high = -Infinity;
  for (let y = Math.max(0, Math.floor(cy - ry)); y < Math.min(height, cy + ry); y++) {
    for (let x = Math.max(0, Math.floor(cx - rx)); x < Math.min(width, cx + rx); x++) {
      const dy = (y + 0.5 - cy) / (ry || 1), dx = (x + 0.5 - cx) / (rx || 1);
      if (dy * dy + dx * dx > 1) continue;
      const value = valueAt(y, x);
      if (!Number.isFinite(value)) continue;
      n++;
      const off = value - mean; // Welford, which keeps its digits on large offsets
      mean += off / n;
      squares += off * (value - mean);
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return n ? { n, mean, sd: n > 1 ? Math.sqrt(squares / (n - 1)) : NaN, low, high } : { n: 0 };
}

/** Length between two points (down, across) in pixels, with the spacing of both axes. */
export function distance([y0, x0], [y1, x1], [dy, dx]) {
  return Math.hypot((y1 - y0) * dy, (x1 - x0) * dx);
}

/** The largest of 1, 2, 5 x 10^k that is not longer than `most`. */
export function niceLength(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  for (const step of [5, 2, 1]) if (step * power <= most) return step * power;
  return power;
}

/** A number as a person reads it: four significant digits, no rounding to zero, a true minus sign. */
export function show(value) {
  if (value === undefined || value === null || Number.isNaN(value)) return "no value";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(3) : String(Number(value.toPrecision(4)));
  return text.replaceAll("-", "−");
}
