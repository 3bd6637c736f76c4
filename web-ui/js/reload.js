// When a file of the page did not arrive, the page would stay empty: it loads itself again, a few times, more and more slowly. That
// happens: Chromium drops connections that are being made while a network interface appears, and each container brings one.
(() => {
  const MOST = 5;

  addEventListener("error", onError, true);

  function onError(event) {
    if (!(event.target instanceof HTMLScriptElement || event.target instanceof HTMLLinkElement)) return;
    removeEventListener("error", onError, true);
    try {
      const tries = Number(sessionStorage.getItem("reloads") ?? 0);
      if (tries >= MOST) return;
      // app.js takes it away when it has started.
      sessionStorage.setItem("reloads", String(tries + 1));
      setTimeout(() => location.reload(), 300 * 2 ** tries);
    } catch {
      // Without storage nobody would count, and a broken page would load for ever.
    }
  }
})();
