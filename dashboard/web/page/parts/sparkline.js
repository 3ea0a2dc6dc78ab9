// A day's prices as a small line: drawn, so floats do.

const WIDTH = 64;
const HEIGHT = 18;
const NAMESPACE = 'http://www.w3.org/2000/svg';

/**
 * The line's path, or nothing where there are no two points. It is broken where a step has no price; how wide a step is, the nearest two
 * points say.
 * @param {[number, number][]} points time and price, in order
 */
export function sparkPath(points) {
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined || points.length < 2) return '';
  const values = points.map(([, value]) => value);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const spread = most - least || 1;
  const steps = points.slice(1).map(([at], i) => at - (points[i]?.[0] ?? at));
  const step = Math.min(...steps);
  return points.map(([at, value], i) => {
    const x = ((at - first[0]) * WIDTH) / (last[0] - first[0]);
    const y = 1 + (HEIGHT - 2) * (1 - (value - least) / spread);
    const isBroken = i === 0 || (steps[i - 1] ?? 0) > 1.5 * step;
    return `${isBroken ? 'M' : 'L'}${x.toFixed(1)} ${(most === least ? HEIGHT / 2 : y).toFixed(1)}`;
  }).join('');
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

  /** @param {[number, string][]} points time and price, in order */
  show(points) {
    const drawn = points.map(([at, price]) => /** @type {[number, number]} */ ([at, Number(price)]));
    this.#path.setAttribute('d', sparkPath(drawn));
    const change = (drawn.at(-1)?.[1] ?? 0) - (drawn[0]?.[1] ?? 0);
    this.element.dataset['direction'] = change > 0 ? 'up' : change < 0 ? 'down' : 'flat';
  }
}
