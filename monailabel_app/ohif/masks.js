// A segmentation of OHIF that shows label maps given on the series' own voxel grid.

export class Masks {
  /**
   * @param {object} viewer cornerstone, cornerstoneTools and OHIF's services
   * @param {string} id of the segmentation
   * @param {string} label its name in OHIF's lists
   */
  constructor(viewer, id, label) {
    this.viewer = viewer;
    this.id = id;
    this.label = label;
    this.series = null; // the display set that the segmentation belongs to
    this.colors = [];
    this.highlighted = 0;
    this.opacity = 0.45;
    this.hidden = new Set();
  }

  /**
   * Show `voxels` as segments 1, 2, ...
   * @param {Uint8Array} voxels [columns x rows x slices], the first axis fastest
   * @param {{name: string, color: number[]}[]} segments
   */
  async show(displaySet, grid, voxels, segments) {
    await this.#ensure(displaySet, segments);
    this.colors = segments.map(({ color }) => color);
    const size = grid.columns * grid.rows;
    const { cache } = this.viewer.cornerstone;
    for (const imageId of this.imageIds) {
      const image = cache.getImage(imageId);
      const k = grid.sliceOf(image.referencedImageId);
      image.voxelManager.getScalarData().set(voxels.subarray(k * size, (k + 1) * size));
    }
    await this.addToViewports(displaySet);
    this.viewer.tools.segmentation.triggerSegmentationEvents.triggerSegmentationDataModified(this.id);
    this.paint();
  }

  /** Put the segmentation into every viewport that shows the series; layouts come and go. */
  async addToViewports(displaySet) {
    const { segmentationService } = this.viewer.services;
    if (this.series !== displaySet.displaySetInstanceUID) return;
    for (const viewportId of viewportsOf(this.viewer, displaySet)) {
      if (segmentationService.getSegmentationRepresentations(viewportId, { segmentationId: this.id }).length) continue;
      await segmentationService.addSegmentationRepresentation(viewportId, {
        segmentationId: this.id,
        type: 'Labelmap',
      });
    }
    this.paint();
  }

  /** Colours, opacity, what is hidden and what is highlighted. */
  paint() {
    const { segmentation } = this.viewer.tools;
    for (const viewportId of segmentation.state.getViewportIdsWithSegmentation(this.id)) {
      this.colors.forEach((color, number) => {
        const index = number + 1;
        const strength = !this.highlighted ? 1 : this.highlighted === index ? 1.7 : 0.35;
        const alpha = this.hidden.has(index) ? 0 : Math.min(255, Math.round(255 * this.opacity * strength));
        segmentation.config.color.setSegmentIndexColor(viewportId, this.id, index, [...color, alpha]);
      });
    }
    const style = { fillAlpha: 1, fillAlphaInactive: 1, renderOutline: false, renderOutlineInactive: false };
    segmentation.config.style.setStyle({ segmentationId: this.id, type: 'Labelmap' }, style);
    segmentation.triggerSegmentationEvents.triggerSegmentationModified(this.id);
  }

  highlight(index) {
    if (this.highlighted === index || !this.series) return;
    this.highlighted = index;
    this.paint();
  }

  remove() {
    if (this.series) this.viewer.services.segmentationService.remove(this.id);
    this.series = null;
  }

  async #ensure(displaySet, segments) {
    const { segmentationService } = this.viewer.services;
    const described = {};
    segments.forEach(({ name }, number) => {
      described[number + 1] = {
        segmentIndex: number + 1,
        label: name,
        locked: false,
        active: number === 0,
        cachedStats: {},
      };
    });
    if (this.series === displaySet.displaySetInstanceUID && segmentationService.getSegmentation(this.id)) {
      this.viewer.tools.segmentation.updateSegmentations([
        { segmentationId: this.id, payload: { segments: described } },
      ]);
      return;
    }
    this.remove();
    await segmentationService.createLabelmapForDisplaySet(displaySet, {
      segmentationId: this.id,
      label: this.label,
      segments: described,
    });
    this.imageIds = segmentationService.getSegmentation(this.id).representationData.Labelmap.imageIds;
    this.series = displaySet.displaySetInstanceUID;
    keepStockFirst(segmentationService);
  }
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
