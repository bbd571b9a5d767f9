"use strict";
// Search in the examples. Without this the page lacks the search, and nothing else.
{
  const box = document.getElementById("search");
  const told = document.getElementById("found");
  const examples = [...document.querySelectorAll(".example")];
  let texts;

  const shown = () => {
    const group = document.querySelector("input[name=show]:checked").value;
    return examples.filter((example) => !example.classList.contains("unfound") && (!group || example.classList.contains(group)));
  };

  const search = () => {
    texts ??= examples.map((example) => example.textContent.toLowerCase());
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    examples.forEach((example, i) => example.classList.toggle("unfound", !words.every((word) => texts[i].includes(word))));
    tell();
  };

  const tell = () => {
    told.textContent = `${shown().length} of ${examples.length} shown`;
  };

  box.addEventListener("input", search);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && box.value) {
      box.value = "";
      search();
    } else if (event.key === "Enter") {
      const first = shown()[0];
      if (!first) return;
      event.preventDefault(); // or it would be pressed on the summary, too
      first.open = true;
      first.querySelector("summary").focus();
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input[type=search]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      box.focus();
    }
  });
  document.querySelectorAll("input[name=show]").forEach((input) => input.addEventListener("change", tell));
  document.querySelector(".search").hidden = false;
  tell();
}
