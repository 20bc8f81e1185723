"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector) => document.querySelector(selector);
  root.classList.add("scripted");

  // ---- dark or light: what the system says, until the reader chooses --------------------------

  const themeButton = one("#theme");
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try {
      return localStorage.getItem("diagnosis-theme");
    } catch {
      return null; // a browser may refuse storage to a file
    }
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
  const showTheme = () => themeButton.setAttribute("aria-pressed", String(isDark()));
  if (["dark", "light"].includes(stored())) root.dataset.theme = stored();
  themeButton.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("diagnosis-theme", root.dataset.theme);
    } catch {
      // the choice holds until the page is closed
    }
    showTheme();
  });
  systemDark.addEventListener("change", showTheme);
  showTheme();

  // ---- tables: sort by a column; what has no number stays at the end ---------------------------

  const keyOf = (row, place, numeric) => {
    const cell = row.cells[place];
    if (!numeric) return cell.textContent.trim();
    return cell.dataset.key === "" ? null : Number(cell.dataset.key);
  };
  const sort = (button) => {
    const heading = button.closest("th");
    const table = heading.closest("table");
    const numeric = button.dataset.numeric === "1";
    const before = heading.getAttribute("aria-sort");
    const first = numeric ? "descending" : "ascending";
    const second = numeric ? "ascending" : "descending";
    const direction = before === first ? second : first;
    all("th[aria-sort]", table).forEach((other) => other.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [keyOf(row, heading.cellIndex, numeric), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (numeric ? a - b : a.localeCompare(b, undefined, { numeric: true }));
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };
  all("table.sortable th button").forEach((button) => button.addEventListener("click", () => sort(button)));

  // ---- the classes: one table at a time, rows by name ------------------------------------------

  const view = one("#class-view");
  const filter = one("#class-filter");
  const classTables = all(".class-table");
  const showClasses = () => {
    const shown = view ? view.value : classTables[0].id;
    const wanted = filter.value.trim().toLowerCase();
    for (const box of classTables) {
      box.hidden = box.id !== shown;
      for (const row of all("tbody tr", box)) {
        row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
      }
    }
    const rows = all(`#${CSS.escape(shown)} tbody tr`);
    const left = rows.filter((row) => !row.hidden).length;
    one("#class-count").textContent = `${left} of ${rows.length} classes`;
  };
  if (view) view.addEventListener("change", showClasses);
  filter.addEventListener("input", showClasses);
  showClasses();

  // ---- the gallery: class, error types, detectors ----------------------------------------------

  const gallery = one("#gallery-controls");
  if (gallery) {
    const chosenClass = one("#gallery-class");
    const buttons = all("button[aria-pressed]", gallery);
    const on = (name) =>
      new Set(buttons.filter((b) => name in b.dataset && b.getAttribute("aria-pressed") === "true").map((b) => b.dataset[name]));
    const showGallery = () => {
      const kinds = on("kind");
      const detectors = on("detector");
      const alone = !buttons.some((b) => "detector" in b.dataset);
      let shots = 0;
      for (const box of all(".gallery-class")) {
        let inside = 0;
        for (const type of all(".gallery-type", box)) {
          let here = 0;
          for (const column of all(".column", type)) {
            column.hidden = !(alone || detectors.has(column.dataset.detector));
            if (!column.hidden) here += all(".shot", column).length;
          }
          type.hidden = !kinds.has(type.dataset.kind) || here === 0;
          if (!type.hidden) inside += here;
        }
        box.hidden = inside === 0 || (chosenClass.value !== "" && box.dataset.class !== chosenClass.value);
        if (!box.hidden) shots += inside;
      }
      one("#gallery-count").textContent = `${shots} of ${all(".shot").length} pictures`;
      one("#gallery-nothing").hidden = shots > 0;
    };
    chosenClass.addEventListener("change", () => {
      showGallery();
      if (chosenClass.value !== "") one(`.gallery-class[data-class="${chosenClass.value}"]`).open = true;
    });
    for (const button of buttons) {
      button.addEventListener("click", () => {
        button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
        showGallery();
      });
    }
    const openAll = (open) => all(".gallery-class").forEach((box) => (box.open = open));
    one("#gallery-open").addEventListener("click", () => openAll(true));
    one("#gallery-close").addEventListener("click", () => openAll(false));
    showGallery();
  }

  // ---- on paper nothing is folded --------------------------------------------------------------

  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    folded.forEach((part) => (part.open = true));
  });
  addEventListener("afterprint", () => folded.forEach((part) => (part.open = false)));
})();
