// ---------------------------------------------------------------------------------------- The page

const TABS = [
  { id: HEADS_TAB, label: "Heads", create: createHeadsTab, needs: "views" },
  { id: MODEL_TAB, label: "Model", create: createModelTab, needs: "views" },
  { id: MATRIX_TAB, label: "Matrix", create: createMatrixTab, needs: "views" },
  { id: ROLLOUT_TAB, label: "Rollout", create: createRolloutTab, needs: "views" },
  { id: ENTROPY_TAB, label: "Entropy", create: createEntropyTab, needs: "views" },
  { id: BEAMS_TAB, label: "Beams", create: createBeamsTab, needs: "beams" },
];

const availableTabs = () => TABS.filter((tab) => data[tab.needs].length > 0);
const built = new Map();  // of tabs: { panel, content }

function panelOf(tab) {
  if (!built.has(tab.id)) {
    const panel = byId(`panel-${tab.id}`);
    built.set(tab.id, { panel, content: tab.create(panel) });
  }
  return built.get(tab.id);
}

const currentContent = () => built.get(state.tab)?.content;

function buildTabs() {
  for (const [i, tab] of availableTabs().entries()) {
    byId("tabs").append(element("button", {
      type: "button", class: "tab", role: "tab", id: `tab-${tab.id}`, "aria-controls": `panel-${tab.id}`,
      title: `${tab.label} (${i + 1})`,
      onclick: (event) => {
        change({ tab: tab.id });
        // After a click the arrow keys belong to what is shown, not to the tabs.
        if (event.detail > 0) byId(`panel-${tab.id}`).focus({ preventScroll: true });
      },
    }, tab.label));
    byId("panels").append(element("section", {
      class: "panel", role: "tabpanel", id: `panel-${tab.id}`, "aria-labelledby": `tab-${tab.id}`,
      tabindex: -1,
    }));
  }
  byId("tabs").addEventListener("keydown", walkTabs);
}

function walkTabs(event) {
  const tabs = availableTabs();
  const at = tabs.findIndex((tab) => tab.id === state.tab);
  const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (next === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  event.stopPropagation();
  goToTab(tabs[(next + tabs.length) % tabs.length]);
}

// Keeps the focus among the tabs where it is there.
function goToTab(tab) {
  const inTabs = byId("tabs").contains(document.activeElement);
  change({ tab: tab.id });
  if (inTabs) byId(`tab-${tab.id}`).focus();
}

function buildViewChoice() {
  byId("view-options").append(...data.views.map((view) => element(
      "label", {},
      element("input", { type: "radio", name: "view", value: view.name,
                         onchange: () => change({ view: view.name }) }),
      element("span", { dir: "auto" }, view.label))));
  byId("view-choice").hidden = data.views.length === 0;
}

function buildMasthead() {
  const counts = Object.entries(data.tokens)
      .filter(([name]) => name !== "target read")  // the target, shifted by one
      .map(([name, tokens]) => plural(tokens.length, `${name} token`));
  byId("title").textContent = data.title || "Attention";
  byId("title").title = data.title;
  const facts = [data.model && `Model: ${data.model}`, ...counts];
  byId("about").textContent = facts.filter(Boolean).join(" \u00b7 ");
}

function render() {
  hideTooltip();
  for (const tab of availableTabs()) {
    const isCurrent = tab.id === state.tab;
    const button = byId(`tab-${tab.id}`);
    button.setAttribute("aria-selected", isCurrent);
    button.tabIndex = isCurrent ? 0 : -1;
    byId(`panel-${tab.id}`).hidden = !isCurrent;
  }
  byId("view-choice").disabled = state.tab === BEAMS_TAB;
  for (const input of byId("view-options").querySelectorAll("input")) {
    input.checked = input.value === state.view;
  }
  byId("help-toggle").checked = state.keys;
  const current = TABS.find((tab) => tab.id === state.tab);
  panelOf(current).content.update();
}
