"use strict";
// The page's own script: it draws figures when they come into view, sorts and filters tables, and shows runs.
const facts = JSON.parse(document.getElementById("facts").textContent);
const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const root = document.documentElement;

// Light and dark
const stored = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
                 set: (name) => { try { localStorage.setItem("theme", name); } catch { /* not from every disk */ } } };
const system = matchMedia("(prefers-color-scheme: dark)");
function wear(theme) {
  root.dataset.theme = theme;
  const other = theme === "dark" ? "Light" : "Dark";
  one("#theme span").textContent = other;
  one("#theme").setAttribute("aria-pressed", String(theme === "dark"));
  one("#theme").setAttribute("aria-label", `${other} colours`);
  all("figure[data-drawn]").forEach(draw);
}
one("#theme").addEventListener("click", () => {
  const theme = root.dataset.theme === "dark" ? "light" : "dark";
  stored.set(theme);
  wear(theme);
});
system.addEventListener("change", () => stored.get() || wear(system.matches ? "dark" : "light"));

// Figures
const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const config = { displaylogo: false, responsive: true, showSendToCloud: false, showEditInChartStudio: false,
                 plotlyServerURL: "", modeBarButtonsToRemove: ["sendDataToCloud", "editInChartStudio", "select2d",
                 "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"], toImageButtonOptions: { scale: 2 } };
function kind(figure) {
  return all("input:checked", figure).map((input) => input.value).join("|");
}
function themed(layout) {
  const axis = { gridcolor: colour("--rule"), linecolor: colour("--strong-rule"), zerolinecolor: colour("--strong-rule"),
                 tickfont: { color: colour("--quiet") } };
  const made = { ...layout, font: { ...layout.font, color: colour("--ink"), family: getComputedStyle(document.body).fontFamily },
                 hoverlabel: { bgcolor: colour("--raised"), bordercolor: colour("--strong-rule"), font: { color: colour("--ink") } },
                 modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--quiet"), activecolor: colour("--ink") } };
  for (const name of ["xaxis", "yaxis"]) made[name] = { ...axis, ...structuredClone(layout[name] || {}) };
  return made;
}
const pictured = (figure) => facts.figures[`${figure.dataset.figure}:${kind(figure)}`];
function room(figure) { // what a figure takes: its legend needs more lines where the page is narrow
  const shown = pictured(figure);
  if (!shown) return null;
  const names = shown.data.filter((trace) => trace.name && trace.showlegend !== false).map((trace) => trace.name.length * 7 + 55);
  const width = Math.max(200, one(".plot", figure).clientWidth - 90);
  const lines = names.length > 1 ? Math.ceil(names.reduce((a, b) => a + b, 0) / width) : 0;
  return { height: shown.layout.height + 20 * Math.max(0, lines - 1), showlegend: names.length > 1 };
}
function reserve(figure, taken) {
  if (taken) one(".plot", figure).style.height = `${taken.height}px`; // what Plotly takes when the window changes
}
function draw(figure) {
  const place = one(".plot", figure), taken = room(figure);
  if (!taken) return void Plotly.purge(place);
  reserve(figure, taken);
  const { data, layout } = pictured(figure);
  Plotly.react(place, structuredClone(data), { ...themed(layout), ...taken }, config);
  if (figure.dataset.drawn) return;
  figure.dataset.drawn = "yes";
  place.on("plotly_click", ({ points: [point] }) => {
    if (typeof point.customdata === "string" && facts.runs[point.customdata]) tell(point.customdata);
    else if (point.data.meta) only(facts.lists[point.data.meta]);
  });
}
const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
  if (!entry.isIntersecting) return;
  seen.unobserve(entry.target);
  draw(entry.target);
}), { rootMargin: "600px" });
// All room is measured, then all is reserved, before anything is drawn: nothing moves under the reader's pointer later.
all("figure[data-figure]").map((figure) => [figure, room(figure)]).forEach(([figure, taken]) => {
  reserve(figure, taken);
  figure.addEventListener("change", () => draw(figure));
  seen.observe(figure);
});
addEventListener("afterprint", () => wear(stored.get() || (system.matches ? "dark" : "light")));
addEventListener("beforeprint", () => { wear("light"); all("figure[data-figure]").forEach(draw); });

// Sorting: by what a cell says it is sorted by, else by its text; nothing stands last both ways.
const key = (row, column) => row.cells[column].dataset.by ?? row.cells[column].textContent.trim();
function sort(head) {
  const body = head.closest("table").tBodies[0];
  const order = head.ariaSort === "ascending" ? "descending" : "ascending";
  all("th", head.parentElement).forEach((other) => { other.ariaSort = "none"; });
  head.ariaSort = order;
  const sign = order === "ascending" ? 1 : -1;
  const compare = head.classList.contains("number") ? (a, b) => Number(a) - Number(b)
    : new Intl.Collator(undefined, { numeric: true }).compare;
  const missing = (value) => value === "" || value === "-";
  const rows = [...body.rows].map((row) => [key(row, head.cellIndex), row]);
  rows.sort(([a], [b]) => missing(a) - missing(b) || (missing(a) ? 0 : sign * compare(a, b)));
  body.append(...rows.map(([, row]) => row));
  if (body === runs) show();
}
all(".sort").forEach((button) => button.addEventListener("click", () => sort(button.parentElement)));

// Filters of the table of runs
const runs = one("#all-runs").tBodies[0];
const FOLDED = 40;
let folded = true, wanted = null;
const columns = { "#of-section": 1, "#of-group": 2, "#of-status": 3 };
const cell = (row, i) => row.cells[i].textContent.trim();
const several = (row, i) => { // what a cell says: a run may be of several sections
  const parts = all("div", row.cells[i]).map((part) => part.textContent.trim());
  return parts.length ? parts : [cell(row, i)];
};
for (const [selector, i] of Object.entries(columns)) {
  [...new Set([...runs.rows].flatMap((row) => several(row, i)))].sort().forEach((name) => one(selector).add(new Option(name, name)));
}
function fits(row, words) {
  if (wanted && !wanted.has(one(".run", row).dataset.run)) return false;
  for (const [selector, i] of Object.entries(columns)) {
    if (one(selector).value && !several(row, i).includes(one(selector).value)) return false;
  }
  if (!words.length) return true;
  const text = `${row.textContent} ${one(".run", row).title}`.toLowerCase();
  return words.every((word) => text.includes(word));
}
function show() {
  const words = one("#words").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of runs.rows) {
    const fit = fits(row, words);
    count += fit;
    row.hidden = !fit || (folded && count > FOLDED);
  }
  const open = folded ? Math.min(count, FOLDED) : count;
  const of = wanted ? "the runs behind that number" : "runs";
  one("#shown").textContent = `${open.toLocaleString("en")} of ${count.toLocaleString("en")} ${of} shown` +
    (count < runs.rows.length ? `, ${runs.rows.length.toLocaleString("en")} in all.` : ".");
  one("#more").hidden = open === count;
  one("#more").textContent = `Show all ${count.toLocaleString("en")} rows`;
}
function only(ids) {
  one(".filters").reset();
  wanted = new Set(ids);
  folded = true;
  show();
  one("#runs").scrollIntoView();
  one("#runs").focus({ preventScroll: true });
}
one(".filters").addEventListener("input", show);
one(".filters").addEventListener("submit", (event) => event.preventDefault());
one("#clear").addEventListener("click", () => { one(".filters").reset(); wanted = null; show(); });
one("#more").addEventListener("click", () => { folded = false; show(); });

// Runs: what is behind a number, and what is known of one
function tell(id) {
  const about = facts.runs[id], row = one(`.run[data-run="${CSS.escape(id)}"]`).closest("tr");
  const command = one(".command code", row).textContent, body = one("#about-body");
  one("#about-title").textContent = id;
  body.replaceChildren();
  if (command) {
    const box = document.createElement("pre"), copy = document.createElement("button");
    box.textContent = command;
    copy.className = "copy";
    copy.type = "button";
    copy.textContent = "Copy";
    body.append(box, copy);
  }
  list(body, "", { section: several(row, 1).join("; "), group: several(row, 2).join("; "), status: cell(row, 3),
    phase: cell(row, 5), seed: cell(row, 4), result: several(row, 6).join("; "), ...about.facts });
  list(body, "Settings that are not the same in all runs of the section", about.settings);
  one("#about").showModal();
}
function list(body, title, entries) {
  if (!Object.keys(entries).length) return;
  const head = document.createElement("h3"), made = document.createElement("dl");
  head.textContent = title;
  for (const [name, value] of Object.entries(entries)) {
    if (value === "") continue;
    const term = document.createElement("dt"), said = document.createElement("dd");
    term.textContent = name.replace(/^choices\./, "");
    said.textContent = typeof value === "object" ? JSON.stringify(value) : value;
    made.append(term, said);
  }
  body.append(...(title ? [head, made] : [made]));
}
async function copy(button) {
  const text = one("code, pre", button.parentElement).textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a page from disk is not trusted everywhere
    const area = document.createElement("textarea");
    area.value = text;
    button.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}
document.addEventListener("click", (event) => {
  const target = event.target.closest("a.to-runs, .run, .copy, .close");
  if (event.target.id === "about" || target?.matches(".close")) one("#about").close();
  else if (target?.matches(".run")) tell(target.dataset.run);
  else if (target?.matches(".copy")) copy(target);
  else if (target?.matches(".to-runs")) { event.preventDefault(); only(facts.lists[target.dataset.runs]); }
});

show();
wear(stored.get() || (system.matches ? "dark" : "light"));
