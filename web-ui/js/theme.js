// Light, dark, or as the system says; remembered in this browser. A classic script, loaded before the style sheets, so that
// the page never flashes in the wrong colours. <theme-toggle> sends "theme:choose"; everyone may listen to "theme:change".
(() => {
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
  let choice = remembered();

  apply();
  systemIsDark.addEventListener("change", apply);
  document.addEventListener("theme:choose", (event) => {
    choice = event.detail;
    try {
      localStorage.setItem("theme", choice);
    } catch {
      // Storage is switched off: the choice lasts for this visit.
    }
    apply();
  });

  function remembered() {
    try {
      const stored = localStorage.getItem("theme");
      return ["light", "dark"].includes(stored) ? stored : "auto";
    } catch {
      return "auto";
    }
  }

  function apply() {
    const root = document.documentElement;
    root.dataset.themeChoice = choice;
    root.dataset.bsTheme = choice === "auto" ? (systemIsDark.matches ? "dark" : "light") : choice;
    document.dispatchEvent(new CustomEvent("theme:change"));
  }
})();
