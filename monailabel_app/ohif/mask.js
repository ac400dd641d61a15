// A mask on the voxels of a series, kept as runs: small enough to remember every step and to be put by in the browser.

/** Values of one slice as runs: [start, end, start, end, ...) of those that are not 0. */
function runsOf(plane) {
  const runs = [];
  for (let n = 0; n < plane.length; n++) {
    if (!plane[n]) continue;
    runs.push(n);
    while (n < plane.length && plane[n]) n += 1;
    runs.push(n);
  }
  return Uint32Array.from(runs);
}

/** Never changed once it is made; an edited mask shares the slices that stay as they are. */
export class Mask {
  /** @param {Map<number, Uint32Array>} slices by slice, runs of pixel numbers, the column fastest; none of them empty */
  constructor(slices = new Map()) {
    this.slices = slices;
    this.count = 0;
    for (const runs of slices.values()) {
      for (let n = 0; n < runs.length; n += 2) this.count += runs[n + 1] - runs[n];
    }
  }

  /**
   * The masks of all labels of a label map.
   * @param {Uint8Array} voxels [columns x rows x slices], the first axis fastest
   * @returns {Map<number, Mask>}
   */
  static ofLabels(voxels, { columns, rows }) {
    const size = columns * rows;
    const found = new Map();
    for (let start = 0; start < voxels.length; start += size) {
      const runs = new Map();
      for (let n = 0; n < size; n++) {
        const label = voxels[start + n];
        if (!label) continue;
        const from = n;
        while (n + 1 < size && voxels[start + n + 1] === label) n += 1;
        if (!runs.has(label)) runs.set(label, []);
        runs.get(label).push(from, n + 1);
      }
      for (const [label, here] of runs) {
        if (!found.has(label)) found.set(label, new Map());
        found.get(label).set(start / size, Uint32Array.from(here));
      }
    }
    return new Map([...found].map(([label, slices]) => [label, new Mask(slices)]));
  }

  /** Set what it holds of slice k to `value` in that slice's pixels. */
  paint(plane, k, value) {
    const runs = this.slices.get(k) ?? [];
    for (let n = 0; n < runs.length; n += 2) plane.fill(value, runs[n], runs[n + 1]);
  }

  /** A label map [columns x rows x slices] of zeros and ones. */
  toVoxels({ columns, rows, slices }) {
    const size = columns * rows;
    const voxels = new Uint8Array(size * slices);
    for (const k of this.slices.keys()) this.paint(voxels.subarray(k * size, (k + 1) * size), k, 1);
    return voxels;
  }

  /** With `edit(plane)` done to slice k, whose pixels it is given as zeros and ones; or to several slices, one after the other. */
  edited(ks, { columns, rows }, edit) {
    const slices = new Map(this.slices);
    for (const k of [ks].flat()) {
      const plane = new Uint8Array(columns * rows);
      this.paint(plane, k, 1);
      edit(plane, k);
      const runs = runsOf(plane);
      if (runs.length) slices.set(k, runs);
      else slices.delete(k);
    }
    return new Mask(slices);
  }

  /** With a box of other values in it: [i0, j0, k0, i1, j1, k1], the ends outside; `values` of the box, i fastest. */
  patched([i0, j0, k0, i1, j1, k1], values, grid) {
    const [width, height] = [i1 - i0, j1 - j0];
    const ks = Array.from({ length: k1 - k0 }, (_, n) => k0 + n);
    return this.edited(ks, grid, (plane, k) => {
      for (let j = j0; j < j1; j++) {
        const from = width * (j - j0 + height * (k - k0));
        plane.set(values.subarray(from, from + width), i0 + grid.columns * j);
      }
    });
  }

  union(other, grid) {
    return this.edited([...other.slices.keys()], grid, (plane, k) => other.paint(plane, k, 1));
  }

  overlaps(other) {
    for (const [k, mine] of this.slices) {
      const theirs = other.slices.get(k);
      for (let a = 0, b = 0; theirs && a < mine.length && b < theirs.length; ) {
        if (mine[a] < theirs[b + 1] && theirs[b] < mine[a + 1]) return true;
        if (mine[a + 1] <= theirs[b + 1]) a += 2;
        else b += 2;
      }
    }
    return false;
  }

  /** The middle [i, j, k] of the slice on which it is largest; null if it is empty. */
  middle({ columns }) {
    let best = null;
    for (const [k, runs] of [...this.slices].sort(([a], [b]) => a - b)) {
      let [count, i, j] = [0, 0, 0];
      for (let r = 0; r < runs.length; r += 2) {
        for (let n = runs[r]; n < runs[r + 1]; n++) {
          count += 1;
          i += n % columns;
          j += Math.floor(n / columns);
        }
      }
      if (!best || count > best.count) best = { count, voxel: [i / count, j / count, k] };
    }
    return best?.voxel ?? null;
  }
}

const OVERLAP = ' ∩ '; // as `write_seg` of the server reads it: a value of several names is in the segment of each

/**
 * One label map of masks that may overlap: where some do, the voxels have a value of their own.
 * @param {{name: string, color: number[], mask: Mask}[]} objects with different names
 * @returns {{voxels: Uint8Array, labels: {name: string, idx: number, color: number[]}[]}}
 * @throws {Error} there are more than 255 values
 */
export function flattened(objects, grid) {
  const size = grid.columns * grid.rows;
  const voxels = new Uint8Array(size * grid.slices);
  const labels = objects.map(({ name, color }, n) => ({ name, color, idx: n + 1 }));
  const values = new Map(); // "value,value" under and over each other -> the value of both
  const both = (under, over) => {
    const key = `${under},${over}`;
    if (!values.has(key)) {
      const name = `${labels[under - 1].name}${OVERLAP}${labels[over - 1].name}`;
      labels.push({ name, color: labels[over - 1].color, idx: labels.length + 1 });
      if (labels.length > 255) throw new Error('These masks overlap in too many ways to be saved as one.');
      values.set(key, labels.length);
    }
    return values.get(key);
  };
  objects.forEach(({ mask }, n) => {
    for (const [k, runs] of mask.slices) {
      const plane = voxels.subarray(k * size, (k + 1) * size);
      for (let r = 0; r < runs.length; r += 2) {
        for (let at = runs[r]; at < runs[r + 1]; at++) plane[at] = plane[at] ? both(plane[at], n + 1) : n + 1;
      }
    }
  });
  const there = new Set(voxels);
  return { voxels, labels: labels.filter(({ idx }) => there.has(idx)) };
}

/** The other way: the masks of a label map whose values may stand for several names. */
export function unfolded(voxels, labelNames, grid) {
  const byValue = Mask.ofLabels(voxels, grid);
  const found = new Map();
  for (const [names, value] of Object.entries(labelNames)) {
    const mask = byValue.get(value);
    if (!mask) continue;
    for (const name of names.split(OVERLAP)) {
      found.set(name, found.has(name) ? found.get(name).union(mask, grid) : mask);
    }
  }
  return found;
}
