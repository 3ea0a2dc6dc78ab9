// The style sheet's colours, as plain ones: a canvas knows no custom properties.

const probe = document.createElement('span');
probe.hidden = true;

/** @param {string} name of a custom property */
export function colour(name) {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}
