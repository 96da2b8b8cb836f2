// One item at full size, with what is known about it, over the page.
import { make, makeIconButton, makeText, makeTitle } from "./grid.js";
import { makeLocator } from "./regions.js";

const SWIPE = 60; // pixels
const MAX_ZOOM = 8;

export class Viewer {
  /**
   * `source` tells the order of the items and answers questions: `next(id, step)`, `load(id)`,
   * `findSimilar(id)`, `hit(id)`; `actions` are what the buttons do; `onClose()` is called last.
   */
  constructor(root, source, actions, onClose) {
    this.source = source;
    this.actions = actions;
    this.id = null;
    this.stage = make("div", { class: "pl-stage" });
    this.about = make("aside", { class: "pl-about", "aria-label": "About this item" });
    this.dialog = make("dialog", { class: "pl-viewer", "aria-label": "Viewer" },
      this.makeBar(), this.stage,
      this.makeStep(-1, "previous", "Previous"), this.makeStep(1, "next", "Next"), this.about);
    root.append(this.dialog);
    this.dialog.addEventListener("close", onClose);
    this.dialog.addEventListener("keydown", (event) => this.onKey(event));
    this.addGestures();
  }

  makeBar() {
    const buttons = [
      ["zoom", "Zoom"], ["full", "Full screen"], ["details", "Show or hide the details"],
      ["close", "Close"],
    ].map(([name, label]) => {
      const button = makeIconButton(name, label);
      button.addEventListener("click", () => this[name]());
      return button;
    });
    return make("div", { class: "pl-bar-top" }, ...buttons);
  }

  makeStep(step, icon, label) {
    const button = makeIconButton(icon, label, { class: `pl-step pl-${icon}` });
    button.addEventListener("click", () => this.step(step));
    return button;
  }

  get isOpen() {
    return this.dialog.open;
  }

  async show(id) {
    if (this.id === id && this.isOpen) return;
    this.id = id;
    if (!this.isOpen) this.dialog.showModal();
    this.showImage(this.source.hit(id), null);
    this.about.replaceChildren(make("p", { class: "pl-quiet" }, "…"));
    for (const step of [-1, 1])
      this.dialog.querySelector(step < 0 ? ".pl-previous" : ".pl-next").hidden =
        !this.source.next(id, step);
    let item;
    try {
      item = await this.source.load(id);
    } catch (error) {
      if (this.id === id) this.showError(error.message, () => this.reload(id));
      return;
    }
    if (this.id !== id) return;
    this.showImage(this.source.hit(id) ?? item, item);
    this.showAbout(item);
    const next = this.source.next(id, 1);
    if (next) new Image().src = this.source.hit(next)?.original ?? "";
  }

  reload(id) {
    this.id = null;
    this.show(id);
  }

  showError(message, retry) {
    const button = make("button", { type: "button", class: "pl-action" }, "Retry");
    button.addEventListener("click", retry);
    this.about.replaceChildren(make("p", { role: "alert" }, message), button);
  }

  /** The thumbnail at once, and the original in its place when it has come. */
  showImage(hit, item) {
    if (item?.kind === "text") {
      this.stage.replaceChildren(makeText("blockquote", { class: "pl-full" }, item));
      return;
    }
    const known = hit ?? item;
    if (!known || known.kind === "text") {
      this.stage.replaceChildren();
      return;
    }
    if (this.stage.dataset.id !== known.id || !this.stage.firstChild) {
      this.stage.dataset.id = known.id;
      const thumb = make("img", { src: known.thumb, alt: known.title });
      this.setZoom(1);
      this.stage.replaceChildren(thumb);
      const full = make("img", { src: known.original, alt: known.title, class: "pl-original" });
      full.addEventListener("load", () => {
        if (this.id === known.id) this.stage.replaceChildren(full);
      });
      full.addEventListener("error", () => {
        if (this.id !== known.id) return;
        this.stage.append(
          make("p", { class: "pl-gone" }, "The file is missing or has changed: this is its thumbnail.")
        );
      });
    }
  }

  showAbout(item) {
    const { actions } = this;
    const action = (label, run, name = "") => {
      const button = make("button", { type: "button", class: `pl-action ${name}` }, label);
      button.addEventListener("click", () => run(item, button));
      return button;
    };
    const buttons = make("div", { class: "pl-actions" },
      action("More like this", actions.searchLike, "pl-primary"),
      action("Add words to this picture", actions.addWords),
      action("Not like this", actions.exclude));
    this.stage.classList.remove("pl-located");
    if (item.original && actions.hasWords()) buttons.append(makeLocator(this.stage, () => actions.findRegions(item.id)));
    const files = make("div", { class: "pl-actions" }, action("Copy path", actions.copyPath));
    if (item.can_reveal) files.append(action("Open folder", actions.reveal));
    if (item.original)
      files.prepend(make("a", { class: "pl-action", href: item.original, download: item.name }, "Download"));
    this.about.replaceChildren(...[
      makeTitle("h2", item),
      actions.makeThumbs(item), buttons, files,
      makeReasons(item.reasons, item.rerank), makeCaptions(item.captions), this.makeTags(item), makeFacts(item),
    ].filter(Boolean));
    const copies = this.source.hit(item.id)?.duplicates ?? [];
    if (copies.length) {
      const strip = this.makeStrip(`Near-duplicates (${copies.length})`, copies.map(this.source.tile));
      strip.append(make("div", { class: "pl-actions" }, action("Compare", () => actions.compare([item.id, ...copies]))));
      this.about.append(strip);
    }
    this.showSimilar(item.id);
  }

  makeTags(item) {
    this.tags = make("div", { class: "pl-actions" });
    const section = make("section", {}, make("h3", {}, "Tags"), this.tags);
    this.showTags(item);
    return section;
  }

  /** The tags of the open item, and a button to change them. */
  showTags(item = this.source.hit(this.id)) {
    if (!this.isOpen || !item) return;
    const edit = make("button", { type: "button", class: "pl-action" }, item.tags.length ? "Edit tags" : "Add tags");
    edit.addEventListener("click", () => this.actions.editTags(item));
    this.tags.replaceChildren(...item.tags.map((tag) => make("span", { class: "pl-tag" }, make("bdi", {}, tag))), edit);
  }

  async showSimilar(id) {
    try {
      const similar = await this.source.findSimilar(id);
      if (this.id === id && similar.length) this.about.append(this.makeStrip("Similar", similar));
    } catch {
      // the rest of the viewer does not need it
    }
  }

  makeStrip(title, hits) {
    const links = hits.map((hit) =>
      make("a", { href: `#open=${hit.id}`, "aria-label": hit.title },
        make("img", { src: hit.thumb, alt: "", loading: "lazy" })));
    for (const link of links)
      link.addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault(); // the link itself would be a step of the history
        this.actions.open(link.hash.replace("#open=", ""));
      });
    return make("section", {}, make("h3", {}, title), make("div", { class: "pl-strip" }, ...links));
  }

  step(step) {
    const id = this.source.next(this.id, step);
    if (id) this.actions.open(id);
  }

  close() {
    this.id = null;
    if (this.isOpen) this.dialog.close();
  }

  full() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.dialog.requestFullscreen?.();
  }

  details() {
    this.dialog.classList.toggle("pl-alone");
  }

  zoom() {
    this.setZoom(this.scale > 1 ? 1 : 2);
  }

  setZoom(scale, x = 0, y = 0) {
    this.scale = Math.min(Math.max(scale, 1), MAX_ZOOM);
    [this.x, this.y] = this.scale === 1 ? [0, 0] : [x, y];
    this.stage.style.setProperty("--pl-zoom", this.scale);
    this.stage.style.setProperty("--pl-x", `${this.x}px`);
    this.stage.style.setProperty("--pl-y", `${this.y}px`);
    this.stage.classList.toggle("pl-zoomed", this.scale > 1);
  }

  onKey(event) {
    const typed = event.target.closest("input, textarea");
    if (typed || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft") this.step(-1);
    else if (event.key === "ArrowRight") this.step(1);
    else if (event.key === "+") this.setZoom(this.scale * 1.5, this.x, this.y);
    else if (event.key === "-") this.setZoom(this.scale / 1.5, this.x, this.y);
    else if (event.key === "f") this.full();
    else if (event.key === "i") this.details();
    else return;
    event.preventDefault();
  }

  /** The wheel and a double click zoom, a drag moves what is zoomed, a swipe goes on. */
  addGestures() {
    const { stage } = this;
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.setZoom(this.scale * (event.deltaY < 0 ? 1.15 : 1 / 1.15), this.x, this.y);
    }, { passive: false });
    stage.addEventListener("dblclick", () => this.zoom());
    let from = null;
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      from = { x: event.clientX, y: event.clientY, left: this.x, top: this.y };
      if (this.scale > 1) stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!from || this.scale === 1) return;
      this.setZoom(this.scale, from.left + event.clientX - from.x, from.top + event.clientY - from.y);
    });
    const end = (event) => {
      const [dx, dy] = from ? [event.clientX - from.x, event.clientY - from.y] : [0, 0];
      if (from && this.scale === 1 && Math.abs(dx) > SWIPE && Math.abs(dx) > 2 * Math.abs(dy))
        this.step(dx < 0 ? 1 : -1);
      from = null;
    };
    stage.addEventListener("pointerup", end);
    stage.addEventListener("pointercancel", () => (from = null));
    stage.addEventListener("dragstart", (event) => event.preventDefault());
  }
}

function makeReasons(parts, rerank) {
  if (!parts?.length) return null;
  const shown = parts.map(({ label, share, reasons }) => {
    const list = make("ul", { class: "pl-reasons" }, ...reasons.map((text) => make("li", { dir: "auto" }, text)));
    if (parts.length === 1) return list;
    const bar = make("div", { class: "pl-bar" }, make("span", { dir: "auto" }, label), make("i"),
      make("b", {}, `${Math.round(share * 100)}%`));
    bar.querySelector("i").style.width = `${Math.round(share * 100)}%`;
    return make("div", {}, bar, list);
  });
  if (rerank) shown.push(make("p", { class: "pl-reranked" }, `${rerank}.`));
  return make("section", {}, make("h3", {}, "Why it was found"), ...shown);
}

function makeCaptions(captions) {
  if (!captions.length) return null;
  const list = make("dl", { class: "pl-facts" });
  for (const caption of captions)
    list.append(make("dt", {}, caption.language ?? "–"), makeText("dd", {}, caption));
  return make("section", {}, make("h3", {}, "Captions"), list);
}

function makeFacts(item) {
  const list = make("dl", { class: "pl-facts" });
  for (const [name, value] of item.facts)
    list.append(make("dt", { dir: "auto" }, name), make("dd", { dir: "auto" }, value));
  list.append(make("dt", {}, "Files"));
  for (const path of item.paths) list.append(make("dd", {}, make("code", { dir: "auto" }, path)));
  return make("section", {}, make("h3", {}, "About it"), list);
}
