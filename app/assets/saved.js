// The searches that this browser keeps: saved ones, with the time they were last looked at, and
// recent ones.
import * as storage from "./storage.js";

const SAVED_KEY = "polylens-saved"; // in the browser's local storage
const RECENT_KEY = "polylens-recent";
const MAX_SAVED = 30;
const MAX_RECENT = 50;

/** The saved searches, the last one first: [{ address, label, seen }]. */
export function listSaved() {
  const saved = storage.read(SAVED_KEY);
  const isSearch = (one) => [one?.address, one?.label, one?.seen].every((text) => typeof text === "string");
  return Array.isArray(saved) ? saved.filter(isSearch) : [];
}

export function isSaved(address) {
  return listSaved().some((one) => one.address === address);
}

export function save(address, label, seen) {
  keep([{ address, label, seen }, ...listSaved().filter((one) => one.address !== address)]);
}

export function forget(address) {
  keep(listSaved().filter((one) => one.address !== address));
}

/** Note that a search was looked at, if it is a saved one. */
export function markSeen(address, seen) {
  keep(listSaved().map((one) => (one.address === address ? { ...one, seen } : one)));
}

function keep(saved) {
  storage.keep(SAVED_KEY, saved.slice(0, MAX_SAVED));
}

/** The words of recent searches, the last ones first. */
export function listRecent() {
  const recent = storage.read(RECENT_KEY);
  return Array.isArray(recent) ? recent.filter((text) => typeof text === "string") : [];
}

export function remember(words) {
  const recent = [words, ...listRecent().filter((text) => text !== words)];
  storage.keep(RECENT_KEY, recent.slice(0, MAX_RECENT));
}

export function forgetRecent() {
  storage.keep(RECENT_KEY, []);
}
