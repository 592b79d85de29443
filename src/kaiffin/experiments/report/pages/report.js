// Fills pictures that stand twice, moves the slider, and shows a picture large with its recipe.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const images = data.images;

  // A picture is in the page once: where it stands first, or in the data.
  for (const img of all("img[data-image][src]")) images[img.dataset.image] = img.getAttribute("src");
  for (const img of all("img[data-image]:not([src])")) img.src = images[img.dataset.image];

  for (const line of all(".unscripted")) line.remove();

  // --- the slider ---------------------------------------------------------------------------

  function showPicture(cell, key, notes) {
    const button = cell.querySelector(".pic");
    cell.querySelector(".note").replaceChildren(...notes.flatMap((text) => {
      const part = document.createElement("span");
      part.textContent = text;
      return [part, " "];
    }));
    if (!button) return;
    button.hidden = key === null;
    if (key === null) return;
    const picture = data.pictures[key];
    const img = button.querySelector("img");
    button.dataset.picture = key;
    img.src = images[picture.image];
    img.alt = picture.alt;
  }

  function makeSlider(run) {
    const stops = data.runs[run.dataset.run];
    if (!stops) return null;
    const bar = run.querySelector(".slider");
    const cells = all(".now", run);
    const chosen = stops.findIndex((stop) => stop.chosen);
    const slider = stopsSlider(bar, stops, (stop) => {
      for (const cell of cells) showPicture(cell, ...stop.cells[cell.dataset.slot]);
      for (const label of all(".now-label", run)) label.textContent = stop.label;
      for (const point of all("[data-step]", run)) {
        point.classList.toggle("here", Number(point.dataset.step) === stop.step);
      }
    });
    for (const point of all("[data-step]", run)) {
      const number = stops.findIndex((stop) => stop.step === Number(point.dataset.step));
      if (number >= 0) point.addEventListener("click", () => slider.set(number));
    }
    slider.set(chosen);
    return { ...slider, chosen };
  }

  const sliders = new Map(all(".run").map((run) => [run, makeSlider(run)]));
  const sliderOf = (button) => button.closest(".now") && sliders.get(button.closest(".run"));

  // --- one picture, large -------------------------------------------------------------------

  const viewer = document.getElementById("viewer");
  let shown = null; // the button whose picture is in the viewer

  function fill(button) {
    shown = button;
    const picture = data.pictures[button.dataset.picture];
    const img = viewer.querySelector("img");
    img.src = images[picture.image];
    img.alt = picture.alt;
    img.className = button.querySelector("img").className;
    viewer.querySelector("h2").textContent = picture.title;
    const list = viewer.querySelector("dl");
    list.replaceChildren();
    for (const [name, value] of [...picture.own, ...data.shared[picture.shared]]) {
      const term = document.createElement("dt");
      const said = document.createElement("dd");
      term.textContent = name;
      said.textContent = value;
      list.append(term, said);
    }
    const link = viewer.querySelector("a");
    link.textContent = picture.name;
    link.setAttribute("href", picture.link);
    viewer.querySelector(".also").hidden = !sliderOf(button);
  }

  function move(by) {
    const group = shown.closest("[data-group]") || document;
    const near = all(".pic", group).filter((one) => one.offsetParent !== null);
    fill(near[(near.indexOf(shown) + by + near.length) % near.length]);
  }

  function step(by) {
    const slider = sliderOf(shown);
    if (!slider) return false;
    slider.set(Math.min(slider.last, Math.max(0, slider.at() + by)));
    fill(shown);
    return true;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".pic");
    if (!button) return;
    fill(button);
    viewer.showModal();
    viewer.scrollTop = 0;
  });
  viewer.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") move(by);
    else if (!step(by)) return;
    event.preventDefault();
  });
  viewer.addEventListener("click", (event) => {
    const by = event.target.closest("[data-go]")?.dataset.go;
    if (event.target === viewer || by === "0") viewer.close();
    else if (by) move(Number(by));
  });
  viewer.addEventListener("close", () => shown.focus());

  // --- links into closed parts, and paper -----------------------------------------------------

  function openTarget() {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (target && target.matches("details")) target.open = true;
  }
  addEventListener("hashchange", openTarget);
  openTarget();

  let before = [];
  function toPaper() {
    if (before.length) return;
    before = [
      ...all("details:not([open])").map((one) => () => { one.open = false; }),
      ...[...sliders.values()].filter(Boolean).map((one) => { const at = one.at(); return () => one.set(at); }),
    ];
    for (const one of all("details")) one.open = true;
    for (const one of sliders.values()) if (one) one.set(one.chosen);
  }
  function fromPaper() {
    for (const undo of before) undo();
    before = [];
  }
  addEventListener("beforeprint", toPaper);
  addEventListener("afterprint", fromPaper);
  matchMedia("print").addEventListener("change", (event) => (event.matches ? toPaper() : fromPaper()));
})();
