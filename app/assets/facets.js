// The filters: the values of each facet with their counts, to be chosen or left out.
import { makeDates } from "./dates.js";
import { make, makeIconButton } from "./grid.js";
import { ask, nameLanguage } from "./results.js";

const FEW = 8; // values that a facet shows at first
const mounted = new WeakMap();

export default function mount(component) {
  const { parentElement } = component;
  const facets = mounted.get(parentElement) ?? new Facets(parentElement);
  mounted.set(parentElement, facets);
  facets.update(component);
  return () => mounted.delete(parentElement);
}

class Facets {
  constructor(parentElement) {
    this.root = make("div", { class: "pl-facets", "aria-live": "polite" });
    this.isWhole = new Set(); // the facets that show all of their values
    this.opened = new Map(); // a folder -> whether what is in it is shown
    parentElement.replaceChildren(this.root);
  }

  /** The filters are asked for when the page is there: the results do not wait for them. */
  async update(component) {
    this.component = component;
    const { address, ranking } = component.data;
    if (ranking === this.ranking) return;
    this.ranking = ranking;
    let answer;
    try {
      answer = await ask(`api/facets?${address}&ranking=${ranking}`);
    } catch (error) {
      const retry = make("button", { type: "button", class: "pl-action" }, "Retry");
      retry.addEventListener("click", () => {
        this.ranking = null;
        this.update(this.component);
      });
      if (ranking === this.ranking)
        this.root.replaceChildren(make("p", { class: "pl-quiet", dir: "auto" }, error.message), retry);
      return;
    }
    if (ranking === this.ranking) this.show(answer);
  }

  show({ facets, others, of, days }) {
    const { component } = this;
    const focused = document.activeElement?.dataset?.focus;
    const change = (filter) => component.setTriggerValue("filter", filter);
    const parts = facets.map((facet) =>
      facet.key === "year" ? this.makeYears(facet, days, change) : this.makeFacet(facet));
    if (others.length) parts.push(this.makeOthers(others));
    if (of !== null && facets.length)
      parts.unshift(make("p", { class: "pl-quiet" }, `Among the best ${of.toLocaleString()} results`));
    const isFiltered = others.length || days.some(Boolean) || facets.some(({ any, none }) => any.length || none.length);
    if (isFiltered) {
      const clear = make("button", { type: "button", class: "pl-action" }, "Clear the filters");
      clear.addEventListener("click", () => component.setTriggerValue("filter", { clear: true }));
      parts.unshift(clear);
    }
    this.root.replaceChildren(...parts);
    if (focused) this.root.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
  }

  /** Years as a histogram, and as a list, of which one may be left out. */
  makeYears(facet, days, change) {
    const section = makeDates(facet, days, change);
    const list = make("ul", {});
    this.fill(list, facet, facet.values.toSorted((a, b) => b.value.localeCompare(a.value)), facet.key);
    const details = make("details", { open: facet.none.length > 0 || this.areYearsListed },
      make("summary", { "data-focus": "years" }, "Year by year"), list);
    details.addEventListener("toggle", () => {
      this.areYearsListed = details.open;
    });
    section.append(details);
    return section;
  }

  makeFacet(facet) {
    const list = make("ul", {});
    const section = make("section", { "aria-label": facet.title }, make("h3", { dir: "auto" }, facet.title));
    const isLong = facet.values.length > FEW || facet.values.some(({ children }) => children?.length);
    if (isLong || facet.has_more) section.append(this.makeSearch(facet, list));
    this.fill(list, facet, facet.values, facet.key);
    section.append(list);
    return section;
  }

  /** Show some of the values, or all of `place`, if somebody has asked for them. */
  fill(list, facet, values, place) {
    const isWhole = this.isWhole.has(place);
    const shown = values.filter((one, index) => isWhole || index < FEW || hasChosen(facet, one));
    list.replaceChildren(...shown.map((one) => this.makeValue(facet, one)));
    if (shown.length === values.length) return;
    const more = make("button", { type: "button", class: "pl-more" }, `${values.length - shown.length} more`);
    more.addEventListener("click", () => {
      this.isWhole.add(place);
      this.fill(list, facet, values, place);
    });
    list.append(make("li", {}, more));
  }

  makeValue(facet, one) {
    const { value, count, children = [] } = one;
    const label = facet.key === "languages" ? nameLanguage(value) : one.label;
    const isChosen = facet.any.includes(value);
    const isExcluded = facet.none.includes(value);
    const focus = `${facet.key} ${value}`;
    const button = make("button", {
      type: "button", class: "pl-value", "aria-pressed": String(isChosen), title: value, "data-focus": focus,
    }, make("span", { dir: "auto" }, label), make("small", {}, count === null ? "" : count.toLocaleString()));
    button.addEventListener("click", () => this.change(facet, "any", value));
    const without = makeIconButton("close", isExcluded ? `Show ${label} again` : `Leave out ${label}`, {
      class: "pl-without", "aria-pressed": String(isExcluded), "data-focus": `not ${focus}`,
    });
    without.addEventListener("click", () => this.change(facet, "none", value));
    const item = make("li", { class: isExcluded ? "pl-excluded" : "" }, button, without);
    if (children.length) this.addChildren(item, facet, one);
    return item;
  }

  addChildren(item, facet, one) {
    const { value, label, children } = one;
    const isAlone = facet.values.length === 1 && facet.values[0] === one;
    const isOpen = this.opened.get(value) ?? (isAlone || children.some((child) => hasChosen(facet, child)));
    const toggle = makeIconButton("next", `Folders in ${label}`, {
      class: "pl-toggle", "aria-expanded": String(isOpen), "data-focus": `in ${value}`,
    });
    const list = make("ul", { hidden: !isOpen && "" });
    this.fill(list, facet, children, value);
    toggle.addEventListener("click", () => {
      list.hidden = !list.hidden;
      this.opened.set(value, !list.hidden);
      toggle.setAttribute("aria-expanded", !list.hidden);
    });
    item.prepend(toggle);
    item.append(list);
  }

  change(facet, side, value) {
    const filter = { any: facet.any.filter((v) => v !== value), none: facet.none.filter((v) => v !== value) };
    if (facet.key === "folder") filter[side] = filter[side].filter((other) => !isWithin(other, value) && !isWithin(value, other));
    if (!facet[side].includes(value)) filter[side].push(value);
    this.component.setTriggerValue("filter", { key: facet.key, ...filter });
  }

  makeSearch(facet, list) {
    const input = make("input", {
      type: "search", class: "pl-facet-search", dir: "auto", placeholder: "Find…",
      "aria-label": `Find in ${facet.title}`, "data-focus": `find ${facet.key}`,
    });
    input.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.find(facet, input, list), 200);
    });
    return input;
  }

  async find(facet, input, list) {
    const text = input.value.trim();
    const isOld = () => text !== input.value.trim(); // other values are asked for by now
    if (!text) return this.fill(list, facet, facet.values, facet.key);
    const query = new URLSearchParams({ key: facet.key, contains: text });
    try {
      const { values } = await ask(`api/facets?${this.component.data.address}&${query}`);
      if (isOld()) return;
      if (values.length) this.fill(list, facet, values, facet.key);
      else list.replaceChildren(make("li", { class: "pl-quiet" }, "None"));
    } catch (error) {
      if (!isOld()) list.replaceChildren(make("li", { role: "alert" }, error.message));
    }
  }

  makeOthers(others) {
    const items = others.map(({ text, key, side }) => {
      const remove = makeIconButton("close", `Remove ${text}`, { class: "pl-without", "aria-pressed": "true" });
      remove.addEventListener("click", () => this.component.setTriggerValue("filter", { key, remove: side }));
      return make("li", {}, make("span", { class: "pl-value", dir: "auto" }, text), remove);
    });
    return make("section", { "aria-label": "Other filters" }, make("h3", {}, "Other filters"), make("ul", {}, ...items));
  }
}

/** Whether a folder is one of those that a value like `/photos/**` stands for. */
function isWithin(folder, value) {
  return value.endsWith("/**") && `${folder.replace(/\/\*\*$/, "")}/`.startsWith(value.slice(0, -2));
}

/** Whether a value, or one of a folder in it, is chosen or left out. */
function hasChosen(facet, { value, children = [] }) {
  return [...facet.any, ...facet.none].includes(value) || children.some((child) => hasChosen(facet, child));
}
