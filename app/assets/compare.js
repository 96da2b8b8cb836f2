// Near-duplicates side by side: what they look like, and in which facts they differ.
import { openDialog } from "./dialog.js";
import { make, makeText, makeTitle } from "./grid.js";
import { warn } from "./toast.js";

const MAX_COMPARED = 6;
const FACTS = [
  ["Size", (item) => (item.width ? `${item.width} × ${item.height}` : "")],
  ["File size", (item) => (item.bytes ? `${Math.round(item.bytes / 1000).toLocaleString()} kB` : "")],
  ["Format", (item) => item.format],
  ["Taken", (item) => (item.taken ?? "").replace("T", " ")],
  ["Camera", (item) => item.camera],
  ["Tags", (item) => item.tags.join(", ")],
  ["Captions", (item) => item.captions.map(({ text }) => text).join("\n")],
  ["Folder", (item) => item.path.slice(0, item.path.length - item.name.length - 1)],
];

/** Compare items; `load(id)` loads one. */
export async function compare(ids, load) {
  let items;
  try {
    items = await Promise.all(ids.slice(0, MAX_COMPARED).map(load));
  } catch (error) {
    warn(error.message);
    return;
  }
  const images = items.map((item) =>
    make("td", {}, item.kind === "text"
      ? makeText("blockquote", {}, item)
      : make("a", { href: item.original, target: "_blank" }, make("img", { src: item.original, alt: item.title }))));
  const names = items.map((item) => {
    const name = makeTitle("span", { ...item, title: item.name });
    return make("th", { scope: "col" }, name);
  });
  const rows = FACTS.map(([label, read]) => {
    const values = items.map((item) => read(item) ?? "");
    const differs = new Set(values).size > 1;
    const cells = values.map((value) =>
      make("td", { dir: "auto" }, differs && value ? make("mark", {}, value) : value));
    return values.some(Boolean) ? make("tr", {}, make("th", { scope: "row" }, label), ...cells) : null;
  });
  const table = make("table", {},
    make("thead", {}, make("tr", {}, make("td", {}), ...names)),
    make("tbody", {}, make("tr", {}, make("th", { scope: "row" }, "Picture"), ...images), ...rows));
  const left = ids.length - items.length;
  openDialog(`Compare ${items.length} near-duplicates`, "pl-compare",
    make("div", {}, table), left > 0 ? make("p", {}, `${left} more are not shown.`) : null);
}
