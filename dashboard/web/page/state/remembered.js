// Choices that outlive the visit. A browser that keeps nothing makes them last as long as the page.

/** @type {Map<string, string>} */
const here = new Map();

/** @param {string} name */
export function remembered(name) {
  try {
    return localStorage.getItem(`tickstream.${name}`);
  } catch {
    return here.get(name) ?? null;
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
export function remember(name, value) {
  here.set(name, value);
  try {
    localStorage.setItem(`tickstream.${name}`, value);
  } catch {
    // Kept in `here`.
  }
}
