// Slices as they come from the server: float32, row by row, without loss. A bounded memory, and a look ahead.

const MOST_BYTES = 256 * 2 ** 20;
const AHEAD = 12;
const BEHIND = 4;
const AT_ONCE = 6;

/** Slices of all panes; the ones not looked at for longest are dropped first. */
export class SliceMemory {
  constructor(most = MOST_BYTES) {
    this.most = most;
    this.bytes = 0;
    this.kept = new Map();
  }

  get(key) {
    const slice = this.kept.get(key);
    if (slice) {
      this.kept.delete(key);
      this.kept.set(key, slice); // a Map keeps the order of insertion: newest last
    }
    return slice;
  }

  drop(start) {
    for (const [key, { values }] of this.kept) {
      if (!key.startsWith(start)) continue;
      this.kept.delete(key);
      this.bytes -= values.byteLength;
    }
  }

  put(key, slice) {
    if (this.kept.has(key)) return;
    this.kept.set(key, slice);
    this.bytes += slice.values.byteLength;
    for (const [old, { values }] of this.kept) {
      if (this.bytes <= this.most || old === key) break;
      this.kept.delete(old);
      this.bytes -= values.byteLength;
    }
  }
}

/** One volume on the server. */
export class Volume {
  constructor(address, shape, memory) {
    this.address = address;
    this.shape = shape;
    this.memory = memory;
    this.waiting = new Map(); // what is asked for and not yet here, by axis/number
    this.queue = [];
    this.running = 0;
  }

  /** Rows and columns of the slices across an axis. */
  size(axis) {
    return this.shape.filter((_, other) => other !== axis);
  }

  peek(axis, number) {
    return this.memory.get(`${this.address}/${axis}/${number}`);
  }

  /** A slice now or soon; what is wanted goes before what is only expected. `kept` ones are never left behind. */
  async slice(axis, number, urgent = true, kept = false) {
    const here = this.peek(axis, number);
    if (here) return here;
    const name = `${axis}/${number}`;
    if (!this.waiting.has(name)) {
      const { promise, resolve, reject } = Promise.withResolvers();
      promise.catch(() => {}); // whoever waits for it hears of it; a look ahead that fails harms nobody
      this.waiting.set(name, promise);
      const job = { axis, number, name, kept, resolve, reject };
      if (urgent) this.queue.unshift(job);
      else this.queue.push(job);
    } else if (urgent) {
      const at = this.queue.findIndex((job) => job.name === name);
      if (kept && at >= 0) this.queue[at].kept = true;
      if (at > 0) this.queue.unshift(...this.queue.splice(at, 1));
    }
    this.work();
    return this.waiting.get(name);
  }

  work() {
    while (this.running < AT_ONCE && this.queue.length) {
      const job = this.queue.shift();
      this.running++;
      this.fetch(job)
        .then(job.resolve, job.reject)
        .finally(() => {
          this.waiting.delete(job.name);
          this.running--;
          this.work();
        });
    }
  }

  async fetch({ axis, number, name }) {
    const answer = await fetch(`${this.address}/${name}`, { credentials: "same-origin", cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status === 404 ? "this image is gone; make it again" : `the server answered ${answer.status}`);
    const buffer = await answer.arrayBuffer();
    const [rows, columns] = this.size(axis);
    if (buffer.byteLength !== 4 * rows * columns) throw new Error("the slice came incomplete");
    const values = floats(buffer);
    // What was not made yet is no number anywhere; masked air is no number in places.
    const slice = { values, rows, columns, empty: values.every(Number.isNaN) };
    this.memory.put(`${this.address}/${axis}/${number}`, slice);
    return slice;
  }

  /** Forget what was fetched: the server has made it anew. */
  forget() {
    this.memory.drop(`${this.address}/`);
  }

  /** Fetch the neighbours in the direction of travel; what is no longer near is not fetched at all. */
  expect(axis, number, direction) {
    const [ahead, behind] = direction < 0 ? [BEHIND, AHEAD] : [AHEAD, BEHIND];
    const near = (job) => job.kept || job.axis !== axis || (job.number >= number - behind && job.number <= number + ahead);
    const dropped = this.queue.filter((job) => !near(job));
    this.queue = this.queue.filter(near);
    for (const job of dropped) {
      this.waiting.delete(job.name);
      job.reject(new DOMException("left behind", "AbortError"));
    }
    for (let step = 1; step <= Math.max(ahead, behind); step++) {
      for (const next of [number + step * (direction || 1), number - step * (direction || 1)]) {
        const inside = next >= 0 && next < this.shape[axis];
        if (inside && next >= number - behind && next <= number + ahead) this.slice(axis, next, false).catch(() => {});
      }
    }
  }
}

/** Little-endian float32, on any machine. */
function floats(buffer) {
  if (new Uint8Array(new Uint32Array([1]).buffer)[0] === 1) return new Float32Array(buffer);
  const view = new DataView(buffer);
  return Float32Array.from({ length: buffer.byteLength / 4 }, (_, i) => view.getFloat32(4 * i, true));
}
