"use strict";
// Sorts and searches the rows of this page; without it they stand as they are listed.
const form = document.querySelector(".tools");
if (form) {
  const list = document.querySelector("main > section");
  const rows = [...list.querySelectorAll("article")];
  const lines = [...document.querySelectorAll(".failures tbody tr")];
  const words = new Map([...rows, ...lines].map((one) => [one, one.textContent.toLowerCase()]));
  const sorted_as_text = ["modality", "name"];
  const rising = ["p", ...sorted_as_text];

  // What is missing comes last, whichever way round; what is equal stays as it is listed.
  const compare = (key, sign) => (one, other) => {
    const [a, b] = [one.dataset[key], other.dataset[key]];
    if (a === "" || b === "") return (a === "") - (b === "");
    return sign * (sorted_as_text.includes(key) ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  };

  const arrange = () => {
    const key = form.sort.value, sign = form.reversed.checked ? -1 : 1;
    let order = [...rows];
    if (key) order.sort(compare(key, rising.includes(key) ? sign : -sign));
    else if (sign < 0) order.reverse();
    list.append(...order);
  };

  const is_wanted = (row) => {
    const { score, modality } = row.dataset;
    const low = form.low.value === "" ? 0 : Number(form.low.value);
    const high = form.high.value === "" ? 1 : Number(form.high.value);
    return ["any", modality].includes(form.modality.value) && score >= low && score <= high;
  };

  const show = () => {
    const text = form.text.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !(is_wanted(row) && words.get(row).includes(text));
    for (const line of lines) line.hidden = !words.get(line).includes(text);
    const count = rows.filter((row) => row.checkVisibility()).length;
    form.querySelector("[role=status]").textContent =
      `${count} of ${rows.length} on this page shown.`;
  };

  form.addEventListener("input", () => { arrange(); show(); });
  form.addEventListener("reset", () => setTimeout(() => { arrange(); show(); }));
  form.addEventListener("submit", (event) => event.preventDefault());
  document.querySelector(".filter")?.addEventListener("change", show);
  form.hidden = false;
  arrange();
  show();
}
