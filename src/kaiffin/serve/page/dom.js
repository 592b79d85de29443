// Elements, numbers in words, and what is said where something happened.
import { W } from "./words.js";

/** An element. Of props, functions listen, `data` is the dataset, false and null leave out. */
export function h(tag, props = {}, ...inside) {
	const made = document.createElement(tag);
	for (const [name, value] of Object.entries(props || {})) {
		if (value === false || value === null || value === undefined) continue;
		if (typeof value === "function") made.addEventListener(name.slice(2), value);
		else if (name === "data") Object.assign(made.dataset, value);
		else if (name in made && (name === "value" || name === "checked" || name === "indeterminate")) made[name] = value;
		else made.setAttribute(name === "for" ? "for" : name, value === true ? "" : value);
	}
	made.append(...inside.flat(3).filter((one) => one !== null && one !== undefined && one !== false));
	return made;
}

let number = 0;
export const fresh = (word) => `${word}-${(number += 1)}`;

export const button = (text, press, props = {}) => h("button", { type: "button", ...props, onclick: press }, text);
export const link = (text, href, props = {}) => h("a", { href, ...props }, text);

export const soft = (...inside) => h("p", { class: "soft" }, ...inside);
export const aside = (...inside) => h("span", { class: "soft" }, ...inside);
export const h2 = (...inside) => h("h2", {}, ...inside);
export const fold = (name, ...inside) => h("details", {}, h("summary", {}, name), ...inside);
export const table = (heads, rows) => h("table", {}, h("thead", {}, h("tr", {}, heads.flat().map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, rows));
export const inRow = (...inside) => h("div", { class: "row" }, ...inside);
export const pair = (...inside) => h("div", { class: "pair-of" }, ...inside);
export const verdict = (...inside) => h("div", { class: "verdict" }, ...inside);
export const bold = (...inside) => h("b", {}, ...inside);
export const plainList = (...inside) => h("ul", { class: "plain" }, ...inside);
export const part = (...inside) => h("section", {}, ...inside);
export const heading = (over, title, lead) => [h("p", { class: "over" }, over), h("h1", {}, title), lead ? h("p", { class: "lead" }, lead) : ""];

/** A button that is held while its work goes on; what goes wrong is said in `place`. */
export const doer = (text, place, work, props) => button(text, (event) => busy(event.currentTarget, place, work), props);

/** A labelled control; note: a line below that says more. */
export function field(label, control, note) {
	const id = control.id || (control.id = fresh("field"));
	const said = note ? h("p", { class: "soft hint", id: `${id}-note` }, note) : null;
	if (said) control.setAttribute("aria-describedby", said.id);
	return h("div", { class: "field" }, h("label", { for: id }, label), control, said);
}

export const option = (value, text, chosen) => h("option", { value, selected: value === chosen }, text);

/** What went wrong, beside where it happened; the next thing said there replaces it. */
export function say(place, error) {
	place.replaceChildren(error ? trouble(error) : "");
}

export function trouble(error) {
	const way = error.way_out ? [" ", h("span", {}, sentence(error.way_out))] : "";
	return h("p", { class: "trouble", role: "alert" }, bold(sentence(error.problem || error.message || String(error))), way);
}

export function sentence(text) {
	const whole = String(text).trim();
	if (!whole) return "";
	return whole[0].toUpperCase() + whole.slice(1) + (/[.!?…]$/.test(whole) ? "" : ".");
}

/** Does `work` while the button is held; what goes wrong is said in `place`. */
export async function busy(press, place, work) {
	const before = press?.getAttribute("aria-busy");
	if (before === "true") return null;
	press?.setAttribute("aria-busy", "true");
	say(place, null);
	try {
		return await work();
	} catch (error) {
		if (error.name === "AbortError") return null;
		if (!("problem" in error)) console.error(error);
		say(place, error);
		return null;
	} finally {
		press?.removeAttribute("aria-busy");
	}
}

/** A word that goes by itself; with a way back while it is there. */
export function note(text, undo) {
	const place = document.getElementById("notes");
	const made = h("div", { class: "note-card" }, h("span", {}, text));
	const gone = setTimeout(() => made.remove(), undo ? 8000 : 5000);
	if (undo) {
		made.append(button(W.undo, () => { clearTimeout(gone); made.remove(); undo(); }));
	}
	place.append(made);
	return made;
}

/** A large window over the page. */
export function dialog(title, ...inside) {
	const id = fresh("title");
	const before = document.activeElement;
	const box = h("dialog", { "aria-labelledby": id },
		h("div", { class: "buttons" }, h("h2", { id }, title), button(W.close, () => box.close())), ...inside);
	box.addEventListener("click", (event) => event.target === box && box.close());
	box.addEventListener("close", () => { box.remove(); before?.isConnected && before.focus(); });
	document.body.append(box);
	box.showModal();
	return box;
}

/** Asks before what cannot be taken back. */
export function sure(question, yes) {
	return new Promise((resolve) => {
		const box = dialog(question, h("div", { class: "row" },
			button(yes, () => { resolve(true); box.close(); }, { class: "main" }),
			button(W.cancel, () => box.close())));
		box.addEventListener("close", () => resolve(false));
	});
}

// --- numbers in words ---------------------------------------------------------------------------

export function duration(seconds) {
	const s = Math.round(seconds);
	if (s < 60) return W.seconds(Math.max(s, 1));
	if (s < 3600) return W.minutes(Math.round(s / 60));
	return W.hours(Math.floor(s / 3600), Math.round((s % 3600) / 60));
}

export function bytes(count) {
	const units = ["B", "KB", "MB", "GB", "TB"];
	let value = count, unit = 0;
	while (value >= 1000 && unit < 4) { value /= 1000; unit += 1; }
	return `${value >= 10 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export const ago = (at) => {
	const s = Date.now() / 1000 - at;
	return s < 60 ? W.justNow : W.ago(duration(s));
};

/** The share of `won` in `of`, with its 95 % interval (Wilson). */
export function share(won, of) {
	const z = 1.96, p = won / of, n = z * z / of;
	const middle = (p + n / 2) / (1 + n), half = z * Math.sqrt(p * (1 - p) / of + n / (4 * of)) / (1 + n);
	return { mean: p, low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

/** An SVG text of the service as an element of the page. */
export function drawing(text) {
	const found = new DOMParser().parseFromString(text.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"'), "image/svg+xml");
	return document.importNode(found.documentElement, true);
}

export function plot({ title, about, svg }) {
	return h("figure", { class: "plot" },
		h("figcaption", {}, h("h3", {}, title), h("span", { class: "soft" }, about)),
		h("div", { class: "frame" }, drawing(svg)));
}
