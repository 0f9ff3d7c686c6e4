'use strict';

// Drawing: maps on a canvas, everything else as SVG, with read-outs under the pointer. Knows nothing of fits.
const charts = (() => {
  const HUES = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9']; // told apart by the colour-blind (Okabe, Ito)
  const [INK, QUIET, GRID, EDGE] = ['#1f2933', '#5b6773', '#e3e7eb', '#9aa5b1'];
  const MISSING = [200, 200, 200];

  const maker = space => (name, attributes = {}, ...children) => {
    const made = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const svg = maker('http://www.w3.org/2000/svg');
  const html = maker('http://www.w3.org/1999/xhtml');
  const label = (x, y, words, more = {}) => svg('text', { x, y, fill: QUIET, ...more }, words);
  const heading = (title, note) => html('h3', {}, title, ...(note ? [' ', html('small', {}, note)] : []));

  const pen = document.createElement('canvas').getContext('2d');
  let font;

  // The greatest width of texts of 12 px.
  function wide(...texts) {
    pen.font = font ??= `12px ${getComputedStyle(document.body).fontFamily}`;
    return Math.ceil(Math.max(0, ...texts.map(text => pen.measureText(text).width)));
  }

  // 12000, 0.0003, 1e−5
  function text(x, digits = 4) {
    if (!Number.isFinite(x)) return 'unknown';
    const rounded = Number(x.toPrecision(digits)), size = Math.abs(rounded);
    const plain = size === 0 || (size >= 1e-4 && size < 1e6);
    return (plain ? String(rounded) : rounded.toExponential().replace('e+', 'e')).replaceAll('-', '−');
  }

  function evenTicks(low, high, count, whole = false) {
    const least = Math.max((high - low) / count, whole ? 1 : 0), power = 10 ** Math.floor(Math.log10(least));
    const step = power * [1, 2, 5, 10].find(m => m * power >= 0.999 * least);
    const ticks = [];
    for (let k = Math.ceil(low / step - 1e-6); k * step <= high + 1e-6 * step; k++) ticks.push(k * step);
    if (ticks.length < 2 && count < 10 && !whole) return evenTicks(low, high, count + 1);
    const size = Math.max(...ticks.map(Math.abs)), decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-6));
    const plain = (size >= 1e-3 && size < 1e6) || size === 0;
    return ticks.map(value => ({ value, label: plain ? value.toFixed(decimals).replace('-', '−') : text(value, 6) }));
  }

  function logTicks(low, high, count) {
    const decades = Math.log10(high / low), every = Math.ceil(decades / count), ticks = [];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) {
      for (let digit = 1; digit < 10; digit++) {
        const value = Number(`${digit}e${power}`);
        const named = digit === 1 ? power % every === 0 : decades < 2.5 && [2, 5].includes(digit);
        if (value >= low * 0.9999 && value <= high * 1.0001) ticks.push({ value, label: named ? text(value) : '' });
      }
    }
    // within less than a decade there may be none
    return ticks.filter(tick => tick.label).length > 2 ? ticks : evenTicks(low, high, count);
  }

  // An axis that holds all known ones of `values`, with some room at either end; `at` runs from 0 to 1 along it. Where values are
  // `whole` numbers, so are ticks.
  function axis(label, values, { log = false, whole = false, pad = 0 } = {}) {
    const known = values.filter(x => Number.isFinite(x) && (x > 0 || !log));
    const along = log ? Math.log : x => x, back = log ? Math.exp : x => x;
    let [low, high] = known.length ? [along(known[0]), along(known[0])] : [0, 1];
    for (const x of known.map(along)) [low, high] = [Math.min(low, x), Math.max(high, x)];
    const flat = high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high));
    const room = flat ? (log ? 0.05 : 0.05 * Math.abs(high) || 1) : pad * (high - low);
    [low, high] = [low - room, high + room];
    const at = x => (along(x) - low) / (high - low);
    const ticks = count => (log ? logTicks(back(low), back(high), count) : evenTicks(low, high, count, whole));
    return { label, low: back(low), high: back(high), at, ticks };
  }

  const rows = (y, height) => y.ticks(Math.max(3, Math.floor(height / 38)));
  const leftOf = (y, height) => 34 + wide(...rows(y, height).map(tick => tick.label));

  // A box with ticks and names along two axes; without those of y where it shares them with its neighbour.
  function axes({ left, top, width, height }, x, y, { grid = true, yNames = true } = {}) {
    const lines = svg('g', { 'shape-rendering': 'crispEdges' }), names = svg('g');
    const [bottom, middle] = [top + height, top + height / 2];
    const line = (d, stroke) => lines.append(svg('path', { d, stroke }));
    let end = -Infinity;
    for (const tick of x.ticks(Math.max(2, Math.floor(width / 48)))) {
      const at = left + x.at(tick.value) * width, half = wide(tick.label) / 2, named = tick.label && at - half > end + 6;
      if (named) names.append(label(at, bottom + 18, tick.label, { 'text-anchor': 'middle' }));
      if (named) end = at + half;
      if (named && grid) line(`M${at},${top}v${height}`, GRID);
      line(`M${at},${bottom}v${named ? 5 : 3}`, QUIET);
    }
    for (const tick of rows(y, height)) {
      const at = top + (1 - y.at(tick.value)) * height;
      if (tick.label && yNames) names.append(label(left - 8, at + 4, tick.label, { 'text-anchor': 'end' }));
      if (tick.label && grid) line(`M${left},${at}h${width}`, GRID);
      line(`M${left},${at}h${tick.label ? -5 : -3}`, QUIET);
    }
    lines.append(svg('rect', { x: left, y: top, width, height, fill: 'none', stroke: EDGE }));
    names.append(label(left + width / 2, bottom + 36, x.label, { 'text-anchor': 'middle', fill: INK }));
    const upright = { 'text-anchor': 'middle', fill: INK, transform: `rotate(-90 13 ${middle})` };
    if (yNames) names.append(label(13, middle, y.label, upright));
    return svg('g', {}, lines, names);
  }

  // A drawing with its holder; `over` is told where the pointer is, in the drawing's units, and null when it leaves. `tip` shows
  // lines { words, color } in a box beside a point.
  function sheet(width, height, title) {
    const drawing = svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': title });
    const box = html('div', { class: 'tip', hidden: '' }), holder = html('div', { class: 'drawing' }, drawing, box);
    const where = event => {
      const at = drawing.getBoundingClientRect();
      return [((event.clientX - at.left) * width) / at.width, ((event.clientY - at.top) * height) / at.height];
    };
    const over = told => {
      drawing.addEventListener('pointermove', event => told(...where(event)));
      drawing.addEventListener('pointerleave', () => told(null));
    };
    const tip = (x, y, lines) => {
      box.hidden = !lines;
      if (!lines) return;
      const swatch = color => (color ? [html('i', { style: `background:${color}` })] : []);
      box.replaceChildren(...lines.map(({ words, color }) => html('div', {}, ...swatch(color), words)));
      // on the left of the point where there is no room on the right, and never off the page
      const at = holder.getBoundingClientRect(), scale = at.width / width, own = box.offsetWidth;
      const left = x * scale + 12 + own > at.width ? x * scale - 12 - own : x * scale + 12;
      box.style.left = `${Math.max(4 - at.left, Math.min(left, document.documentElement.clientWidth - at.left - own - 4))}px`;
      box.style.top = `${y * scale}px`;
    };
    return { drawing, holder, where, over, tip };
  }

  const known = (xs, ...columns) =>
    [...xs.keys()].filter(k => [xs, ...columns].every(column => Number.isFinite(column?.[k])));

  // Series { name, color, x, points, error, line, low, high, bars, edges, head, say } over two axes, the first on top: `head` and
  // `say` put a point into words. `off` holds the names of those that the legend has switched off, `mark` is a point to stress,
  // `pick` is told which one was clicked, `strip` lies between two values of y.
  function plot(figure, { title, note, x, y, series, strip, guide, mark, pick, off, legend = series.length > 1, height = 300 }) {
    const width = figure.clientWidth, box = { top: 10, height: height - 56, left: leftOf(y, height - 56) };
    box.width = width - box.left - 14;
    const { drawing, holder, where, over, tip } = sheet(width, height, title);
    // what lies far outside is cut off anyway
    const near = part => Math.min(9, Math.max(-9, part));
    const px = v => box.left + near(x.at(v)) * box.width, py = v => box.top + (1 - near(y.at(v))) * box.height;
    const inner = svg('g', { 'clip-path': `url(#clip-${figure.id})` });
    const frame = { x: box.left, y: box.top, width: box.width, height: box.height };
    drawing.append(svg('clipPath', { id: `clip-${figure.id}` }, svg('rect', frame)), axes(box, x, y), inner);
    const between = strip && { y: py(strip[1]), height: py(strip[0]) - py(strip[1]), fill: EDGE, opacity: 0.3 };
    if (strip) inner.append(svg('rect', { ...frame, ...between }));
    const across = { d: `M${box.left},${py(guide ?? 0)}h${box.width}`, stroke: QUIET, 'stroke-dasharray': '4 3' };
    if (guide !== undefined) inner.append(svg('path', across));

    const spot = (s, k, values) => `${px(s.x[k]).toFixed(1)},${py(values[k]).toFixed(1)}`;
    const parts = {
      low(s) {
        const on = known(s.x, s.low, s.high);
        const rim = [...on.map(k => spot(s, k, s.high)), ...on.reverse().map(k => spot(s, k, s.low))];
        return rim.length ? [svg('path', { d: `M${rim.join('L')}Z`, fill: s.color, opacity: 0.2 })] : [];
      },
      bars: s => s.bars.map((v, k) => svg('path', {
        d: `M${px(s.edges[k]) + 0.5},${py(y.low)}V${py(v)}H${px(s.edges[k + 1]) - 0.5}V${py(y.low)}Z`, fill: s.color, opacity: 0.75,
      })),
      line(s) {
        const to = k => (k > 0 && Number.isFinite(s.line[k - 1]) ? 'L' : 'M') + spot(s, k, s.line);
        return [svg('path', { d: known(s.x, s.line).map(to).join(''), fill: 'none', stroke: s.color, 'stroke-width': 1.8 })];
      },
      error: s => known(s.x, s.points, s.error).map(k => svg('path', {
        d: `M${px(s.x[k])},${py(s.points[k] - s.error[k])}V${py(s.points[k] + s.error[k])}`, stroke: s.color, 'stroke-width': 1.3,
      })),
      points: s => known(s.x, s.points).map(k => svg('circle', {
        cx: px(s.x[k]), cy: py(s.points[k]), stroke: '#fff', 'stroke-width': 0.7,
        ...(k === mark ? { r: 6, fill: HUES[1] } : { r: s.radius ?? 3, fill: s.color }),
      })),
    };
    const groups = series.map(s => svg('g', {}, ...Object.keys(parts).flatMap(part => (s[part] ? parts[part](s) : []))));
    const cursor = svg('path', { stroke: QUIET, fill: 'none', 'stroke-dasharray': '2 2' });
    inner.append(...[...groups].reverse(), cursor);

    // of every series the point nearest to the pointer, where it is about as near as the nearest of all
    function nearest(at) {
      const found = series.filter(s => s.say && !off?.has(s.name) && s.x.length).map(s => {
        const far = k => Math.abs(px(s.x[k]) - at), k = known(s.x).reduce((a, b) => (far(b) < far(a) ? b : a), 0);
        return { s, k, far: far(k) };
      });
      const least = Math.min(...found.map(one => one.far));
      return found.filter(one => one.far < least + 4);
    }
    over(at => {
      const found = at === null || at < box.left - 8 ? [] : nearest(at);
      const first = found.find(one => one.s.head), line = first && px(first.s.x[first.k]);
      cursor.setAttribute('d', first ? `M${line},${box.top}v${box.height}` : '');
      const lines = found.map(({ s, k }) => ({ words: s.say(k), color: legend && s.color }));
      tip(line, 12, first && [{ words: first.s.head(first.k) }, ...lines]);
    });
    if (pick) {
      drawing.classList.add('pick');
      drawing.addEventListener('click', event => nearest(where(event)[0]).slice(0, 1).forEach(one => pick(one.k)));
    }
    const keys = series.map((s, n) => {
      const key = html(off ? 'button' : 'span', {}, html('i', { style: `background:${s.color}` }), s.name ?? '');
      const show = () => {
        key.setAttribute('aria-pressed', !off.has(s.name));
        groups[n].setAttribute('display', off.has(s.name) ? 'none' : 'inline');
      };
      if (off) {
        const turn = () => { if (!off.delete(s.name)) off.add(s.name); show(); };
        Object.assign(key, { type: 'button', title: 'show or hide', onclick: turn });
        show();
      }
      return key;
    });
    figure.replaceChildren(heading(title, note), holder, ...(legend ? [html('div', { class: 'legend' }, ...keys)] : []));
  }

  // Horizontal bars { name, value, words }, of which `most` is the longest possible.
  function bars(figure, { title, rows, most = Math.max(...rows.map(row => row.value)) || 1 }) {
    const width = figure.clientWidth, step = 24, { drawing, holder } = sheet(width, rows.length * step + 6, title);
    const left = 10 + wide(...rows.map(row => row.name)), room = width - left - 14 - wide(...rows.map(row => row.words));
    rows.forEach(({ name, value, words }, k) => {
      const length = Math.max(1, (room * value) / most), y = k * step + 17;
      drawing.append(
        label(left - 8, y, name, { 'text-anchor': 'end', fill: INK }),
        svg('rect', { x: left, y: y - 13, height: step - 7, width: length, fill: HUES[0], opacity: 0.8 }),
        label(left + length + 6, y, words),
      );
    });
    figure.replaceChildren(heading(title), holder);
  }

  function shade(colors, part) {
    const k = 3 * Math.min(255, Math.max(0, Math.floor(256 * part)));
    return colors.subarray(k, k + 3);
  }
  const css = rgb => `rgb(${rgb.join(' ')})`;

  // A square of correlations, −1 to 1, with its names.
  function matrix(figure, { title, names, rows, colors }) {
    const width = figure.clientWidth, n = names.length, longest = wide(...names), left = 14 + longest;
    const cell = (width - left - 8) / n, upright = cell < longest + 6, top = upright ? left : 26;
    const { drawing, holder, over, tip } = sheet(width, top + n * cell + 4, title);
    names.forEach((name, k) => {
      const at = (k + 0.5) * cell, named = { fill: INK, 'font-size': Math.min(12, cell - 1) };
      const turned = { ...named, transform: `translate(${left + at + 4} ${top - 8}) rotate(-90)` };
      drawing.append(label(left - 8, top + at + 4, name, { ...named, 'text-anchor': 'end' }));
      drawing.append(upright ? label(0, 0, name, turned) : label(left + at, top - 9, name, { ...named, 'text-anchor': 'middle' }));
    });
    rows.forEach((row, i) => row.forEach((value, j) => {
      const missing = !Number.isFinite(value), [x, y] = [left + j * cell, top + i * cell];
      const color = css(missing ? MISSING : shade(colors, (value + 1) / 2)), middle = { 'text-anchor': 'middle', 'font-size': 11 };
      drawing.append(svg('rect', { x, y, width: cell - 0.5, height: cell - 0.5, fill: color }));
      if (n > 16 || cell < 26) return;
      const digits = missing ? '–' : (Math.round(100 * value) / 100).toFixed(2).replace('-', '−');
      const words = cell < 38 ? digits.replace('0.', '.') : digits;
      drawing.append(label(x + cell / 2, y + cell / 2 + 4, words, { ...middle, fill: Math.abs(value) > 0.65 ? '#fff' : INK }));
    }));
    over((x, y) => {
      const [j, i] = [Math.floor((x - left) / cell), Math.floor((y - top) / cell)], value = x === null ? undefined : rows[i]?.[j];
      tip(x, y + 14, value === undefined ? null : [{ words: `${names[i]}, ${names[j]}` }, { words: text(value, 3) }]);
    });
    figure.replaceChildren(heading(title), holder);
  }

  function paint(canvas, n, { value, colors, low, high }) {
    canvas.width = canvas.height = n;
    const context = canvas.getContext('2d'), image = context.createImageData(n, n), pixels = new Uint32Array(image.data.buffer);
    const pixel = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0; // bytes of little-endian machines
    const known = Uint32Array.from({ length: 256 }, (_, k) => pixel(shade(colors, k / 256))), missing = pixel(MISSING);
    for (let row = n - 1, at = 0; row >= 0; row--) {
      for (let column = 0; column < n; column++, at++) {
        const v = value(column, row);
        pixels[at] = Number.isNaN(v) ? missing : known[Math.min(255, Math.max(0, Math.floor((256 * (v - low)) / (high - low))))];
      }
    }
    context.putImageData(image, 0, 0);
  }

  function colorBar(id, left, top, height, { colors, low, high, bar }) {
    const stops = Array.from({ length: 33 }, (_, k) => svg('stop', { offset: k / 32, 'stop-color': css(shade(colors, k / 32)) }));
    return svg('g', {},
      svg('linearGradient', { id, x1: 0, x2: 0, y1: 1, y2: 0 }, ...stops),
      svg('rect', { x: left, y: top, width: 13, height, fill: `url(#${id})`, stroke: EDGE, 'stroke-width': 0.5 }),
      label(left + 13, top - 9, bar, { 'text-anchor': 'end', fill: INK }),
      ...evenTicks(low, high, 6).flatMap(tick => {
        const y = top + (1 - (tick.value - low) / (high - low)) * height;
        return [svg('path', { d: `M${left + 13},${y}h4`, stroke: QUIET }), label(left + 20, y + 4, tick.label)];
      }));
  }

  // Square maps { figure, title, value(i, j), colors, low, high, bar } side by side, with one cross hair for all. `edges` are the
  // times at which cells begin; `read` is told over which cell the pointer is, or null.
  function maps(row, shown, { edges, xLabel, yLabel, read }) {
    const n = edges.length - 1, top = 26, gap = 10;
    const at = t => {
      const k = edges.findIndex((edge, k) => k > 0 && (edge > t || k === n)) - 1;
      return (k + (t - edges[k]) / (edges[k + 1] - edges[k])) / n;
    };
    const along = { at, ticks: () => evenTicks(edges[0], edges[n], 5) }, named = leftOf(along, 0);
    const right = one => (one.bar ? 34 + wide(...evenTicks(one.low, one.high, 6).map(tick => tick.label)) : 14);
    const margins = shown => named + shown.reduce((sum, one, k) => sum + right(one) + (k && 2 * gap), 0);
    const share = (k, count) => (row.clientWidth - margins(shown.slice(k, k + count))) / count;
    const fitting = count => shown.map((_, k) => (k % count ? Infinity : share(k, count)));
    let count = shown.length, side;
    // rather one below the other than stamps
    do side = Math.floor(Math.min(480, ...fitting(count))); while (side < 200 && count-- > 1);
    count = Math.max(1, count);
    row.style.flexWrap = count < shown.length ? 'wrap' : 'nowrap';
    const crosses = [];
    const point = cell => { crosses.forEach(cross => cross(cell)); read(cell); };
    shown.forEach((one, k) => {
      const yNames = k % count === 0, left = yNames ? named : gap, width = left + side + right(one), height = top + side + 46;
      const box = { left, top, width: side, height: side };
      const { drawing, holder, over } = sheet(width, height, one.title), canvas = html('canvas');
      paint(canvas, n, one);
      const part = (length, whole) => `${(100 * length) / whole}%`;
      const share = { left: part(left, width), top: part(top, height), width: part(side, width), height: part(side, height) };
      Object.assign(canvas.style, share);
      const [rim, core] = [{ stroke: '#000', 'stroke-width': 2.5, opacity: 0.4 }, { stroke: '#fff' }];
      const lines = [svg('path', rim), svg('path', core)];
      drawing.append(
        label(left, 16, one.title, { fill: INK, class: 'name' }),
        axes(box, { ...along, label: xLabel }, { ...along, label: yLabel }, { grid: false, yNames }),
        ...(one.bar ? [colorBar(`bar-${one.figure.id}`, left + side + 10, top, side, one)] : []),
        ...lines,
      );
      crosses.push(cell => {
        const [x, y] = (cell ?? []).map(c => ((c + 0.5) / n) * side);
        const d = cell ? `M${left + x},${top}v${side}M${left},${top + side - y}h${side}` : '';
        for (const line of lines) line.setAttribute('d', d);
      });
      over((x, y) => {
        const cell = [(x - left) / side, 1 - (y - top) / side].map(c => Math.floor(c * n));
        point(x !== null && cell.every(c => c >= 0 && c < n) ? cell : null);
      });
      one.figure.style.flex = `0 1 ${width}px`; // shrinks in proportion, so that squares stay equal
      holder.prepend(canvas);
      one.figure.replaceChildren(holder);
    });
  }

  return { HUES, INK, html, text, axis, plot, bars, matrix, maps };
})();
