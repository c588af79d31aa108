// ----------------------------------------------------------------------------- Tab: the matrix view

function createMatrixTab(panel) {
  const note = element("p", { class: "note" });
  const bar = element("div", { class: "controls" });
  const area = createMatrixArea();
  panel.append(note, bar, area.element);
  return {
    zoom: (direction) => change({ cell: zoomed(area.heatmap.cellSize(), direction) }),
    update() {
      const view = currentView();
      const layer = currentLayer(view), head = currentHead(view);
      note.textContent = `${view.label}, layer ${layer}, ${headName(head)}. ${readingNote(view)}`;
      replaceControls(bar, layerChooser(view), headChooser(view),
                      scaleChooser("Colours", "0 to the largest weight"), zoomControls(area.heatmap));
      const matrix = head === MEAN ? meanMatrix(view, layer) : headMatrix(view, layer, head);
      area.show(view, matrix, head === MEAN ? "mean weight" : "weight", "Weight");
    },
  };
}
