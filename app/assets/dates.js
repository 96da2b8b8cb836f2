// Dates: the months of a list that is ordered by date, and the filter by when pictures were taken.
import { make } from "./grid.js";

const MAX_SPAN = 80; // years of a histogram that has a place for each

/** The headings of a list that comes a page at a time. */
export class Months {
  constructor(order) {
    this.order = order;
    this.isDated = ["newest", "oldest", "added"].includes(order);
    this.format = new Intl.DateTimeFormat(navigator.language, { month: "long", year: "numeric" });
    this.last = null; // the month of the last hit, or "" where it had no date
  }

  /** The headings of a page whose first hit has the index `first`: index -> text. */
  list(hits, first) {
    const headings = {};
    if (!this.isDated) return headings;
    hits.forEach((hit, place) => {
      const month = this.follow(this.read(hit.date));
      if (month === this.last) return;
      const isFirst = this.last === null;
      this.last = month;
      if (month) headings[first + place] = this.name(month);
      else if (!isFirst) headings[first + place] = "No date";
    });
    return headings;
  }

  /** When it was taken is as the camera's clock had it; when it was added, as this browser's has. */
  read(date) {
    if (!/^\d{4}(-\d\d|$)/.test(date ?? "")) return "";
    if (this.order !== "added") return date.slice(0, 7);
    const time = new Date(date);
    return `${time.getFullYear()}-${String(time.getMonth() + 1).padStart(2, "0")}`;
  }

  /** Clocks of other time zones may be hours ahead: a month that has ended does not come again. */
  follow(month) {
    if (!month || !this.last) return month;
    const isBack = this.order === "oldest" ? month < this.last : month > this.last;
    return isBack ? this.last : month;
  }

  /** Of some pictures, only the year is known. */
  name(month) {
    if (month.length === 4) return month;
    const [year, number] = month.split("-").map(Number);
    const day = new Date(2000, number - 1, 1);
    day.setFullYear(year);
    return this.format.format(day);
  }
}

/** A histogram of years, and the first and the last day; `change` gets the filter. */
export function makeDates(facet, [first, last], change) {
  const section = make("section", { "aria-label": "Date taken" }, make("h3", {}, "Date taken"));
  const years = facet.values.filter(({ value }) => /^\d+$/.test(value));
  if (years.length) section.append(makeHistogram(facet, years, [first, last].map(readYear), change));
  const from = makeDay("From", first);
  const to = makeDay("To", last);
  const apply = () => {
    // a year that is being typed begins with zeros
    if ([from, to].some(({ value }) => value.startsWith("0"))) return;
    const range = from.value || to.value ? [`${from.value}..${to.value}`] : [];
    change({ key: "taken", any: range, none: [] });
  };
  for (const day of [from, to]) day.addEventListener("change", apply);
  section.append(make("div", { class: "pl-days" }, from, make("span", { "aria-hidden": "true" }, "–"), to));
  return section;
}

function makeDay(label, value) {
  return make("input", { type: "date", "aria-label": label, title: label, value, "data-focus": `day ${label}` });
}

/** The year of a day, NaN for none. */
function readYear(day) {
  return Number.parseInt(day, 10);
}

function makeHistogram(facet, years, [from, to], change) {
  const counts = new Map(years.map(({ value, count }) => [Number(value), count ?? 0]));
  const known = [...counts.keys()].sort((a, b) => a - b);
  const [first, last] = [known[0], known.at(-1)];
  const shown = last - first < MAX_SPAN ? Array.from({ length: last - first + 1 }, (_, i) => first + i) : known;
  const most = Math.max(...counts.values(), 1);
  const bars = shown.map((year) => {
    const count = counts.get(year) ?? 0;
    const isChosen = facet.any.includes(String(year));
    const isWithin = (from || to) && !(year < from) && !(year > to);
    const isExcluded = facet.none.includes(String(year));
    const label = `${year}: ${count.toLocaleString()}${isExcluded ? ", left out" : ""}`;
    const bar = make("button", {
      type: "button", class: isWithin ? "pl-year pl-within" : "pl-year", title: label, "aria-label": label, "aria-pressed": isChosen,
      "data-focus": `year ${year}`, disabled: !count && !isChosen && !isExcluded,
    }, make("i", {}));
    bar.firstChild.style.height = count ? `${Math.max(4, (100 * count) / most)}%` : "0";
    bar.addEventListener("click", (event) => change(choose(facet, String(year), event.shiftKey)));
    return bar;
  });
  const chosen = [...facet.any, ...facet.none.map((year) => `not ${year}`)].join(", ");
  return make("div", { class: "pl-years" },
    make("div", { class: "pl-bars", role: "group", "aria-label": "Years" }, ...bars),
    make("div", { class: "pl-axis" }, make("span", {}, String(first)),
      make("b", {}, chosen), last > first ? make("span", {}, String(last)) : ""));
}

/** A click chooses a year alone, or no year if it was the chosen one; with Shift, beside others. */
function choose(facet, year, beside) {
  const { any } = facet;
  const others = any.filter((one) => one !== year);
  if (beside) return { key: "year", any: any.includes(year) ? others : [...any, year], none: facet.none };
  const wasAlone = any.length === 1 && any[0] === year;
  return { key: "year", any: wasAlone ? [] : [year], none: facet.none.filter((one) => one !== year) };
}
