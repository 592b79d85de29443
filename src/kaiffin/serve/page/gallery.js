// All pictures that were made: only what is seen is loaded; search, favourites, many at once.
import { Problem, get, on, post, remove } from "./api.js";
import { busy, button, doer, h, h2, inRow, link, note, soft } from "./dom.js";
import { zoom } from "./viewer.js";
import { W } from "./words.js";

const Y = W.gallery;
const CHUNK = 60;

export function gallery(root, signal, acting) {
	const state = { chunks: [], next: null, search: "", liked: false, chosen: new Set(), choosing: false, loading: false, done: false, hidden: new Set() };
	const grid = h("div", { class: "gallery" }), end = h("div", { class: "end-mark" }), spot = h("div");
	const empty = h("p", { class: "soft" });
	const search = h("input", { type: "search", placeholder: Y.search, "aria-label": Y.search, oninput: () => soon() });
	const liked = h("input", { type: "checkbox", onchange: () => { state.liked = liked.checked; restart(); } });
	const choose = button(Y.choose, () => { state.choosing = !state.choosing; state.chosen.clear(); bar(); redraw(); }, { "aria-pressed": "false" });
	const many = h("div", { class: "row many" });
	root.append(h2(Y.title), h("div", { class: "row tools" }, search, h("label", { class: "check" }, liked, Y.liked), choose), many, spot, empty, grid, end);

	let timer = null;
	const soon = () => { clearTimeout(timer); timer = setTimeout(() => { state.search = search.value.trim(); restart(); }, 250); };

	const near = new IntersectionObserver((entries) => {
		for (const { target, isIntersecting } of entries) {
			if (target === end) { if (isIntersecting) more(); continue; }
			const chunk = state.chunks.find((one) => one.element === target);
			if (!chunk || chunk.shown === isIntersecting) continue;
			if (!isIntersecting) target.style.minHeight = `${target.offsetHeight}px`;
			chunk.shown = isIntersecting;
			fill(chunk);
			if (isIntersecting) target.style.minHeight = "";
		}
	}, { rootMargin: "800px" });
	near.observe(end);
	signal.addEventListener("abort", () => near.disconnect());

	const visible = () => state.chunks.flatMap((chunk) => chunk.items).filter((one) => !state.hidden.has(one.id));
	function fill(chunk) {
		chunk.element.replaceChildren(...(chunk.shown ? chunk.items.filter((one) => !state.hidden.has(one.id)).map(thumb) : []));
	}
	const redraw = () => state.chunks.forEach(fill);

	function thumb(image) {
		const said = saidOf(image);
		const picture = small(image);
		if (state.choosing) {
			const box = h("input", { type: "checkbox", checked: state.chosen.has(image.id), "aria-label": Y.pick(said), onchange: () => { state.chosen[box.checked ? "add" : "delete"](image.id); bar(); } });
			return h("label", { class: "pic picking" }, box, picture);
		}
		return h("button", { type: "button", class: "pic", onclick: () => { const all = visible(); open(all, all.indexOf(image), { ...acting, hide, redraw }); } }, picture, image.vote > 0 ? h("span", { class: "heart", "aria-label": Y.isLiked, role: "img" }, "♥") : "");
	}

	function bar() {
		choose.setAttribute("aria-pressed", String(state.choosing));
		choose.textContent = state.choosing ? Y.stopChoosing : Y.choose;
		const ids = [...state.chosen];
		many.replaceChildren(...(state.choosing ? [h("span", { class: "soft", role: "status" }, Y.chosen(ids.length)),
			ids.length ? link(Y.zip, `api/v1/images/zip?ids=${ids.slice(0, 200).join(",")}`, { class: "button", download: "kaiffin.zip" }) : "",
			ids.length ? button(Y.delete, () => hide(ids)) : ""] : []));
	}

	/** Gone from sight at once, and for good in a few seconds unless somebody wants it back. */
	function hide(ids) {
		for (const id of ids) state.hidden.add(id);
		state.chosen.clear();
		bar();
		redraw();
		const timer_ = setTimeout(() => ids.forEach((id) => remove(`images/${id}`).catch((error) => note(error.problem || String(error)))), 8000);
		note(Y.deleted(ids.length), () => { clearTimeout(timer_); for (const id of ids) state.hidden.delete(id); redraw(); });
	}

	async function more() {
		if (state.loading || state.done) return;
		state.loading = true;
		const turn = state.turn, before = state.next ? `&before=${state.next}` : "";
		let came = false; // or a page that was left asks for ever
		await busy(null, spot, async () => {
			const page = await get(`images?limit=${CHUNK}${before}&search=${encodeURIComponent(state.search)}&liked=${state.liked}`, signal);
			if (turn !== state.turn) return;
			state.next = page.next;
			state.done = !page.next;
			if (page.items.length) {
				const chunk = { items: page.items, element: h("div", { class: "photos" }), shown: true };
				state.chunks.push(chunk);
				grid.append(chunk.element);
				fill(chunk);
				near.observe(chunk.element);
			}
			empty.textContent = state.chunks.length ? "" : state.search || state.liked ? Y.none : Y.empty;
			came = true;
		});
		if (turn !== state.turn) return;
		state.loading = false;
		if (came && !state.done && end.getBoundingClientRect().top < innerHeight + 800) more();
	}

	function restart() {
		state.turn = (state.turn || 0) + 1;
		state.loading = state.done = false;
		state.next = null;
		state.chunks = [];
		grid.replaceChildren();
		more();
	}

	let coming = null;
	on("picture", () => {
		clearTimeout(coming);
		if (scrollY < 2000 && !state.choosing) coming = setTimeout(restart, 1500);
	}, signal);
	bar();
}

const saidOf = (image) => `${image.prompt}, ${W.seed(image.seed)}`;
export const small = (image, alt = saidOf(image)) => h("img", { src: `api/v1/images/${image.id}/thumb`, alt, loading: "lazy", width: image.width, height: image.height });

/** A picture large with its recipe and what can be done with it. */
export function open(images, at, acting) {
	const items = images.map((image) => ({ src: `api/v1/images/${image.id}/file`, alt: image.prompt, title: image.prompt, image }));
	zoom(items, at, ({ image }, viewer) => {
		const facts = h("dl", {}), spot = h("div"), beside = h("div");
		get(`images/${image.id}/recipe`).then((recipe) => facts.replaceChildren(...recipeFacts(recipe)), () => {});
		const heart = button("", (event) => busy(event.currentTarget, spot, async () => {
			Object.assign(image, await post(`images/${image.id}/vote`, { vote: image.vote > 0 ? 0 : 1 }));
			hearted();
			acting.redraw?.();
		}), {});
		const hearted = () => { heart.textContent = image.vote > 0 ? Y.unlike : Y.like; heart.setAttribute("aria-pressed", String(image.vote > 0)); };
		hearted();
		const does = (work) => (event) => busy(event.currentTarget, spot, async () => { await work(image); viewer.close(); });
		return [inRow(
			button(Y.use, does(acting.use), { class: "main" }), button(Y.again, does(acting.again)), button(Y.vary, does(acting.vary)),
			doer(Y.compare, spot, () => withBase(image, acting, beside)), heart,
			link(Y.download, `api/v1/images/${image.id}/file`, { class: "button", download: `kaiffin-${image.seed}.png` }),
			acting.hide ? button(Y.delete, () => { acting.hide([image.id]); viewer.drop(); }) : ""), spot, beside, facts];
	});
}

async function withBase(image, acting, place) {
	place.replaceChildren(soft(Y.making));
	const { job } = await acting.compare(image);
	const done = await get(`jobs/${job.id}?wait=120`);
	if (done.state !== "done") throw new Problem(done.problem || Y.noBase, done.way_out);
	const made = (await get(`images?job=${job.id}`)).items[0];
	place.replaceChildren(h("figure", { class: "card" }, h("img", { class: "fill", src: `api/v1/images/${made.id}/file`, alt: Y.baseAlt(image.prompt) }), h("figcaption", {}, Y.base)));
}

function recipeFacts({ request, base, adapters }) {
	const rows = [[Y.facts.prompt, request.prompt], [Y.facts.negative, request.negative], [Y.facts.seed, request.seed],
		[Y.facts.how, `${request.sampler}, ${request.steps}, ${request.guidance}`], [Y.facts.size, `${request.width} × ${request.height}`],
		[Y.facts.base, base.name], ...adapters.map((one) => [Y.facts.adapter, `${one.name} × ${one.weight}`])];
	return rows.filter(([, value]) => value !== "" && value !== undefined).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))]);
}
