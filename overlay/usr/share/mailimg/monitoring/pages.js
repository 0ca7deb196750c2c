// What pages gain from scripts besides charts: theme, copying, shorter ways through forms.
"use strict";

for (const details of document.querySelectorAll("details.values")) details.open = false;
document.documentElement.classList.add("ready");

// --- theme ---------------------------------------------------------------------
const root = document.documentElement;
const switcher = document.getElementById("theme");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
const sayTheme = () => {
  switcher.textContent = isDark() ? "Light" : "Dark";
  switcher.setAttribute("aria-label", `Change to ${isDark() ? "light" : "dark"} colours`);
};
if (switcher) {
  switcher.hidden = false;
  sayTheme();
  switcher.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("theme", root.dataset.theme);
    } catch {
      // It holds for this page then.
    }
    sayTheme();
    document.dispatchEvent(new Event("theme"));
  });
  prefersDark.addEventListener("change", () => {
    sayTheme();
    document.dispatchEvent(new Event("theme"));
  });
}

// --- copying -------------------------------------------------------------------
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without the right to the clipboard: as browsers did it before there was one.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "hidden";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const before = button.textContent;
    button.textContent = (await copy(button.dataset.copy)) ? "Copied" : "Cannot copy";
    setTimeout(() => { button.textContent = before; }, 1500);
  });
}

// --- forms ---------------------------------------------------------------------
const time = document.getElementById("time");
if (time) {
  document.getElementById("show").hidden = true;
  document.getElementById("refreshing").hidden = false;
}
for (const button of document.querySelectorAll("button.danger")) {
  button.addEventListener("click", (event) => {
    if (button.dataset.sure) return;
    event.preventDefault();
    const before = [...button.childNodes];
    button.dataset.sure = "1";
    button.textContent = "Really delete?";
    setTimeout(() => {
      delete button.dataset.sure;
      button.replaceChildren(...before);
    }, 4000);
  });
}
// Where the menu is wider than the screen, the page that is shown is in sight.
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
