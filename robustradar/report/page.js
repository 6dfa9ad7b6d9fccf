"use strict";
// The page is complete without this: it adds sorting by a heading and a filter by text to the tables that ask for them.
for (const table of document.querySelectorAll("table[data-sort]")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const given = row.cells[column].dataset.v;
    return given === undefined ? row.cells[column].textContent.trim() : Number(given);
  };
  const missing = (row, column) => "none" in row.cells[column].dataset;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const order = now === "ascending" ? "descending" : now === "descending" ? "ascending" : head.dataset.first;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const compare = (a, b) => {
        if (missing(a, column) || missing(b, column)) return missing(a, column) - missing(b, column);
        const [x, y] = [value(a, column), value(b, column)];
        if (typeof x === "number" && typeof y === "number") return sign * (x - y);
        return sign * String(x).localeCompare(String(y), undefined, { numeric: true });
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
for (const table of document.querySelectorAll("table[data-filter]")) {
  const rows = [...table.tBodies[0].rows];
  const label = document.createElement("label");
  const input = document.createElement("input");
  const shown = document.createElement("output");
  input.type = "search";
  label.className = "filter";
  label.append("Filter by text: ", input, " ", shown);
  shown.setAttribute("aria-live", "polite");
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      count += !row.hidden;
    }
    shown.textContent = `${count} of ${rows.length} rows`;
  };
  input.addEventListener("input", filter);
  filter();
  table.parentElement.before(label);
}
