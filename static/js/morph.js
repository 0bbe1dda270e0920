// Makes one element's content like another's by touching only what differs, so that focus, ticked
// boxes, open menus and scroll positions stay. Elements with an id are matched by it.

const OWN_STATE = new Set(["open", "style"]);          // what the user or a script of ours has set

function syncAttributes(from, to) {
  for (const { name, value } of to.attributes) {
    if (!OWN_STATE.has(name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  for (const { name } of [...from.attributes]) {
    if (!OWN_STATE.has(name) && !to.hasAttribute(name)) from.removeAttribute(name);
  }
}

const same = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName && (one.id ?? "") === (other.id ?? "");

function syncChildren(from, to) {
  const here = new Map([...from.children].filter((child) => child.id).map((child) => [child.id, child]));
  const wantedIds = new Set([...to.children].map((child) => child.id).filter(Boolean));
  let cursor = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const match = wanted.id ? here.get(wanted.id) : null;
    while (cursor && cursor !== match && cursor.id && !wantedIds.has(cursor.id)) {
      const gone = cursor;
      cursor = cursor.nextSibling;
      gone.remove();
    }
    if (match && same(match, wanted)) {
      if (match === cursor) cursor = cursor.nextSibling;
      else from.insertBefore(match, cursor);
      morph(match, wanted);
    } else if (!wanted.id && cursor && same(cursor, wanted)) {
      const kept = cursor;
      cursor = cursor.nextSibling;
      morph(kept, wanted);
    } else {
      if (wanted.nodeName === "TR") wanted.classList.add("fresh");
      from.insertBefore(wanted, cursor);
    }
  }
  while (cursor) {
    const gone = cursor;
    cursor = cursor.nextSibling;
    gone.remove();
  }
}

export function morph(from, to) {
  if (from.isEqualNode(to)) return;
  if (from.nodeType !== Node.ELEMENT_NODE) {
    from.nodeValue = to.nodeValue;
    return;
  }
  if (from.hasAttribute("data-live-keep")) return;
  syncAttributes(from, to);
  syncChildren(from, to);
}
