// What is below the box while nothing is searched for: saved and recent searches, and examples.
import { make, makeIconButton } from "./grid.js";
import { EXAMPLES, showHelp } from "./help.js";
import { ask } from "./results.js";
import { forget, forgetRecent, listRecent, listSaved } from "./saved.js";

const MAX_RECENT = 6; // that are shown
const MAX_COUNTED = 12; // saved searches whose new items are counted
const MANY = 200; // new items; more are not counted
const MAX_AGE = 5 * 60_000; // milliseconds for which a count is shown again
const counted = new Map(); // a saved search and when it was seen -> { at, count }

export class Start {
  /** `run(words)` searches for words, `open(address)` opens a search. */
  constructor({ run, open }) {
    this.run = run;
    this.open = open;
    this.root = make("div", { class: "pl-start" });
  }

  show(isShown) {
    this.root.hidden = !isShown;
    if (!isShown) return;
    this.counts = [];
    const help = make("button", { type: "button", class: "pl-action" }, "How to write a search");
    help.addEventListener("click", () => showHelp(this.run));
    this.root.replaceChildren(...[
      this.makeSaved(),
      this.makeRecent(),
      makeGroup("Try", EXAMPLES.map((words) => this.makeChip(words, () => this.run(words))), help),
    ].filter(Boolean));
    this.showCounts(this.counts);
  }

  /** One after the other: each is a search, and the person may begin one meanwhile. */
  async showCounts(counts) {
    for (const { address, seen, element } of counts) {
      if (this.root.hidden || counts !== this.counts) return;
      const count = await countNew(address, seen);
      if (count) element.textContent = `${count >= MANY ? `${MANY}+` : count} new`;
    }
  }

  makeChip(label, run, ...others) {
    const button = make("button", { type: "button" }, make("bdi", {}, label));
    button.addEventListener("click", run);
    return make("li", {}, button, ...others);
  }

  makeSaved() {
    const saved = listSaved();
    if (!saved.length) return null;
    const chips = saved.map(({ address, label, seen }, index) => {
      const element = make("small", {});
      if (index < MAX_COUNTED) this.counts.push({ address, seen, element });
      const remove = makeIconButton("close", `Forget ${label}`);
      remove.addEventListener("click", () => {
        forget(address);
        this.show(true);
      });
      const chip = this.makeChip(label, () => this.open(address), remove);
      chip.firstChild.append(element);
      return chip;
    });
    return makeGroup("Saved", chips);
  }

  makeRecent() {
    const recent = listRecent().slice(0, MAX_RECENT);
    if (!recent.length) return null;
    const clear = make("button", { type: "button", class: "pl-more" }, "Forget these");
    clear.addEventListener("click", () => {
      forgetRecent();
      this.show(true);
    });
    return makeGroup("Recent", recent.map((words) => this.makeChip(words, () => this.run(words))), clear);
  }
}

function makeGroup(title, chips, ...others) {
  return make("section", { "aria-label": title }, make("h2", {}, title), make("ul", {}, ...chips), ...others);
}

/** How many items of a saved search are new; the page asks again only when an answer is old. */
function countNew(address, seen) {
  const key = `${address} ${seen}`;
  const known = counted.get(key);
  if (known && Date.now() - known.at < MAX_AGE) return known.count;
  const count = ask(`api/new?${address}&since=${encodeURIComponent(seen)}`).then(
    (answer) => answer.count,
    () => 0, // the collection may be gone: opening it says so
  );
  counted.set(key, { at: Date.now(), count });
  return count;
}
