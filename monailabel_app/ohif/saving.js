// Saving what was accepted as final, and what is remembered of the person who saves.

import * as client from './client.js';
import { flattened } from './mask.js';
import { writeNrrd } from './nrrd.js';

const REVIEWER = 'mimo-reviewer';
const REPORT = 'mimo-report'; // whether a report is saved, too

export const reviewer = () => localStorage.getItem(REVIEWER);
export const setReviewer = name => localStorage.setItem(REVIEWER, name);
export const wantsReport = () => localStorage.getItem(REPORT) === 'yes';
export const setWantsReport = yes => localStorage.setItem(REPORT, yes ? 'yes' : '');

/**
 * Save objects as one label; where their masks overlap, each keeps all of its voxels.
 * @param {{series: string, grid: Grid}} view
 * @param {{name: string, color: number[], mask: Mask, said: object | null}[]} kept with different names
 * @param {boolean} report whether the server is to make a report of it
 * @returns {Promise<string>} what was saved, in words
 */
export async function saveFinal(view, kept, model, report) {
  const objects = kept.filter(({ mask }) => mask.count > 0);
  if (!objects.length) throw new Error('Every mask is empty.');
  const { voxels, labels } = flattened(objects, view.grid);
  const label_names = Object.fromEntries(labels.map(({ name, idx }) => [name, idx]));
  const params = { label_info: labels, label_names, reviewer: reviewer(), model };
  if (report) params.report = answersOf(objects);
  await client.save(view.series, await writeNrrd(voxels, view.grid), params);
  const count = objects.length === 1 ? 'one segment' : `${objects.length} segments`;
  return `Saved ${count}${report ? ' with a report' : ''}, reviewed by ${reviewer()}.`;
}

/** The questions and answers that the objects come from, each once. */
function answersOf(objects) {
  const said = new Map();
  for (const object of objects) if (object.said) said.set(JSON.stringify(object.said), object.said);
  return [...said.values()];
}
