// The voxel grid of a series as the server's files have it: i along an image's row, j down its column, k along their normal.

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const minus = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const plus = (a, b, factor) => [a[0] + factor * b[0], a[1] + factor * b[1], a[2] + factor * b[2]];
const vector = v => (v ? [Number(v[0]), Number(v[1]), Number(v[2])] : null);

/**
 * The images of a series in the order of the file that MONAI Label makes of them. ITK sorts a series by position along
 * the normal of its images, ascending, in whatever order the images came; so does this.
 */
export class Grid {
  /**
   * @param {string[]} imageIds of the series, in any order
   * @param {(imageId: string) => object} planeOf cornerstone's imagePlaneModule
   */
  constructor(imageIds, planeOf) {
    const planes = imageIds.map((imageId, number) => {
      const plane = planeOf(imageId) ?? {};
      // An X-ray has no position in the patient: its grid is the image itself, as cornerstone shows it.
      return {
        imageId,
        number,
        origin: vector(plane.imagePositionPatient) ?? [0, 0, 0],
        row: vector(plane.rowCosines) ?? [1, 0, 0],
        column: vector(plane.columnCosines) ?? [0, 1, 0],
        iStep: plane.columnPixelSpacing || 1,
        jStep: plane.rowPixelSpacing || 1,
        columns: plane.columns,
        rows: plane.rows,
      };
    });
    const first = planes[0];
    this.normal = cross(first.row, first.column);
    this.positioned = imageIds.every(imageId => planeOf(imageId)?.imagePositionPatient);
    this.planes = planes.sort((a, b) => dot(this.normal, minus(a.origin, b.origin)) || a.number - b.number);
    this.columns = first.columns;
    this.rows = first.rows;
    this.slices = planes.length;
    this.index = new Map(this.planes.map((plane, k) => [plane.imageId, k]));
  }

  /** Millilitres of a voxel; null where the images do not say how far apart they are. */
  get voxelMl() {
    if (!this.positioned || this.slices < 2) return null;
    const [first, last] = [this.planes[0], this.planes[this.slices - 1]];
    const step = Math.abs(dot(this.normal, minus(last.origin, first.origin))) / (this.slices - 1);
    return (first.iStep * first.jStep * step) / 1000;
  }

  /** Which slice an image is. */
  sliceOf(imageId) {
    return this.index.get(imageId);
  }

  /** The slice nearest to a point of the patient, in millimetres LPS. */
  sliceAt(world) {
    let best = 0;
    let distance = Infinity;
    this.planes.forEach((plane, k) => {
      const away = Math.abs(dot(this.normal, minus(world, plane.origin)));
      if (away < distance) [best, distance] = [k, away];
    });
    return best;
  }

  /** [i, j, k], of which i and j may lie between voxels. */
  toVoxel(world) {
    const k = this.sliceAt(world);
    const { origin, row, column, iStep, jStep } = this.planes[k];
    const away = minus(world, origin);
    return [dot(away, row) / iStep, dot(away, column) / jStep, k];
  }

  /** The middle of a voxel in millimetres LPS. */
  toWorld([i, j, k]) {
    const { origin, row, column, iStep, jStep } = this.planes[k];
    return plus(plus(origin, row, i * iStep), column, j * jStep);
  }

  /** Whether [i, j, k] is a voxel of the series. */
  holds([i, j, k]) {
    return i >= 0 && j >= 0 && k >= 0 && i < this.columns && j < this.rows && k < this.slices;
  }

  /**
   * Whether a viewport that looks along `viewPlaneNormal` shows about the planes of the series' own images. OHIF's three
   * views are those of the patient; a series taken at a slant of up to 25 degrees still counts as seen in one of them.
   */
  isOwnPlane(viewPlaneNormal) {
    return Math.abs(dot(this.normal, viewPlaneNormal)) > Math.cos((25 * Math.PI) / 180);
  }
}

/**
 * Refuse a mask that was not made on this grid: better no mask than one in the wrong place.
 * @param {{sizes: number[], origin: number[] | null}} mask as nrrd.js reads it
 * @throws {Error} with a sentence for the user
 */
export function checkSameGrid(mask, grid) {
  const [columns, rows, slices = 1] = mask.sizes;
  if (columns !== grid.columns || rows !== grid.rows || slices !== grid.slices) {
    throw new Error(
      `The mask is ${mask.sizes.join(' x ')} voxels, and this series is ${grid.columns} x ${grid.rows} x ${grid.slices}; it is not shown.`
    );
  }
  if (!mask.origin || !grid.positioned) return;
  const { origin, iStep, jStep } = grid.planes[0];
  const away = minus(mask.origin, origin);
  if (Math.sqrt(dot(away, away)) > Math.min(iStep, jStep) / 2) {
    throw new Error('The mask does not begin where this series begins; it is not shown.');
  }
}
