// Dataset: photos in, looked at, mended.
import { every, get, hear, isLive, nameOf, newest, on, patch, post, remove, submit } from "./api.js";
import { ago, aside, bold, busy, button, dialog, doer, field, fold, h, h2, heading, input, inRow, link, note, pic, put, redrawn, sentence, soft, sure } from "./dom.js";
import { frame, middle, shaped } from "./crop.js";
import { follow, standing } from "./jobs.js";
import { dropPlace, take, there, uploads } from "./uploads.js";
import { W } from "./words.js";

const D = W.dataset;

export async function view(root, id, query, signal) {
	if (id) return one(root, id, signal);
	const sets = (await get("datasets?limit=200", signal)).items;
	const spot = h("div");
	const make = async (asked, files) => {
		const { id: made } = await post("datasets", asked);
		take(made, files);
		location.hash = `#/dataset/${made}`;
	};
	root.append(
		...(sets.length ? heading(D.over, D.title, D.lead) : heading(D.welcome, D.first, D.firstLead)),
		dropPlace((files) => busy(null, spot, () => make({ name: "" }, files))),
		h("div.row.try", doer(D.example, spot, () => make({ example: true }, [])), soft(D.exampleNote)), spot,
		...(sets.length ? [h2(D.yours), h("ul.plain.sets", sets.map((set) => h("li", h("a.set", { href: `#/dataset/${set.id}` },
			set.cover ? h("img", { src: `api/v1/datasets/${set.id}/photos/${set.cover}/shown?thumb=true`, alt: "", loading: "lazy" }) : h("span.gone", D.empty),
			bold(nameOf(set)), aside(W.photos(set.photos))))))] : [h("ol.steps", D.steps.map(([name, text]) => h("li", bold(name), aside(text))))]),
	);
}

async function one(root, id, signal) {
	const state = { photos: [] }, arriving = h("div.uploads", { "aria-live": "polite" });
	const add = (some) => { state.photos.push(...some.filter((photo) => !state.photos.some((one) => one.id === photo.id))); };
	// Before the list is asked for: what comes meanwhile is not missed.
	const heard = (one) => {
		if (one.dataset !== id) return;
		if (!one.row.isConnected && uploads(id).includes(one)) arriving.append(one.row);
		if (!one.photo) return;
		add([one.photo]);
		if (state.set) draw();
	};
	on("upload", heard, signal);
	uploads(id).forEach(heard);
	const [set, listed, scan] = await Promise.all([get(`datasets/${id}`, signal), every(`datasets/${id}/photos`), newest("scan", (asked) => asked.dataset === id, signal)]);
	const early = state.photos.splice(0);
	add(listed);
	add(early);
	there(id, state.photos.map((photo) => photo.id));
	state.set = set;
	const sheet = h("ul.plain.sheet-live", { "aria-label": D.sheet });
	const told = h("section.told", { "aria-live": "polite" });
	const count = h("p.soft"), spot = h("div"), cards = new Map();

	function draw() {
		const by = findings(state);
		const order = state.photos.toSorted((a, b) => weight(by, a) - weight(by, b));
		order.forEach((photo, at) => {
			if (!cards.has(photo.id)) cards.set(photo.id, card(state, photo, draw));
			const made = cards.get(photo.id), there = sheet.children[at] || null;
			made.show(photo, by.get(photo.id) || []);
			// What is moved, and not put in anew, keeps the focus.
			if (there !== made) sheet[made.isConnected && sheet.moveBefore ? "moveBefore" : "insertBefore"](made, there);
		});
		while (sheet.children.length > order.length) sheet.lastChild.remove();
		const used = state.photos.filter((photo) => !photo.left_out).length;
		count.textContent = state.photos.length ? D.count(used, state.photos.length - used) : D.none;
		summary(told, state, by, signal);
		next.hidden = check.hidden = !used;
		check.classList.toggle("main", used > 0 && !state.scan);
		next.classList.toggle("main", Boolean(state.scan));
	}

	const next = link(D.next, `#/tune?dataset=${id}`, "button");
	const watch = (job) => follow(job.id, signal, (now) => { state.scan = now; draw(); });
	const check = doer(D.check, spot, async () => watch(await submit("scan", { dataset: id, config: { ...configOf(state.set), data: { skip_bad: true } } })));
	root.append(
		...heading(link(D.all, "#/dataset"), nameOf(state.set)),
		words(state, root, signal),
		dropPlace((files) => take(id, files), state.photos.length > 0),
		arriving,
		told, sheet, spot, h("div.bar", count, check, next),
		h("div.last-part", fold(D.more, h("p", doer(D.remove, spot, async () => {
			if (!(await sure(D.removeSure(nameOf(state.set)), D.remove))) return;
			await remove(`datasets/${id}`);
			location.hash = "#/dataset";
		})), soft(D.removeNote))),
	);
	if (scan) watch(hear(scan));
	else draw();
}

/** The word for the subject, and what it is. */
function words(state, root, signal) {
	const spot = h("div"), common = h("div", { role: "status" });
	/** A word that a base has as one piece means something already. */
	const read = async () => {
		const { subject } = state.set, bases = await get("bases", signal);
		const one = (base) => post("pieces", { base: base.name, texts: [subject] }, { signal }).then(({ pieces }) => pieces === 1, () => false);
		put(common, (await Promise.all(bases.map(one))).includes(true) && h("p.finding.warning", bold(D.common(subject)), ` ${D.commonFix}`));
	};
	// At its end, too: a word that could not be kept is tried again.
	const save = (name) => (event) => busy(null, spot, async () => {
		const said = { [name]: event.target.value.trim() };
		if (said[name] === state.set[name]) return;
		await patch(`datasets/${state.set.id}`, said);
		Object.assign(state.set, said);
		read().catch(() => {});
		root.querySelector("h1").textContent = nameOf(state.set);
	});
	const box = (name, placeholder) => h("input", { value: state.set[name], placeholder, maxlength: 80, autocapitalize: "off", onchange: save(name), onblur: save(name) });
	read().catch(() => {});
	return h("div.words", field(D, "subject", box("subject", "kaiffin")), field(D, "noun", box("noun", D.nounExample)), common, spot);
}

export const configOf = (set) => ({ subject: { token: set.subject || "kaiffin", noun: set.noun }, data: {} });

/** What the newest check found, by photo; null is the whole set. */
function findings(state) {
	const found = new Map();
	const result = state.scan?.state === "done" && state.scan.result;
	const add = (name, one) => {
		const key = name ? name.replace(/\.\w+$/, "") : null;
		found.set(key, [...(found.get(key) || []), one]);
	};
	for (const one of result.findings || []) add(one.photo, one);
	for (const [name, reason] of result.refused || []) add(name, { level: "error", what: reason, fix: D.refusedFix });
	return found;
}

const LEVELS = { error: 0, warning: 1, info: 2 };
const worst = (some) => Math.min(3, ...some.map((one) => LEVELS[one.level]));
const weight = (by, photo) => (photo.left_out ? 10 : worst(by.get(photo.id) || []));

/** A photo's file names in the service's words become those that its owner knows. */
function named(state, text) {
	return state.photos.reduce((said, photo) => said.replace(new RegExp(`${photo.id}\\.\\w+`, "g"), photo.name || photo.id), text);
}

function finding(state, one) {
	const way = named(state, one.press || one.fix);
	return h(`p.finding.${one.level}`, bold(sentence(named(state, one.what))), way && ` ${sentence(way)}`);
}

function summary(told, state, by, signal) {
	const job = state.scan;
	if (!job) return put(told, state.photos.length > 0 && soft(D.unchecked));
	if (job.state !== "done") return put(told, standing(job, isLive(job) ? D.checking : W.isOver(job)));
	const [bad, weak] = [0, 1].map((level) => state.photos.filter((photo) => weight(by, photo) === level).length);
	const later = state.photos.some((photo) => photo.created > job.created);
	return put(told, h(`div.verdict.${bad ? "error" : weak ? "warning" : "good"}`,
		h("p", bold(bad || weak ? D.found(bad, weak) : D.good)),
		...(by.get(null) || []).map((one) => finding(state, one)),
		soft(D.checked(ago(job.ended)), later && ` ${D.stale}`)));
}

/** A photo; `show` says what is new about it, and leaves alone what is being typed. */
function card(state, { id, name, caption: first }, draw) {
	const picture = h("div.holder"), wrong = h("div"), acts = h("div"), spot = h("div"), base = `datasets/${state.set.id}/photos/${id}`;
	const act = (text, work) => doer(text, spot, work, { "aria-label": W.of(text, name) });
	const change = (changes) => async () => { await patch(base, changes); replace(state, id, changes); draw(); };
	let saved = first;
	const caption = h("textarea", { value: first, rows: 2, maxlength: 2000, "aria-label": D.captionOf(name), onblur: () => busy(null, spot, async () => {
		const now = caption.value.trim();
		if (now === saved) return;
		await patch(base, { caption: now });
		saved = now;
		replace(state, id, { caption: now });
		note(D.saved);
	}) });
	const made = h("li", picture, h("p.soft.name"), wrong, caption, acts, spot);
	made.show = (photo, found) => {
		const bad = found.filter((one) => one.level !== "info"), { subject, noun } = state.set, key = JSON.stringify([photo.left_out, photo.crop, bad, subject, noun]);
		if (made.key === key) return;
		made.key = key;
		made.className = `shot ${photo.left_out ? "out" : ""} ${bad[0]?.level || ""}`;
		caption.placeholder = D.captionHint(subject || "kaiffin", noun);
		put(picture, shaped(pic(() => crop(state, photo, draw),
			h("img", { src: `api/v1/${base}/shown?thumb=true`, alt: W.of(D.crop, name), loading: "lazy", width: photo.width, height: photo.height }),
			frame(photo, photo.crop || middle(photo)), photo.left_out && h("span.badge", D.out)), photo, "13rem"));
		made.children[1].textContent = `${name || id} · ${photo.width} × ${photo.height}`;
		put(wrong, bad.map((one) => finding(state, one)));
		redrawn(acts, () => put(acts, inRow(
			act(D.crop, () => crop(state, photo, draw)),
			photo.left_out ? act(D.putBack, change({ left_out: false })) : act(D.leaveOut, change({ left_out: true })),
			photo.left_out && act(W.delete, async () => {
				if (!(await sure(D.deleteSure(name), W.delete))) return;
				await remove(base);
				state.photos = state.photos.filter((one) => one.id !== id);
				draw();
			}))));
	};
	return made;
}

const replace = (state, id, changes) => { state.photos = state.photos.map((one) => (one.id === id ? { ...one, ...changes } : one)); };

/** The part that is learnt from, moved by hand, by arrows or by sliders. */
function crop(state, photo, draw) {
	const spot = h("div");
	const now = { ...(photo.crop || middle(photo)) };
	const side = Math.min(photo.width, photo.height);
	const least = Math.min(side, 64);
	const box = frame(photo, now, true);
	/** A slider from 0 to `max()`, in thousandths. */
	const range = (name, max, read, write) => {
		const made = input("range", { min: 0, max: 1000, oninput: () => { write((made.value / 1000) * max()); redraw(); } });
		return { field: field(D, name, made), sync: () => { made.value = Math.round((1000 * read()) / (max() || 1)); made.disabled = !max(); } };
	};
	const within = (at, most) => Math.round(Math.min(Math.max(0, at), most));
	const parts = [
		range("size", () => side - least, () => now.width - least, (value) => {
			const size = Math.round(least + value), by = now.width - size;
			Object.assign(now, { width: size, height: size, left: now.left + by / 2, top: now.top + by / 2 });
		}),
		range("across", () => photo.width - now.width, () => now.left, (value) => { now.left = value; }),
		range("down", () => photo.height - now.height, () => now.top, (value) => { now.top = value; }),
	];
	function redraw() {
		Object.assign(now, { left: within(now.left, photo.width - now.width), top: within(now.top, photo.height - now.height) });
		box.move(now);
		for (const part of parts) part.sync();
	}
	const stage = shaped(h("div.stage.crop-stage",
		h("img", { src: `api/v1/datasets/${state.set.id}/photos/${photo.id}/shown`, alt: D.photo(photo.name), width: photo.width, height: photo.height }), box), photo, "62vh");
	let from = null;
	stage.addEventListener("pointerdown", (event) => { from = { x: event.clientX, y: event.clientY, left: now.left, top: now.top }; stage.setPointerCapture(event.pointerId); event.preventDefault(); });
	stage.addEventListener("pointermove", (event) => {
		if (!from) return;
		const scale = photo.width / stage.clientWidth;
		Object.assign(now, { left: from.left + (event.clientX - from.x) * scale, top: from.top + (event.clientY - from.y) * scale });
		redraw();
	});
	stage.addEventListener("pointerup", () => { from = null; });
	const store = (name, value, props) => doer(name, spot, async () => {
		replace(state, photo.id, { crop: (await patch(`datasets/${state.set.id}/photos/${photo.id}`, { crop: value })).crop });
		window_.close();
		draw();
	}, props);
	const window_ = dialog(W.of(D.crop, photo.name), h("div.cropper", stage,
		h("div", soft(D.cropLead), parts.map((part) => part.field),
			inRow(store(D.cropSave, now, "main"), photo.crop && store(D.whole, null)), spot)));
	redraw();
}
