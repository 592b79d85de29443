// Fine-tune: what it will take, first; then the start.
import { get, nameOf, post } from "./api.js";
import { ago, aside, bold, bytes, doer, duration, field, fold, h, h2, heading, link, nothing, option, put, say, sentence, settled, soft, typing } from "./dom.js";
import { configOf } from "./dataset.js";
import { settings } from "./form.js";
import { begin } from "./jobs.js";
import { run } from "./run.js";
import { W } from "./words.js";

const T = W.tune;
// What the page asks by itself, or what has its own place.
const ELSEWHERE = ["subject.token", "subject.noun", "base.name", "data.prior.prompt"];

export async function view(root, id, query, signal) {
	if (id) return run(root, id, signal);
	const [sets, runs, bases, schema] = await Promise.all([
		get("datasets?limit=200", signal), get("runs?limit=100", signal), get("bases", signal), get("schema", signal)]);
	const full = sets.items.filter((set) => set.photos);
	root.append(...heading(T.over, T.title, T.lead));
	if (full.length) root.append(start(full, bases, schema.config, query, signal));
	else root.append(nothing(T.noPhotos, T.toPhotos, "#/dataset"));
	if (runs.items.length) root.append(h("section", h2(T.earlier), h("ul.plain.runs", runs.items.map(row))));
}

function row(one) {
	return h("li", link(nameOf(one), `#/tune/${one.id}`), h(`span.state.${one.state}`, W.states[one.state]),
		aside(`${one.base} · ${ago(one.created)}`));
}

function start(sets, bases, schema, query, signal) {
	const spot = h("div"), planned = h("div.plan", { "aria-live": "polite" }), place = h("div.start");
	const { typed } = typing(place, () => ({ dataset: which.value, base: base.value, name: name.value, given: form.given() }));
	const chosen = () => sets.find((set) => set.id === which.value);
	const which = h("select", { onchange: () => plan() }, sets.map((set) => option(set.id, `${nameOf(set)} (${W.photos(set.photos)})`, query.get("dataset") || typed?.dataset)));
	const base = h("select", { onchange: () => plan() }, bases.map((one) => option(one.name, `${one.name} ${W.bases[one.name] || ""}`, typed?.base)));
	const name = h("input", { maxlength: 80, placeholder: T.nameExample, value: typed?.name });
	const form = settings(schema, { without: ELSEWHERE, changed: () => plan(), given: typed?.given });
	const go = doer(T.start, spot, () => begin("train", request()), "main");

	function request() {
		const config = form.values(), own = configOf(chosen());
		config.subject = { ...config.subject, ...own.subject };
		config.base = { ...config.base, name: base.value };
		config.data = { skip_bad: true, ...config.data };
		return { dataset: which.value, name: name.value.trim(), config };
	}

	let turn = 0;
	const plan = settled(async () => {
		const mine = (turn += 1);
		planned.classList.add("waiting");
		const draw = await post("plans", request(), { signal }).then((found) => () => put(planned, plans(found, chosen())), (error) => () => say(planned, error));
		if (mine !== turn || signal.aborted) return;
		draw();
		planned.classList.remove("waiting");
	}, 350);

	put(planned, soft(T.planning), h("progress", { "aria-label": T.planning }));
	plan();
	place.append(
		h("div.words", field(T, "photos", which), field(T, "base", base)),
		planned,
		h("div.row.go", go, aside(T.startNote)), spot,
		h("details.all", h("summary", T.settings), soft(T.settingsLead), field(T, "name", name), form.element));
	return place;
}

function plans(found, set) {
	const tile = (title, number, note) => h("div.tile", soft(title), h("p.number", number), soft(note));
	return h("div",
		h2(T.plan),
		h("div.tiles", tile(T.time, duration(found.seconds), T.timeNote), tile(T.steps, found.steps, T.epochs(found.epochs)),
			tile(T.memory, bytes(found.memory), found.fits ? T.fits(bytes(found.room)) : T.tooMuch(bytes(found.room)))),
		!found.fits && h("div.verdict.bad", h("p", bold(T.noFit)), found.helps.map((one) => h("p", h("code", one.settings), ` ${sentence(`${one.price}; ${bytes(one.memory)}`)}`))),
		!set.noun && h("p.finding.warning", bold(T.noNoun), " ", link(T.sayNoun, `#/dataset/${set.id}`)),
		found.derived.length > 0 && fold(T.derived(found.derived.length), h("ul", found.derived.map((line) => h("li", line)))));
}
