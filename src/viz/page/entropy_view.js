// ---------------------------------------------------------------------------------- Tab: the entropy

function createEntropyTab(panel) {
  const note = element("p", { class: "note" });
  const table = createHeadTable();
  const bar = createColorBar(true);
  panel.append(note, table.element, bar.element);

  function cell({ nats, percent }, layer, head) {
    const name = `Layer ${layer}, head ${head}`;
    const none = "\u2013";
    const texts = [nats === null ? none : nats.toFixed(3),
                   percent === null ? none : `${percent.toFixed(1)} %`];
    const made = element("button", {
      type: "button", class: `entropy-cell${percent === null ? " none" : ""}`,
      title: `${name}: open as a matrix`, "aria-label": `${name}: ${texts[0]} nats, ${texts[1]}`,
    }, element("span", { class: "nats" }, texts[0]), element("small", { class: "percent" }, texts[1]));
    if (percent !== null) {
      const color = viridis(percent / 100);
      made.style.background = css(color);
      made.style.color = readableOn(color);
    }
    return made;
  }

  return {
    update() {
      const view = currentView();
      const all = entropies(view);
      const most = Math.log(view.columns);
      note.textContent = `${view.label}: how widely each head looks, as the mean entropy of its rows ` +
          `in nats, and in percent of ln ${view.columns} = ${most.toFixed(3)}, which a head reaches that ` +
          "looks at all tokens alike. A head that looks at one token only has 0. Rows of zeros are left " +
          "out; where a mask hides tokens, 100 % cannot be reached. Choose a head to open it in the " +
          "matrix view.";
      table.show(view, `${view.label}: entropy of each head`,
                 (layer, head) => cell(all[layer][head], layer, head));
      bar.show(`Entropy in percent of ln ${view.columns}`, ["0 %", "50 %", "100 %"]);
    },
  };
}
