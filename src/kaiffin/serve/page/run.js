// One training: while it learns, and what came of it.
import { fileOf, get, isLive, nameOf, newest, on, refresh, submit } from "./api.js";
import { aside, bold, doer, duration, fold, h, h2, heading, input, inRow, link, pic, plot, put, say, sentence, soft, terms, throttled } from "./dom.js";
import { follow, standing } from "./jobs.js";
import { stopsSlider } from "./slider.js";
import { zoom } from "./viewer.js";
import { W } from "./words.js";

const R = W.run;

export async function run(root, id, signal) {
	const state = { id, signal, run: await get(`runs/${id}`, signal) };
	const parts = Object.fromEntries(["status", "choice", "pictures", "charts", "files", "given"].map((name) => [name, h(`section.${name}`)]));
	root.append(...heading(link(R.all, "#/tune"), nameOf(state.run)), ...Object.values(parts));
	state.choosing = await newest("choose", (asked) => asked.run === id, signal);

	let drawn = -1;
	const live = throttled(async () => {
		const seen = state.job?.progress?.done ?? 0;
		if (signal.aborted || seen === drawn) return;
		drawn = seen;
		if (!begun(state)) state.run = await get(`runs/${id}`, signal);
		await Promise.all([state.choice || previews(state, parts.pictures), charts(state, parts.charts)]).catch((error) => error.problem || console.error(error));
	}, 2000);

	const whole = async () => {
		state.run = await get(`runs/${id}`, signal);
		[state.choice, state.said] = state.run.files.includes("best.safetensors") ? await Promise.all(["choice", "choice/said"].map((what) => get(`runs/${id}/${what}`, signal))) : [null];
		files(state, parts.files);
		facts(state, parts.given);
		choice(state, parts.choice);
		if (state.choice) slider(state, parts.pictures);
		else await previews(state, parts.pictures);
		await charts(state, parts.charts);
	};

	const redo = (job, before) => {
		state.job = job;
		status(state, parts.status);
		if (before && before.state !== job.state && !isLive(job)) whole().catch((error) => say(parts.files, error));
		else if (isLive(job)) live();
	};
	await refresh(id);
	follow(id, signal, redo);
	on("job", ({ job, before }) => {
		if (job.kind !== "choose" || job.request?.run !== id || job.created < state.choosing?.created) return;
		state.choosing = job;
		choice(state, parts.choice);
		if (before && before.state !== job.state && job.state === "done") whole().catch(() => {});
	}, signal);
	await whole();
}

const begun = (state) => Object.keys(state.run.settings).length > 0;

function status(state, place) {
	const { job } = state;
	if (job.state === "done") {
		return put(place, h("p.lead", R.done(duration(job.ended - job.begun))),
			inRow(link(R.generate, `#/generate?run=${state.id}`, "button main")));
	}
	return put(place, standing(job, R.states[job.state] || W.states[job.state]), ["queued", "running"].includes(job.state) && soft(R.leave));
}

async function previews(state, place) {
	const found = begun(state) ? await get(`runs/${state.id}/previews`) : [];
	if (!found.length) return put(place, isLive(state.job) && [h2(R.previews), soft(R.noPreviews)]);
	const last = found.at(-1);
	if (state.shown === last) return;
	state.shown = last;
	const src = (number) => `api/v1/runs/${state.id}/previews/${number}`;
	put(place, h2(R.previews), soft(R.previewsLead),
		h("div.newest", pic(() => zoom(found.map((number) => ({ src: src(number), alt: R.preview(number + 1) })), found.length - 1), h("img", { src: src(last), alt: R.preview(last + 1) }))));
}

async function charts(state, place) {
	const found = begun(state) ? await get(`runs/${state.id}/charts`) : [];
	if (!found.length) return;
	const open = place.querySelector("details")?.open;
	put(place, h("details", { open: open ?? isLive(state.job) }, h("summary", R.charts), soft(R.chartsLead),
		h("div.plots", found.map(plot))));
}

/** Pictures of every checkpoint on the same prompts and seeds, through a slider. */
function slider(state, place) {
	const { choice } = state, seeds = choice.set.seeds;
	const slots = choice.set.prompts.flatMap((prompt, i) => seeds.map((seed, k) => ({ prompt: prompt.text, seed, slot: i * seeds.length + k }))).slice(0, 24);
	const src = (step, slot) => `api/v1/runs/${state.id}/judged/${step}/${slot}`;
	const stops = [{ step: 0, label: R.base, said: R.baseSaid, chosen: false },
		...choice.candidates.map((one) => ({ step: one.step, label: R.step(one.step), said: R.said(one), chosen: one.step === choice.chosen }))];
	const images = slots.map((one) => h("img", { alt: "", width: 256, height: 256, loading: "lazy" }));
	let at = 0;
	const cards = slots.map((one, i) => h("figure.card",
		pic(() => zoom(slots.map((slot) => ({ src: src(stops[at].step, slot.slot), alt: `${slot.prompt}, ${stops[at].label}` })), i), images[i]),
		h("figcaption", one.prompt, aside(W.seed(one.seed)))));
	const range = input("range", { min: 0, step: 1, id: "checkpoint" });
	const bar = h("div.slider", h("label", { for: "checkpoint" }, W.generate.checkpoint), h("p.said", bold(), " ", aside()), range, h("div.stops", { "aria-hidden": "true" }));
	const use = link(R.useThis, "#/generate", "button");
	put(place, h2(R.checkpoints), soft(R.sliderLead), bar, inRow(use), h("div.cards.small", cards));
	const made = stopsSlider(bar, stops, (stop, number) => {
		at = number;
		images.forEach((image, i) => { image.src = src(stop.step, slots[i].slot); image.alt = `${slots[i].prompt}, ${stop.label}`; });
		use.href = stop.step ? `#/generate?run=${state.id}&checkpoint=${stop.step}` : `#/generate?base=${state.run.base}`;
	});
	made.set(stops.findIndex((stop) => stop.chosen));
}

function choice(state, place) {
	const { choice: found, choosing, run: one } = state, spot = h("div");
	if (choosing && !["done", "cancelled"].includes(choosing.state)) return put(place, standing(choosing, R.choosing));
	if (found) {
		return put(place, h("div.verdict.good", h("p", bold(R.chosen(found.chosen))), state.said.map((line) => h("p", sentence(line)))));
	}
	if (!one.finished || !one.candidates.length) return put(place);
	return put(place, h("div.verdict", h("p", bold(R.chooseTitle)), h("p", R.chooseLead(one.candidates.length)),
		inRow(doer(R.choose, spot, () => submit("choose", { run: state.id }), "main")), spot));
}

function files(state, place) {
	if (!state.run.finished) return put(place);
	const badge = Object.entries(state.job.result?.proofs || {}).map(([name, proof]) => (proof.problems.length
		? h("div.proof.bad", h("span.badge", R.proofBad), ` ${proof.problems.map(sentence).join(" ")}`)
		: h("div.proof.good", h("span.badge", R.proofGood), ` ${R.proof}`, fold(R.proofMore, soft(R.proofNumbers(proof, name))))));
	/** What is made when it is asked for; then a link stands beside. */
	const making = ([text, where, waiting, ready], kind, request, href, props) => {
		const made = h("div");
		return h("li", doer(text, made, async () => {
			const job = await submit(kind, request);
			follow(job.id, state.signal, (now) => {
				if (now.state === "done") put(made, link(ready, href(now), { class: "button", ...props }));
				else if (now.problem) say(made, now);
				else put(made, soft(waiting));
			});
		}), aside(where), made);
	};
	return put(place, h2(R.download), badge,
		h("ul.plain.files", Object.entries(R.files).filter(([name]) => state.run.files.includes(name)).map(([name, [text, where]]) => h("li",
			link(text, `api/v1/runs/${state.id}/files/${name}`, { class: "button", download: true }), aside(where))),
		making(R.diffusers, "export", { run: state.id, to: "diffusers" }, (job) => fileOf(job, job.result.files[0]), { download: true }),
		making(R.report, "report", { runs: [state.id] }, () => `api/v1/runs/${state.id}/report/shown`, { target: "_blank", rel: "noopener" })));
}

function facts(state, place) {
	if (!begun(state)) return put(place);
	const given = Object.entries(state.run.settings).filter(([, value]) => value !== null && typeof value !== "object");
	return put(place, fold(W.tune.settings, h("dl.facts", terms(given))));
}
