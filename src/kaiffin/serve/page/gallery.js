// All pictures that were made: only what is seen is loaded; search, favourites, many at once.
import { Problem, get, on, post, remove } from "./api.js";
import { busy, button, doer, h, h2, input, inRow, link, note, pic, put, settled, soft, terms, ticked } from "./dom.js";
import { zoom } from "./viewer.js";
import { ways } from "./ways.js";
import { W } from "./words.js";

const Y = W.gallery;
const CHUNK = 60, ZIPPED = 200; // pictures that are asked for at once; that a file takes

export function gallery(root, signal, acting) {
	const state = { turn: 0, choosing: false }, chosen = new Set(), hidden = new Set();
	const grid = h("div.gallery"), end = h("div.end-mark"), spot = h("div"), empty = h("p.soft"), many = h("div.row.many");
	const search = input("search", { placeholder: Y.search, "aria-label": Y.search, oninput: settled(restart, 250) });
	const liked = input("checkbox", { onchange: restart });
	const choose = button(Y.choose, () => { state.choosing = !state.choosing; pick([]); });
	const tools = inRow(search, ticked(Y.liked, liked), choose);
	root.append(h2(Y.title), tools, many, spot, empty, grid, end);

	// The grid's children are chunks of pictures; those far from sight are empty, as high as before.
	const near = new IntersectionObserver((entries) => {
		for (const { target, isIntersecting } of entries) {
			if (target === end) { if (isIntersecting) more(); continue; }
			if (target.shown === isIntersecting) continue;
			target.style.minHeight = isIntersecting ? "" : `${target.offsetHeight}px`;
			target.shown = isIntersecting;
			fill(target);
		}
	}, { rootMargin: "800px" });
	near.observe(end);
	signal.addEventListener("abort", () => near.disconnect());

	const seen = (images) => images.filter((one) => !hidden.has(one.id));
	const visible = () => seen([...grid.children].flatMap((chunk) => chunk.images));
	const fill = (chunk) => put(chunk, chunk.shown && seen(chunk.images).map(thumb));
	const redraw = () => [...grid.children].forEach(fill);

	function thumb(image) {
		if (state.choosing) {
			const box = input("checkbox", { checked: chosen.has(image.id), "aria-label": Y.pick(saidOf(image)), onchange: () => { chosen[box.checked ? "add" : "delete"](image.id); bar(); } });
			return h("label.pic.picking", box, small(image));
		}
		return pic(() => { const all = visible(); open(all, all.indexOf(image), { ...acting, hide, redraw }); }, small(image), image.vote > 0 && h("span.heart", { "aria-label": Y.isLiked, role: "img" }, "♥"));
	}

	function pick(ids) {
		chosen.clear();
		for (const id of ids) chosen.add(id);
		bar();
		redraw();
	}

	function bar() {
		choose.setAttribute("aria-pressed", String(state.choosing));
		choose.textContent = state.choosing ? Y.stopChoosing : Y.choose;
		const ids = [...chosen], parts = [...Array(Math.ceil(ids.length / ZIPPED)).keys()].map((i) => i * ZIPPED);
		put(many, state.choosing && [h("span.soft", { role: "status" }, Y.chosen(ids.length)), button(Y.chooseAll, () => pick(visible().map((one) => one.id))),
			parts.map((from) => link(Y.zip(parts.length, from, ids.length), `api/v1/images/zip?ids=${ids.slice(from, from + ZIPPED)}`, { class: "button", download: "kaiffin.zip" })),
			ids.length > 0 && button(W.delete, () => hide(ids))]);
	}

	/** Gone from sight at once, and for good unless it is soon wanted back. */
	function hide(ids) {
		for (const id of ids) hidden.add(id);
		pick([]);
		const gone = setTimeout(() => ids.forEach((id) => remove(`images/${id}`).catch((error) => note(error.problem || String(error)))), 8000);
		note(Y.deleted(ids.length), () => { clearTimeout(gone); for (const id of ids) hidden.delete(id); redraw(); });
	}

	async function more() {
		if (state.loading || state.done) return;
		state.loading = true;
		const turn = state.turn, before = state.next ? `&before=${state.next}` : "";
		let came = false; // or a page that was left asks for ever
		await busy(null, spot, async () => {
			const wanted = search.value.trim();
			const page = await get(`images?limit=${CHUNK}${before}&search=${encodeURIComponent(wanted)}&liked=${liked.checked}`, signal);
			if (turn !== state.turn) return;
			state.next = page.next;
			state.done = !page.next;
			if (page.items.length) {
				const chunk = Object.assign(h("div.photos"), { images: page.items, shown: true });
				grid.append(chunk);
				fill(chunk);
				near.observe(chunk);
			}
			tools.hidden = !grid.firstChild && !wanted && !liked.checked;
			empty.textContent = tools.hidden ? Y.empty : grid.firstChild ? "" : Y.none;
			came = true;
		});
		if (turn !== state.turn) return;
		state.loading = false;
		if (came && !state.done && end.getBoundingClientRect().top < innerHeight + 800) more();
	}

	function restart() {
		state.turn += 1;
		state.loading = state.done = false;
		state.next = null;
		put(grid);
		more();
	}

	// Whoever looks further down, or chooses, is not disturbed.
	on("picture", settled(() => { if (scrollY < 2000 && !state.choosing) restart(); }, 1500), signal);
	bar();
}

const saidOf = (image) => `${image.prompt}, ${W.seed(image.seed)}`;
export const small = (image, alt = saidOf(image)) => h("img", { src: `api/v1/images/${image.id}/thumb`, alt, loading: "lazy", width: image.width, height: image.height });

/** A picture large with its recipe and what can be done with it. */
export function open(images, at, acting) {
	const items = images.map((image) => ({ src: `api/v1/images/${image.id}/file`, alt: image.prompt, image }));
	zoom(items, at, ({ image }, viewer) => {
		const facts = h("dl"), spot = h("div"), beside = h("div");
		get(`images/${image.id}/recipe`).then((recipe) => put(facts, terms(Y.facts(recipe).filter(([, value]) => value !== ""))), () => {});
		const heart = doer("", spot, async () => {
			Object.assign(image, await post(`images/${image.id}/vote`, { vote: image.vote > 0 ? 0 : 1 }));
			hearted();
			acting.redraw?.();
		});
		const hearted = () => { heart.textContent = image.vote > 0 ? Y.unlike : Y.like; heart.setAttribute("aria-pressed", String(image.vote > 0)); };
		hearted();
		const does = (text, work, props) => doer(text, spot, async () => { await work(image); viewer.close(); }, props);
		return [inRow(
			does(Y.use, acting.use, "main"), does(Y.again, acting.again), does(Y.vary, acting.vary),
			doer(Y.compare, spot, () => withBase(image, acting, beside)), heart,
			link(Y.download, `api/v1/images/${image.id}/file`, { class: "button", download: `kaiffin-${image.seed}.png` }),
			acting.hide && button(W.delete, () => { acting.hide([image.id]); viewer.drop(); })),
			ways(image, viewer.image, async (...given) => { await acting.over(image, ...given); viewer.close(); }, spot), spot, beside, facts];
	});
}

async function withBase(image, acting, place) {
	put(place, soft(Y.making));
	const done = await get(`jobs/${(await acting.compare(image)).id}?wait=120`);
	if (done.state !== "done") throw new Problem(done.problem || Y.noBase, done.way_out);
	const made = (await get(`images?job=${done.id}`)).items[0];
	put(place, h("figure.card", h("img.fill", { src: `api/v1/images/${made.id}/file`, alt: Y.baseAlt(image.prompt) }), h("figcaption", Y.base)));
}
