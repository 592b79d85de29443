// Compare: the same prompts and seeds of two to six models, side by side; blind, if wished.
import { Problem, api, every, fileOf, get, hear, isLive, nameOf, newest, on, submit, whoOf } from "./api.js";
import { aside, button, doer, field, form, h, h2, heading, input, inRow, line, link, numbered, option, pic, put, redrawn, sentence, share, soft, table, ticked, typing } from "./dom.js";
import { small } from "./gallery.js";
import { choose, linesOf, models, picked, staged } from "./generate.js";
import { follow, standing } from "./jobs.js";
import { zoom } from "./viewer.js";
import { W } from "./words.js";

const C = W.compare;
const MOST = 6;

export async function view(root, id, query, signal) {
	const [runs, bases] = await Promise.all([every("runs"), get("bases", signal)]);
	root.append(...heading(C.over, C.title, C.lead));
	if (id) await shown(root, id.split(","), query, runs, signal);
	else root.append(asking(runs.filter((one) => one.state === "done"), bases));
}

function asking(runs, bases) {
	const place = h("div.narrow"), list = h("div.rivals"), more = button(C.add, () => { add(); changed(); });
	const { keep, typed } = typing(place, () => ({ rivals: [...list.children].map((row) => row.read()), prompts: prompts.value, count: count.value, blind: blind.checked }));
	const changed = () => { more.hidden = list.children.length >= MOST; keep(); };

	function add(one = {}) {
		const checkpoint = h("select", { "aria-label": C.checkpoint }), model = models(runs, bases, () => load(), C.model);
		const load = async (stage = "") => {
			const { run } = picked(model, checkpoint);
			checkpoint.hidden = !run;
			put(checkpoint, option(stage, ""));
			if (run) staged(checkpoint, await get(`runs/${run}`), stage);
		};
		const row = h("div.rival", model, checkpoint, button(W.remove, () => { row.remove(); changed(); }));
		row.read = () => picked(model, checkpoint);
		list.append(row);
		choose(model, one);
		load(one.checkpoint);
	}

	const first = runs[0];
	const prompts = h("textarea", { rows: 4, required: true, value: typed?.prompts ?? C.prompts(first ? whoOf(first) : "kaiffin penguin") });
	const count = numbered({ min: 1, max: 8, value: typed?.count ?? 2, required: true }), blind = input("checkbox", { checked: typed?.blind });
	for (const one of typed?.rivals || [{ checkpoint: "best" }, { base: first ? first.base : bases.at(-1).name }]) add(one);
	more.hidden = list.children.length >= MOST;
	place.append(form(C.go, async () => {
		const rows = [...list.children], made = [];
		if (rows.length < 2) throw new Problem(C.two);
		const asked = { prompts: linesOf(prompts), count: Number(count.value), seed: 1 };
		for (const row of rows) made.push((await submit("generate", { ...row.read(), ...asked })).id);
		location.hash = `#/compare/${made}${blind.checked ? "?blind=1" : ""}`;
	}, [h("fieldset.field", h("legend", C.models), list, more), field(C, "promptsLabel", prompts), field(C, "count", count), ticked(C.blind, blind)]));
	return place;
}

/** Where a picture stands when names are hidden: the same whenever the page is loaded. */
const scatter = (text) => [...text].reduce((sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) >>> 0, 7);

async function shown(root, ids, query, runs, signal) {
	const blind = query.get("blind") === "1";
	/** Trainings of one name are told apart by their time. */
	const called = (id) => {
		const run = runs.find((one) => one.id === id), name = run && nameOf(run);
		return runs.filter((one) => nameOf(one) === name).length > 1 ? `${name} (${new Date(1000 * run.created).toLocaleString()})` : name;
	};
	const rivals = await Promise.all(ids.map(async (id) => {
		const job = await get(`jobs/${id}`, signal), run = called(job.request.run);
		const step = job.request.checkpoint;
		return { id, job, name: run ? `${run}${step ? `, ${step === "best" ? W.generate.best : W.run.step(step)}` : ""}` : job.request.base, images: [] };
	}));
	const status = h("div"), rows = h(ids.length > 2 ? "div.rows" : "div.rows.two-each"), votes = h("section.votes", { "aria-live": "polite" }), scores = h("section.scores");
	root.append(inRow(link(C.other, "#/compare", "button"), aside(blind ? C.blindLead : C.openLead)), status, rows, votes, scores);

	async function load(one) {
		one.images = (await get(`images?job=${one.id}&limit=200`, signal)).items;
		draw();
	}

	// {token} and {noun} are filled in by then: a prompt is known by its place among the job's.
	function of(rival, number, seed) {
		const texts = [...new Set([...rival.images].reverse().map((image) => image.prompt))];
		const { prompts } = rival.job.request;
		const text = texts.includes(prompts[number]) ? prompts[number] : texts[number];
		return rival.images.find((image) => image.seed === seed && image.prompt === text);
	}

	function lines() {
		const { prompts, count, seed: first } = rivals[0].job.request;
		return prompts.flatMap((prompt, number) => [...Array(count).keys()].map((k) => ({ seed: first + k, prompt,
			cells: rivals.map((rival) => ({ rival, image: of(rival, number, first + k) })) })));
	}

	// A vote is for the pictures of a row, once all are there.
	const winners = new Map((await get(`votes?jobs=${ids}`, signal)).map((one) => [one.images.join(), one.won]));
	const key = (row) => row.cells.map((cell) => cell.image?.id).sort().join();
	const wins = (row, cell) => Boolean(cell.image) && winners.get(key(row)) === cell.image.id;
	const voted = (row) => row.cells.find((cell) => wins(row, cell));

	function draw() {
		const all = lines(), left = all.filter((row) => !voted(row)).length, open = !blind || left === 0;
		const said = (cell, i) => (open ? cell.rival.name : C.letter(i));
		put(rows, all.map((row) => {
			const place = ({ rival }) => scatter(`${rival.id}${row.seed}${row.prompt}`);
			const cells = open ? row.cells : row.cells.toSorted((a, b) => place(a) - place(b));
			const full = cells.filter((cell) => cell.image);
			const spot = h("div");
			return h("figure.card.line-of", h("figcaption", row.prompt, aside(` · ${W.seed(row.seed)}`)),
				h("div.side-by-side", cells.map((cell, i) => h(wins(row, cell) ? "div.cell.winner" : "div.cell", aside(said(cell, i)),
					cell.image ? pic(() => zoom(full.map((one, k) => ({ src: `api/v1/images/${one.image.id}/file`, alt: row.prompt, title: said(one, k) })), full.indexOf(cell)),
						small(cell.image, `${said(cell, i)}: ${row.prompt}`)) : h("span.gone", W.states.queued),
					full.length === cells.length && doer(wins(row, cell) ? C.voted : C.vote, spot, () => vote(row, cell), { "aria-pressed": String(wins(row, cell)), "aria-label": C.voteFor(said(cell, i), row.prompt, row.seed) })))), spot);
		}));
		counted(all, left, open);
	}

	async function vote(row, cell) {
		const won = wins(row, cell) ? null : cell.image.id;
		await api("votes", { method: "PUT", body: { images: key(row).split(","), won } });
		winners.set(key(row), won);
		redrawn(rows, draw);
	}

	function counted(all, left, open) {
		const of = all.length - left;
		if (!open || !of) return put(votes, !open && soft(C.left(left)));
		const chance = 1 / rivals.length;
		return put(votes, h2(C.votes), table([C.model, C.preferred, C.interval], rivals.map((rival) => {
			const won = all.filter((row) => voted(row)?.rival === rival).length, { low, high } = share(won, of);
			return line(rival.name, C.wonOf(won, of), [C.between(low, high), aside(low > chance ? C.more : high < chance ? C.less : C.unclear)]);
		})), soft(C.votesNote));
	}

	for (const rival of rivals) {
		on("picture", (one) => one.job === rival.id && load(rival), signal);
		const place = h("div");
		status.append(place);
		follow(rival.id, signal, (now) => {
			put(place, now.state !== "done" && standing(now));
			if (now.state === "done") load(rival);
		});
	}
	for (const rival of rivals) await load(rival);
	const trained = [...new Set(rivals.map((one) => one.job.request.run).filter(Boolean))];
	if (trained.length > 1) await judged(scores, trained, called, signal);
}

/** Scores of whole trainings against each other, with their intervals. */
async function judged(place, runs, called, signal) {
	const spot = h("div"), result = h("div", { "aria-live": "polite" });
	const before = await newest("compare", (asked) => asked.runs.join() === runs.join(), signal);
	const draw = (job) => {
		begin.hidden = isLive(job);
		if (job.state !== "done") return put(result, standing(job));
		const { differences, titles, note, files } = job.result, [first, ...others] = runs.map(called);
		return put(result, table([C.measure, ...others.map((name) => C.against(name, first))], Object.keys(differences[0] || {}).map((measure) => line(titles[measure],
			...differences.map((one) => one[measure] && [C.difference(one[measure].interval), aside(C.verdicts[one[measure].verdict] || one[measure].verdict)])))),
			note && soft(sentence(note)), h("img.whole-sheet", { src: fileOf(job, files[0]), alt: C.sheet }));
	};
	const watch = (job) => follow(job.id, signal, draw);
	const begin = doer(C.score, spot, async () => watch(await submit("compare", { runs })));
	put(place, h2(C.scores), soft(C.scoresLead), begin, spot, result);
	if (before) watch(hear(before));
}
