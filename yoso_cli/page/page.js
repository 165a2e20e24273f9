"use strict";

// Everything is in the page already: this sorts, filters and switches what is there, and builds no markup.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const one = (id) => document.getElementById(id);
const press = (buttons, chosen) =>
  buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === chosen)));

// Causes: all, things, stuff.
for (const group of all("[data-panels]")) {
  const buttons = all("button", group);
  const panels = all(`[data-panel-of="${group.dataset.panels}"]`);
  for (const button of buttons) {
    button.addEventListener("click", () => {
      press(buttons, button);
      for (const panel of panels) panel.hidden = panel.dataset.panel !== button.dataset.panel;
    });
  }
}

// Classes: filter by name and kind, sort by a column.
const table = one("class-table");
if (table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const [name, kind, count] = [one("class-filter"), one("kind-filter"), one("class-count")];

  const filter = () => {
    const part = name.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.dataset.name.includes(part) || (kind.value !== "" && row.dataset.kind !== kind.value);
      if (!row.hidden) shown += 1;
    }
    count.textContent = `${shown} of ${rows.length} classes`;
  };
  name.addEventListener("input", filter);
  kind.addEventListener("change", filter);

  for (const button of all("[data-sort]", table)) {
    button.addEventListener("click", () => {
      const heading = button.closest("th");
      const key = button.dataset.sort;
      const text = key === "name" || key === "kind";
      const before = heading.getAttribute("aria-sort");
      const rising = before === "none" ? text : before === "descending";
      for (const other of all("[aria-sort]", table)) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const order = (a, b) =>
        text ? a.dataset[key].localeCompare(b.dataset[key]) : Number(a.dataset[key]) - Number(b.dataset[key]);
      body.append(...rows.sort((a, b) => (rising ? order(a, b) : order(b, a))));
    });
  }
}

// Gallery: one view for all, one for each, a class, and a large picture.
const grid = one("gallery-grid");
if (grid) {
  const figures = all("figure", grid);
  const everywhere = all("button", one("view-all"));
  const chosenClass = one("gallery-class");

  // A picture without a photo keeps the view that it has.
  const show = (figure, view) => {
    const images = all("img", figure);
    if (!images.some((image) => image.dataset.view === view)) return;
    for (const image of images) image.hidden = image.dataset.view !== view;
    const buttons = all("figcaption [data-view]", figure);
    press(buttons, buttons.find((button) => button.dataset.view === view));
  };

  for (const button of everywhere) {
    button.addEventListener("click", () => {
      press(everywhere, button);
      for (const figure of figures) show(figure, button.dataset.view);
    });
  }
  for (const figure of figures) {
    for (const button of all("figcaption [data-view]", figure)) {
      button.addEventListener("click", () => show(figure, button.dataset.view));
    }
  }
  chosenClass.addEventListener("change", () => {
    const wanted = chosenClass.value;
    for (const figure of figures) {
      figure.hidden = wanted !== "" && !figure.dataset.classes.split(" ").includes(wanted);
    }
    const shown = figures.filter((figure) => !figure.hidden).length;
    one("gallery-count").textContent = `${shown} image${shown === 1 ? "" : "s"}`;
  });

  const large = one("large");
  const picture = one("large-picture");
  const switches = one("large-views");
  let current = figures[0];

  const images = () => all("img", current);
  const enlarge = (figure, view) => {
    current = figure;
    show(figure, view);
    const shown = images().find((image) => !image.hidden);
    picture.src = shown.src;
    picture.alt = shown.alt;
    one("large-title").textContent = figure.querySelector(".title").innerText.replace("\n", " ");
    const buttons = images().map((image) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = image.dataset.view;
      button.setAttribute("aria-pressed", String(image === shown));
      button.addEventListener("click", () => enlarge(current, image.dataset.view));
      return button;
    });
    const focused = [...switches.children].indexOf(document.activeElement);
    switches.replaceChildren(...buttons);
    if (focused >= 0) buttons[Math.min(focused, buttons.length - 1)].focus();
  };
  const step = (by) => {
    const visible = figures.filter((figure) => !figure.hidden);
    const next = visible[(visible.indexOf(current) + by + visible.length) % visible.length];
    enlarge(next, images().find((image) => !image.hidden).dataset.view);
  };

  for (const figure of figures) {
    figure.querySelector(".open").addEventListener("click", () => {
      enlarge(figure, all("img", figure).find((image) => !image.hidden).dataset.view);
      large.showModal();
    });
  }
  one("large-previous").addEventListener("click", () => step(-1));
  one("large-next").addEventListener("click", () => step(1));
  one("large-close").addEventListener("click", () => large.close());
  large.addEventListener("click", (event) => {
    if (event.target === large) large.close();
  });
  large.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else if (images()[Number(event.key) - 1]) enlarge(current, images()[Number(event.key) - 1].dataset.view);
  });
}
