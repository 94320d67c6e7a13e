// A minus B, computed here from the numbers of both, so that it is exact.

export class Difference {
  constructor(a, b) {
    this.a = a;
    this.b = b;
    this.shape = a.shape;
    this.address = `${a.address}-${b.address}`;
    this.memory = a.memory;
  }

  size(axis) {
    return this.a.size(axis);
  }

  peek(axis, number) {
    const key = `${this.address}/${axis}/${number}`;
    const here = this.memory.get(key);
    if (here) return here;
    const [one, other] = [this.a.peek(axis, number), this.b.peek(axis, number)];
    if (!one || !other) return undefined;
    const slice = { ...one, values: one.values.map((value, i) => value - other.values[i]) };
    slice.empty = one.empty || other.empty;
    this.memory.put(key, slice);
    return slice;
  }

  async slice(axis, number) {
    await Promise.all([this.a.slice(axis, number, true, true), this.b.slice(axis, number, true, true)]);
    return this.peek(axis, number);
  }

  forget() {
    this.memory.drop(`${this.address}/`);
  }

  expect() {} // the pictures it is made of look ahead themselves
}

/** Which pairs of pictures can be subtracted: same size, same unit, both of anatomy. */
export function pairs(panes) {
  const alike = (a, b) => a !== b && a.unit === b.unit && String(a.shape) === String(b.shape);
  const grey = panes.filter((pane) => pane.kind === "grey");
  return grey.flatMap((a) => grey.filter((b) => alike(a, b)).map((b) => [a, b]));
}

export function differencePane(a, b) {
  const reach = (a.window[1] - a.window[0]) / 4;
  return {
    ...a,
    title: `${a.title} − ${b.title}`,
    kind: "difference",
    note: "Signed difference; mid-grey is none.",
    window: [-reach, reach],
    volume: new Difference(a.volume, b.volume),
  };
}
