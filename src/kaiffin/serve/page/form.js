// A form made from a JSON schema: every setting with its help, searchable; what was changed is marked.
import { aside, button, fresh, h, input, inRow, numbered, option, put, ticked } from "./dom.js";
import { W } from "./words.js";

const S = W.settingsForm;

const resolve = (schema, part) => (part.$ref ? schema.$defs[part.$ref.split("/").pop()] : part);

/** Every plain setting: {name, label, help, kind, default, ...}; sections in the schema's order. */
function leaves(schema, without = []) {
	const found = [];
	const walk = (part, path) => {
		for (const [name, raw] of Object.entries(resolve(schema, part).properties || {})) {
			const own = resolve(schema, raw), at = [...path, name], dotted = at.join(".");
			if (without.includes(dotted) || without.includes(at[0])) continue;
			if (own.properties) { walk(own, at); continue; }
			found.push({ ...described(schema, raw, own, dotted), needed: Boolean(resolve(schema, part).required?.includes(name)) });
		}
	};
	walk(schema, []);
	return found;
}

function described(schema, raw, own, name) {
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
	const inner = first.items ? resolve(schema, first.items) : first.prefixItems[0];
	if (inner.properties) return { ...base, kind: "rows", parts: leaves({ ...inner, $defs: schema.$defs }) };
	const join = inner.type === "string" && !inner.enum ? "\n" : ", ";
	return { ...base, kind: "list", join, numbers: inner.type !== "string", values: inner.enum || [], help: `${base.help}. ${join === "\n" ? S.eachLine : S.byCommas}` };
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

const label = (name) => name.replace(/^\w+\./, "").replace(/[._]/g, " ");
const keep = (values, name, value) => (value === undefined ? values.delete(name) : values.set(name, value));
const nest = (values) => {
	const made = {};
	for (const [name, value] of values) {
		const path = name.split("."), last = path.pop();
		path.reduce((at, part) => (at[part] ||= {}), made)[last] = value;
	}
	return made;
};

/** {element, values(): nested settings that are not the defaults, given(): the same as pairs}. */
export function settings(schema, { without = [], changed = () => {}, given = [] } = {}) {
	const all = leaves(schema, without), values = new Map(given);
	const rows = all.map((leaf) => row(leaf, values.get(leaf.name), (value) => {
		keep(values, leaf.name, value);
		count();
		changed();
	}));
	const told = h("p.soft", { role: "status" });
	const search = input("search", { placeholder: S.search, "aria-label": S.search, oninput: filter });
	const only = input("checkbox", { onchange: filter });
	const groups = [...new Set(rows.map((one) => one.section))].map((name) => {
		const some = rows.filter((one) => one.section === name), changes = aside();
		return { some, changes, group: h("details.group", h("summary", S.sections[name] || name, " ", changes), some.map((one) => one.element)) };
	});

	function count() {
		told.textContent = values.size ? S.changed(values.size) : S.unchanged;
		for (const { changes, some } of groups) {
			const own = some.filter((one) => values.has(one.name)).length;
			changes.textContent = own ? S.changedHere(own) : "";
		}
	}

	function filter() {
		const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
		for (const { group, some } of groups) {
			for (const one of some) one.element.hidden = !(words.every((word) => one.text.includes(word)) && (!only.checked || values.has(one.name)));
			group.hidden = some.every((one) => one.element.hidden);
			group.open = words.length > 0 || only.checked;
		}
	}

	count();
	const element = h("div.settings", inRow(search, ticked(S.only, only), button(S.reset, () => { for (const one of rows) one.reset(); })), told, groups.map((one) => one.group));
	return { element, values: () => nest(values), given: () => [...values] };
}

function row(leaf, given, change) {
	const id = fresh("setting"), control = controlOf(leaf, id);
	const mark = h("span.changed-mark", S.mark), restore = () => { write(control, leaf, leaf.default); update(); };
	const reset = button(S.resetOne, () => { restore(); control.focus(); }, { class: "quiet", "aria-label": S.resetOf(label(leaf.name)) });
	const element = h(`div.setting.${leaf.kind}`, { "data-name": leaf.name }, h("label", { for: id }, label(leaf.name), " ", mark),
		control, reset, h("p.soft.hint", { id: `${id}-help` }, leaf.help, " ", ["switch", "rows"].includes(leaf.kind) ? "" : S.default(leaf.default)));

	function update(value) {
		const differs = value !== undefined && !same(value, leaf.default);
		mark.hidden = reset.hidden = !differs;
		change(differs ? value : undefined);
	}

	const isGood = () => (leaf.kind === "rows" ? [...control.querySelectorAll("input")].every((one) => one.checkValidity()) : control.reportValidity());
	control.addEventListener("change", () => isGood() && update(read(control, leaf)));
	mark.hidden = reset.hidden = given === undefined;
	write(control, leaf, given ?? leaf.default);
	return { element, name: leaf.name, section: leaf.name.split(".")[0], text: `${leaf.name.replace(/[._]/g, " ")} ${leaf.help}`.toLowerCase(), reset: restore };
}

function controlOf(leaf, id) {
	const shared = { id, "aria-describedby": `${id}-help` };
	if (leaf.kind === "switch") return input("checkbox", shared);
	if (leaf.kind === "choice") return h("select", shared, leaf.optional && option("", S.derived), leaf.values.map((value) => option(value, W.values[value] || value)));
	if (leaf.kind === "text") return input("text", { maxlength: leaf.most, required: leaf.needed, ...shared });
	if (leaf.kind === "rows") return rowsOf(leaf, shared);
	if (leaf.kind === "list") return leaf.join === "\n" ? h("textarea", { rows: 3, ...shared }) : input("text", { placeholder: leaf.values.join(", "), ...shared });
	return numbered({ inputmode: leaf.kind === "integer" ? "numeric" : "decimal", step: leaf.kind === "integer" ? 1 : "any",
		min: leaf.low, max: leaf.high, placeholder: leaf.optional ? S.derived : "", required: !leaf.optional, ...shared });
}

function write(control, leaf, value) {
	if (leaf.kind === "switch") control.checked = Boolean(value);
	else if (leaf.kind === "rows") control.put(value || []);
	else if (leaf.kind === "list") control.value = (value || []).join(leaf.join);
	else control.value = String(value ?? "");
}

function read(control, leaf) {
	if (leaf.kind === "switch") return control.checked;
	if (leaf.kind === "rows") return control.read();
	if (control.value === "") return leaf.optional ? null : leaf.kind === "text" ? "" : leaf.kind === "list" ? [] : leaf.default;
	if (leaf.kind === "list") {
		const found = control.value.split(leaf.join.trim() || leaf.join).map((one) => one.trim()).filter(Boolean);
		return leaf.numbers ? found.map(Number) : found;
	}
	if (leaf.kind === "choice") return leaf.values.find((value) => String(value) === control.value);
	return leaf.kind === "text" ? control.value : Number(control.value);
}

/** Settings that come several times, each time a small form of its own. */
function rowsOf(leaf, shared) {
	const list = h("div"), box = h("div", { role: "group", "aria-label": label(leaf.name), ...shared }, list, button(S.add, () => add({})));
	const tell = () => box.dispatchEvent(new Event("change"));
	function add(given) {
		const own = new Map(Object.entries(given)), inner = leaf.parts.map((part) => row(part, given[part.name], (value) => { keep(own, part.name, value); tell(); }).element);
		list.append(h("div.part-of", inner, button(W.remove, (event) => { event.target.parentNode.remove(); tell(); })));
		list.lastChild.own = own;
	}
	box.put = (value) => { put(list); value.forEach(add); };
	box.read = () => [...list.children].map((one) => Object.fromEntries(one.own));
	return box;
}
