// The recipe inside a PNG, of Kaiffin or in A1111's words, read in the browser.

/** The texts of a PNG's text chunks, by their names. */
async function texts(file) {
	const bytes = new Uint8Array(await file.arrayBuffer()), view = new DataView(bytes.buffer), found = {};
	const latin = new TextDecoder("latin1"), utf8 = new TextDecoder();
	for (let at = 8; at + 12 <= bytes.length; ) {
		const size = view.getUint32(at), kind = latin.decode(bytes.subarray(at + 4, at + 8));
		const data = bytes.subarray(at + 8, at + 8 + size);
		at += 12 + size;
		if (!["tEXt", "iTXt"].includes(kind)) continue;
		const end = data.indexOf(0), name = latin.decode(data.subarray(0, end));
		if (kind === "tEXt") found[name] = latin.decode(data.subarray(end + 1));
		else {
			const language = data.indexOf(0, end + 3), word = data.indexOf(0, language + 1);
			if (!data[end + 1]) found[name] = utf8.decode(data.subarray(word + 1));
		}
	}
	return found;
}

const SAMPLERS = { DDIM: "ddim", DDPM: "ddpm", Euler: "euler", "DPM++ 2M": "dpm++2m", "DPM++ 2M SDE": "dpm++2m-sde" };

function ofA1111(text) {
	const lines = text.split("\n"), last = lines.findLastIndex((line) => /^Steps: /.test(line));
	if (last < 0) return null;
	const body = lines.slice(0, last).join("\n"), [prompt, negative = ""] = body.split(/\n?Negative prompt: /);
	const fact = (name) => lines[last].match(new RegExp(`${name}: ([^,]+)`))?.[1];
	const [width, height] = (fact("Size") || "").split("x").map(Number);
	const sampler = SAMPLERS[fact("Sampler")];
	return { prompt: prompt.replace(/<\w+:[^>]*>/g, "").replace(/\\([()[\]])/g, "$1").trim(), negative, width, height, sampler,
		steps: Number(fact("Steps")), guidance: Number(fact("CFG scale")), seed: Number(fact("Seed")) };
}

/** {prompt, negative, steps, guidance, sampler, seed, width, height, base, adapters}, or null. */
export async function recipeOf(file) {
	const found = await texts(file).catch(() => ({}));
	try {
		const own = JSON.parse(found.kaiffin);
		return { ...own.request, base: own.base.name, adapters: own.adapters };
	} catch { /* not one of Kaiffin's */ }
	return found.parameters ? ofA1111(found.parameters) : null;
}
