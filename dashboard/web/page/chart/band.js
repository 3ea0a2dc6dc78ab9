// What a forecast says is likely: bands drawn behind the prices.

/** @import {ISeriesPrimitive, SeriesAttachedParameter, Time, UTCTimestamp} from '/vendor/lightweight-charts.mjs' */

/** @typedef {{time: UTCTimestamp, low: number, high: number}} BandPoint */

/** @implements {ISeriesPrimitive<Time>} */
export class Bands {
  /** @type {{points: BandPoint[], colour: string}[]} */
  #bands = [];
  /** @type {SeriesAttachedParameter<Time> | null} */
  #attached = null;
  #views = [{ zOrder: () => /** @type {const} */ ('bottom'), renderer: () => ({ draw: this.#draw }) }];

  /** @param {{points: BandPoint[], colour: string}[]} bands the widest first */
  show(bands) {
    this.#bands = bands;
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

  /** The prices' scale has room for the bands. */
  autoscaleInfo() {
    const points = this.#bands.flatMap((band) => band.points);
    if (points.length === 0) return null;
    return {
      priceRange: {
        minValue: points.reduce((least, point) => Math.min(least, point.low), Number.POSITIVE_INFINITY),
        maxValue: points.reduce((most, point) => Math.max(most, point.high), Number.NEGATIVE_INFINITY),
      },
    };
  }

  /** @type {import('/vendor/lightweight-charts.mjs').IPrimitivePaneRenderer['draw']} */
  #draw = (target) => {
    const attached = this.#attached;
    if (attached === null) return;
    target.useMediaCoordinateSpace(({ context }) => {
      for (const { points, colour } of this.#bands) {
        const scale = attached.chart.timeScale();
        const places = points.flatMap((point) => {
          const x = scale.timeToCoordinate(point.time);
          const top = attached.series.priceToCoordinate(point.high);
          const bottom = attached.series.priceToCoordinate(point.low);
          return x === null || top === null || bottom === null ? [] : [{ x, top, bottom }];
        });
        const [first, ...rest] = places;
        if (first === undefined) continue;
        context.beginPath();
        context.moveTo(first.x, first.top);
        for (const { x, top } of rest) context.lineTo(x, top);
        for (const { x, bottom } of places.reverse()) context.lineTo(x, bottom);
        context.closePath();
        context.fillStyle = colour;
        context.fill();
      }
    });
  };
}
