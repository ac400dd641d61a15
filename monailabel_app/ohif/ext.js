// The OHIF extension: it adds a "MIMO" tab beside the stock MONAI Label panel, and touches nothing else.

import { MimoPanel } from './panel.js';

const ID = 'monai-mimo';
const PANEL = `${ID}.panelModule.mimo`;
const STOCK = 'monailabel';

let panel = null;

/** OHIF hands React elements on; React itself is no global, but its elements are plain objects. */
function reactDiv(ref) {
  return {
    $$typeof: Symbol.for('react.element'),
    type: 'div',
    key: null,
    ref,
    props: { style: { height: '100%', overflow: 'hidden' } },
    _owner: null,
  };
}

let place = null; // the element of the tab; OHIF may show the tab before the mode is entered, and the other way round

// The panel's elements live as long as the mode, also while another tab is open.
function mount(node) {
  place = node;
  if (!place || !panel) return;
  if (!document.getElementById('mimo-style')) {
    const link = document.createElement('link');
    Object.assign(link, { id: 'mimo-style', rel: 'stylesheet', href: '/mimo/style.css' });
    document.head.append(link);
  }
  place.replaceChildren(panel.root);
}

function getPanelModule() {
  return [
    { name: 'mimo', iconName: 'tab-segmentation', iconLabel: 'MIMO', label: 'MIMO', component: () => reactDiv(mount) },
  ];
}

let subscription = null;

function onModeEnter({ servicesManager }) {
  const { services } = servicesManager;
  const { panelService } = services;
  panel?.destroy();
  panel = new MimoPanel({ cornerstone: window.cornerstone, tools: window.cornerstoneTools, services });
  mount(place);
  // The mode sets its own panels after this, and OHIF forgets ours when it does.
  const add = () => {
    const shown = panelService.getPanels('right');
    const names = shown.map(({ name }) => name);
    if (names.includes(STOCK) && !names.includes('mimo')) panelService.addPanel('right', PANEL);
  };
  subscription?.unsubscribe();
  subscription = panelService.subscribe(panelService.EVENTS.PANELS_CHANGED, () => setTimeout(add));
  setTimeout(add);
}

function onModeExit() {
  subscription?.unsubscribe();
  subscription = null;
  panel?.destroy();
  panel = null;
}

/** The stock panel asks port 8000 until told otherwise; the server that served this page is the better guess. */
function useThisServer() {
  if (/(?:^|;\s*)MONAILABEL_SERVER_URL=/.test(document.cookie)) return;
  document.cookie = `MONAILABEL_SERVER_URL=${escape(`${window.location.origin}/`)}; SameSite=Lax`;
}

export default { id: ID, preRegistration: useThisServer, getPanelModule, onModeEnter, onModeExit };
