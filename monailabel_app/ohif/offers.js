// What can be gone on from: accepted masks that an earlier visit did not save, and the saved masks of the series.

import { colorOf } from './answer.js';
import * as client from './client.js';
import { fill, h } from './dom.js';
import { checkSameGrid } from './geometry.js';
import { unfolded } from './mask.js';
import { readNrrd } from './nrrd.js';
import { newId } from './store.js';

export class Offers {
  /** @param {(work: Work, seg: object) => void} load called where a person wants the masks of a SEG's display set */
  constructor(viewer, load) {
    Object.assign(this, { viewer, load });
    this.root = h('section', { 'aria-label': 'To go on from', 'data-mimo': 'offers' });
  }

  show(work) {
    const segs = this.#segsOf(work.view.series);
    fill(
      this.root,
      work.draft && this.#draft(work),
      segs.length > 0 && h('h3', {}, 'Saved masks of this series'),
      segs.map(seg => {
        const name = [seg.SeriesDescription || 'Segmentation', timeOf(seg)].filter(Boolean).join(', ');
        const load = { 'aria-label': `Load ${name}`, 'data-mimo': 'load', on: { click: () => this.load(work, seg) } };
        return h('div', { class: 'mimo-row' }, h('span', { class: 'mimo-name' }, name), h('button', load, 'Load'));
      })
    );
  }

  #draft(work) {
    const { time, objects } = work.draft;
    const count = objects.length === 1 ? 'One accepted mask' : `${objects.length} accepted masks`;
    const take = { class: 'mimo-ask', 'data-mimo': 'take-draft', on: { click: () => work.takeDraft() } };
    const drop = { 'data-mimo': 'drop-draft', on: { click: () => work.dropDraft() } };
    return h(
      'div',
      { class: 'mimo-message', role: 'status', 'data-mimo': 'draft' },
      `${count} of ${new Date(time).toLocaleString()} not saved.`,
      h('div', { class: 'mimo-row' }, h('button', take, 'Take up again'), h('button', drop, 'Drop'))
    );
  }

  #segsOf(series) {
    const all = this.viewer.services.displaySetService.getActiveDisplaySets();
    return all
      .filter(({ Modality, referencedSeriesInstanceUID }) => Modality === 'SEG' && referencedSeriesInstanceUID === series)
      .sort((a, b) => timeOf(b).localeCompare(timeOf(a)));
  }
}

/** When a SEG was made, as "2026-11-29 14:05"; "" where it does not say. */
function timeOf({ instance }) {
  const { ContentDate: date, ContentTime: time } = instance ?? {};
  if (!date) return '';
  return `${date.slice(0, 4)}-${date.slice(4, 6)}-${date.slice(6, 8)} ${time?.slice(0, 2) ?? ''}:${time?.slice(2, 4) ?? ''}`;
}

/** The masks of a SEG as accepted objects. */
export async function loadSeg(view, seg) {
  const { reply, mask } = await client.savedMasks(view.series, seg.SeriesInstanceUID);
  const read = await readNrrd(mask);
  checkSameGrid(read, view.grid);
  return [...unfolded(read.voxels, reply.label_names, view.grid)].map(([name, found], n) => ({
    id: newId(),
    name,
    color: reply.colors[name] ?? colorOf(n),
    mask: found,
    score: null,
    status: 'shown',
    server: null,
    said: null,
  }));
}
