// Uploading an image: the same form, with its progress shown.

const form = document.getElementById("upload");
const progress = document.getElementById("progress");
const button = form.querySelector("button.main");

function show(event) {
  const share = event.lengthComputable ? event.loaded / event.total : 0;
  progress.querySelector("rect").setAttribute("width", `${100 * share}%`);
  progress.querySelector(".dim").textContent = share < 1 ? `${Math.floor(100 * share)} %` : "checking…";
}

function answered(request) {
  if (request.getResponseHeader("Content-Type")?.startsWith("application/json")) {
    const { go } = JSON.parse(request.responseText);
    if (go) return location.assign(go);
  }
  const fresh = new DOMParser().parseFromString(request.responseText, "text/html").getElementById("upload");
  const wrong = fresh?.querySelectorAll(".errors, .alert .grow") ?? [];
  stop([...wrong].map((one) => one.textContent.trim()).join(" ") || "The upload was refused.");
}

function stop(sentence) {
  progress.hidden = true;
  button.disabled = false;
  form.querySelector(".alert")?.remove();
  const alert = document.createElement("div");
  alert.className = "alert bad";
  alert.setAttribute("role", "alert");
  const words = document.createElement("div");
  words.className = "grow";
  words.textContent = sentence;
  alert.append(words);
  form.querySelector(".fields").prepend(alert);
  alert.scrollIntoView({ block: "nearest" });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  button.disabled = true;
  progress.hidden = false;
  const request = new XMLHttpRequest();
  request.upload.addEventListener("progress", show);
  request.addEventListener("load", () => answered(request));
  request.addEventListener("error", () => stop("The connection broke; nothing was kept. Try again."));
  request.open("POST", location.pathname);
  request.setRequestHeader("X-Fragment", "1");
  request.send(new FormData(form));
});

const name = form.elements.name;
form.elements.file.addEventListener("change", () => {
  const file = form.elements.file.files[0];
  if (!file) return;
  if (!name.value) name.value = file.name.replace(/\.[^.]+$/, "");
  const ending = file.name.split(".").pop().toLowerCase();
  const format = { img: "raw", vhd: "vhd" }[ending] ?? ending;
  if ([...form.elements.disk_format.options].some((option) => option.value === format)) form.elements.disk_format.value = format;
});
