// The MIMO tab: ask about the image in view, look at what the answer points to, keep what is right.

import { colorOf, countLabels, middleOf, pieces } from './answer.js';
import * as client from './client.js';
import { fill, h } from './dom.js';
import { checkSameGrid, Grid } from './geometry.js';
import { Masks, viewportsOf } from './masks.js';
import { readNrrd, writeNrrd } from './nrrd.js';
import { BOX, NEGATIVE, POSITIVE, Prompts } from './prompts.js';

const EXAMPLES = ['What is in the box?', 'What is at the point?', 'Segment the liver.', 'Segment everything you see.'];
const TOOLS = [
  [POSITIVE, '+ Point', 'Mark a point inside of what you mean'],
  [NEGATIVE, '− Point', 'Mark a point outside of what you mean'],
  [BOX, 'Box', 'Draw a box around what you mean'],
];
const REVIEWER = 'mimo-reviewer';
const MAX_SEGMENTS = 255;

export class MimoPanel {
  /** @param {{cornerstone: object, tools: object, services: object}} viewer OHIF's globals */
  constructor(viewer) {
    this.viewer = viewer;
    this.prompts = new Prompts(viewer, () => this.#showPrompts());
    this.answerMasks = new Masks(viewer, 'mimo-answer', 'MIMO answer');
    this.keptMasks = new Masks(viewer, 'mimo-accepted', 'MIMO accepted');
    this.answer = null; // {reply, voxels, entities: [{phrase, color, state, ...}], series}
    this.kept = null; // {series, voxels, segments: [{name, color, source}]}
    this.request = null; // the AbortController of the question under way
    this.#build();
    const { viewportGridService } = viewer.services;
    const { EVENTS } = viewportGridService;
    this.subscriptions = [EVENTS.GRID_STATE_CHANGED, EVENTS.ACTIVE_VIEWPORT_ID_CHANGED, EVENTS.VIEWPORTS_READY]
      .filter(Boolean)
      .map(event => viewportGridService.subscribe(event, () => this.#viewChanged()));
    this.#askForModel();
  }

  destroy() {
    this.request?.abort();
    this.prompts.destroy();
    this.subscriptions.forEach(({ unsubscribe }) => unsubscribe());
  }

  #build() {
    this.parts = {
      model: h('div', { class: 'mimo-model', role: 'status', 'data-mimo': 'model' }, 'Connecting ...'),
      question: h('textarea', {
        class: 'mimo-question',
        rows: 2,
        maxlength: 1000,
        placeholder: 'Ask about this image',
        'aria-label': 'Question',
        'data-mimo': 'question',
        on: { keydown: event => this.#questionKey(event) },
      }),
      ask: h('button', { class: 'mimo-ask', 'data-mimo': 'ask', on: { click: () => this.ask() } }, 'Ask'),
      cancel: h('button', { 'data-mimo': 'cancel', hidden: true, on: { click: () => this.cancel() } }, 'Cancel'),
      progress: h('div', { class: 'mimo-progress', hidden: true, 'aria-hidden': 'true' }, h('div')),
      prompts: h('div', { class: 'mimo-small', 'data-mimo': 'prompts', 'aria-live': 'polite' }),
      message: h('div', { class: 'mimo-message', role: 'alert', 'data-mimo': 'message', hidden: true }),
      answer: h('section', {
        class: 'mimo-answer',
        'aria-label': 'Answer',
        'aria-live': 'polite',
        'data-mimo': 'answer',
      }),
      kept: h('section', { 'aria-label': 'Accepted', 'data-mimo': 'kept' }),
      history: h('section', { 'aria-label': 'Questions asked', 'data-mimo': 'history' }),
    };
    this.toolButtons = TOOLS.map(([tool, text, title]) =>
      h(
        'button',
        { title, 'aria-pressed': 'false', 'data-mimo-tool': tool, on: { click: () => this.#tool(tool) } },
        text
      )
    );
    const clear = h(
      'button',
      { title: 'Remove all points and boxes', 'data-mimo': 'clear', on: { click: () => this.#clear() } },
      'Clear'
    );
    const examples = h(
      'select',
      {
        'aria-label': 'Example questions',
        'data-mimo': 'examples',
        on: { change: event => this.#example(event.target) },
      },
      h('option', { value: '' }, 'Examples ...'),
      EXAMPLES.map(text => h('option', { value: text }, text))
    );
    const { model, question, ask, cancel, progress, prompts, message, answer, kept, history } = this.parts;
    // OHIF's own keys (r turns the image, and so on) must not act while a key is meant for the panel.
    const mine = event => event.stopPropagation();
    this.root = h(
      'div',
      { class: 'mimo', on: { keydown: mine, keypress: mine, keyup: mine } },
      model,
      h('div', { class: 'mimo-row', role: 'toolbar', 'aria-label': 'Prompts' }, this.toolButtons, clear),
      prompts,
      question,
      h('div', { class: 'mimo-row' }, ask, cancel, examples),
      progress,
      message,
      answer,
      kept,
      history
    );
    this.#showHistory();
  }

  // --- the model ---------------------------------------------------------------------------------------------------

  async #askForModel() {
    try {
      const info = await client.info();
      if (!info.models?.mimo_ask) throw new client.ServerError('This server has no MIMO model.');
      if (!info.model)
        throw new client.ServerError('The server has no weights yet: it can show images, but not answer.');
      const { name, weights, hash } = info.model;
      fill(this.parts.model, h('span', { class: 'mimo-ready' }, '● '), `Ready: ${name}, weights ${weights} (${hash})`);
    } catch (error) {
      fill(
        this.parts.model,
        h('span', { class: 'mimo-down' }, '● '),
        `${error.message} `,
        h('button', { class: 'mimo-link', on: { click: () => this.#askForModel() } }, 'Try again')
      );
    }
  }

  // --- the image in view -------------------------------------------------------------------------------------------

  /** The series in the active viewport, its grid and the slice in view; null where there is none that can be asked about. */
  view() {
    const { viewportGridService, displaySetService, cornerstoneViewportService } = this.viewer.services;
    const { viewports, activeViewportId } = viewportGridService.getState();
    const uid = viewports.get(activeViewportId)?.displaySetInstanceUIDs?.[0];
    const displaySet = uid && displaySetService.getDisplaySetByUID(uid);
    const viewport = cornerstoneViewportService.getCornerstoneViewport(activeViewportId);
    if (!displaySet?.imageIds?.length || !viewport?.getCamera) return null;
    if (this.grid?.of !== uid) {
      const { metaData } = this.viewer.cornerstone;
      this.grid = {
        of: uid,
        grid: new Grid(displaySet.imageIds, imageId => metaData.get('imagePlaneModule', imageId)),
      };
    }
    const { grid } = this.grid;
    const shown = viewport.getCurrentImageId?.();
    const slice = grid.sliceOf(shown) ?? grid.sliceAt(viewport.getCamera().focalPoint);
    return {
      displaySet,
      viewport,
      grid,
      slice,
      series: displaySet.SeriesInstanceUID,
      study: displaySet.StudyInstanceUID,
    };
  }

  #viewChanged() {
    const view = this.view();
    if (!view) return;
    for (const masks of [this.answerMasks, this.keptMasks]) masks.addToViewports(view.displaySet);
    if (this.study !== view.study) {
      this.study = view.study;
      this.#showHistory();
    }
  }

  // --- prompts -----------------------------------------------------------------------------------------------------

  #tool(tool) {
    const next = this.prompts.active === tool ? null : tool;
    this.prompts.activate(next);
    this.toolButtons.forEach(button => button.setAttribute('aria-pressed', String(button.dataset.mimoTool === next)));
    this.#say('');
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
    const said = [
      foreground.length && `${foreground.length} positive`,
      background.length && `${background.length} negative`,
      bbox && 'a box',
    ].filter(Boolean);
    const parts = [];
    // No number of the slice: in its three views OHIF counts from the other end than the series does.
    if (said.length)
      parts.push(`${said.join(', ')}${slice === view.slice ? '' : ', on another slice than the one in view'}.`);
    if (left) parts.push(`${left} on other slices, not used.`);
    if (problem) parts.push(problem);
    fill(this.parts.prompts, parts.join(' '));
  }

  // --- asking ------------------------------------------------------------------------------------------------------

  #example(select) {
    if (select.value) this.parts.question.value = select.value;
    select.value = '';
    this.parts.question.focus();
  }

  #questionKey(event) {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.ask();
    } else if (event.key === 'Escape') this.cancel();
  }

  cancel() {
    this.request?.abort();
  }

  async ask() {
    if (this.request) return;
    const view = this.view();
    const question = this.parts.question.value.trim();
    if (!view) return this.#say('Open a series in a view first.', true);
    const { foreground, background, bbox, slice, problem } = this.#promptsOf(view);
    if (problem) return this.#say(problem, true);
    if (!question && !foreground.length && !bbox)
      return this.#say('Type a question, or mark something on the image.', true);
    const params = { question, foreground, background, slice: slice ?? view.slice };
    if (bbox) params.bbox = bbox;
    this.request = new AbortController();
    this.#busy(true);
    this.#say('');
    try {
      const { reply, mask } = await client.ask(view.series, params, this.request.signal);
      await this.#take(view, reply, mask);
      this.#remember(view.study, question, reply.answer);
    } catch (error) {
      if (error.name === 'AbortError') this.#say('Cancelled.');
      else this.#say(error.message, true);
    } finally {
      this.request = null;
      this.#busy(false);
    }
  }

  #busy(busy) {
    this.parts.ask.disabled = busy;
    this.parts.cancel.hidden = !busy;
    this.parts.progress.hidden = !busy;
    this.root.setAttribute('aria-busy', String(busy));
  }

  #say(text, isError = false) {
    this.parts.message.hidden = !text;
    this.parts.message.classList.toggle('mimo-error', isError);
    fill(this.parts.message, text);
  }

  // --- the answer --------------------------------------------------------------------------------------------------

  async #take(view, reply, mask) {
    let voxels = new Uint8Array(view.grid.columns * view.grid.rows * view.grid.slices);
    if (mask) {
      const read = await readNrrd(mask);
      checkSameGrid(read, view.grid);
      voxels = read.voxels;
    }
    const counts = countLabels(voxels);
    const entities = (reply.entities ?? []).map((entity, number) => ({
      ...entity,
      color: colorOf(number),
      state: 'new',
      size: counts[entity.label] ?? 0,
    }));
    this.answer = { reply, voxels, entities, view };
    await this.#showAnswerMasks();
    this.#showAnswer();
  }

  async #showAnswerMasks() {
    const { view, voxels, entities } = this.answer;
    const segments = [];
    for (const entity of entities) segments[entity.label - 1] = { name: entity.phrase, color: entity.color };
    for (let n = 0; n < segments.length; n++) segments[n] ??= { name: `label ${n + 1}`, color: colorOf(n) };
    this.answerMasks.highlighted = 0;
    if (segments.length || this.answerMasks.series) {
      await this.answerMasks.show(view.displaySet, view.grid, voxels, segments);
    }
  }

  #showAnswer() {
    const { reply, entities } = this.answer;
    const words = pieces(reply.answer ?? '', entities).map(({ text, entity }) =>
      entity === null ? text : this.#phrase(entities[entity], text)
    );
    fill(
      this.parts.answer,
      h('p', { class: 'mimo-text', 'data-mimo': 'text' }, words.length ? words : 'The model gave no answer.'),
      entities.map(entity => this.#entityRow(entity)),
      (reply.warnings ?? []).map(warning => h('p', { class: 'mimo-warning' }, warning)),
      [reply.notices ?? reply.notice ?? []]
        .flat()
        .map(notice => h('p', { class: 'mimo-small', 'data-mimo': 'notice' }, notice))
    );
  }

  /** What hovering, clicking and keys do, for a phrase in the text and for its row alike. */
  #handlers(entity) {
    const show = () => this.answerMasks.highlight(entity.state === 'new' ? entity.label : 0);
    const hide = () => this.answerMasks.highlight(0);
    return {
      mouseenter: show,
      mouseleave: hide,
      focus: show,
      blur: hide,
      click: () => this.#jump(entity),
      keydown: event => {
        if (event.key === 'a') this.#accept(entity);
        else if (event.key === 'r') this.#reject(entity);
      },
    };
  }

  #phrase(entity, text) {
    return h(
      'button',
      {
        class: `mimo-phrase mimo-${entity.state}`,
        style: { '--mimo-color': css(entity.color) },
        title: 'Click: go to its slice. Keys: a accepts, r rejects.',
        'data-mimo-phrase': entity.label,
        on: this.#handlers(entity),
      },
      text
    );
  }

  #entityRow(entity) {
    const low = isLow(entity);
    const done = entity.state !== 'new';
    return h(
      'div',
      { class: `mimo-entity mimo-${entity.state}`, 'data-mimo-entity': entity.label },
      h('span', { class: 'mimo-chip', style: { '--mimo-color': css(entity.color) } }),
      h(
        'button',
        { class: 'mimo-link mimo-name', title: 'Go to its slice', on: this.#handlers(entity) },
        entity.phrase
      ),
      h(
        'span',
        { class: low ? 'mimo-score mimo-low' : 'mimo-score', title: 'How sure the model is of this mask' },
        scoreText(entity)
      ),
      h(
        'button',
        {
          title: 'Accept (a)',
          'aria-label': `Accept ${entity.phrase}`,
          disabled: done || !entity.size,
          'data-mimo': 'accept',
          on: { click: () => this.#accept(entity) },
        },
        '✓'
      ),
      h(
        'button',
        {
          title: 'Reject (r)',
          'aria-label': `Reject ${entity.phrase}`,
          disabled: done,
          'data-mimo': 'reject',
          on: { click: () => this.#reject(entity) },
        },
        '✗'
      )
    );
  }

  #jump(entity) {
    const { view, voxels } = this.answer;
    const source = entity.state === 'accepted' && this.kept ? this.kept.voxels : voxels;
    const label = entity.state === 'accepted' ? entity.keptAs : entity.label;
    const middle = middleOf(source, label, view.grid);
    if (!middle) return this.#say('This phrase has no mask to go to.');
    this.#goTo(view, middle);
  }

  #goTo(view, voxel) {
    const { cornerstoneViewportService } = this.viewer.services;
    const world = view.grid.toWorld(voxel);
    for (const viewportId of viewportsOf(this.viewer, view.displaySet)) {
      const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportId);
      if (viewport?.jumpToWorld) viewport.jumpToWorld(world);
      else viewport?.setImageIdIndex?.(viewport.getImageIds().indexOf(view.grid.planes[voxel[2]].imageId));
      viewport?.render();
    }
  }

  // --- accepting, and what was accepted ----------------------------------------------------------------------------

  async #accept(entity) {
    if (entity.state !== 'new' || !entity.size) return;
    const { view, voxels } = this.answer;
    if (this.kept?.view.series !== view.series) {
      if (this.kept?.unsaved && !window.confirm('The accepted masks of the other series are not saved. Drop them?'))
        return;
      this.kept = { view, voxels: new Uint8Array(voxels.length), segments: [], unsaved: false };
      this.keptMasks.hidden.clear();
    }
    const { kept } = this;
    if (kept.segments.length >= MAX_SEGMENTS) return this.#say('A segmentation holds 255 segments at most.', true);
    // What is accepted under a name that is there already grows that segment.
    let index = kept.segments.findIndex(({ name }) => name === entity.phrase) + 1;
    if (!index) index = kept.segments.push({ name: entity.phrase, color: entity.color, score: entity.score });
    for (let n = 0; n < voxels.length; n++) {
      if (voxels[n] !== entity.label) continue;
      kept.voxels[n] = index;
      voxels[n] = 0;
    }
    kept.unsaved = true;
    kept.model = this.answer.reply.model;
    entity.state = 'accepted';
    entity.keptAs = index;
    client.decided(view.series, entity, 'accept', localStorage.getItem(REVIEWER));
    await this.#afterDecision();
  }

  async #reject(entity) {
    if (entity.state !== 'new') return;
    const { view, voxels } = this.answer;
    for (let n = 0; n < voxels.length; n++) if (voxels[n] === entity.label) voxels[n] = 0;
    entity.state = 'rejected';
    client.decided(view.series, entity, 'reject', localStorage.getItem(REVIEWER));
    await this.#afterDecision();
  }

  async #afterDecision() {
    await this.#showAnswerMasks();
    await this.#showKeptMasks();
    this.#showAnswer();
    this.#showKept();
    this.parts.answer.querySelector('[data-mimo="accept"]:not(:disabled)')?.focus();
  }

  async #showKeptMasks() {
    if (!this.kept) return;
    await this.keptMasks.show(this.kept.view.displaySet, this.kept.view.grid, this.kept.voxels, this.kept.segments);
  }

  #showKept() {
    const { kept } = this;
    if (!kept?.segments.length) return fill(this.parts.kept);
    const opacity = h('input', {
      type: 'range',
      min: 0,
      max: 100,
      value: Math.round(this.keptMasks.opacity * 100),
      'aria-label': 'Opacity',
      'data-mimo': 'opacity',
      on: { input: event => this.#opacity(event.target.value / 100) },
    });
    fill(
      this.parts.kept,
      h('h3', {}, 'Accepted'),
      kept.segments.map((segment, number) => this.#keptRow(segment, number + 1)),
      h('label', { class: 'mimo-row' }, 'Opacity', opacity),
      this.reviewerForm ??
        h(
          'div',
          { class: 'mimo-row' },
          h(
            'button',
            { class: 'mimo-ask', 'data-mimo': 'save', disabled: !kept.unsaved, on: { click: () => this.save() } },
            kept.unsaved ? 'Save' : 'Saved'
          ),
          h('span', { class: 'mimo-small' }, this.#reviewerLine())
        )
    );
  }

  #keptRow({ name, color }, index) {
    const hidden = this.keptMasks.hidden.has(index);
    return h(
      'div',
      { class: 'mimo-entity', 'data-mimo-kept': index },
      h('span', { class: 'mimo-chip', style: { '--mimo-color': css(color) } }),
      h(
        'button',
        {
          class: 'mimo-link mimo-name',
          title: 'Go to its slice',
          on: {
            click: () => this.#jumpKept(index),
            mouseenter: () => this.keptMasks.highlight(index),
            mouseleave: () => this.keptMasks.highlight(0),
          },
        },
        name
      ),
      h(
        'button',
        {
          'aria-pressed': String(!hidden),
          'data-mimo': 'toggle',
          title: 'Show or hide',
          on: { click: () => this.#toggle(index) },
        },
        hidden ? 'Show' : 'Hide'
      ),
      h(
        'button',
        {
          title: 'Take it out again',
          'aria-label': `Remove ${name}`,
          'data-mimo': 'remove',
          on: { click: () => this.#removeKept(index) },
        },
        '✗'
      )
    );
  }

  #jumpKept(index) {
    const middle = middleOf(this.kept.voxels, index, this.kept.view.grid);
    if (middle) this.#goTo(this.kept.view, middle);
  }

  #opacity(value) {
    this.keptMasks.opacity = value;
    this.answerMasks.opacity = value;
    this.keptMasks.paint();
    this.answerMasks.paint();
  }

  #toggle(index) {
    const { hidden } = this.keptMasks;
    if (!hidden.delete(index)) hidden.add(index);
    this.keptMasks.paint();
    this.#showKept();
  }

  async #removeKept(index) {
    const { kept } = this;
    kept.segments.splice(index - 1, 1);
    kept.voxels.forEach((value, n) => {
      if (value === index) kept.voxels[n] = 0;
      else if (value > index) kept.voxels[n] = value - 1;
    });
    kept.unsaved = kept.segments.length > 0;
    this.keptMasks.hidden.clear();
    this.keptMasks.highlighted = 0;
    await this.#showKeptMasks();
    this.#showKept();
  }

  // --- saving ------------------------------------------------------------------------------------------------------

  #reviewerLine() {
    const reviewer = localStorage.getItem(REVIEWER);
    return reviewer ? `as ${reviewer}` : '';
  }

  /** Save what was accepted; the reviewer's name is asked for the first time. */
  async save() {
    const reviewer = localStorage.getItem(REVIEWER);
    if (!reviewer) return this.#askForReviewer();
    const { kept } = this;
    const { view, voxels, segments } = kept;
    this.#busy(true);
    this.#say('Saving ...');
    try {
      const present = countLabels(voxels);
      const label_info = segments
        .map(({ name, color }, number) => ({ name, idx: number + 1, color }))
        .filter(({ idx }) => present[idx] > 0);
      const params = {
        label_info,
        label_names: Object.fromEntries(label_info.map(({ name, idx }) => [name, idx])),
        reviewer,
        model: kept.model,
      };
      await client.save(view.series, await writeNrrd(voxels, view.grid), params);
      kept.unsaved = false;
      this.#say(
        `Saved ${label_info.length === 1 ? 'one segment' : `${label_info.length} segments`}, reviewed by ${reviewer}.`
      );
    } catch (error) {
      this.#say(`Not saved. ${error.message}`, true);
    } finally {
      this.#busy(false);
      this.#showKept();
    }
  }

  #askForReviewer() {
    const name = h('input', {
      type: 'text',
      maxlength: 64,
      required: true,
      placeholder: 'Your name',
      'aria-label': 'Your name',
      'data-mimo': 'reviewer',
    });
    const submit = event => {
      event.preventDefault();
      if (!name.value.trim()) return;
      localStorage.setItem(REVIEWER, name.value.trim());
      this.reviewerForm = null;
      this.save();
    };
    this.reviewerForm = h(
      'form',
      { class: 'mimo-row', on: { submit } },
      name,
      h('button', { class: 'mimo-ask', type: 'submit', 'data-mimo': 'reviewer-ok' }, 'Save')
    );
    this.#showKept();
    name.focus();
  }

  // --- history -----------------------------------------------------------------------------------------------------

  // Kept for this browser tab only: a question may say something about a patient.
  #historyKey() {
    return `mimo-history-${this.study}`;
  }

  #history() {
    try {
      return JSON.parse(sessionStorage.getItem(this.#historyKey())) ?? [];
    } catch {
      return [];
    }
  }

  #remember(study, question, answer) {
    this.study = study;
    const entries = [{ question, answer }, ...this.#history()].slice(0, 30);
    sessionStorage.setItem(this.#historyKey(), JSON.stringify(entries));
    this.#showHistory();
  }

  #showHistory() {
    const entries = this.#history();
    const again = question => {
      this.parts.question.value = question;
      this.parts.question.focus();
    };
    fill(
      this.parts.history,
      entries.length > 0 && h('h3', {}, 'Asked of this study'),
      entries.map(({ question, answer }) =>
        h(
          'div',
          { class: 'mimo-asked' },
          h(
            'button',
            { class: 'mimo-link', title: 'Ask this again', on: { click: () => again(question) } },
            question || '(only marks)'
          ),
          h('div', { class: 'mimo-small' }, answer)
        )
      )
    );
  }
}

const css = ([r, g, b]) => `rgb(${r}, ${g}, ${b})`;

function scoreText({ score, status, size }) {
  const number = typeof score === 'number' ? score.toFixed(2) : '';
  if (!size) return `${number} no mask`;
  return isLow({ status }) ? `${number} ${status}` : number;
}

/** Whether the server marked a phrase, as uncertain or withheld. */
const isLow = ({ status }) => status === 'uncertain' || status === 'withheld';
