// A question, about a slice or about the whole series: what is sent, and what comes back as objects.

import { colorOf } from './answer.js';
import * as client from './client.js';
import { checkSameGrid } from './geometry.js';
import { Mask } from './mask.js';
import { readNrrd } from './nrrd.js';
import { NEW, newId } from './store.js';

/** One slice. Each answer is {reply, masks}, a mask for each of the reply's entities. */
export async function askSlice(view, question, given, signal) {
  const params = { question, ...given.prompts, slice: given.slice ?? view.slice };
  const { reply, mask } = await client.ask(view.series, params, signal);
  const read = mask && (await readNrrd(mask));
  if (read) checkSameGrid(read, view.grid);
  const byLabel = read ? Mask.ofLabels(read.voxels, view.grid) : new Map();
  return { reply, masks: (reply.entities ?? []).map(({ label }) => byLabel.get(label) ?? new Mask()) };
}

/**
 * The whole series: a question in words, or, without one, what is under the prompts.
 * @param {(done: number, of: number) => void} onProgress slices that were looked at
 */
export async function askVolume(volume, question, given, signal, onProgress) {
  const watching = window.setInterval(async () => {
    if (!volume.known) return; // not open yet
    const { done, of } = await client.progress(volume.session, volume.image).catch(() => ({}));
    if (of) onProgress(done, of);
  }, 1000);
  try {
    if (question) {
      const { reply, masks } = await volume.ask(question, signal);
      return { reply, masks: reply.entities.map(({ object }) => masks.get(object) ?? new Mask()) };
    }
    const { reply, masks } = await volume.find(given.prompts, signal);
    if (!reply.object) return { reply: { ...reply, answer: 'Nothing was found there.', entities: [] }, masks: [] };
    const { phrase, score, status } = reply.objects.find(({ id }) => id === reply.object);
    const entities = [{ phrase, score, status, object: reply.object, span: [0, Array.from(phrase).length] }];
    return { reply: { ...reply, answer: `${phrase}.`, entities }, masks: [masks.get(reply.object)] };
  } finally {
    window.clearInterval(watching);
  }
}

/** What the store keeps of an answer: {answer, entities}. */
export function answerOf({ reply, masks }, question, volume) {
  const said = { question, answer: reply.answer };
  const entities = (reply.entities ?? []).map(({ phrase, span, score, status, object }, n) => ({
    id: newId(),
    name: phrase,
    color: colorOf(n),
    state: NEW,
    locked: false,
    corrected: false,
    server: object ? volume.has(object) : null,
    mask: masks[n],
    ...{ phrase, span, score, status, said },
  }));
  const notices = [reply.notices ?? reply.notice ?? []].flat();
  return { answer: { ...said, warnings: reply.warnings ?? [], notices, model: reply.model }, entities };
}
