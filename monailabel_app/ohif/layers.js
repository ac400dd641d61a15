// Segmentations of OHIF that show masks given on the series' own voxels. One holds masks that do not overlap; those that
// do overlap get a further one.

import { Mask } from './mask.js';

const NOTHING = new Mask();

export class Layers {
  /**
   * @param {object} viewer cornerstone, cornerstoneTools and OHIF's services
   * @param {string} id of the first segmentation; further ones get a number
   * @param {string} label its name in OHIF's lists
   */
  constructor(viewer, id, label) {
    Object.assign(this, { viewer, id, label });
    this.layers = []; // {id, imageIds, objects, shown: what is painted on each slice}
    this.highlighted = null; // the id of an object
    this.hidden = new Set(); // ids of objects
    this.opacity = 0.45;
    this.turn = Promise.resolve();
  }

  /**
   * Show objects; calls take their turn.
   * @param {{id: number, name: string, color: number[], mask: Mask | null}[]} objects
   */
  show(displaySet, grid, objects) {
    this.turn = this.turn.then(() => this.#show(displaySet, grid, objects));
    return this.turn;
  }

  async #show(displaySet, grid, objects) {
    const groups = apart(objects);
    for (let n = 0; n < Math.max(groups.length, this.layers.length); n++) {
      const layer = (this.layers[n] ??= { id: n ? `${this.id}-${n + 1}` : this.id, shown: [] });
      layer.objects = groups[n] ?? [];
      await this.#ensure(layer, displaySet);
      this.#fill(layer, grid);
    }
    await this.addToViewports(displaySet);
    this.paint();
  }

  /** Write the slices that changed into the labelmap's images. */
  #fill(layer, grid) {
    const { cache } = this.viewer.cornerstone;
    const changed = [];
    for (const imageId of layer.imageIds) {
      const image = cache.getImage(imageId);
      const k = grid.sliceOf(image.referencedImageId);
      const painted = layer.objects.flatMap(({ mask }, n) => (mask?.slices.has(k) ? [n + 1, mask.slices.get(k)] : []));
      const before = layer.shown[k] ?? [];
      if (painted.length === before.length && painted.every((part, n) => part === before[n])) continue;
      layer.shown[k] = painted;
      const plane = image.voxelManager.getScalarData();
      plane.fill(0);
      layer.objects.forEach(({ mask }, n) => mask?.paint(plane, k, n + 1));
      changed.push(k);
    }
    if (changed.length) this.viewer.tools.segmentation.triggerSegmentationEvents.triggerSegmentationDataModified(layer.id);
  }

  /** Put the segmentations into every viewport that shows the series; layouts come and go. */
  async addToViewports(displaySet) {
    const { segmentationService } = this.viewer.services;
    const { config, state } = this.viewer.tools.segmentation;
    for (const layer of this.layers) {
      const segmentationId = layer.id;
      if (!segmentationService.getSegmentation(segmentationId)) continue;
      // A table of colours of its own: segment 1 of the next segmentation may have another.
      layer.colors ??= config.color.addColorLUT(Array.from({ length: 256 }, () => [0, 0, 0, 0]));
      for (const viewportId of viewportsOf(this.viewer, displaySet)) {
        if (!segmentationService.getSegmentationRepresentations(viewportId, { segmentationId }).length) {
          await segmentationService.addSegmentationRepresentation(viewportId, { segmentationId, type: 'Labelmap' });
        }
        const [shown] = state.getSegmentationRepresentations(viewportId, { segmentationId });
        if (shown && shown.colorLUTIndex !== layer.colors) {
          config.color.setColorLUT(viewportId, segmentationId, layer.colors);
        }
      }
    }
    this.paint();
  }

  /** Colours, opacity, what is hidden and what is highlighted. */
  paint() {
    const { segmentation } = this.viewer.tools;
    for (const { id: segmentationId, objects } of this.layers) {
      if (!segmentation.state.getSegmentation(segmentationId)) continue;
      for (const viewportId of segmentation.state.getViewportIdsWithSegmentation(segmentationId)) {
        objects.forEach(({ id, color }, n) => {
          const strength = this.highlighted === null ? 1 : this.highlighted === id ? 1.7 : 0.35;
          const alpha = this.hidden.has(id) ? 0 : Math.min(255, Math.round(255 * this.opacity * strength));
          segmentation.config.color.setSegmentIndexColor(viewportId, segmentationId, n + 1, [...color, alpha]);
        });
      }
      const style = { fillAlpha: 1, fillAlphaInactive: 1, renderOutline: false, renderOutlineInactive: false };
      segmentation.config.style.setStyle({ segmentationId, type: 'Labelmap' }, style);
      segmentation.triggerSegmentationEvents.triggerSegmentationModified(segmentationId);
    }
  }

  /** Make one object stand out; null: none. */
  highlight(id) {
    if (this.highlighted === id) return;
    this.highlighted = id;
    this.paint();
  }

  async #ensure(layer, displaySet) {
    const { segmentationService } = this.viewer.services;
    const segments = {};
    layer.objects.forEach(({ name }, n) => {
      const segmentIndex = n + 1;
      segments[segmentIndex] = { segmentIndex, label: name, locked: false, active: n === 0, cachedStats: {} };
    });
    if (segmentationService.getSegmentation(layer.id)) {
      this.viewer.tools.segmentation.updateSegmentations([{ segmentationId: layer.id, payload: { segments } }]);
      return;
    }
    layer.shown = [];
    const label = layer.id.replace(this.id, this.label);
    await segmentationService.createLabelmapForDisplaySet(displaySet, { segmentationId: layer.id, label, segments });
    layer.imageIds = segmentationService.getSegmentation(layer.id).representationData.Labelmap.imageIds;
    keepStockFirst(segmentationService);
  }
}

/** Objects in groups within which none overlap: as few groups as come of taking them one after the other. */
export function apart(objects) {
  const groups = [];
  for (const object of objects) {
    const mask = object.mask ?? NOTHING;
    const fits = group => group.length < 255 && group.every(other => !mask.overlaps(other.mask ?? NOTHING));
    const group = groups.find(fits);
    if (group) group.push(object);
    else groups.push([object]);
  }
  return groups;
}

/** The viewports that show a display set. */
export function viewportsOf({ services }, displaySet) {
  const { viewports } = services.viewportGridService.getState();
  return [...viewports.values()]
    .filter(({ displaySetInstanceUIDs = [] }) => displaySetInstanceUIDs.includes(displaySet.displaySetInstanceUID))
    .map(({ viewportId }) => viewportId);
}

// The stock MONAI Label panel takes the first segmentation for its own ('1'), so its own must stay the first.
function keepStockFirst(segmentationService) {
  if (segmentationService.mimoOrder) return;
  segmentationService.mimoOrder = true;
  const all = segmentationService.getSegmentations.bind(segmentationService);
  segmentationService.getSegmentations = () =>
    [...all()].sort((a, b) => Number(b.segmentationId === '1') - Number(a.segmentationId === '1'));
}
