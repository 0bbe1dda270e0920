// The screen of an instance, by noVNC.

import RFB from "../vendor/novnc/core/rfb.js";
import { keep } from "./console.js";

const screen = document.querySelector("[data-screen]");
const view = screen.querySelector(".view");
let rfb = null;

keep(screen, (socket) => {
  view.replaceChildren();
  rfb = new RFB(view, socket, { shared: true });
  rfb.scaleViewport = true;
  rfb.background = "#0d1014";
  rfb.focusOnClick = true;
  rfb.addEventListener("connect", () => rfb?.focus());
  return () => {
    rfb = null;
  };
});

document.querySelector("[data-keys]").addEventListener("click", () => rfb?.sendCtrlAltDel());
