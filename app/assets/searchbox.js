// The search box: it keeps its words, and takes pictures that are dropped or pasted on the page.
import { make, makeIconButton } from "./grid.js";
import { showHelp } from "./help.js";
import { ask } from "./results.js";
import { forget, isSaved, listRecent, listSaved, markSeen, remember, save } from "./saved.js";
import { Start } from "./start.js";
import { say, warn } from "./toast.js";

const MAX_SUGGESTIONS = 8;
const mounted = new WeakMap();

export default function mount(component) {
  const { parentElement } = component;
  let box = mounted.get(parentElement);
  if (box) box.update(component);
  else {
    box = new SearchBox(component);
    mounted.set(parentElement, box);
  }
  return () => {
    mounted.get(parentElement)?.remove();
    mounted.delete(parentElement);
  };
}

class SearchBox {
  constructor(component) {
    this.component = component;
    this.isAdding = false;
    this.input = make("input", {
      type: "search", class: "pl-input", dir: "auto", autocomplete: "off", spellcheck: "true",
      enterkeyhint: "search", role: "combobox", "aria-expanded": "false", "aria-controls": "pl-suggestions",
      "aria-label": "Search", placeholder: component.data.placeholder,
    });
    this.list = make("ul", { class: "pl-suggestions", id: "pl-suggestions", role: "listbox", hidden: "" });
    this.file = make("input", { type: "file", accept: "image/*", multiple: "", hidden: "" });
    this.plus = this.makeButton("add", "Add to this search", () => this.setAdding(!this.isAdding));
    this.star = this.makeButton("star", "Save this search", () => this.toggleSaved());
    const run = (words) => this.component.setTriggerValue("search", { words, mode: "replace" });
    this.start = new Start({ run, open: (address) => this.component.setTriggerValue("search", { address }) });
    this.root = make("form", { class: "pl-searchbox", role: "search" }, this.input, this.list, this.file,
      this.makeButton("help", "How to write a search", () => showHelp(run)),
      this.star, this.plus,
      this.makeButton("picture", "Search with a picture", () => this.file.click()),
      makeIconButton("go", "Search", { type: "submit", class: "pl-go" }));
    component.parentElement.replaceChildren(this.root, this.start.root);
    this.drop = make("div", { class: "pl-drop", hidden: "" }, "Drop a picture to search with it");
    document.body.append(this.drop);
    this.listen();
    this.update(component);
    const hasKeyboard = !matchMedia("(pointer: coarse)").matches; // on a phone it would cover the page
    if (hasKeyboard && document.activeElement === document.body)
      requestAnimationFrame(() => this.input.focus({ preventScroll: true }));
  }

  makeButton(icon, label, run) {
    const button = makeIconButton(icon, label);
    button.addEventListener("click", run);
    return button;
  }

  update(component) {
    const { data } = component;
    const isNew = data.query !== this.component.data.query || !this.shown;
    this.component = component;
    this.plus.hidden = !data.has_terms;
    this.star.hidden = !data.label;
    if (data.label) markSeen(data.query, data.now);
    this.showSaved();
    this.start.show(!data.label);
    if (isNew) {
      this.shown = true;
      this.setAdding(false);
      this.input.value = data.words;
    }
    if (data.focus && data.focus !== this.focused) {
      this.focused = data.focus;
      this.input.focus();
    }
  }

  remove() {
    this.listeners.abort();
    this.drop.remove();
    this.root.remove();
  }

  listen() {
    this.listeners = new AbortController();
    const { signal } = this.listeners;
    const on = (target, name, handle) => target.addEventListener(name, handle, { signal });
    on(this.root, "submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    on(this.input, "input", () => this.suggest());
    on(this.input, "click", () => this.suggest());
    on(this.input, "blur", () => setTimeout(() => this.hideSuggestions(), 150));
    on(this.input, "keydown", (event) => this.onKey(event));
    on(this.file, "change", () => this.upload([...this.file.files]));
    on(document, "keydown", (event) => {
      const isTyping = event.target.closest("input, textarea, select, [contenteditable=true], dialog[open]");
      if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.input.focus();
      this.input.select();
    });
    on(document, "paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])].filter(isImage);
      if (!files.length) return;
      event.preventDefault();
      this.upload(files);
    });
    on(document, "dragover", (event) => {
      if (![...(event.dataTransfer?.types ?? [])].includes("Files") || isOtherTarget(event.target)) return;
      event.preventDefault();
      this.drop.hidden = false;
    });
    on(document, "dragleave", (event) => {
      if (!event.relatedTarget) this.drop.hidden = true;
    });
    on(document, "drop", (event) => {
      this.drop.hidden = true;
      const files = [...(event.dataTransfer?.files ?? [])];
      if (!files.length || isOtherTarget(event.target)) return;
      event.preventDefault();
      this.upload(files);
    });
  }

  submit() {
    const words = this.input.value.trim();
    this.hideSuggestions();
    if (words) remember(words);
    const mode = this.isAdding ? "add" : "replace";
    if (this.isAdding && !words) this.setAdding(false);
    else this.component.setTriggerValue("search", { words, mode });
  }

  showSaved() {
    const { query } = this.component.data;
    this.star.setAttribute("aria-pressed", isSaved(query));
  }

  toggleSaved() {
    const { query, label, now } = this.component.data;
    if (isSaved(query)) {
      forget(query);
      say("No longer saved", () => {
        save(query, label, now);
        this.showSaved();
      });
    } else {
      save(query, label, now);
      say("Saved in this browser: it is on the first page, with what is new");
    }
    this.showSaved();
  }

  /** What is typed next is another part of the query. */
  setAdding(isAdding) {
    this.isAdding = isAdding;
    this.root.classList.toggle("pl-adding", isAdding);
    this.plus.setAttribute("aria-pressed", isAdding);
    const { data } = this.component;
    this.input.placeholder = isAdding ? data.adding : data.placeholder;
    this.input.value = isAdding ? "" : data.words;
    if (isAdding) this.input.focus();
  }

  async upload(files) {
    const names = [];
    this.root.classList.add("pl-busy");
    try {
      for (const file of files) {
        const { name } = await ask("api/uploads", { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
        names.push(name);
      }
    } catch (error) {
      warn(error.message);
    } finally {
      this.root.classList.remove("pl-busy");
      this.file.value = "";
    }
    if (names.length) this.component.setTriggerValue("search", { images: names, mode: this.component.data.has_terms ? "add" : "replace", words: "" });
  }

  // Suggestions: earlier searches of this browser, and the collection's tags and folders

  suggest() {
    const typed = this.input.value.trim().toLocaleLowerCase();
    const recent = listRecent().map((text) => ({ text, kind: "recent" }));
    const saved = listSaved().map(({ address, label }) => ({ text: label, kind: "saved", address }));
    const known = [...saved, ...recent, ...this.component.data.suggestions];
    const seen = new Set([typed]);
    const fitting = known.filter(({ text, kind }) => {
      const lower = text.toLocaleLowerCase();
      if (seen.has(lower) || (!typed && !["recent", "saved"].includes(kind))) return false;
      if (typed && !lower.split(/[\s/]+/).some((word) => word.startsWith(typed)) && !lower.startsWith(typed)) return false;
      seen.add(lower);
      return true;
    });
    this.options = document.activeElement === this.input ? fitting.slice(0, MAX_SUGGESTIONS) : [];
    this.chosen = -1;
    this.list.replaceChildren(...this.options.map((option, index) => {
      const item = make("li", { role: "option", id: `pl-option-${index}`, "aria-selected": "false" },
        make("span", { dir: "auto" }, option.text), make("small", {}, option.kind));
      item.addEventListener("mousedown", (event) => {
        event.preventDefault();
        this.take(option);
      });
      return item;
    }));
    this.list.hidden = !this.options.length;
    this.input.setAttribute("aria-expanded", this.options.length > 0);
  }

  hideSuggestions() {
    this.list.hidden = true;
    this.options = [];
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  onKey(event) {
    if (event.isComposing) return; // an input method has the Enter key
    const count = this.options?.length ?? 0;
    if (event.key === "Escape") {
      if (count) this.hideSuggestions();
      else if (this.isAdding) this.setAdding(false);
      else return;
    } else if (!count && event.key === "ArrowDown") this.suggest();
    else if (count && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      const step = event.key === "ArrowDown" ? 1 : -1;
      this.chosen = (this.chosen + step + count + 1) % (count + 1);
      [...this.list.children].forEach((item, index) => item.setAttribute("aria-selected", index === this.chosen));
      this.input.setAttribute("aria-activedescendant", this.chosen < count ? `pl-option-${this.chosen}` : "");
    } else if (event.key === "Enter" && count && this.chosen >= 0 && this.chosen < count) this.take(this.options[this.chosen]);
    else return;
    event.preventDefault();
  }

  take(option) {
    this.hideSuggestions();
    if (option.address) this.component.setTriggerValue("search", { address: option.address });
    else if (option.filter) this.component.setTriggerValue("search", { filter: option.filter });
    else {
      this.input.value = option.text;
      this.submit();
    }
  }
}

function isImage(file) {
  return file.type.startsWith("image/");
}

/** Other parts of the page take files of their own. */
function isOtherTarget(element) {
  return Boolean(element.closest?.("[data-testid=stFileUploader]"));
}
