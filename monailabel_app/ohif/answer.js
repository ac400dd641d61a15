// An answer and its phrases: what the server said, cut into pieces that can be coloured.

// Okabe and Ito's colours, told apart also by most who do not see all colours; in the order of `monai_mimo.visualize`.
export const COLORS = [
  [230, 159, 0],
  [86, 180, 233],
  [0, 158, 115],
  [240, 228, 66],
  [204, 121, 167],
  [213, 94, 0],
  [0, 114, 178],
];

export const colorOf = number => COLORS[number % COLORS.length];

/**
 * Cut an answer at its phrases.
 * @param {string} text
 * @param {{span?: number[]}[]} entities spans in code points, as the server counts; those that overlap an earlier one,
 *   or do not fit the text, are left out
 * @returns {{text: string, entity: number | null}[]}
 */
export function pieces(text, entities) {
  const points = Array.from(text);
  const spans = entities
    .map((entity, number) => ({ number, start: entity.span?.[0], end: entity.span?.[1] }))
    .filter(
      ({ start, end }) =>
        Number.isInteger(start) && Number.isInteger(end) && start >= 0 && start < end && end <= points.length
    )
    .sort((a, b) => a.start - b.start);
  const out = [];
  let at = 0;
  for (const { number, start, end } of spans) {
    if (start < at) continue;
    if (start > at) out.push({ text: points.slice(at, start).join(''), entity: null });
    out.push({ text: points.slice(start, end).join(''), entity: number });
    at = end;
  }
  if (at < points.length) out.push({ text: points.slice(at).join(''), entity: null });
  return out;
}

/** The middle [i, j, k] of the slice on which `label` has most voxels; null if it has none. */
export function middleOf(voxels, label, { columns, rows, slices }) {
  const size = columns * rows;
  let best = null;
  for (let k = 0; k < slices; k++) {
    let [count, i, j] = [0, 0, 0];
    for (let n = k * size; n < (k + 1) * size; n++) {
      if (voxels[n] !== label) continue;
      count += 1;
      i += n % columns;
      j += Math.floor((n - k * size) / columns);
    }
    if (count && (!best || count > best.count)) best = { count, voxel: [i / count, j / count, k] };
  }
  return best?.voxel ?? null;
}

/** How many voxels each label has. */
export function countLabels(voxels) {
  const counts = new Array(256).fill(0);
  for (const value of voxels) counts[value] += 1;
  return counts;
}
