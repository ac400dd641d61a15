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

/** A number with two digits that count, as 0.083, 1.2 or 130. */
export const brief = number => (number >= 100 ? String(Math.round(number)) : String(Number(number.toPrecision(2))));

/** What is said of an object beside its name: score, what the server marked, and how large it is. */
export function measures({ score, status, mask, state, corrected, kept }, voxelMl) {
  const decided = !kept && (state === 'accepted' || state === 'rejected') ? state : null;
  const size = voxelMl === null ? `${mask.count} px` : `${brief(mask.count * voxelMl)} ml`;
  const sure = corrected ? 'corrected' : typeof score === 'number' ? score.toFixed(2) : null;
  const low = !decided && !kept && !corrected && (status === 'uncertain' || status === 'withheld') ? status : null;
  return [[sure, low].filter(Boolean).join(' '), decided ?? (mask.count ? size : 'no mask')].filter(Boolean).join(' · ');
}

/** Warnings, without those that say again what is marked beside a phrase. */
export function notSaidTwice(warnings, entities) {
  const marked = entities.filter(({ status }) => status === 'uncertain').map(({ phrase }) => `uncertain: ${phrase} (`);
  return warnings.filter(warning => !marked.some(said => warning.startsWith(said)));
}
