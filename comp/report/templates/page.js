"use strict";
(() => {
  const root = document.documentElement;
  const stored = () => { try { return localStorage.getItem("comp-theme"); } catch { return null; } };
  const dark = () => root.dataset.theme === "dark" || (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  if (stored()) root.dataset.theme = stored();
  const theme = document.querySelector("button.theme");
  const paint = [];
  const named = () => { theme.textContent = dark() ? "Light" : "Dark"; theme.setAttribute("aria-label", (dark() ? "Light" : "Dark") + " colours"); };
  theme.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("comp-theme", root.dataset.theme); } catch { /* a page from disk may not keep it */ }
    named(); paint.forEach((draw) => draw());
  });
  named();

  // tables that sort by the column whose head is pressed
  for (const table of document.querySelectorAll("table.sort")) {
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button"; button.append(...head.childNodes); head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && column === 0);
        table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "ascending" : "descending");
        const value = (row) => { const cell = row.cells[column]; return cell.dataset.v ?? cell.textContent; };
        const rows = [...table.tBodies[0].rows].sort((a, b) => {
          const [x, y] = [value(a), value(b)], [m, n] = [parseFloat(x), parseFloat(y)];
          const order = Number.isNaN(m) || Number.isNaN(n) ? Number.isNaN(m) - Number.isNaN(n) || x.localeCompare(y) : m - n;
          return Number.isNaN(m) !== Number.isNaN(n) ? order : down ? order : -order;
        });
        table.tBodies[0].append(...rows);
      });
    });
  }

  // images that open large, with those beside them
  const pool = JSON.parse(document.getElementById("images")?.textContent || "{}");
  const box = document.getElementById("box");
  const shown = { list: [], at: 0 };
  const source = (one) => one.src || pool[one.image]?.url || "";
  const fill = () => {
    const one = shown.list[shown.at];
    const image = box.querySelector("img");
    image.src = source(one); image.alt = one.text; image.hidden = !source(one);
    image.classList.toggle("tiny", image.naturalWidth > 0 && image.naturalWidth <= 64);
    image.onload = () => image.classList.toggle("tiny", image.naturalWidth <= 64);
    box.querySelector(".what").textContent = one.text;
    box.querySelector(".count").textContent = `${shown.at + 1} of ${shown.list.length}`;
  };
  const open = (list, at) => { if (!list.length) return; shown.list = list; shown.at = at; fill(); if (!box.open) box.showModal(); };
  const step = (by) => { shown.at = (shown.at + by + shown.list.length) % shown.list.length; fill(); };
  box.querySelector(".before").addEventListener("click", () => step(-1));
  box.querySelector(".after").addEventListener("click", () => step(1));
  box.querySelector(".close").addEventListener("click", () => box.close());
  box.addEventListener("keydown", (event) => { if (event.key === "ArrowLeft") step(-1); if (event.key === "ArrowRight") step(1); });
  box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
  for (const gallery of document.querySelectorAll(".gallery")) {
    const buttons = [...gallery.querySelectorAll("button.zoom")];
    const list = buttons.map((button) => ({ src: button.querySelector("img").src, text: button.dataset.text }));
    buttons.forEach((button, at) => button.addEventListener("click", () => open(list, at)));
  }

  // the confusion matrix: a canvas, since a large one has more cells than a page can hold
  const told = document.getElementById("confusion");
  if (told) {
    const { names, order, cells, rows } = JSON.parse(told.textContent);
    const canvas = document.querySelector("canvas"), says = document.getElementById("cell"), size = order.length;
    const place = []; order.forEach((name, n) => { place[name] = n; });
    const total = order.map(() => 0); cells.forEach(([t, , n]) => { total[t] += n; });
    const at = new Map(cells.map((cell) => [place[cell[0]] * size + place[cell[1]], cell]));
    // names of classes stand beside the cells where these are large enough to read them
    const longest = Math.min(Math.max(...names.map((name) => name.length)), 16) * 7 + 8;
    const short = (name) => (name.length > 16 ? name.slice(0, 15) + "…" : name);
    const room = () => canvas.parentElement.clientWidth || 320;
    const edge = () => ((Math.min(room(), 760) - longest) / size >= 13 ? longest : 0);
    const unitOf = () => Math.min(Math.max(Math.floor((Math.min(room(), 760) - edge()) / size), 1), 64);
    let here = 0;
    const draw = () => {
      const unit = unitOf(), from = edge(), wide = unit * size + from, scale = devicePixelRatio || 1, pen = canvas.getContext("2d");
      canvas.width = canvas.height = wide * scale; canvas.style.width = canvas.style.height = `${wide}px`; pen.scale(scale, scale);
      const style = getComputedStyle(root); const [good, bad, ink, paper] = ["--c0", "--c4", "--ink", "--paper"].map((name) => style.getPropertyValue(name));
      pen.textBaseline = "middle"; pen.fillStyle = ink; pen.font = `${Math.min(unit - 1, 13)}px system-ui`;
      if (from) order.forEach((name, n) => {
        pen.textAlign = "right"; pen.fillText(short(names[name]), from - 5, from + (n + 0.5) * unit);
        pen.save(); pen.translate(from + (n + 0.5) * unit, from - 5); pen.rotate(-Math.PI / 2); pen.textAlign = "left"; pen.fillText(short(names[name]), 0, 0); pen.restore();
      });
      pen.save(); pen.translate(from, from);
      for (const [t, a, n] of cells) {
        pen.globalAlpha = 0.12 + 0.88 * Math.min(Math.sqrt(n / Math.max(total[t], 1)), 1);
        pen.fillStyle = t === a ? good : bad;
        pen.fillRect(place[a] * unit, place[t] * unit, Math.max(unit - (unit > 4 ? 1 : 0), 1), Math.max(unit - (unit > 4 ? 1 : 0), 1));
        if (unit >= 22) { pen.globalAlpha = 1; pen.fillStyle = n / Math.max(total[t], 1) > 0.25 ? paper : ink; pen.font = `${Math.min(unit / 2.4, 14)}px system-ui`; pen.textAlign = "center"; pen.textBaseline = "middle"; pen.fillText(n, (place[a] + 0.5) * unit, (place[t] + 0.5) * unit); }
      }
      pen.globalAlpha = 1; pen.strokeStyle = ink; pen.lineWidth = 2;
      pen.strokeRect((here % size) * unit + 1, Math.floor(here / size) * unit + 1, Math.max(unit - 2, 2), Math.max(unit - 2, 2));
      pen.restore();
    };
    const tell = () => {
      const [t, a] = [order[Math.floor(here / size)], order[here % size]], cell = at.get(here), n = cell ? cell[2] : 0;
      const open = cell && rows[`${t},${a}`] ? "; press Enter or click to see images" : "";
      says.textContent = `${names[t]} answered as ${names[a]}: ${n} of ${total[t]} rows${open}`;
    };
    const show = () => {
      const found = rows[`${order[Math.floor(here / size)]},${order[here % size]}`];
      if (found) open(found.map(([image, text]) => ({ image, src: document.querySelector(`img[data-n="${image}"]`)?.src, text })), 0);
    };
    const pointed = (event) => {
      const box = canvas.getBoundingClientRect(), unit = unitOf(), from = edge();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top].map((v) => Math.min(Math.max(Math.floor((v - from) / unit), 0), size - 1));
      here = y * size + x; draw(); tell();
    };
    canvas.addEventListener("mousemove", pointed);
    canvas.addEventListener("click", (event) => { pointed(event); show(); });
    canvas.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -size, ArrowDown: size }[event.key];
      if (move) { here = (here + move + size * size) % (size * size); draw(); tell(); event.preventDefault(); }
      if (event.key === "Enter" || event.key === " ") { show(); event.preventDefault(); }
    });
    paint.push(draw); addEventListener("resize", draw); draw(); tell();
    for (const button of document.querySelectorAll("button[data-cell]")) {
      button.addEventListener("click", () => { const [t, a] = button.dataset.cell.split(",").map(Number); here = place[t] * size + place[a]; draw(); tell(); show(); });
    }
  }

  // two runs of the page of all runs against each other
  const tables = JSON.parse(document.getElementById("tables")?.textContent || "{}");
  for (const form of document.querySelectorAll("form.two")) {
    const known = tables[form.dataset.slug], body = form.querySelector("tbody");
    const compare = () => {
      const [a, b] = [form.elements.first.value, form.elements.second.value];
      const [one, two] = [known.runs[a], known.runs[b]], mirrored = known.pairs[`${b} ${a}`], pair = known.pairs[`${a} ${b}`];
      const keys = [...new Set([...Object.keys(one.recipe), ...Object.keys(two.recipe)])].sort().filter((key) => one.recipe[key] !== two.recipe[key]);
      const lines = [["", a, b], ["OOF", one.score ?? "–", two.score ?? "–"], ...keys.map((key) => [key, one.recipe[key] ?? "–", two.recipe[key] ?? "–"])];
      const told = pair || mirrored;
      if (told) lines.push([pair ? "the first gains" : "the second gains", told[0], ""], ["errors correlate", told[1] ?? "–", ""], ["mean of both", told[2] ?? "–", ""]);
      else if (a !== b) lines.push(["paired difference", "not on the same rows, or not among the newest", ""]);
      body.replaceChildren(...lines.map((cells) => { const row = document.createElement("tr"); cells.forEach((cell) => { const td = document.createElement("td"); td.textContent = cell; row.append(td); }); return row; }));
    };
    form.addEventListener("change", compare); form.addEventListener("submit", (event) => event.preventDefault()); compare();
  }

  // a link into a closed part opens it
  const opened = () => { const part = location.hash && document.getElementById(location.hash.slice(1)); if (part?.tagName === "DETAILS") { part.open = true; part.scrollIntoView(); } paint.forEach((draw) => draw()); };
  addEventListener("hashchange", opened); opened();
  document.querySelectorAll("details.part").forEach((part) => part.addEventListener("toggle", () => paint.forEach((draw) => draw())));
})();
