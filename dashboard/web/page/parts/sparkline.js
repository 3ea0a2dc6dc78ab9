// A day's prices as a small line: drawn, so floats do.

const WIDTH = 64;
const HEIGHT = 18;
const NAMESPACE = 'http://www.w3.org/2000/svg';

/**
 * The line's path, or nothing where there are no two points.
 * @param {number[]} values
 */
export function sparkPath(values) {
  if (values.length < 2) return '';
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const spread = most - least || 1;
  const places = values.map((value, i) => {
    const x = (i * WIDTH) / (values.length - 1);
    const y = 1 + (HEIGHT - 2) * (1 - (value - least) / spread);
    return `${x.toFixed(1)} ${(most === least ? HEIGHT / 2 : y).toFixed(1)}`;
  });
  return `M${places.join('L')}`;
}

export class Sparkline {
  element = document.createElementNS(NAMESPACE, 'svg');
  #path = document.createElementNS(NAMESPACE, 'path');

  constructor() {
    this.element.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    this.element.setAttribute('aria-hidden', 'true');
    this.element.setAttribute('class', 'sparkline');
    this.element.append(this.#path);
  }

  /** @param {string[]} prices */
  show(prices) {
    const values = prices.map(Number);
    this.#path.setAttribute('d', sparkPath(values));
    const change = (values.at(-1) ?? 0) - (values[0] ?? 0);
    this.element.dataset['direction'] = change > 0 ? 'up' : change < 0 ? 'down' : 'flat';
  }
}
