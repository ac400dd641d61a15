// The marks on the image: kept as plain objects that undo can bring back, and read as the prompts that the server takes.

import { ALL, BOX, brush, COLORS, defineTools, INSIDE, MARKS, NEGATIVE, OUTSIDE, PAINT, POSITIVE, RUB } from './tools.js';

const LISTS = {
  [POSITIVE]: 'foreground', [NEGATIVE]: 'background', [INSIDE]: 'foreground_scribble', [OUTSIDE]: 'background_scribble',
}; // prettier-ignore
const SLANTED = 'Draw this in the view in which the images were taken; here it would cut through many of them.';

export class Prompts {
  /**
   * @param {{changed: (marks: object[]) => void, stroke: (tool: string, points: number[][], metadata: object) => void}} on
   *   `changed`: a person set, moved or took back marks, all of which are given. `stroke`: one painted by hand
   */
  constructor({ cornerstone, tools }, on) {
    Object.assign(this, { tools, cornerstone, on, active: null, known: [] });
    defineTools({ cornerstone, tools });
    const { Events } = tools.Enums;
    this.events = [Events.ANNOTATION_COMPLETED, Events.ANNOTATION_REMOVED];
    this.listener = event => this.#heard(event);
    this.settle = () => setTimeout(() => this.#settle());
    for (const event of this.events) cornerstone.eventTarget.addEventListener(event, this.listener);
    window.addEventListener('pointerup', this.settle, true);
  }

  destroy() {
    for (const event of this.events) this.cornerstone.eventTarget.removeEventListener(event, this.listener);
    window.removeEventListener('pointerup', this.settle, true);
  }

  #heard({ type, detail }) {
    const annotation = detail?.annotation;
    const name = annotation?.metadata?.toolName;
    if (this.setting || !ALL.includes(name)) return;
    if (type === this.tools.Enums.Events.ANNOTATION_COMPLETED && (name === PAINT || name === RUB)) {
      this.tools.annotation.state.removeAnnotation(annotation.annotationUID);
      this.on.stroke(name, annotation.data.handles.points, annotation.metadata);
    }
    this.settle();
  }

  /** Give the left mouse button to a tool; null gives it back to window and level. */
  activate(name) {
    const { ToolGroupManager, Enums } = this.tools;
    const primary = { mouseButton: Enums.MouseBindings.Primary };
    for (const group of ToolGroupManager.getAllToolGroups()) {
      if (!group.getViewportIds().length || group.id === 'volume3d') continue;
      for (const tool of ALL) {
        if (!group.hasTool(tool)) group.addTool(tool);
        if (group.toolOptions[tool]?.mode !== Enums.ToolModes.Passive) group.setToolPassive(tool);
      }
      const holder = group.getActivePrimaryMouseButtonTool();
      if (holder) group.setToolPassive(holder, { removeAllBindings: [primary] });
      const next = name ?? 'WindowLevel';
      if (group.hasTool(next)) group.setToolActive(next, { bindings: [primary] });
      const color = { color: COLORS[BOX], colorHighlighted: COLORS[BOX], colorSelected: COLORS[BOX], lineWidth: '2' };
      this.tools.annotation.config.style.setToolGroupToolStyles(group.id, { [BOX]: color });
    }
    this.active = name;
  }

  /** Make the marks on the image those that are given. */
  set(marks) {
    if (marks === this.known) return;
    const { state } = this.tools.annotation;
    this.known = marks;
    this.setting = true;
    for (const { annotationUID } of this.#annotations()) state.removeAnnotation(annotationUID);
    for (const { uid, tool, points, metadata } of marks) {
      const handles = { points: points.map(point => [...point]), activeHandleIndex: null, textBox: TEXT_BOX() };
      const data = { label: '', handles, cachedStats: {} };
      state.addAnnotation({ annotationUID: uid, metadata: { ...metadata, toolName: tool }, data }, metadata.FrameOfReferenceUID);
    }
    this.setting = false;
    this.render();
  }

  render() {
    for (const engine of this.cornerstone.getRenderingEngines()) engine.render();
    this.tools.utilities.triggerAnnotationRenderForViewportIds(
      this.cornerstone.getEnabledElements().map(({ viewportId }) => viewportId)
    );
  }

  #annotations() {
    return this.tools.annotation.state.getAllAnnotations().filter(({ metadata }) => MARKS.includes(metadata.toolName));
  }

  /** Tell of what a person changed, once the mouse is up. */
  #settle() {
    const before = new Map(this.known.map(mark => [mark.uid, mark]));
    let marks = this.#annotations().map(({ annotationUID: uid, metadata, data }) => {
      const { toolName: tool, ...rest } = metadata;
      const points = data.handles.points.map(point => [...point]);
      const old = before.get(uid);
      return old && String(old.points) === String(points) ? old : { ...old, uid, tool, points, metadata: rest };
    });
    const newest = marks.findLast(({ tool }) => tool === BOX);
    marks = marks.filter(mark => mark.tool !== BOX || mark === newest || mark.prompt); // a new box replaces the old one
    if (marks.length === this.known.length && marks.every((mark, n) => mark === this.known[n])) return;
    this.setting = true;
    for (const { annotationUID } of this.#annotations()) {
      if (!marks.some(({ uid }) => uid === annotationUID)) this.tools.annotation.state.removeAnnotation(annotationUID);
    }
    this.setting = false;
    this.known = marks;
    this.on.changed(marks);
  }
}

const TEXT_BOX = () => ({ hasMoved: false, worldPosition: [0, 0, 0], worldBoundingBox: null });

/**
 * Marks as the server wants them.
 * @param {object[]} marks of one series
 * @param {Grid} grid of the series
 * @param {boolean} everywhere on all slices; else on one alone: that of the mark set last
 * @returns {{prompts: object, slice: number | null, left: number, problem: string | null}} `prompts` has what there is of
 *   `foreground`, `background`, `foreground_scribble` and `background_scribble`, voxels [i, j, k], and of `bbox`
 *   [i0, j0, k0, i1, j1, k1], its end exclusive; `left` is how many marks lie on other slices
 */
export function promptsOf(marks, grid, everywhere = false) {
  const out = { prompts: {}, slice: null, left: 0, problem: null };
  const found = [];
  for (const { tool, points, metadata } of marks) {
    if (tool === BOX && !grid.isOwnPlane(metadata.viewPlaneNormal)) out.problem = SLANTED;
    else found.push({ tool, points, slice: grid.sliceAt(middleOf(points)) });
  }
  out.slice = found.at(-1)?.slice ?? null;
  for (const { tool, points, slice } of found) {
    if (slice !== out.slice && !everywhere) out.left += 1;
    else if (tool === BOX) {
      const [i0, j0, i1, j1] = boxOf(
        points.map(point => grid.toVoxel(point)),
        grid
      );
      out.prompts.bbox = [i0, j0, slice, i1, j1, slice + 1];
    } else {
      const voxels = tool === POSITIVE || tool === NEGATIVE ? [grid.toVoxel(points[0])] : lineOf(points, grid);
      const at = voxels.map(([i, j, k]) => [Math.round(i), Math.round(j), everywhere ? k : slice]);
      if (at.every(voxel => grid.holds(voxel))) (out.prompts[LISTS[tool]] ??= []).push(...at);
      else out.problem = 'A mark lies outside the image.';
    }
  }
  return out;
}

const middleOf = points => [0, 1, 2].map(axis => points.reduce((sum, point) => sum + point[axis], 0) / points.length);

/** The voxels that a line through points of the patient passes, each once. */
function lineOf(points, grid) {
  const found = new Map();
  points.forEach((point, n) => {
    const [from, to] = [points[Math.max(n - 1, 0)], point].map(p => grid.toVoxel(p));
    const steps = Math.max(1, Math.ceil(2 * Math.hypot(...to.map((v, axis) => v - from[axis]))));
    for (let s = 0; s <= steps; s++) {
      const voxel = to.map((v, axis) => Math.round(from[axis] + ((v - from[axis]) * s) / steps));
      found.set(String(voxel), voxel);
    }
  });
  return [...found.values()];
}

/**
 * The pixels of a slice within half the brush's width of a line that was painted by hand.
 * @returns {{k: number, pixels: number[]} | null} null where the view is not that of the images
 */
export function painted(points, metadata, grid, width = brush.width) {
  if (!grid.isOwnPlane(metadata.viewPlaneNormal)) return null;
  const k = grid.sliceAt(middleOf(points));
  const { iStep, jStep } = grid.planes[k];
  const pixels = new Set();
  const [ri, rj] = [width / 2 / iStep, width / 2 / jStep];
  for (const [i, j] of lineOf(points, grid)) {
    for (let y = Math.max(0, Math.ceil(j - rj)); y <= Math.min(grid.rows - 1, j + rj); y++) {
      for (let x = Math.max(0, Math.ceil(i - ri)); x <= Math.min(grid.columns - 1, i + ri); x++) {
        const away = ((x - i) * iStep) ** 2 + ((y - j) * jStep) ** 2;
        if (away <= (width / 2) ** 2) pixels.add(x + grid.columns * y);
      }
    }
  }
  return { k, pixels: [...pixels] };
}

/** [i0, j0, i1, j1] of voxels whose middles lie in the drawn rectangle, its end exclusive, within the image. */
export function boxOf(corners, grid) {
  const range = (axis, size) => {
    const values = corners.map(corner => corner[axis]);
    const start = Math.min(Math.max(Math.ceil(Math.min(...values)), 0), size - 1);
    const end = Math.min(Math.max(Math.floor(Math.max(...values)) + 1, start + 1), size);
    return [start, end];
  };
  const [i0, i1] = range(0, grid.columns);
  const [j0, j1] = range(1, grid.rows);
  return [i0, j0, i1, j1];
}
