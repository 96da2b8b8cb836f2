// A justified grid: rows of equal height that fill the width. Pictures keep their aspect ratio.

const GAP = 8; // pixels between tiles
const TEXT_ASPECT = 1.4; // of a tile that shows a text
const MIN_ASPECT = 0.5; // panoramas and receipts are shown whole, on a background
const MAX_ASPECT = 3;
const GROUP_GAP = 24; // pixels between small groups of one line
const MIN_GROUP = 130; // pixels, for their headings

/** Split aspect ratios into rows: [{ start, end, height }], whose last may not fill the width. */
export function layoutRows(aspects, width, height) {
  const rows = [];
  let start = 0;
  let sum = 0;
  aspects.forEach((aspect, index) => {
    sum += aspect;
    const end = index + 1;
    const fitting = (width - GAP * (end - start - 1)) / sum;
    if (fitting <= height) {
      rows.push({ start, end, height: fitting });
      [start, sum] = [end, 0];
    }
  });
  if (start < aspects.length) rows.push({ start, end: aspects.length, height });
  return rows;
}

/** Make an element: make("a", { class: "x", href: "#" }, child, "text"). */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes))
    if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const ICONS = {
  add: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  details: "M12 11v6M12 7v.5M12 3a9 9 0 1 0 .01 0",
  full: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  go: "M5 12h14M13 6l6 6-6 6",
  help: "M9 9a3 3 0 1 1 4.2 2.8c-.8.4-1.2 1-1.2 2v.4M12 17.5v.1",
  link: "M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1",
  next: "M9 5l7 7-7 7",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5v.1",
  previous: "M15 5l-7 7 7 7",
  star: "M12 4l2.5 5.2 5.6.7-4.1 3.9 1.1 5.6-5.1-2.8-5.1 2.8 1.1-5.6L3.9 9.9l5.6-.7z",
  zoom: "M10.5 4a6.5 6.5 0 1 0 .01 0M15.5 15.5L20 20M8 10.5h5M10.5 8v5",
};

/** Make a button that shows an icon. */
export function makeIconButton(icon, label, attributes = {}) {
  const button = make("button", { type: "button", "aria-label": label, title: label, ...attributes });
  button.innerHTML = `<svg viewBox="0 0 24 24" width="22" height="22" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="${ICONS[icon]}"/></svg>`;
  return button;
}

/** A text of the collection: its direction is that of its letters. */
export function makeText(name, attributes, { text, language }) {
  return make(name, { ...attributes, dir: "auto", lang: language }, text);
}

/** The title of a hit; a file's name has its extension at its end, whatever its letters are. */
export function makeTitle(name, { title, name: file, language }) {
  if (title !== file) return makeText(name, {}, { text: title, language });
  const dot = file.lastIndexOf(".");
  const [stem, extension] = dot > 0 ? [file.slice(0, dot), file.slice(dot)] : [file, ""];
  return make(name, { class: "pl-name", dir: "ltr" }, make("bdi", { dir: "auto" }, stem), extension);
}

function findAspect(hit) {
  if (!hit.width || !hit.height) return TEXT_ASPECT;
  return Math.min(Math.max(hit.width / hit.height, MIN_ASPECT), MAX_ASPECT);
}

export class Grid {
  /** `renderTile(hit)` makes the inside of a tile; `open(id)` and `select(ids)` are told. */
  constructor(root, { renderTile, open, select, height }) {
    this.root = root;
    this.renderTile = renderTile;
    this.open = open;
    this.select = select;
    this.height = height;
    this.hits = [];
    this.tiles = [];
    this.breaks = new Map(); // index of a hit -> the heading before it, and whether it is of a group
    this.selected = new Set();
    this.current = 0; // the tile that the Tab key reaches
    this.anchor = 0; // where a selection with Shift begins
    this.width = 0;
    root.setAttribute("role", "list");
    root.addEventListener("keydown", (event) => this.onKey(event));
    root.addEventListener("click", (event) => this.onClick(event));
    root.addEventListener("focusin", (event) => this.onFocus(event));
    this.observer = new ResizeObserver(() => {
      if (Math.abs(root.clientWidth - this.width) >= 1) this.layout();
    });
    this.observer.observe(root);
  }

  remove() {
    this.observer.disconnect();
    this.root.remove();
  }

  /** Add hits; `breaks` and `groups` have headings by index. Small groups share a line. */
  append(hits, breaks = {}, groups = {}) {
    const first = this.hits.length;
    for (const [index, heading] of Object.entries(breaks)) this.breaks.set(Number(index), { heading });
    for (const [index, heading] of Object.entries(groups))
      this.breaks.set(Number(index), { heading, isGroup: true });
    this.hits.push(...hits);
    this.tiles.push(...hits.map((hit, index) => this.makeTile(hit, first + index)));
    this.layout();
  }

  /** Take all hits away, and the selection. */
  clear() {
    this.clearSelection();
    this.hits = [];
    this.tiles = [];
    this.breaks.clear();
    this.current = 0;
    this.anchor = 0;
  }

  makeTile(hit, index) {
    const tile = make("div", { class: "pl-tile", role: "listitem", "data-index": index, "data-name": hit.name });
    tile.append(...this.renderTile(hit));
    const link = tile.querySelector("a");
    link.tabIndex = index === this.current ? 0 : -1;
    const label = `Select ${hit.title}`;
    tile.append(
      make("button", {
        class: "pl-select", type: "button", role: "checkbox", tabindex: -1,
        "aria-checked": "false", "aria-label": label,
      })
    );
    return tile;
  }

  setHeight(height) {
    this.height = height;
    this.layout();
  }

  layout() {
    this.width = this.root.clientWidth;
    if (!this.width) return;
    const height = Math.min(this.height, this.width / 1.6);
    const starts = [0, ...[...this.breaks.keys()].filter((index) => index > 0).sort((a, b) => a - b)];
    const rows = [];
    let line = null; // of small groups
    let room = 0;
    starts.forEach((start, place) => {
      const end = Math.min(starts[place + 1] ?? Infinity, this.hits.length);
      if (start >= end) return;
      const { heading, isGroup } = this.breaks.get(start) ?? {};
      const parts = [];
      if (heading) parts.push(make("div", { role: "listitem" }, make("h2", { class: "pl-heading" }, heading)));
      const aspects = this.hits.slice(start, end).map(findAspect);
      for (const row of layoutRows(aspects, this.width, height)) {
        const element = make("div", { class: "pl-row", role: "presentation" });
        element.style.setProperty("--pl-height", `${row.height}px`);
        for (let index = start + row.start; index < start + row.end; index++) {
          this.tiles[index].style.width = `${aspects[index - start] * row.height}px`;
          element.append(this.tiles[index]);
        }
        parts.push(element);
      }
      const width = aspects.reduce((sum, aspect) => sum + aspect * height, GAP * (aspects.length - 1));
      if (!isGroup || width > this.width) {
        line = null;
        rows.push(...parts);
        return;
      }
      const taken = Math.max(width, MIN_GROUP);
      if (!line || taken > room) {
        line = make("div", { class: "pl-line", role: "presentation" });
        rows.push(line);
        room = this.width;
      }
      const group = make("div", { class: "pl-group", role: "presentation" }, ...parts);
      group.style.width = `${taken}px`;
      line.append(group);
      room -= taken + GROUP_GAP;
    });
    const focused = this.root.contains(document.activeElement) ? document.activeElement : null;
    this.root.replaceChildren(...rows);
    focused?.focus({ preventScroll: true });
  }

  focus(index) {
    const tile = this.tiles[index];
    if (!tile) return;
    this.tiles[this.current]?.querySelector("a").setAttribute("tabindex", "-1");
    this.current = index;
    const link = tile.querySelector("a");
    link.setAttribute("tabindex", "0");
    link.focus({ preventScroll: true });
    tile.scrollIntoView({ block: "nearest" });
  }

  onFocus(event) {
    const index = findIndex(event.target);
    if (index === null || index === this.current) return;
    this.tiles[this.current]?.querySelector("a").setAttribute("tabindex", "-1");
    this.current = index;
    this.tiles[index].querySelector("a").setAttribute("tabindex", "0");
  }

  onClick(event) {
    const index = findIndex(event.target);
    if (index === null) return;
    if (event.target.closest(".pl-select") || (event.target.closest("a") && event.shiftKey)) {
      event.preventDefault();
      this.toggle(index, event.shiftKey);
    } else if (event.target.closest("a") && !(event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (this.selected.size) this.toggle(index, false);
      else this.open(this.hits[index].id);
    }
  }

  onKey(event) {
    const index = findIndex(event.target);
    if (index === null || !event.target.closest("a") || event.ctrlKey || event.metaKey) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1 };
    const key = event.key;
    if (key in steps) this.focus(index + steps[key]);
    else if (key === "ArrowUp" || key === "ArrowDown") this.focus(this.findBeside(index, key));
    else if (key === "Home") this.focus(0);
    else if (key === "End") this.focus(this.tiles.length - 1);
    else if (key === " ") this.toggle(index, event.shiftKey);
    else if (key === "Escape" && this.selected.size) this.clearSelection();
    else return;
    event.preventDefault();
  }

  /** The tile of the row above or below, whose middle is nearest. */
  findBeside(index, key) {
    const step = key === "ArrowUp" ? -1 : 1;
    const place = (at) => this.tiles[at].getBoundingClientRect();
    const own = place(index);
    const middle = (box) => box.left + box.width / 2;
    const distance = (at) => Math.abs(middle(place(at)) - middle(own));
    const isTile = (at) => at >= 0 && at < this.tiles.length;
    let other = index;
    do other += step;
    while (isTile(other) && place(other).top === own.top);
    if (!isTile(other)) return index;
    let nearest = other;
    for (const { top } = place(other); isTile(other) && place(other).top === top; other += step)
      if (distance(other) < distance(nearest)) nearest = other;
    return nearest;
  }

  /** Select a tile or not; with `isRange` all from the one that was selected before. */
  toggle(index, isRange) {
    const id = this.hits[index].id;
    const isSelected = isRange || !this.selected.has(id);
    const [from, to] = isRange ? [this.anchor, index].sort((a, b) => a - b) : [index, index];
    for (const hit of this.hits.slice(from, to + 1))
      if (isSelected) this.selected.add(hit.id);
      else this.selected.delete(hit.id);
    this.anchor = index;
    this.showSelection();
  }

  clearSelection() {
    this.selected.clear();
    this.showSelection();
  }

  showSelection() {
    this.root.classList.toggle("pl-selecting", this.selected.size > 0);
    this.tiles.forEach((tile, index) => {
      const isSelected = this.selected.has(this.hits[index].id);
      tile.classList.toggle("pl-selected", isSelected);
      tile.querySelector(".pl-select").setAttribute("aria-checked", isSelected);
    });
    this.select([...this.selected]);
  }
}

function findIndex(element) {
  const tile = element.closest?.(".pl-tile");
  return tile ? Number(tile.dataset.index) : null;
}
