// Points and a box on the image: cornerstone tools of our own, so that OHIF's measurements stay apart.

export const POSITIVE = 'MimoPositivePoint';
export const NEGATIVE = 'MimoNegativePoint';
export const BOX = 'MimoBox';
const COLORS = { [POSITIVE]: 'rgb(70, 220, 90)', [NEGATIVE]: 'rgb(255, 90, 80)', [BOX]: 'rgb(255, 210, 60)' };
const ALL = [POSITIVE, NEGATIVE, BOX];

let defined = false;

/** Make the three tools known to cornerstone, once. */
function defineTools(tools) {
  if (defined) return;
  defined = true;

  class PointTool extends tools.ProbeTool {
    // A ring with a plus or a minus in it, so that colour is not all that tells them apart.
    renderAnnotation = (enabledElement, svg) => {
      const { viewport } = enabledElement;
      const name = this.getToolName();
      const found = tools.annotation.state.getAnnotations(name, viewport.element) ?? [];
      const shown = this.filterInteractableAnnotationsForElement(viewport.element, found) ?? [];
      for (const { annotationUID, data } of shown) {
        const [x, y] = viewport.worldToCanvas(data.handles.points[0]);
        const style = { color: COLORS[name], lineWidth: 2 };
        tools.drawing.drawCircle(svg, annotationUID, 'ring', [x, y], 7, style);
        tools.drawing.drawLine(svg, annotationUID, 'across', [x - 4, y], [x + 4, y], style);
        if (name === POSITIVE) tools.drawing.drawLine(svg, annotationUID, 'down', [x, y - 4], [x, y + 4], style);
      }
      return shown.length > 0;
    };
  }
  class PositiveTool extends PointTool {
    static toolName = POSITIVE;
  }
  class NegativeTool extends PointTool {
    static toolName = NEGATIVE;
  }
  class BoxTool extends tools.RectangleROITool {
    static toolName = BOX;
    constructor(props = {}, defaults = undefined) {
      super(props, defaults);
      this.configuration.getTextLines = () => []; // a prompt, not a measurement
    }
  }
  for (const tool of [PositiveTool, NegativeTool, BoxTool]) tools.addTool(tool);
}

/** The prompts that a user has set, and the tool that sets them. */
export class Prompts {
  /** @param {() => void} onChange called when a prompt was set, moved or removed */
  constructor({ cornerstone, tools }, onChange) {
    this.tools = tools;
    this.cornerstone = cornerstone;
    this.active = null;
    defineTools(tools);
    const { Events } = tools.Enums;
    this.events = [Events.ANNOTATION_COMPLETED, Events.ANNOTATION_MODIFIED, Events.ANNOTATION_REMOVED];
    this.listener = event => {
      const annotation = event.detail?.annotation;
      if (!ALL.includes(annotation?.metadata?.toolName)) return;
      if (event.type === Events.ANNOTATION_COMPLETED && annotation.metadata.toolName === BOX) {
        this.#keepOnly(annotation);
      }
      onChange();
    };
    for (const event of this.events) cornerstone.eventTarget.addEventListener(event, this.listener);
  }

  destroy() {
    for (const event of this.events) this.cornerstone.eventTarget.removeEventListener(event, this.listener);
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

  /** Remove all prompts. */
  clear() {
    for (const annotation of this.#annotations()) {
      this.tools.annotation.state.removeAnnotation(annotation.annotationUID);
    }
    this.render();
  }

  render() {
    for (const engine of this.cornerstone.getRenderingEngines()) engine.render();
    this.tools.utilities.triggerAnnotationRenderForViewportIds(
      this.cornerstone.getEnabledElements().map(({ viewportId }) => viewportId)
    );
  }

  #annotations() {
    return this.tools.annotation.state.getAllAnnotations().filter(({ metadata }) => ALL.includes(metadata.toolName));
  }

  #keepOnly(box) {
    for (const { annotationUID, metadata } of this.#annotations()) {
      if (metadata.toolName === BOX && annotationUID !== box.annotationUID) {
        this.tools.annotation.state.removeAnnotation(annotationUID);
      }
    }
  }

  /**
   * The prompts as the server wants them, all on one slice: that of the prompt set last.
   * @param {Grid} grid of the series
   * @returns {{foreground: number[][], background: number[][], bbox: number[] | null, slice: number | null,
   *   left: number, problem: string | null}} points [i, j, k]; the box [i0, j0, i1, j1], its end exclusive; `left` is
   *   how many prompts lie on other slices
   */
  read(grid, frameOfReference) {
    const mine = this.#annotations().filter(({ metadata }) => metadata.FrameOfReferenceUID === frameOfReference);
    const out = { foreground: [], background: [], bbox: null, slice: null, left: 0, problem: null };
    const found = [];
    for (const { metadata, data } of mine) {
      const corners = data.handles.points.map(point => grid.toVoxel(point));
      if (metadata.toolName === BOX && !grid.isOwnPlane(metadata.viewPlaneNormal)) {
        out.problem =
          'Draw the box in the view in which the images were taken; here it would cut through many of them.';
        continue;
      }
      // Where the view is at a slant to the series, a box passes through several slices: its middle counts.
      const middle = [0, 1, 2].map(
        axis => data.handles.points.reduce((sum, p) => sum + p[axis], 0) / data.handles.points.length
      );
      found.push({ tool: metadata.toolName, corners, slice: grid.sliceAt(middle) });
    }
    if (!found.length) return out;
    out.slice = found.at(-1).slice;
    for (const { tool, corners, slice } of found) {
      if (slice !== out.slice) out.left += 1;
      else if (tool === BOX) out.bbox = boxOf(corners, grid);
      else {
        const voxel = [Math.round(corners[0][0]), Math.round(corners[0][1]), slice];
        if (grid.holds(voxel)) out[tool === POSITIVE ? 'foreground' : 'background'].push(voxel);
        else out.problem = 'A point lies outside the image.';
      }
    }
    return out;
  }
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
