// The areas of gaps, behind everything else, over the whole height.

/** @import {ISeriesPrimitive, SeriesAttachedParameter, Time} from '/vendor/lightweight-charts.mjs' */

import { micros, time } from './times.js';

/** @implements {ISeriesPrimitive<Time>} */
export class Shade {
  /** @type {{firstUs: number, lastUs: number}[]} */
  #areas = [];
  #colour = '';
  /** @type {SeriesAttachedParameter<Time> | null} */
  #attached = null;
  #views = [{ zOrder: () => /** @type {const} */ ('bottom'), renderer: () => ({ draw: this.#draw }) }];

  /** @param {{firstUs: number, lastUs: number}[]} areas by the first and the last bucket of each */
  show(areas) {
    this.#areas = areas;
    this.#attached?.requestUpdate();
  }

  /** @param {string} colour */
  setColour(colour) {
    this.#colour = colour;
    this.#attached?.requestUpdate();
  }

  /** @param {SeriesAttachedParameter<Time>} parameters */
  attached(parameters) {
    this.#attached = parameters;
  }

  detached() {
    this.#attached = null;
  }

  paneViews() {
    return this.#views;
  }

  /** @type {import('/vendor/lightweight-charts.mjs').IPrimitivePaneRenderer['draw']} */
  #draw = (target) => {
    const scale = this.#attached?.chart.timeScale();
    const seen = scale?.getVisibleRange();
    if (scale === undefined || seen == null) return;
    const half = scale.options().barSpacing / 2;
    target.useMediaCoordinateSpace(({ context, mediaSize }) => {
      context.fillStyle = this.#colour;
      for (const { firstUs, lastUs } of this.#areas) {
        if (lastUs < micros(seen.from) || firstUs > micros(seen.to)) continue;
        const [from, to] = [scale.timeToCoordinate(time(firstUs)), scale.timeToCoordinate(time(lastUs))];
        if (from !== null && to !== null) context.fillRect(from - half, 0, to - from + 2 * half, mediaSize.height);
      }
    });
  };
}
