// The mode "MIMO" in the study list: the stock MONAI Label mode for every kind of image, with the MIMO tab in front.

const STOCK = '@ohif/mode-monai-label';
const NOT_IMAGES = ['SEG', 'SR', 'RTSTRUCT', 'RTPLAN', 'RTDOSE', 'PR', 'KO', 'DOC', 'OT', 'SM', 'REG', 'ECG'];

const PROTOCOL = 'mimo';

/** Three views where a series can be cut that way, as in the stock mode; else one view of its images. */
function addProtocol(hangingProtocolService) {
  const [three, one] = ['mpr', 'default'].map(id => hangingProtocolService.getProtocolById(id));
  const stage = ({ stages: [first] }) => ({ ...first, stageActivation: { enabled: { minViewportsMatched: 1 } } });
  hangingProtocolService.addProtocol(PROTOCOL, {
    ...three,
    id: PROTOCOL,
    name: 'MIMO',
    isPreset: false,
    protocolMatchingRules: [
      { weight: 1, attribute: 'numberOfDisplaySetsWithImages', constraint: { greaterThan: { value: 0 } } },
    ],
    displaySetSelectors: { ...three.displaySetSelectors, ...one.displaySetSelectors },
    stages: [stage(three), stage(one)],
  });
}

/** Whether a study of these modalities, with a \ between, shows anything that can be asked about. */
export const hasImages = modalities => modalities.split('\\').some(kind => kind && !NOT_IMAGES.includes(kind));

/** The stock layout, with our panel before the stock one. */
function withPanel(route, given) {
  const layout = route.layoutTemplate(given);
  const { rightPanels } = layout.props;
  return { ...layout, props: { ...layout.props, rightPanels: ['monai-mimo.panelModule.mimo', ...rightPanels] } };
}

async function modeFactory({ loadModules }) {
  const [stock] = await loadModules([STOCK]);
  const mode = stock.modeFactory({});
  return {
    ...mode,
    id: 'monai-mimo-mode',
    routeName: 'mimo',
    displayName: 'MIMO',
    isValidMode: ({ modalities }) => ({
      valid: hasImages(modalities),
      description: 'This study has no images to ask about.',
    }),
    routes: mode.routes.map(route => ({ ...route, path: 'mimo', layoutTemplate: given => withPanel(route, given) })),
    hangingProtocol: undefined, // a protocol that is named here shows its first stage, whether it fits or not
    onModeEnter: given => {
      const { hangingProtocolService } = given.servicesManager.services;
      addProtocol(hangingProtocolService);
      hangingProtocolService.setActiveProtocolIds([PROTOCOL]);
      mode.onModeEnter(given);
    },
  };
}

export default { id: 'monai-mimo-mode', modeFactory };
