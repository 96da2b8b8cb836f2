// The results of a search: a grid that loads more as it is scrolled, and a viewer over it.
import { compare } from "./compare.js";
import { Months } from "./dates.js";
import { Grid, make, makeIconButton, makeText, makeTitle } from "./grid.js";
import { makePlaceholder } from "./placeholder.js";
import { Selection, copy, editTags } from "./selection.js";
import * as storage from "./storage.js";
import { warn } from "./toast.js";
import { Viewer } from "./viewer.js";

const HEIGHTS = { min: 110, max: 360, usual: 210 }; // pixels of a row
const MAX_LANGUAGES = 2; // that are named: more would be a guess
const HEIGHT_KEY = "polylens-row-height"; // in the browser's local storage
const QUICK = 400; // milliseconds in which a reranked list may come before the position is restored
const AHEAD = "1500px"; // of the screen's end, more is loaded
const RERANKING = "reranking…";
const MATCHES = { same: "You searched with this", copy: "A copy of yours" };
const VOTES = [[1, "Thumbs up"], [-1, "Thumbs down"]];
const mounted = new WeakMap();

export default function mount(component) {
  const { parentElement } = component;
  let results = mounted.get(parentElement);
  if (results?.isSame(component.data)) results.component = component;
  else {
    results?.remove();
    results = new Results(component);
    mounted.set(parentElement, results);
  }
  return () => {
    mounted.get(parentElement)?.remove();
    mounted.delete(parentElement);
  };
}

/** Ask a route of this app; an error has a sentence for the person. */
export async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(new URL(path, document.baseURI), options);
  } catch {
    throw new Error("The app does not answer. Is it still running?");
  }
  if (answer.status === 401) throw new Error("You are logged out. Reload the page to log in.");
  const body = await answer.json().catch(() => ({ error: `The app answered with ${answer.status}.` }));
  if (!answer.ok) throw new Error(body.error);
  return body;
}

class Results {
  constructor(component) {
    this.component = component;
    const { data, parentElement } = component;
    this.data = data;
    this.page = data.page;
    this.byId = new Map();
    this.isLoading = false;
    this.months = new Months(data.order);
    this.selection = new Selection(this);
    const root = make("div", { class: "pl-grid" });
    this.end = make("div", { class: "pl-end" });
    const title = data.query ? make("h1", { class: "pl-unseen" }, "Results") : null; // for screen readers
    this.root = make("div", { class: "pl-results" }, title, this.makeHead(), root, this.end, this.selection.root);
    parentElement.replaceChildren(this.root);
    this.grid = new Grid(root, {
      renderTile: (hit) => this.renderTile(hit),
      open: (id) => this.open(id),
      select: (ids) => this.selection.show(ids),
      height: readHeight(),
    });
    this.viewer = new Viewer(this.root, this, this.makeActions(), () => this.onClosed());
    this.add(this.page);
    this.scroller = parentElement.closest("[data-testid=stMain]") ?? document.scrollingElement;
    this.more = new IntersectionObserver(
      (entries) => entries.some((entry) => entry.isIntersecting) && !this.page.paused && this.loadMore(),
      { root: this.scroller === document.scrollingElement ? null : this.scroller, rootMargin: AHEAD }
    );
    this.more.observe(this.end);
    this.listeners = new AbortController();
    const { signal } = this.listeners;
    this.scroller.addEventListener("scroll", () => this.keepPosition(), { signal, passive: true });
    window.addEventListener("hashchange", () => this.followHash(), { signal });
    window.addEventListener("popstate", () => this.followHash(), { signal });
    // what was reranked before comes at once, and is what a person who comes back has seen
    const ready = Promise.race([this.rerank(), new Promise((resolve) => setTimeout(resolve, QUICK))]);
    ready.then(() => this.restorePosition()).then(() => this.followHash(data.open));
  }

  /** Whether nothing that is shown has changed. */
  isSame(data) {
    return data.address === this.data.address && listIds(data.page) === this.first;
  }

  remove() {
    clearTimeout(this.keeping);
    this.listeners.abort();
    this.more.disconnect();
    this.viewer.close();
    this.grid.remove();
    this.root.remove();
  }

  // Pages

  add(page) {
    if (!this.first) this.first = listIds(page);
    this.page = page;
    for (const hit of page.hits) this.byId.set(hit.id, hit);
    this.grid.append(page.hits, page.headings, this.months.list(page.hits, this.grid.hits.length));
    this.showStatus();
    this.end.replaceChildren();
    if (!page.paused || !page.more) return;
    const more = make("button", { class: "pl-action", type: "button" }, "Show more");
    more.addEventListener("click", () => this.loadMore());
    this.end.append(more);
  }

  showStatus() {
    const total = this.data.status.replace("{n}", this.grid.hits.length.toLocaleString());
    const texts = [total, ...this.data.readings.map(describeReading), this.reranking].filter(Boolean);
    this.status.textContent = texts.join(" · ");
    this.status.classList.toggle("pl-busy", this.reranking === RERANKING);
  }

  /** Ask for the same hits in the order of the reranker, which takes a while. */
  async rerank() {
    if (!this.data.reranker) return;
    this.reranking = RERANKING;
    this.showStatus();
    let page;
    try {
      page = await ask(`api/search?${this.data.address}&reranked=1&limit=${this.page.hits.length}`);
    } catch (error) {
      this.reranking = "not reranked";
      this.showStatus();
      if (!this.listeners.signal.aborted) warn(error.message);
      return;
    }
    if (this.listeners.signal.aborted) return;
    this.reranking = page.reranking?.text ?? "";
    const isTouched = this.selection.ids.length || this.viewer.id || this.scroller.scrollTop > HEIGHTS.usual;
    if (!isTouched) this.replace(page);
    else if (page.reranking?.scored) {
      this.reranking = "";
      this.offer.hidden = false;
      this.offer.addEventListener("click", () => {
        this.reranking = page.reranking.text;
        this.replace(page);
        this.scroller.scrollTop = 0;
      }, { once: true });
      this.showStatus();
    } else this.showStatus();
  }

  replace(page) {
    this.offer.hidden = true;
    this.isReranked = true;
    this.grid.clear();
    this.add(page);
  }

  async loadMore(limit = "") {
    if (this.isLoading || !this.page.more) return;
    this.isLoading = true;
    try {
      const { ranking } = this.page;
      const offset = this.grid.hits.length;
      const reranked = this.isReranked ? "&reranked=1" : "";
      const page = await ask(
        `api/search?${this.data.address}&offset=${offset}&ranking=${ranking}&limit=${limit}${reranked}`
      );
      if (ranking === this.page.ranking) this.add(page); // else it was reranked meanwhile
    } catch (error) {
      const retry = make("button", { class: "pl-action", type: "button" }, "Retry");
      retry.addEventListener("click", () => this.loadMore());
      this.end.replaceChildren(make("p", { role: "alert" }, error.message), retry);
      return;
    } finally {
      this.isLoading = false;
    }
    // what was added may not fill the screen: the observer only tells changes
    this.more.unobserve(this.end);
    this.more.observe(this.end);
  }

  // The position in the list survives back, forward and reload: the history entry has it

  keepPosition() {
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => {
      if (!this.isAtAddress()) return;
      const position = { top: this.scroller.scrollTop, count: this.grid.hits.length };
      history.replaceState({ ...history.state, position }, "");
    }, 150);
  }

  async restorePosition() {
    const { top = 0, count = 0 } = (this.isAtAddress() && history.state?.position) || {};
    if (count > this.grid.hits.length) await this.loadMore(count - this.grid.hits.length);
    this.scroller.scrollTop = top; // a new search begins at its top
  }

  /** Whether the address is of these results: after back, theirs come a little later. */
  isAtAddress() {
    const [given, own] = [location.search, this.data.address].map((text) => new URLSearchParams(text));
    if (!given.has("c")) own.delete("c");
    given.sort();
    own.sort();
    return given.toString() === own.toString();
  }

  // What is shown

  makeHead() {
    const range = make("input", {
      type: "range", min: HEIGHTS.min, max: HEIGHTS.max, value: readHeight(),
      "aria-label": "Size of the pictures", title: "Size of the pictures",
    });
    range.addEventListener("input", () => {
      storage.keep(HEIGHT_KEY, Number(range.value));
      this.grid.setHeight(Number(range.value));
    });
    const link = makeIconButton("link", "Copy a link to this search", { class: "pl-icon" });
    link.addEventListener("click", () => copy(new URL(`./?${this.data.address}`, document.baseURI).href));
    this.status = make("span", { role: "status" });
    this.offer = make("button", { class: "pl-action", type: "button", hidden: "" }, "Show the reranked order");
    return make("div", { class: "pl-head" }, this.status, this.offer, link, this.makeOrder(), range);
  }

  makeOrder() {
    const { order, orders } = this.data;
    const options = orders.map(([value, label]) => make("option", { value, selected: value === order }, label));
    const select = make("select", { class: "pl-order", "aria-label": "Order", title: "Order" }, ...options);
    select.addEventListener("change", () => this.component.setTriggerValue("search", { sort: select.value }));
    return select;
  }

  renderTile(hit) {
    const link = make("a", { href: `#open=${hit.id}`, class: "pl-link", "aria-label": hit.title });
    if (hit.kind === "text") link.append(makeText("blockquote", { class: "pl-text" }, hit));
    else {
      const image = make("img", { src: hit.thumb, alt: "", loading: "lazy", decoding: "async" });
      const placeholder = makePlaceholder(hit.signature);
      if (placeholder) link.style.backgroundImage = `url(${placeholder})`;
      image.addEventListener("load", () => image.classList.add("pl-loaded"), { once: true });
      image.addEventListener("transitionend", () => (link.style.backgroundImage = ""), { once: true });
      link.append(image);
    }
    const caption = make("div", { class: "pl-caption" }, makeTitle("span", hit));
    // the line says which are weak
    if (hit.match && hit.match !== "weak") caption.append(make("span", { class: "pl-score" }, hit.match));
    const badges = [];
    if (hit.duplicates.length) badges.push(make("span", { class: "pl-badge", title: "Near-duplicates" }, `+${hit.duplicates.length}`));
    if (hit.query_match) badges.push(make("span", { class: "pl-badge pl-match" }, MATCHES[hit.query_match]));
    return [link, caption, ...badges, this.makeThumbs(hit, -1)].filter(Boolean);
  }

  /** In the grid, the Tab key leads from tile to tile: votes by the keyboard are for the viewer. */
  makeThumbs(hit, tabindex = 0) {
    if (!this.data.votes) return null;
    const buttons = VOTES.map(([vote, label]) => {
      const button = make("button", {
        type: "button", "data-vote": vote, "aria-label": label, tabindex,
        title: `${label}. ${this.data.votes}`, "aria-pressed": hit.vote === vote,
      });
      button.addEventListener("click", (event) => {
        event.stopPropagation();
        this.vote({ [hit.id]: hit.vote === vote ? 0 : vote });
      });
      return button;
    });
    return make("span", { class: "pl-thumbs", "data-id": hit.id }, ...buttons);
  }

  /** Send votes, {id: vote}, one request after the other, so that the last one counts. */
  vote(votes) {
    const before = Object.fromEntries(Object.keys(votes).map((id) => [id, this.byId.get(id)?.vote ?? 0]));
    this.showVotes(votes);
    const send = () => ask(`api/votes?${this.data.address}`, post({ votes }));
    this.voting = (this.voting ?? Promise.resolve()).then(send).then(() => true).catch((error) => {
      this.showVotes(before);
      warn(error.message);
      return false;
    });
    return this.voting;
  }

  showVotes(votes) {
    for (const [id, vote] of Object.entries(votes)) {
      const known = this.byId.get(id);
      if (known) known.vote = vote;
      for (const button of this.root.querySelectorAll(`.pl-thumbs[data-id="${id}"] [data-vote]`))
        button.setAttribute("aria-pressed", Number(button.dataset.vote) === vote);
    }
  }

  /** Show tags that were added to items and removed from them, also in the filters. */
  showTags(ids, add, remove) {
    const removed = new Set(remove.map((tag) => tag.toLocaleLowerCase()));
    for (const hit of ids.map((id) => this.byId.get(id)).filter(Boolean)) {
      const known = new Set(hit.tags.map((tag) => tag.toLocaleLowerCase()));
      const kept = hit.tags.filter((tag) => !removed.has(tag.toLocaleLowerCase()));
      hit.tags = [...kept, ...add.filter((tag) => !known.has(tag.toLocaleLowerCase()))];
    }
    this.viewer.showTags();
    this.component.setTriggerValue("refresh", true);
  }

  // The viewer: the item that is open is behind the # of the address

  open(id) {
    const url = `#open=${id}`;
    if (readOpen()) history.replaceState(history.state, "", url);
    else {
      history.pushState(history.state, "", url);
      this.hasPushed = true;
    }
    this.followHash();
  }

  followHash(given) {
    const id = readOpen() ?? given;
    if (id) this.viewer.show(id);
    else this.viewer.close();
  }

  onClosed() {
    const id = this.viewer.id ?? readOpen();
    if (readOpen()) {
      if (this.hasPushed) history.back();
      else history.replaceState(history.state, "", location.pathname + location.search);
    }
    this.hasPushed = false;
    this.viewer.id = null;
    const index = this.grid.hits.findIndex((hit) => hit.id === id);
    if (index >= 0) this.grid.focus(index);
  }

  hit(id) {
    return this.byId.get(id);
  }

  /** What a strip shows of an item of which only the id is known. */
  get tile() {
    const { collection } = this.data;
    return (id) => this.byId.get(id) ?? { id, title: "Near-duplicate", thumb: `picture/thumb/${collection}/${id}` };
  }

  next(id, step) {
    const index = this.grid.hits.findIndex((hit) => hit.id === id);
    if (index < 0) return null;
    if (step > 0 && index + 4 > this.grid.hits.length) this.loadMore();
    return this.grid.hits[index + step]?.id ?? null;
  }

  async load(id) {
    const item = await ask(`api/items/${this.data.collection}/${id}?${this.data.address}`);
    const known = this.byId.get(id);
    item.rerank = known?.rerank ?? "";
    if (known) Object.assign(known, { tags: item.tags, vote: item.vote });
    else this.byId.set(id, { ...item, duplicates: [] });
    return item;
  }

  async findSimilar(id) {
    const query = new URLSearchParams({ c: this.data.collection, query: `id:${id}`, limit: 13 });
    const { hits } = await ask(`api/search?${query}`);
    const similar = hits.filter((hit) => hit.id !== id);
    for (const hit of similar) if (!this.byId.has(hit.id)) this.byId.set(hit.id, hit);
    return similar;
  }

  makeActions() {
    return {
      open: (id) => this.open(id),
      makeThumbs: (item) => this.makeThumbs(this.byId.get(item.id) ?? item),
      searchLike: (item) => this.search(`id:${item.id}`),
      addWords: (item) => this.search(this.join(`id:${item.id}`), true),
      exclude: (item) => this.search(this.join(`-id:${item.id}`)),
      copyPath: (item) => copy(item.paths[0]),
      compare: (ids) => compare(ids, (id) => this.load(id)),
      reveal: (item) => this.reveal(item),
      editTags: (item) => editTags(this, [item.id]),
      hasWords: () => this.data.has_words,
      findRegions: (id) => ask(`api/regions/${this.data.collection}/${id}?${this.data.address}`),
    };
  }

  /** Show the file in the file manager of the machine, which is this one. */
  async reveal({ id, paths }) {
    try {
      await ask(`api/reveal?c=${this.data.collection}`, post({ id, path: paths[0] }));
    } catch (error) {
      warn(error.message);
    }
  }

  /** The query of this page and another term. */
  join(term) {
    const { query } = this.data;
    return query && query !== term ? `${query} ${term}` : term;
  }

  search(query, focus = false) {
    this.hasPushed = false;
    history.replaceState(history.state, "", location.pathname + location.search);
    this.viewer.close();
    this.component.setTriggerValue("search", { query, focus });
  }
}

function listIds(page) {
  return page.hits.map((hit) => hit.id).join();
}

export function post(body) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

/** The name of a BCP 47 tag in the language of the browser; the tag itself where it is none. */
export function nameLanguage(tag) {
  try {
    return new Intl.DisplayNames([], { type: "language" }).of(tag);
  } catch {
    return tag;
  }
}

/** Say as what the model reads foreign words: it may be wrong. */
function describeReading({ english, languages }) {
  const from = languages.length > MAX_LANGUAGES ? "" : ` (${languages.map(nameLanguage).join(", ")})`;
  return `read as “${english}”${from}`;
}

function readOpen() {
  return /^#open=([0-9a-f-]{36})$/.exec(location.hash)?.[1] ?? null;
}

function readHeight() {
  const height = storage.read(HEIGHT_KEY);
  return height >= HEIGHTS.min && height <= HEIGHTS.max ? height : HEIGHTS.usual;
}
