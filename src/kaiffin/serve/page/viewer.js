// Pictures large, one after the other.
import { aside, button, dialog, h, put } from "./dom.js";
import { W } from "./words.js";

/** items: {src, alt}, title where it is another; side: what stands beside the picture of an item. */
export function zoom(items, at, side = null) {
	const image = h("img", { alt: "" }), beside = h("div.side"), count = aside();
	const show = (number) => {
		at = (number + items.length) % items.length;
		const one = items[at];
		Object.assign(image, { src: one.src, alt: one.alt });
		box.querySelector("h2").textContent = one.title || one.alt;
		count.textContent = items.length > 1 ? W.nth(at + 1, items.length) : "";
		put(beside, side && side(one, api));
	};
	const box = dialog("", h(side ? "div.viewer" : "div.viewer.alone", h("div.stage", image), beside));
	box.classList.add("large");
	const api = {
		image,
		close: () => box.close(),
		drop: () => { items.splice(at, 1); if (items.length) show(at % items.length); else box.close(); },
	};
	const buttons = box.querySelector(".buttons");
	if (items.length > 1) {
		buttons.querySelector("button").before(count, button("‹", () => show(at - 1), { "aria-label": W.previous }), button("›", () => show(at + 1), { "aria-label": W.following }));
	}
	box.addEventListener("keydown", (event) => {
		const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
		if (!by || items.length < 2 || event.target.matches("input, textarea, select")) return;
		show(at + by);
		event.preventDefault();
	});
	show(at);
	return box;
}
