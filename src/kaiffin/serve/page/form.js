// A form made from a JSON schema: every setting with its help, searchable; what was changed is marked.
import { button, fresh, h, inRow } from "./dom.js";
import { W } from "./words.js";

const S = W.settingsForm;

const resolve = (schema, part) => (part.$ref ? schema.$defs[part.$ref.split("/").pop()] : part);

/** Every plain setting: {name, label, help, kind, default, ...}; sections in the schema's order. */
export function leaves(schema, without = []) {
	const found = [];
	const walk = (part, path) => {
		for (const [name, raw] of Object.entries(resolve(schema, part).properties || {})) {
			const own = resolve(schema, raw), at = [...path, name], dotted = at.join(".");
			if (without.includes(dotted) || without.includes(at[0])) continue;
			if (own.properties) { walk(own, at); continue; }
			const leaf = described(raw, own, dotted);
			if (leaf) found.push(leaf);
		}
	};
	walk(schema, []);
	return found;
}

function described(raw, own, name) {
	const choices = raw.anyOf || own.anyOf || [own];
	const real = choices.filter((one) => one.type !== "null");
	const first = real[0] || {};
	const optional = real.length < choices.length;
	const base = { name, help: raw.description || "", default: raw.default ?? null, optional };
	if (first.enum) return { ...base, kind: "choice", values: first.enum };
	const low = first.minimum ?? first.exclusiveMinimum, high = first.maximum ?? first.exclusiveMaximum;
	if (first.type === "boolean") return { ...base, kind: optional ? "choice" : "switch", values: [true, false] };
	if (first.type === "integer" || first.type === "number") return { ...base, kind: first.type, low, high };
	if (first.type === "string") return { ...base, kind: "text", most: first.maxLength };
	return null; // lists of sections: only for config files
}

const label = (name) => name.split(".").slice(1).join(" ").replace(/_/g, " ") || name;
const nest = (values) => {
	const made = {};
	for (const [name, value] of values) {
		const path = name.split("."), last = path.pop();
		path.reduce((at, part) => (at[part] ||= {}), made)[last] = value;
	}
	return made;
};

/** {element, values(): nested settings that differ from the defaults}; `changed` hears of each. */
export function settings(schema, { without = [], given = {}, changed = () => {} } = {}) {
	const all = leaves(schema, without), values = new Map();
	const rows = all.map((leaf) => row(leaf, given[leaf.name], (value) => {
		if (value === undefined) values.delete(leaf.name); else values.set(leaf.name, value);
		count();
		changed();
	}, values));
	const told = h("p", { class: "soft", role: "status" });
	const search = h("input", { type: "search", placeholder: S.search, "aria-label": S.search, oninput: () => filter() });
	const only = h("input", { type: "checkbox", onchange: () => filter() });
	const sections = new Map();
	for (const one of rows) sections.set(one.section, [...(sections.get(one.section) || []), one]);
	const groups = [...sections].map(([name, some]) => {
		const group = h("details", { class: "group" }, h("summary", {}, S.sections[name] || name, " ", h("span", { class: "soft" })), some.map((one) => one.element));
		return { group, some, name };
	});

	function count() {
		told.textContent = values.size ? S.changed(values.size) : S.unchanged;
		for (const { group, some } of groups) {
			const own = some.filter((one) => values.has(one.name)).length;
			group.querySelector("summary .soft").textContent = own ? S.changedHere(own) : "";
		}
	}

	function filter() {
		const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
		for (const { group, some } of groups) {
			let shown = 0;
			for (const one of some) {
				const hit = words.every((word) => one.text.includes(word)) && (!only.checked || values.has(one.name));
				one.element.hidden = !hit;
				shown += hit;
			}
			group.hidden = !shown;
			group.open = shown > 0 && (words.length > 0 || only.checked);
		}
	}

	count();
	const element = h("div", { class: "settings" }, inRow(search,
		h("label", { class: "check" }, only, S.only),
		button(S.reset, () => { for (const one of rows) one.reset(); })), told, groups.map((one) => one.group));
	return { element, values: () => nest(values), flat: () => new Map(values) };
}

function row(leaf, given, change, values) {
	const id = fresh("setting"), control = controlOf(leaf, id);
	const reset = button(S.resetOne, () => { put(control, leaf, leaf.default); update(undefined); control.focus(); }, {
		class: "quiet", "aria-label": S.resetOf(label(leaf.name)), hidden: true });
	const element = h("div", { class: `setting ${leaf.kind}`, data: { name: leaf.name } }, h("label", { for: id }, label(leaf.name), " ", h("span", { class: "changed-mark", hidden: true }, S.mark)),
		control, reset, h("p", { class: "soft hint", id: `${id}-help` }, leaf.help || "", " ", leaf.kind === "switch" ? "" : S.default(leaf.default)));

	function update(value) {
		const differs = value !== undefined && value !== leaf.default;
		element.classList.toggle("changed", differs);
		reset.hidden = !differs;
		element.querySelector(".changed-mark").hidden = !differs;
		change(differs ? value : undefined);
	}

	control.addEventListener("change", () => control.reportValidity() && update(read(control, leaf)));
	put(control, leaf, given ?? leaf.default);
	if (given !== undefined && given !== leaf.default) { values.set(leaf.name, given); element.classList.add("changed"); reset.hidden = false; element.querySelector(".changed-mark").hidden = false; }
	return { element, name: leaf.name, section: leaf.name.includes(".") ? leaf.name.split(".")[0] : "", text: `${leaf.name.replace(/[._]/g, " ")} ${leaf.help}`.toLowerCase(),
		reset: () => { put(control, leaf, leaf.default); update(undefined); } };
}

function controlOf(leaf, id) {
	const shared = { id, "aria-describedby": `${id}-help` };
	if (leaf.kind === "switch") return h("input", { type: "checkbox", ...shared });
	if (leaf.kind === "choice") {
		return h("select", shared, leaf.optional ? h("option", { value: "" }, S.derived) : "", leaf.values.map((value) => h("option", { value: String(value) }, W.values[String(value)] || String(value))));
	}
	if (leaf.kind === "text") return h("input", { type: "text", maxlength: leaf.most, ...shared });
	return h("input", { type: "number", inputmode: leaf.kind === "integer" ? "numeric" : "decimal", step: leaf.kind === "integer" ? 1 : "any",
		min: leaf.low, max: leaf.high, placeholder: leaf.optional ? S.derived : "", required: !leaf.optional, ...shared });
}

function put(control, leaf, value) {
	if (leaf.kind === "switch") control.checked = Boolean(value);
	else control.value = value === null || value === undefined ? "" : String(value);
}

function read(control, leaf) {
	if (leaf.kind === "switch") return control.checked;
	if (control.value === "") return leaf.optional ? null : leaf.kind === "text" ? "" : leaf.default;
	if (leaf.kind === "choice") return leaf.values.find((value) => String(value) === control.value);
	return leaf.kind === "text" ? control.value : Number(control.value);
}
