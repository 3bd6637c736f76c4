// The few pictures of the dashboard. All are decoration: the words stand beside them.

import { html } from "./vendor.js";

export const icons = {
  auto: html`<svg class="icon" viewBox="0 0 20 20" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.6"><circle cx="10" cy="10" r="6.5"></circle><path d="M10 3.5a6.5 6.5 0 0 1 0 13z" fill="currentColor" stroke="none"></path></svg>`,
  light: html`<svg class="icon" viewBox="0 0 20 20" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round"><circle cx="10" cy="10" r="3.4"></circle><path d="M10 2.2v1.6M10 16.2v1.6M2.2 10h1.6M16.2 10h1.6M4.5 4.5l1.1 1.1M14.4 14.4l1.1 1.1M15.5 4.5l-1.1 1.1M5.6 14.4l-1.1 1.1"></path></svg>`,
  dark: html`<svg class="icon" viewBox="0 0 20 20" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linejoin="round"><path d="M16.5 11.8A6.8 6.8 0 0 1 8.2 3.5a6.8 6.8 0 1 0 8.3 8.3z"></path></svg>`,
  play: html`<svg class="picture" viewBox="0 0 64 48" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round"><rect x="6" y="6" width="52" height="36" rx="7"></rect><path d="M27 17.5v13l11-6.5z"></path></svg>`,
  list: html`<svg class="picture" viewBox="0 0 64 48" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round"><path d="M22 13h30M22 24h30M22 35h18"></path><circle cx="12" cy="13" r="2"></circle><circle cx="12" cy="24" r="2"></circle><circle cx="12" cy="35" r="2"></circle></svg>`,
  folder: html`<svg class="picture" viewBox="0 0 64 48" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round"><path d="M8 38V11a3 3 0 0 1 3-3h13l5 6h24a3 3 0 0 1 3 3v21a3 3 0 0 1-3 3H11a3 3 0 0 1-3-3z"></path><path d="M32 21v12M26 27h12"></path></svg>`,
  broken: html`<svg class="picture" viewBox="0 0 64 48" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round"><path d="M6 24h15l4-9 6 18 5-14"></path><path d="M42 24h2M50 24h8"></path></svg>`,
};
