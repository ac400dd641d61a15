// The MIMO tab: ask about the image in view, look at what the answer points to, keep what is right.

import { Accepted, reviewer } from './accepted.js';
import { AnswerView } from './answer_view.js';
import * as client from './client.js';
import { fill, h } from './dom.js';
import { checkSameGrid, Grid } from './geometry.js';
import { History } from './history.js';
import { viewportsOf } from './masks.js';
import { readNrrd } from './nrrd.js';
import { BOX, NEGATIVE, POSITIVE, Prompts } from './prompts.js';

const EXAMPLES = ['What is in the box?', 'What is at the point?', 'Segment the liver.', 'Is there a tumor?'];
const TOOLS = [
  [POSITIVE, '+ Point', 'Mark a point inside of what you mean'],
  [NEGATIVE, '− Point', 'Mark a point outside of what you mean'],
  [BOX, 'Box', 'Draw a box around what you mean'],
];

export class MimoPanel {
  /** @param {{cornerstone: object, tools: object, services: object}} viewer OHIF's globals */
  constructor(viewer) {
    this.viewer = viewer;
    this.request = null; // the AbortController of the question under way
    this.prompts = new Prompts(viewer, () => this.#showPrompts());
    const goTo = (view, voxel) => this.#goTo(view, voxel);
    this.answer = new AnswerView(viewer, {
      accept: entity => this.#accept(entity),
      reject: entity => this.#reject(entity),
      goTo,
    });
    this.accepted = new Accepted(viewer, {
      goTo,
      say: (text, isError) => this.#say(text, isError),
      busy: yes => this.#busy(yes),
      opacity: value => this.#opacity(value),
    });
    this.history = new History(question => this.#askAgain(question));
    this.#build();
    const { viewportGridService } = viewer.services;
    const { EVENTS } = viewportGridService;
    this.subscriptions = [EVENTS.GRID_STATE_CHANGED, EVENTS.ACTIVE_VIEWPORT_ID_CHANGED, EVENTS.VIEWPORTS_READY].map(
      event => viewportGridService.subscribe(event, () => this.#viewChanged())
    );
    this.#askForModel();
  }

  destroy() {
    this.request?.abort();
    this.prompts.destroy();
    this.subscriptions.forEach(({ unsubscribe }) => unsubscribe());
  }

  #build() {
    const on = { keydown: event => this.#questionKey(event) };
    this.model = h('div', { class: 'mimo-model', role: 'status', 'data-mimo': 'model' }, 'Connecting ...');
    this.marks = h('div', { class: 'mimo-small', 'aria-live': 'polite', 'data-mimo': 'prompts' });
    this.question = h('textarea', {
      class: 'mimo-question',
      rows: 2,
      maxlength: 1000,
      placeholder: 'Ask about this image',
      'aria-label': 'Question',
      'data-mimo': 'question',
      on,
    });
    this.askButton = h('button', { class: 'mimo-ask', 'data-mimo': 'ask', on: { click: () => this.ask() } }, 'Ask');
    const cancel = { 'data-mimo': 'cancel', hidden: true, on: { click: () => this.cancel() } };
    this.cancelButton = h('button', cancel, 'Cancel');
    this.progress = h('div', { class: 'mimo-progress', hidden: true, 'aria-hidden': 'true' }, h('div'));
    this.message = h('div', { class: 'mimo-message', role: 'alert', 'data-mimo': 'message', hidden: true });
    this.toolButtons = TOOLS.map(([tool, text, title]) => {
      const click = () => this.#tool(tool);
      return h('button', { title, 'aria-pressed': 'false', 'data-mimo-tool': tool, on: { click } }, text);
    });
    const clear = { title: 'Remove all points and boxes', 'data-mimo': 'clear', on: { click: () => this.#clear() } };
    const examples = h(
      'select',
      {
        'aria-label': 'Example questions',
        'data-mimo': 'examples',
        on: { change: ({ target }) => this.#example(target) },
      },
      h('option', { value: '' }, 'Examples ...'),
      EXAMPLES.map(text => h('option', { value: text }, text))
    );
    // OHIF's own keys (r turns the image, and so on) must not act while a key is meant for the panel.
    const mine = event => event.stopPropagation();
    this.root = h(
      'div',
      { class: 'mimo', 'aria-busy': 'false', on: { keydown: mine, keypress: mine, keyup: mine } },
      this.model,
      h(
        'div',
        { class: 'mimo-row', role: 'toolbar', 'aria-label': 'Marks' },
        this.toolButtons,
        h('button', clear, 'Clear')
      ),
      this.marks,
      this.question,
      h('div', { class: 'mimo-row' }, this.askButton, this.cancelButton, examples),
      this.progress,
      this.message,
      this.answer.root,
      this.accepted.root,
      this.history.root
    );
  }

  #say(text, isError = false) {
    this.message.hidden = !text;
    this.message.classList.toggle('mimo-error', isError);
    fill(this.message, text);
  }

  #busy(yes) {
    this.askButton.disabled = yes;
    this.progress.hidden = !yes;
    this.cancelButton.hidden = !this.request;
    this.root.setAttribute('aria-busy', String(yes));
  }

  // The model, and the image in view.

  async #askForModel() {
    const light = (kind, ...rest) => fill(this.model, h('span', { class: `mimo-${kind}` }, '● '), ...rest);
    try {
      const info = await client.info();
      if (!info.models?.mimo_ask) throw new client.ServerError('This server has no MIMO model.');
      if (!info.model) {
        throw new client.ServerError('The server has no weights yet: it can show images, but not answer.');
      }
      this.accepted.reports = info.reports === true;
      const { name, weights, hash } = info.model;
      light('ready', h('span', { title: `weights ${weights}, ${hash}` }, `Ready: ${name}`));
    } catch (error) {
      const again = { class: 'mimo-link', on: { click: () => this.#askForModel() } };
      light('down', `${error.message} `, h('button', again, 'Try again'));
    }
  }

  /** The series in the active viewport, its grid and the slice in view; null where nothing can be asked about. */
  view() {
    const { viewportGridService, displaySetService, cornerstoneViewportService } = this.viewer.services;
    const { viewports, activeViewportId } = viewportGridService.getState();
    const uid = viewports.get(activeViewportId)?.displaySetInstanceUIDs?.[0];
    const displaySet = uid && displaySetService.getDisplaySetByUID(uid);
    const viewport = cornerstoneViewportService.getCornerstoneViewport(activeViewportId);
    if (!displaySet?.imageIds?.length || !viewport?.getCamera) return null;
    if (this.grid?.of !== uid) {
      const { metaData } = this.viewer.cornerstone;
      const plane = imageId => metaData.get('imagePlaneModule', imageId);
      this.grid = { of: uid, grid: new Grid(displaySet.imageIds, plane) };
    }
    const { grid } = this.grid;
    const slice = grid.sliceOf(viewport.getCurrentImageId?.()) ?? grid.sliceAt(viewport.getCamera().focalPoint);
    const { SeriesInstanceUID: series, StudyInstanceUID: study } = displaySet;
    return { displaySet, viewport, grid, slice, series, study };
  }

  #viewChanged() {
    const view = this.view();
    if (!view) return;
    this.answer.masks.addToViewports(view.displaySet);
    this.accepted.masks.addToViewports(view.displaySet);
    if (this.history.study !== view.study) this.history.show(view.study);
  }

  #goTo({ grid, displaySet }, voxel) {
    const { cornerstoneViewportService } = this.viewer.services;
    for (const viewportId of viewportsOf(this.viewer, displaySet)) {
      const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportId);
      if (viewport?.jumpToWorld) viewport.jumpToWorld(grid.toWorld(voxel));
      else viewport?.setImageIdIndex?.(viewport.getImageIds().indexOf(grid.planes[voxel[2]].imageId));
      viewport?.render();
    }
  }

  #opacity(value) {
    for (const { masks } of [this.answer, this.accepted]) {
      masks.opacity = value;
      masks.paint();
    }
  }

  // Marks on the image.

  #tool(tool) {
    const next = this.prompts.active === tool ? null : tool;
    this.prompts.activate(next);
    for (const button of this.toolButtons) {
      button.setAttribute('aria-pressed', String(button.dataset.mimoTool === next));
    }
  }

  #clear() {
    this.prompts.clear();
    this.#showPrompts();
  }

  #promptsOf(view) {
    return this.prompts.read(view.grid, view.viewport.getFrameOfReferenceUID());
  }

  #showPrompts() {
    const view = this.view();
    if (!view) return;
    const { foreground, background, bbox, slice, left, problem } = this.#promptsOf(view);
    const marks = [
      foreground.length && `${foreground.length} positive`,
      background.length && `${background.length} negative`,
      bbox && 'a box',
    ].filter(Boolean);
    const parts = [];
    // No number of the slice: in its three views OHIF may count from the other end than the series does.
    const where = slice === view.slice ? '' : ', on another slice than the one in view';
    if (marks.length) parts.push(`${marks.join(', ')}${where}.`);
    if (left) parts.push(`${left} on other slices, not used.`);
    if (problem) parts.push(problem);
    fill(this.marks, parts.join(' '));
  }

  // Asking.

  #example(select) {
    if (select.value) this.#askAgain(select.value);
    select.value = '';
  }

  #askAgain(question) {
    this.question.value = question;
    this.question.focus();
  }

  #questionKey(event) {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.ask();
    } else if (event.key === 'Escape') {
      this.cancel();
    }
  }

  cancel() {
    this.request?.abort();
  }

  async ask() {
    if (this.request) return;
    const view = this.view();
    if (!view) {
      this.#say('Open a series in a view first.', true);
      return;
    }
    const question = this.question.value.trim();
    const { foreground, background, bbox, slice, problem } = this.#promptsOf(view);
    const nothing = !question && !foreground.length && !bbox && 'Type a question, or mark something on the image.';
    if (problem || nothing) {
      this.#say(problem || nothing, true);
      return;
    }
    const params = { question, foreground, background, slice: slice ?? view.slice };
    if (bbox) params.bbox = bbox;
    this.request = new AbortController();
    this.#busy(true);
    this.#say('');
    try {
      const { reply, mask } = await client.ask(view.series, params, this.request.signal);
      await this.answer.set(view, { ...reply, question }, await this.#voxels(view.grid, mask));
      this.history.add(view.study, question, reply.answer);
    } catch (error) {
      if (error.name === 'AbortError') this.#say('Cancelled.');
      else this.#say(error.message, true);
    } finally {
      this.request = null;
      this.#busy(false);
    }
  }

  async #voxels(grid, mask) {
    if (!mask) return new Uint8Array(grid.columns * grid.rows * grid.slices);
    const read = await readNrrd(mask);
    checkSameGrid(read, grid);
    return read.voxels;
  }

  // Deciding.

  async #accept(entity) {
    if (entity.state !== 'new' || !entity.size) return;
    const { answer } = this.answer;
    if (!(await this.accepted.take(answer, entity))) return;
    client.decided(answer.view.series, entity, 'accept', reviewer());
    await this.answer.close(entity, 'accepted');
  }

  async #reject(entity) {
    if (entity.state !== 'new') return;
    client.decided(this.answer.answer.view.series, entity, 'reject', reviewer());
    await this.answer.close(entity, 'rejected');
  }
}
