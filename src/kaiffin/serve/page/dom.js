// Elements, numbers in words, and what is said where something happened.
import { W } from "./words.js";

/** "tag.class", its props if any, what is inside. Functions listen; false and null are left out. */
export function h(what, ...inside) {
	const [tag, ...classes] = what.split(".");
	const made = document.createElement(tag), props = inside[0]?.constructor === Object ? inside.shift() : {};
	made.classList.add(...classes);
	for (const [name, value] of Object.entries(props)) {
		if ((value ?? false) === false) continue;
		if (typeof value === "function") made.addEventListener(name.slice(2), value);
		else if (name === "value" || name === "checked") made[name] = value;
		else made.setAttribute(name, value === true ? "" : value);
	}
	made.append(...inner(inside));
	return made;
}

const inner = (inside) => inside.flat(3).filter((one) => (one ?? false) !== false);
/** Something else inside of a place. */
export const put = (place, ...inside) => place.replaceChildren(...inner(inside));

let number = 0;
export const fresh = (word) => `${word}-${(number += 1)}`;

/** look: a class, or props. */
export const button = (text, press, look) => h("button", { type: "button", ...looks(look), onclick: press }, text);
export const link = (text, href, look) => h("a", { href, ...looks(look) }, text);
const looks = (look) => (typeof look === "string" ? { class: look } : look);
/** A picture that opens large. */
export const pic = (press, ...inside) => h("button.pic", { type: "button", onclick: press }, ...inside);

export const soft = (...inside) => h("p.soft", ...inside);
export const aside = (...inside) => h("span.soft", ...inside);
export const h2 = (...inside) => h("h2", ...inside);
export const bold = (...inside) => h("b", ...inside);
export const fold = (name, ...inside) => h("details", h("summary", name), ...inside);
export const table = (heads, rows) => h("table", h("thead", h("tr", heads.map((text) => h("th", { scope: "col" }, text)))), h("tbody", rows));
export const line = (head, ...cells) => h("tr", h("th", { scope: "row" }, head), cells.map((cell) => h("td", cell)));
export const terms = (pairs) => pairs.map(([name, value]) => [h("dt", name), h("dd", String(value))]);
export const inRow = (...inside) => h("div.row", ...inside);
export const pair = (...inside) => h("div.pair-of", ...inside);
/** Where there is nothing yet: what it needs, and where that is. */
export const nothing = (text, name, href) => h("div.nothing", h("p", text), link(name, href, "button main"));
export const heading = (over, title, lead) => [h("p.over", over), h("h1", title), lead ? h("p.lead", lead) : ""];

/** A button that is held while its work goes on; what goes wrong is said in `place`. */
export const doer = (text, place, work, props) => button(text, (event) => busy(event.currentTarget, place, work), props);

/** Fields whose button does `work`. more: beside the button. */
export function form(text, work, fields, more = "") {
	const go = h("button.main", text), spot = h("div");
	return h("form.form", { onsubmit: (event) => { event.preventDefault(); busy(go, spot, work); } }, fields, spot, inRow(go, more));
}

/** A control with its label and hint, as `words` has them by name; more: beside the label. */
export function field(words, name, control, ...more) {
	const id = control.id ||= fresh("field"), hint = words[`${name}Hint`];
	if (hint) control.setAttribute("aria-describedby", `${id}-hint`);
	return h("div.field", h("label", { for: id }, words[name], more), control, hint && h("p.soft.hint", { id: `${id}-hint` }, hint));
}

export const input = (type, props) => h("input", { type, ...props });
export const numbered = (props) => input("number", props);
export const ticked = (text, input) => h("label.check", input, text);
export const option = (value, text, chosen) => h("option", { value, selected: value === chosen }, text);

/** What went wrong, where it happened. */
export function say(place, error) {
	put(place, error && trouble(error));
}

export function trouble(error) {
	return h("p.trouble", { role: "alert" }, bold(sentence(error.problem || error.message || error)), error.way_out && ` ${sentence(error.way_out)}`);
}

export function sentence(text) {
	const whole = String(text).trim();
	return whole && whole[0].toUpperCase() + whole.slice(1) + (/[.!?…]$/.test(whole) ? "" : ".");
}

/** Does `work` while the button is held; what goes wrong is said in `place`. */
export async function busy(press, place, work) {
	if (press?.getAttribute("aria-busy")) return;
	press?.setAttribute("aria-busy", "true");
	say(place);
	try {
		await work();
	} catch (error) {
		if (error.name === "AbortError") return;
		if (!("problem" in error)) console.error(error);
		say(place, error);
	} finally {
		press?.removeAttribute("aria-busy");
	}
}

/** Calls at most once in `ms`, and never forgets the last. */
export function throttled(call, ms) {
	let timer = null;
	return () => { timer ||= setTimeout(() => { timer = null; call(); }, ms); };
}

/** Calls once it has been asked for nothing for `ms`. */
export function settled(call, ms) {
	let timer = null;
	return () => { clearTimeout(timer); timer = setTimeout(call, ms); };
}

/** Draws a place anew; what had the focus there has it again. */
export function redrawn(place, draw) {
	const at = place.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
	draw();
	if (at) [...place.querySelectorAll("button")].find((one) => one.getAttribute("aria-label") === at)?.focus();
}

/** What `work` finds in what the browser stores; some browsers store nothing. */
export const stored = (work) => { try { return work(); } catch { return null; } };

/** What was typed into `place` and not sent: back, forward and reload find it in an open tab, and who
 * comes anew finds the last. `read` says what stands there, `keep` is for what is no typing. */
export function typing(place, read) {
	if (!history.state) history.replaceState(Date.now(), "");
	const part = location.hash.match(/^#\/\w+/)[0], at = history.state;
	const keep = () => stored(() => { sessionStorage[at] = localStorage[part] = JSON.stringify(read()); });
	for (const what of ["input", "change"]) place.addEventListener(what, keep);
	return { keep, typed: stored(() => JSON.parse(sessionStorage[at] || (part === location.hash && localStorage[part]))) };
}

/** A word that goes by itself; with a way back while it is there. */
export function note(text, undo) {
	const made = h("div.note-card", h("span", text), undo && button(W.undo, () => { clearTimeout(gone); made.remove(); undo(); }));
	const gone = setTimeout(() => made.remove(), undo ? 8000 : 5000);
	document.getElementById("notes").append(made);
}

/** A large window over the page. */
export function dialog(title, ...inside) {
	const id = fresh("title"), before = document.activeElement;
	const box = h("dialog", { "aria-labelledby": id },
		h("div.buttons", h("h2", { id }, title), button(W.close, () => box.close())), ...inside);
	box.addEventListener("click", (event) => event.target === box && box.close());
	box.addEventListener("close", () => { box.remove(); before?.isConnected && before.focus(); });
	document.body.append(box);
	box.showModal();
	return box;
}

/** Asks before what cannot be taken back. */
export function sure(question, yes) {
	return new Promise((resolve) => {
		const box = dialog(question, inRow(button(yes, () => { resolve(true); box.close(); }, "main"), button(W.cancel, () => box.close())));
		box.addEventListener("close", () => resolve(false));
	});
}

// --- numbers in words

export function duration(seconds) {
	const minutes = Math.round(seconds / 60);
	if (seconds < 59.5) return W.seconds(Math.max(Math.round(seconds), 1));
	return minutes < 60 ? W.minutes(minutes) : W.hours(Math.floor(minutes / 60), minutes % 60);
}

export function bytes(count) {
	let value = count, unit = 0;
	while (value >= 1000 && unit < 4) { value /= 1000; unit += 1; }
	return `${value >= 10 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${["B", "KB", "MB", "GB", "TB"][unit]}`;
}

export const ago = (at) => {
	const s = Date.now() / 1000 - at;
	return s < 60 ? W.justNow : W.ago(duration(s));
};

/** The share of `won` in `of`: its 95 % interval (Wilson). */
export function share(won, of) {
	const z = 1.96, p = won / of, n = z * z / of;
	const middle = (p + n / 2) / (1 + n), half = z * Math.sqrt(p * (1 - p) / of + n / (4 * of)) / (1 + n);
	return { low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

/** A chart of the service: SVG text in a frame. */
export function plot({ title, about, svg }) {
	const found = new DOMParser().parseFromString(svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"'), "image/svg+xml");
	return h("figure.plot", h("figcaption", h("h3", title), aside(about)), h("div.frame", document.importNode(found.documentElement, true)));
}
