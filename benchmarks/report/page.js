"use strict";
(() => {
  const tip = document.getElementById("tip");
  const said = document.getElementById("said");
  const near = 28; // pixels: a finger covers a mark
  let current = null;

  const marksOf = (chart) => [...chart.querySelectorAll(".role-mark [aria-label]")];

  const middle = (mark) => {
    const box = mark.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };

  const hide = () => {
    if (current) current.classList.remove("current");
    current = null;
    tip.hidden = true;
  };

  const show = (mark, x, y) => {
    if (mark !== current) {
      hide();
      current = mark;
      mark.classList.add("current");
      tip.textContent = mark.getAttribute("aria-label");
      tip.hidden = false;
    }
    const edge = document.documentElement;
    const left = Math.min(x + 14, edge.clientWidth - tip.offsetWidth - 8);
    const below = y + 18 + tip.offsetHeight < edge.clientHeight;
    tip.style.left = `${Math.max(left, 8)}px`;
    tip.style.top = `${below ? y + 18 : Math.max(y - tip.offsetHeight - 10, 8)}px`;
  };

  const nearest = (chart, x, y) => {
    let best = null;
    let least = near;
    for (const mark of marksOf(chart)) {
      const [left, top] = middle(mark);
      const distance = Math.hypot(left - x, top - y);
      if (distance < least) [best, least] = [mark, distance];
    }
    return best;
  };

  const point = (event) => {
    const chart = event.currentTarget;
    const own = event.target.closest(".role-mark [aria-label]");
    const mark = own || nearest(chart, event.clientX, event.clientY);
    if (mark) show(mark, event.clientX, event.clientY);
    else hide();
  };

  const walk = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const marks = marksOf(event.currentTarget);
    if (!marks.length) return;
    const at = marks.indexOf(current);
    const next = at < 0 ? (step > 0 ? 0 : marks.length - 1) : (at + step + marks.length) % marks.length;
    show(marks[next], ...middle(marks[next]));
    said.textContent = tip.textContent;
  };

  for (const chart of document.querySelectorAll(".chart")) {
    chart.addEventListener("pointermove", point);
    chart.addEventListener("pointerdown", point);
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", walk);
  }
  addEventListener("scroll", hide, { passive: true });

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const one of closed) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of closed) one.open = false;
  });
})();
