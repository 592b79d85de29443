// Every word of the page, in one place.

const many = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;
const percent = (value) => `${Math.round(100 * value)} %`;
const KINDS = {
	scan: "Check of photos", train: "Training", generate: "Pictures", choose: "Choosing a checkpoint", rank: "Ranking of pictures",
	compare: "Scoring of trainings", grid: "Grid", sweep: "Sweep", report: "Report", export: "File for other programs",
};

export const W = {
	title: (part) => `${part} · Kaiffin`,
	toStart: "To the start",
	jobs: "Jobs", close: "Close", cancel: "Cancel", undo: "Undo", again: "Try again", previous: "previous picture", following: "next picture",
	dismiss: "OK",
	nth: (at, of) => `${at} of ${of}`, seed: (seed) => `seed ${seed}`, photos: (count) => many(count, "photo"),
	seconds: (n) => `${n} s`, minutes: (n) => `${n} min`, hours: (h, m) => `${h} h ${m} min`, justNow: "just now", ago: (text) => `${text} ago`,

	login: "Log in to Kaiffin", key: "Key", enter: "Log in", keyHint: "A long word that whoever runs this service gave you.",
	loginLead: "Open the address that Kaiffin printed at its start, or type a key.",
	usedToken: "This address has been used, or is of an earlier start. Use the newest address, or type a key.",

	lineGone: "The service does not answer. What runs goes on; this page tries again by itself.", lineBack: "The service answers again.",
	offline: "The service does not answer", offlineWay: "What you typed is still here. Try again in a moment.",
	uploadWay: "Choose this photo again in a moment.", odd: (status) => `The service answered with ${status}`, fieldWay: "Change it, and try again.",

	states: { queued: "waiting", running: "running", pausing: "pausing", paused: "paused", done: "done", failed: "failed", cancelled: "stopped", held: "stuck" },
	jobTitle: (job) => {
		const asked = job.request || {}, name = asked.name || (asked.config?.subject ? `${asked.config.subject.token} ${asked.config.subject.noun}`.trim() : "") || asked.prompts?.[0] || "";
		return `${KINDS[job.kind] || job.kind}${name ? `: ${name.slice(0, 60)}` : ""}`;
	},
	acts: { cancel: "Stop", pause: "Pause", resume: "Go on", retry: "Try again" }, actOn: (act, title) => `${act}: ${title}`, of: (act, name) => `${act} ${name}`,
	ahead: (count) => `Waits behind ${many(count, "other job")}.`, next: "Is next.",
	progress: (done, total, what) => [what.replace(/^training\b.*/, "step").replace(/^class pictures$/, "pictures of its kind, so that the others stay as they are:") || "starting", total ? `${done} of ${total}` : done || ""].filter(Boolean).join(" "), left: (text) => `about ${text} left`,
	tellMe: "Tell me when something is done", told: "Your browser will say it when this page is not looked at.", notTold: "Your browser does not allow it.", isOver: (job) => `${W.jobTitle(job)}: ${W.states[job.state]}`,
	noJobs: "Nothing yet. What you ask for appears here, and goes on when this page is closed.",
	now: "Now", troubled: "Needs a look", over: "Finished",

	bases: { miniature: "miniature (a toy, 64 pixels, quick)", "miniature-xl": "miniature-xl (a toy in SDXL's shape)" },
	values: { true: "yes", false: "no" },

	upload: {
		files: "Choose photos", folder: "Choose a folder", camera: "Take a photo",
		noPhoto: (name) => `no photo: ${name}`, photosOnly: "Photos are files such as JPEG, PNG, WebP and HEIC.",
	},

	dataset: {
		over: "Dataset", welcome: "Welcome", title: "Your photos", lead: "Each set of photos shows one thing: a toy, a pet, a person, a product.",
		first: "Teach it something you love", firstLead: "A few photos are enough. Kaiffin learns to draw it, in any place you can describe.",
		drop: "Drop 3 to 20 photos of one thing here", take: "3 to 20 photos of one thing", dropMore: "Drop more photos here", takeMore: "More photos", example: "Try it with Kaiffin",
		exampleNote: "No photos at hand? Six drawn ones of a puffin in a helmet show every step.",
		yours: "Sets of photos", empty: "no photos yet", nameless: (at) => `Photos of ${new Date(at * 1000).toLocaleDateString()}`,
		steps: [["Photos", "Drop them, and see at once which ones help and which ones do not."],
			["Learning", "One button. You see pictures while it learns, and can pause at any time."], ["Pictures", "Describe a scene. Your thing is in it."]],
		all: "All photos", sheet: "contact sheet", more: "More", remove: "Remove this set", removeSure: (name) => `Remove ${name} with all its photos?`,
		removeNote: "Trainings that were made with it stay.",
		subject: "A word for it", subjectHint: "A rare word that will mean it. A common one keeps its old meaning.",
		common: (word) => `${word} is a word that the base model knows.`, commonFix: "Choose a rarer one.",
		noun: "What it is", nounHint: "Its kind, in one or two words.", nounExample: "puffin, dog, teapot",
		count: (used, out) => `${many(used, "photo")} to learn from${out ? `, ${out} left out` : ""}`, none: "No photos yet.",
		next: "Next: Fine-tune", check: "Check photos", checking: "Looking at every photo …",
		unchecked: "Not checked yet. A check takes a few seconds and may save an hour.",
		found: (bad, weak) => `${bad ? `${many(bad, "photo")} cannot be learnt from as ${bad === 1 ? "it is" : "they are"}.` : "All can be used."}${weak ? ` ${many(weak, "photo")} could be better.` : ""}`, good: "Good photos. Nothing to mend.",
		checked: (when) => `Checked ${when}.`, stale: "There are new photos since: check again.", refusedFix: "Leave it out, or use another one.",
		twin: "is here already: it is kept once", photo: (name) => `photo ${name}`, captionOf: (name) => `what ${name} shows`,
		captionHint: (word, noun) => `a photo of ${word} ${noun}`.trim(), saved: "Saved.",
		out: "left out", leaveOut: "Leave out", putBack: "Put back", delete: "Delete", crop: "Crop",
		deleteSure: (name) => `Delete ${name} for good?`,
		cropLead: "What is inside the frame is learnt. Drag it, or use the sliders.", size: "Size", across: "Left to right", down: "Top to bottom",
		cropSave: "Keep this part", whole: "Whole photo again",
	},

	tune: {
		over: "Fine-tune", title: "Let it learn", lead: "It looks at your photos until the word means your thing.",
		noPhotos: "It needs photos of one thing to learn from.", toPhotos: "Add photos", earlier: "Trainings",
		photos: "Photos", photosHint: "What it learns from.", base: "Base model", baseHint: "It draws many things already, and learns yours.",
		name: "Name", nameExample: "left out: the word and what it is",
		plan: "What it will take", planning: "Working out what it will take …", time: "Time", timeNote: "about, on this machine", steps: "Steps",
		epochs: (count) => `each photo about ${Math.max(1, Math.round(count))} times`, memory: "Memory", fits: (room) => `fits into ${room}`, tooMuch: (room) => `more than the ${room} there are`,
		noFit: "It does not fit into the memory of this machine. These settings would help:", noNoun: "You have not said what it is.", sayNoun: "Say it: it learns faster.",
		derived: (count) => `${many(count, "setting")} that Kaiffin chose for these photos`,
		start: "Start training", startNote: "You can pause, leave and come back.", settings: "All settings", settingsLead: "Nothing here has to be changed.",
	},
	settingsForm: {
		search: "Search settings", only: "only changed ones", reset: "Reset all", resetOne: "Reset", resetOf: (name) => `Reset ${name}`, mark: "changed", derived: "chosen for you",
		changed: (count) => `${many(count, "setting")} changed`, unchanged: "All as Kaiffin chooses them.", changedHere: (count) => `${count} changed`,
		default: (value) => (value === null || value === "" || value.length === 0 ? "" : `Otherwise ${W.values[String(value)] || [value].flat().join(", ")}.`),
		eachLine: "One on each line.", byCommas: "Several are separated by commas.", add: "Add one", drop: "Remove",
		sections: { subject: "Subject", base: "Base", data: "Photos", adapter: "What is trained", embedding: "The word itself", loss: "Loss", train: "Training", sample: "Pictures on the way", score: "Judging", noise: "Noise", phases: "Phases" },
	},
	run: {
		all: "All trainings", generate: "Make pictures", done: (time) => `It has learnt, in ${time}.`,
		states: { queued: "Waits for its turn", running: "Learning", pausing: "Saving, then pausing", paused: "Paused. Nothing is lost.", failed: "It stopped", held: "It stopped three times, and waits for you", cancelled: "Stopped" },
		leave: "You may close this page: it goes on.", previews: "Pictures on the way", previewsLead: "What it draws now. Press for earlier ones.",
		noPreviews: "The first picture appears here after some steps.", preview: (number) => `picture ${number} on the way`,
		charts: "Curves", chartsLead: "How the pictures look says more.",
		base: "base", baseSaid: "as it was, before learning", step: (step) => `step ${step}`,
		said: (one) => [["likeness", one.means.likeness], ["prompt", one.means.prompt_share], ["overall", one.overall]].filter(([, value]) => value).map(([name, value]) => `${name} ${value.mean.toFixed(2)}`).join(" · "),
		checkpoint: "Checkpoint", checkpoints: "From before learning to the end", sliderLead: "The same scenes from the same start, at every stage. Too late, it draws nothing else.",
		useThis: "Make pictures with this one", chooseTitle: "Which stage is the best?",
		chooseLead: (count) => `${many(count, "stage")} of the training ${count === 1 ? "was" : "were"} kept. Kaiffin can draw with each, measure, and say which one to take and how sure that is.`,
		choose: "Choose for me", choosing: "Making and measuring pictures of every stage …",
		chosen: (step) => `Step ${step} is chosen.`,
		download: "Take it with you", proofGood: "proven", proofBad: "not proven", proofMore: "The numbers",
		proof: "Another program reads it and draws the same.",
		proofNumbers: (proof, name) => `${name}: ${Object.values(proof.layers).reduce((a, b) => a + b, 0)} layers, largest difference ${Number(proof.difference).toExponential(0)}, allowed ${Number(proof.allowed).toExponential(0)}, effect of the adapter ${Number(proof.effect).toPrecision(2)}.`,
		files: {
			"best.safetensors": ["Download the chosen adapter", "For A1111 (folder models/Lora), ComfyUI (models/loras) and others, in kohya's layout."],
			"adapter.safetensors": ["Download adapter", "The same of the last step."],
			"comfyui.json": ["Download ComfyUI workflow", "Drop it onto ComfyUI's canvas; it names the adapter."],
		},
		diffusers: ["Make a file for diffusers", "For programs: pipeline.load_lora_weights(FILE).", "Converting …", "Download for diffusers"],
		settings: "All settings of this training",
		report: ["Make the report", "All of it on one page, with the numbers, to keep or to send.", "Writing it …", "Open the report"],
	},

	generate: {
		title: "Make pictures", with: "With", yours: "What you taught", plainBases: "As it was, without learning", checkpoint: "Checkpoint", last: "last step", best: "chosen",
		prompt: "What to draw", promptHint: "One prompt on each line.", promptExample: "a penguin on an icy cliff", firstPrompt: (who) => `a photo of ${who} on an icy cliff`,
		scenes: ["in the snow", "on the beach", "in a forest", "in space", "at night"], add: (text) => `add "${text}"`,
		original: "the first one", varied: "The first one, and the next four seeds with the same settings. Another seed is another picture, not a small change.",
		count: "How many", keep: "Keep the best", keepHint: "By score; empty keeps all.", all: "all", strength: "Strength", strengthHint: "How much of what was learnt is used.",
		go: "Generate", more: "More settings", negative: "Not in it", negativeHint: "What to stay away from.", steps: "Steps", stepsHint: "More is slower, and finer to a point.",
		guidance: "Guidance", guidanceHint: "Higher keeps closer to the words.", sampler: "Sampler", seed: "Seed", seedHint: "The same number gives the same picture.", chance: "by chance", size: "Size: width and height", width: "width in pixels", height: "height in pixels", own: "the base's own",
		fromPicture: "Read settings from a PNG", fromPictureHint: "Or drop one here, made by Kaiffin or A1111.",
		filled: "The form has its settings.", noRequest: "It came with a grid: this form has no place for that.", noRuns: "Nothing has been taught yet. You can draw with the plain base meanwhile.", toTune: "Teach it something",
		result: "Your pictures", waiting: "waiting", partial: "a picture in the making", drawing: "drawing", scored: "The best first. The first number is nearness to the words, the second nearness to the photos.",
		chosen: (prompt, like) => `kept · ${W.generate.score(prompt, like)}`, score: (prompt, like) => `${score(prompt)}${score(like, " · ")}`,
		gridButton: "Grid …", gridTitle: "Grid", gridLead: "The first prompt on one seed, with two settings changed step by step.", gridGo: "Make the grid", gridMaking: "Drawing the grid …", across: "Across", down: "Down", values: "Values", gridAlt: (axes) => `grid of pictures: ${axes}`, gridNote: "Press to download.",
		axes: { guidance: ["guidance", "3, 5, 8"], steps: ["steps", "8, 15, 25"], seed: ["seed", "1, 2, 3"], sampler: ["sampler", "ddim, euler, dpm++2m"] },
	},
	gallery: {
		title: "All pictures", search: "Search prompts", liked: "favourites", choose: "Choose several", stopChoosing: "Done choosing", chosen: (count) => `${count} chosen`, chooseAll: "Choose all of these", pick: (text) => `choose ${text}`,
		zip: (parts, from, of) => `Download as zip${parts > 1 ? `, ${from + 1} to ${Math.min(from + 200, of)}` : ""}`, delete: "Delete", deleted: (count) => `${many(count, "picture")} deleted.`, none: "No picture fits.", empty: "Pictures that you make stay here.", isLiked: "a favourite",
		like: "♡ Favourite", unlike: "♥ Favourite", use: "Use these settings", again: "Again", vary: "Vary", compare: "Compare with the base", download: "Download", making: "Drawing the same with the base …", base: "The base as it was, same seed", baseAlt: (prompt) => `base: ${prompt}`, noBase: "the base's picture was not made",
		facts: ({ request: asked, base, adapters }) => [["prompt", asked.prompt], ["not in it", asked.negative], ["seed", asked.seed], ["sampler, steps, guidance", `${asked.sampler}, ${asked.steps}, ${asked.guidance}`],
			["pixels", `${asked.width} × ${asked.height}`], ["base", base.name], ...adapters.map((one) => ["adapter", `${one.name} × ${one.weight}`])],
	},
	compare: {
		over: "Compare", title: "Which one is better?", lead: "The same scenes, drawn from the same start, side by side.", models: "What is compared", model: "model", checkpoint: "checkpoint", add: "Add another", drop: "Remove",
		prompts: (who) => [`a photo of ${who} in the snow`, `a photo of ${who} in a forest`, `a photo of ${who} in space`].join("\n"), promptsLabel: "Prompts", promptsHint: "One on each line.", count: "Pictures of each prompt",
		blind: "Blind: names are hidden until I have voted everywhere", go: "Make the pictures", two: "Name at least two.", other: "Another comparison", blindLead: "Names are hidden until every row has a vote.", openLead: "Vote for the best of each row.",
		letter: (i) => `picture ${"ABCDEF"[i]}`, coming: "waiting", vote: "This one", voted: "✓ This one", voteFor: (name, prompt, seed) => `this one: ${name}, ${prompt}, seed ${seed}`, left: (count) => `${many(count, "row")} without a vote.`,
		votes: "Your votes", preferred: "preferred", interval: "with more votes it would be", wonOf: (won, of) => `${won} of ${of}`, between: (low, high) => `${percent(low)} to ${percent(high)}`, more: "clearly more than chance", less: "clearly less than chance", unclear: "could be chance", votesNote: "95 % intervals (Wilson).",
		scores: "Scores", scoresLead: "Kaiffin can measure the trainings on its own prompts.", score: "Score them", measure: "measure", against: (name, first) => `${name} against ${first}`, difference: ({ mean, low, high }) => `${mean.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})`, verdicts: { "no difference": "no clear difference", better: "clearly better", worse: "clearly worse" }, sheet: "pictures of all trainings on the same prompts",
	},
	settings: {
		title: "Settings", you: "You", who: (user, scopes) => `You are ${user}. You may ${scopes}.`, out: "Log out",
		quota: { pictures: (n) => `${many(n, "picture")} a day`, queued: (n) => `${many(n, "job")} at a time`, bytes: (n) => `${Math.round(n / 1e6)} MB` },
		bases: "Base models", basesLead: "What can learn. Nothing is downloaded by itself.", others: "Others, and how to bring them here",
		devices: "What computes", noDevices: "Nothing: this service takes photos and shows pictures, and computes none.", device: (one) => `${{ processes: "This computer", gpus: "Graphics card" }[one.on.split(":")[0]] || one.on}: ${one.does ? `${{ paint: "draws pictures" }[one.does] || KINDS[one.does]?.toLowerCase() || one.does}${one.base ? `, ${one.base} is in memory` : ""}` : "free"}`, share: (value) => `While something learns, pictures may take up to ${percent(value)} of its time.`,
		keys: "Keys", keysLead: "A key lets a person or a program in.", noKeys: "There are no keys yet.", keyHeads: ["name", "person", "may", "made", "remove"], revoke: "Remove", revokeOf: (name) => `Remove the key ${name}`, revokeSure: (name) => `Remove the key ${name}? What uses it is locked out at once.`,
		newKey: "Make a key", keyName: "Name of the key", keyNameHint: "What it is for, such as phone.", keyUser: "Person", keyUserHint: "Each person sees their own photos and pictures only.", may: "May", scopes: { read: "look", generate: "make pictures", train: "train", admin: "manage keys" },
		mostPictures: "Pictures a day at most", mostQueued: "Jobs at a time at most", any: "any number", make: "Make the key", keyMade: "The new key", keyOnce: "Copy it now: it is not shown again.", copy: "Copy",
	},
};

function score(value, before = "") {
	return typeof value === "number" ? `${before}${value.toFixed(2)}` : "";
}
