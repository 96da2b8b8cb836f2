// What can be done with the selected items: a bar of buttons, with an undo for what changes them.
import { openDialog } from "./dialog.js";
import { make, makeIconButton } from "./grid.js";
import { ask, post } from "./results.js";
import { say, warn } from "./toast.js";

const DOWNLOADS = [
  ["zip", "Original files"],
  ["jpeg-2048", "JPEG, at most 2048 pixels"],
  ["jpeg-1024", "JPEG, at most 1024 pixels"],
  ["webp-2048", "WebP, at most 2048 pixels"],
  ["sheet", "Contact sheet to print"],
  ["csv", "Table (CSV)"],
];

export class Selection {
  /** `results` are those that it is of. */
  constructor(results) {
    this.results = results;
    this.ids = [];
    this.count = make("span", { role: "status" });
    const { data } = results;
    const votes = [[1, "Thumbs up for all"], [-1, "Thumbs down for all"]].map(([vote, label]) => {
      const button = make("button", { type: "button", "data-vote": vote, "aria-label": label, title: label });
      button.addEventListener("click", () => this.vote(vote));
      return button;
    });
    this.root = make("div", { class: "pl-selection", role: "toolbar", "aria-label": "Selected items", hidden: "" },
      this.count,
      makeAction("Find like these", () => results.search(this.ids.map((id) => `id:${id}`).join(" "))),
      data.votes ? make("span", { class: "pl-thumbs" }, ...votes) : null,
      makeAction("Tags", () => editTags(results, this.ids)),
      this.makeDownloads(),
      makeAction("Copy paths", () => copy(this.ids.map((id) => results.hit(id).path).join("\n"))),
      makeAction("Clear", () => results.grid.clearSelection()));
  }

  show(ids) {
    this.ids = ids;
    this.root.hidden = !ids.length;
    this.count.textContent = `${ids.length.toLocaleString()} selected`;
  }

  async vote(vote) {
    const ids = this.ids;
    const before = Object.fromEntries(ids.map((id) => [id, this.results.hit(id).vote ?? 0]));
    const after = Object.fromEntries(ids.map((id) => [id, vote]));
    if (await this.results.vote(after))
      say(`${vote > 0 ? "Thumbs up" : "Thumbs down"} for ${ids.length.toLocaleString()}`, () => this.results.vote(before));
  }

  makeDownloads() {
    const menu = make("div", { class: "pl-menu", popover: "", role: "group", "aria-label": "Download" },
      ...DOWNLOADS.map(([form, label]) => {
        const button = make("button", { type: "button" }, label);
        button.addEventListener("click", () => {
          menu.hidePopover();
          this.download(form);
        });
        return button;
      }));
    const button = makeAction("Download…", () => {
      const { left, top } = button.getBoundingClientRect();
      menu.style.left = `${left}px`;
      menu.style.bottom = `${innerHeight - top + 8}px`;
      menu.togglePopover();
      menu.querySelector("button").focus();
    });
    button.setAttribute("aria-haspopup", "true");
    return make("span", {}, button, menu);
  }

  async download(form) {
    try {
      const { url } = await ask(`api/downloads?${inCollection(this.results)}`, post({ ids: this.ids, form }));
      const target = form === "sheet" ? { target: "_blank" } : { download: "" };
      make("a", { href: url, ...target }).click();
    } catch (error) {
      warn(error.message);
    }
  }
}

/** Copy a text, and say so. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied");
  } catch {
    warn("The browser does not allow to copy here.");
  }
}

/** Add tags to items, and remove those that they have, in a dialog. */
export function editTags(results, ids) {
  const list = make("ul", { class: "pl-tags" });
  const known = make("datalist", { id: "pl-known-tags" });
  const input = make("input", {
    type: "text", list: "pl-known-tags", dir: "auto", maxlength: 100, autocomplete: "off", autofocus: "",
    "aria-label": "Add a tag", placeholder: "Add a tag",
  });
  const title = ids.length === 1 ? "Tags" : `Tags of ${ids.length.toLocaleString()} items`;
  const form = make("form", {}, input, known, make("button", { class: "pl-action pl-primary" }, "Add"));
  const fill = () => {
    const counts = new Map();
    for (const id of ids) for (const tag of results.hit(id)?.tags ?? []) counts.set(tag, (counts.get(tag) ?? 0) + 1);
    list.replaceChildren(...[...counts].map(([tag, count]) => {
      const remove = makeIconButton("close", `Remove ${tag}`);
      remove.addEventListener("click", () => change({ remove: [tag] }, `Removed “${tag}”`));
      const number = ids.length > 1 ? make("small", {}, `${count} of ${ids.length}`) : null;
      return make("li", {}, make("bdi", {}, tag), number, remove);
    }));
  };
  const change = async (edits, text) => {
    if (await changeTags(results, ids, edits, text, fill)) fill();
    input.focus();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const tag = input.value.trim();
    if (!tag) return dialog.close();
    input.value = "";
    change({ add: [tag] }, `Tagged “${tag}”`);
  });
  let typing;
  input.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => suggestTags(results, input, known), 200);
  });
  fill();
  const dialog = openDialog(title, "", list, form);
}

async function suggestTags(results, input, list) {
  const text = input.value.trim();
  if (!text) return list.replaceChildren();
  const query = new URLSearchParams({ key: "tags", contains: text });
  try {
    const { values } = await ask(`api/facets?${inCollection(results)}&${query}`);
    if (text !== input.value.trim()) return; // other tags are asked for by now
    list.replaceChildren(...values.map(({ value }) => make("option", { value })));
  } catch {
    // a tag can be typed without
  }
}

/** Returns whether it was done; `after` is called when it was undone, too. */
async function changeTags(results, ids, { add = [], remove = [] }, text, after = () => {}) {
  let changed;
  try {
    ({ changed } = await ask(`api/tags?${inCollection(results)}`, post({ ids, add, remove })));
  } catch (error) {
    warn(error.message);
    return false;
  }
  results.showTags(changed, add, remove);
  const undo = async () => {
    await changeTags(results, changed, { add: remove, remove: add }, "Undone");
    after();
  };
  if (!changed.length) say("Nothing to change");
  else if (text === "Undone") say(text);
  else say(`${text} (${changed.length.toLocaleString()})`, undo);
  return true;
}

function inCollection(results) {
  return new URLSearchParams({ c: results.data.collection });
}

function makeAction(label, run) {
  const button = make("button", { type: "button", class: "pl-action" }, label);
  button.addEventListener("click", run);
  return button;
}
