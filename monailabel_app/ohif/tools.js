// The tools of the panel, made of cornerstone's: points, a box, strokes, and an eraser that takes marks back.

export const POSITIVE = 'MimoPositivePoint';
export const NEGATIVE = 'MimoNegativePoint';
export const BOX = 'MimoBox';
export const INSIDE = 'MimoScribble';
export const OUTSIDE = 'MimoNegativeScribble';
export const ERASER = 'MimoEraser';
export const PAINT = 'MimoPaint';
export const RUB = 'MimoRub';
export const MARKS = [POSITIVE, NEGATIVE, BOX, INSIDE, OUTSIDE]; // what stays on the image as a prompt
export const STROKES = [INSIDE, OUTSIDE, PAINT, RUB];
export const ALL = [...MARKS, ERASER, PAINT, RUB];

const [GREEN, RED, YELLOW] = ['rgb(70, 220, 90)', 'rgb(255, 90, 80)', 'rgb(255, 210, 60)'];
export const COLORS = {
  [POSITIVE]: GREEN, [INSIDE]: GREEN, [PAINT]: GREEN, [NEGATIVE]: RED, [OUTSIDE]: RED, [RUB]: RED, [BOX]: YELLOW,
}; // prettier-ignore

/** How wide painting by hand is, in millimetres across; the panel sets it. */
export const brush = { width: 6 };

const NEAR = 9; // pixels of the screen

let defined = false;

/** Make the tools known to cornerstone, once. */
export function defineTools({ cornerstone, tools }) {
  if (defined) return;
  defined = true;
  const { drawing, annotation, Enums } = tools;
  const remove = uid => annotation.state.removeAnnotation(uid);

  /** A click on a mark that is there takes it back; pulling moves it. */
  const takenBackByClick = tool => {
    const end = tool._endCallback;
    tool._endCallback = event => {
      const { annotation: mark, newAnnotation } = tool.editData;
      end(event);
      if (!newAnnotation && event.type === Enums.Events.MOUSE_CLICK) remove(mark.annotationUID);
    };
  };

  class PointTool extends tools.ProbeTool {
    constructor(...given) {
      super(...given);
      takenBackByClick(this);
    }
    // A ring with a plus or a minus in it, so that colour is not all that tells them apart.
    renderAnnotation = (enabledElement, svg) => {
      const { viewport } = enabledElement;
      const name = this.getToolName();
      const shown = shownIn(this, viewport.element);
      for (const { annotationUID, data } of shown) {
        const [x, y] = viewport.worldToCanvas(data.handles.points[0]);
        const style = { color: COLORS[name], lineWidth: 2 };
        drawing.drawCircle(svg, annotationUID, 'ring', [x, y], 7, style);
        drawing.drawLine(svg, annotationUID, 'across', [x - 4, y], [x + 4, y], style);
        if (name === POSITIVE) drawing.drawLine(svg, annotationUID, 'down', [x, y - 4], [x, y + 4], style);
      }
      return shown.length > 0;
    };
  }

  class BoxTool extends tools.RectangleROITool {
    static toolName = BOX;
    constructor(props = {}, defaults = undefined) {
      super(props, defaults);
      this.configuration.getTextLines = () => []; // a prompt, not a measurement
      const isNearBox = this.isPointNearTool;
      this.isPointNearTool = (...given) => this.#isInHand() && isNearBox(...given);
    }
    // Other tools may draw on its edge.
    #isInHand() {
      return this.mode === Enums.ToolModes.Active;
    }
    getHandleNearImagePoint(...given) {
      return this.#isInHand() ? super.getHandleNearImagePoint(...given) : undefined;
    }
  }

  /** A line that follows the mouse. */
  class StrokeTool extends tools.ProbeTool {
    _dragCallback = ({ detail: { currentPoints } }) => {
      this.editData.annotation.data.handles.points.push([...currentPoints.world]);
      tools.utilities.triggerAnnotationRenderForViewportIds(this.editData.viewportIdsToRender);
    };
    getHandleNearImagePoint = () => undefined; // strokes stay where they are
    renderAnnotation = (enabledElement, svg) => {
      const { viewport } = enabledElement;
      const name = this.getToolName();
      const shown = shownIn(this, viewport.element);
      const wide = name === PAINT || name === RUB;
      for (const { annotationUID, data } of shown) {
        const points = data.handles.points.map(point => viewport.worldToCanvas(point));
        const [x, y] = points[0];
        const lineWidth = wide ? brush.width * pixelsPerMillimetre(viewport) : 3;
        const style = { color: COLORS[name], lineWidth, lineDash: name === OUTSIDE ? '5 4' : undefined };
        if (points.length > 1) drawing.drawPolyline(svg, annotationUID, 'line', points, style);
        else drawing.drawCircle(svg, annotationUID, 'dot', [x, y], Math.max(lineWidth / 2, 2), { ...style, lineWidth: 2 });
      }
      return shown.length > 0;
    };
  }

  /** Takes back the marks that it touches, of this panel only. */
  class MarkEraser extends tools.BaseTool {
    static toolName = ERASER;
    preMouseDownCallback = event => this.#touch(event);
    mouseDragCallback = event => this.#touch(event);
    #touch({ detail: { element, currentPoints, viewportId } }) {
      const group = tools.ToolGroupManager.getAllToolGroups().find(g => g.getViewportIds().includes(viewportId));
      for (const name of MARKS) {
        const tool = group?.getToolInstance(name);
        for (const mark of tool ? shownIn(tool, element) : []) {
          if (isNear(tool, mark, element, currentPoints.canvas)) remove(mark.annotationUID);
        }
      }
      tools.utilities.triggerAnnotationRenderForViewportIds(group?.getViewportIds() ?? []);
      return true;
    }
  }

  const isNear = (tool, mark, element, canvas) => {
    const { viewport } = cornerstone.getEnabledElement(element);
    let points = mark.data.handles.points.map(point => viewport.worldToCanvas(point));
    if (tool.getToolName() === BOX) points = [0, 1, 3, 2, 0].map(n => points[n]); // cornerstone's order of the corners
    return points.some((point, n) => distance(canvas, points[Math.max(n - 1, 0)], point) < NEAR);
  };
  const shownIn = (tool, element) => {
    const found = annotation.state.getAnnotations(tool.getToolName(), element) ?? [];
    return tool.filterInteractableAnnotationsForElement(element, found) ?? [];
  };

  const named = (base, toolName) =>
    class extends base {
      static toolName = toolName;
    };
  const made = [POSITIVE, NEGATIVE].map(name => named(PointTool, name));
  made.push(BoxTool, MarkEraser, ...STROKES.map(name => named(StrokeTool, name)));
  for (const tool of made) tools.addTool(tool);
}

function pixelsPerMillimetre(viewport) {
  const { focalPoint, viewUp } = viewport.getCamera();
  const up = focalPoint.map((v, axis) => v + viewUp[axis]);
  const [[x0, y0], [x1, y1]] = [focalPoint, up].map(point => viewport.worldToCanvas(point));
  return Math.hypot(x1 - x0, y1 - y0);
}

/** From a point to the line between two others. */
function distance([x, y], [x0, y0], [x1, y1]) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const along = dx || dy ? Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy))) : 0;
  return Math.hypot(x - x0 - along * dx, y - y0 - along * dy);
}
