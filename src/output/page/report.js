'use strict';

// Fills the figures of the report from the numbers in `report-data`.
(() => {
  const { HUES, INK, html, text, axis, plot, bars, matrix, maps } = charts;
  const place = id => document.getElementById(id);
  const data = JSON.parse(place('report-data').textContent);
  const angles = data.angles ?? [];
  const bytes = base64 => Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
  const colors = { sequential: bytes(data.colors.sequential), diverging: bytes(data.colors.diverging) };
  const known = values => (values ?? []).some(Number.isFinite);
  const signed = (x, digits) => x.toFixed(digits).replace('-', '−');
  const placed = angles.every(angle => angle.phi !== null); // else φ isn't known
  const named = k => (placed ? `φ = ${signed(angles[k].phi, 3)}°` : `matrix ${k + 1}`);
  const tall = () => (document.documentElement.classList.contains('printing') ? 270 : 380);
  let picked = 0;

  const ready = []; // figures to be drawn once it is known which are left out, as they share the width

  // Has a figure drawn where the page has a place for it; leaves it out where there is nothing to draw.
  function figure(id, given, draw) {
    const at = place(id);
    if (!at) return;
    at.hidden = !given;
    if (given) ready.push(() => draw(at));
  }

  // The upper triangle of a map as numbers; NaN where there is none.
  function triangle(base64, [low, high]) {
    const raw = bytes(base64), whole = new DataView(raw.buffer);
    const number = u => (u === 65535 ? NaN : low + ((high - low) * u) / 65534);
    return Float32Array.from({ length: raw.length / 2 }, (_, k) => number(whole.getUint16(2 * k, true)));
  }

  const decoded = new Map(); // maps of angles that have been looked at

  function mapsOf(k) {
    const angle = angles[k];
    if (!data.maps || !angle.data || !angle.residual) return null;
    if (!decoded.has(k)) decoded.set(k, [triangle(angle.data, angle.data_range), triangle(angle.residual, angle.residual_range)]);
    const [c2, residual] = decoded.get(k), { side } = data.maps;
    const at = (i, j) => (i > j ? at(j, i) : i * side - (i * (i - 1)) / 2 + j - i);
    return {
      data: (i, j) => c2[at(i, j)],
      fit: (i, j) => c2[at(i, j)] - residual[at(i, j)],
      residual: (i, j) => residual[at(i, j)],
    };
  }

  function drawMaps() {
    const [row, readout] = ['.maps', '.readout'].map(of => document.querySelector(`#angles ${of}`));
    const say = words => { if (readout) readout.textContent = words; };
    const found = mapsOf(picked), own = place('own-scale');
    if (own) own.closest('label').hidden = !found;
    for (const at of row?.children ?? []) at.hidden = !found;
    if (!row || !found) return say('There are no maps: the data weren’t looked at after the fit.');
    const angle = angles[picked], scale = (own?.checked ? angle.scale : data.scale) ?? {};
    const most = scale.residual || Math.max(...angle.residual_range.map(Math.abs));
    const c2 = { colors: colors.sequential, low: scale.low ?? angle.data_range[0], high: scale.high ?? angle.data_range[1] };
    const rest = { colors: colors.diverging, low: -most, high: most, bar: 'residual' };
    const shown = [
      { id: 'map-data', title: `data, ${named(picked)}`, value: found.data, ...c2 },
      { id: 'map-fit', title: 'fit', value: found.fit, ...c2, bar: 'c2' },
      { id: 'map-residual', title: 'residual (data − fit)', value: found.residual, ...rest },
    ].map(one => ({ ...one, figure: place(one.id) })).filter(one => one.figure);
    const { edges } = data.maps;
    // a cell is the mean over frames from one edge to before the next
    const time = cell => `${text((edges[cell] + edges[cell + 1] - (data.dt ?? 0)) / 2, 6)} s`;
    const decimals = Math.max(4, 2 - Math.floor(Math.log10(most)));
    const value = x => (Number.isNaN(x) ? 'no value' : signed(x, decimals));
    const values = cell => Object.keys(found).map(key => `${key} ${value(found[key](...cell))}`);
    const read = cell => say(cell === null ? 'Point at a map to read its values.'
      : [`t₁ = ${time(cell[0])}`, `t₂ = ${time(cell[1])}`, ...values(cell)].join('\u2003'));
    maps(row, shown, { edges, xLabel: 't₁ (s)', yLabel: 't₂ (s)', read });
    read(null);
  }

  const off = new Set(); // curves that the legend has switched off

  function drawLags() {
    const curves = angles[picked].curves ?? [];
    figure('lags', curves.length, at => plot(at, {
      title: `c2 over lag, ${named(picked)}`,
      note: 'points: data; line: fit; band: standard error of the data, about the fit',
      x: axis('lag t₂ − t₁ (s)', curves.flatMap(curve => curve.lag), { log: true, pad: 0.02 }),
      y: axis('c2', curves.flatMap(curve => [...curve.data, ...curve.fit]), { pad: 0.05 }),
      series: curves.map(({ label, lag, data, fit, error }, k) => {
        const rim = sign => fit.map((v, n) => (error[n] === null ? null : v + sign * error[n]));
        return {
          name: label, color: k ? HUES[(k - 1) % HUES.length] : INK, radius: 2.4,
          x: lag, points: data, line: fit, low: rim(-1), high: rim(1),
          head: n => `lag ${text(lag[n])} s`,
          say: n => `${label}: data ${text(data[n], 5)} ± ${text(error[n], 2)}, fit ${text(fit[n], 5)}`,
        };
      }),
      off,
      legend: true,
      height: tall(),
    }));
  }

  function drawResiduals() {
    const { histogram: counts, autocorrelation: correlated } = angles[picked];
    figure('histogram', counts, at => {
      const last = counts.length - 1, width = 12 / (last - 1);
      const edges = Array.from({ length: last + 2 }, (_, k) => (k - 1) * width - 6);
      const total = counts.reduce((a, b) => a + b, 0), middles = counts.map((_, k) => (k - 0.5) * width - 6);
      const normal = middles.map(x => (total * width * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI));
      const range = k => (k === 0 ? 'below −6' : k === last ? 'above 6' : `${text(edges[k], 2)} to ${text(edges[k + 1], 2)}`);
      plot(at, {
        title: 'Residuals in units of σ',
        note: `beyond ±6: ${text(counts[0] + counts[last], 6)} of ${text(total, 3)} pairs`,
        x: axis('residual / σ', edges),
        y: axis('pairs', [0, 1.06 * Math.max(...counts, ...normal)]),
        series: [
          { name: 'standard normal', color: INK, x: middles, line: normal, say: k => `normal: ${text(normal[k], 3)}` },
          { name: 'pairs', color: HUES[5], x: middles, edges, bars: counts, head: range, say: k => `pairs: ${text(counts[k], 6)}` },
        ],
        height: tall(),
      });
    });
    figure('autocorrelation', known([...correlated?.lag ?? [], ...correlated?.age ?? []]), at => {
      const { lag, age, bound } = correlated, { shifts, dt } = data;
      plot(at, {
        title: 'Autocorrelation of the residuals',
        note: bound === null ? '' : `grey: ±${text(bound, 2)}, 95 % of noise`,
        x: axis('shift (frames)', shifts, { log: true, pad: 0.03 }),
        y: axis('autocorrelation', [...lag, ...age, -1.5 * bound, 1.5 * bound], { pad: 0.08 }),
        strip: bound === null ? null : [-bound, bound],
        guide: 0,
        series: [['along the lag', lag, HUES[0]], ['along the age', age, HUES[1]]].map(([name, values, color]) => ({
          name, color, x: shifts, points: values, line: values, radius: 3.5,
          head: k => `shift of ${shifts[k]} frames, ${text(shifts[k] * dt)} s`,
          say: k => `${name}: ${text(values[k], 3)}`,
        })),
        height: tall(),
      });
    });
  }

  function drawOverPhi() {
    const xs = angles.map((angle, k) => (placed ? angle.phi : k + 1));
    for (const [id, key, name] of [['contrast', 'contrast', 'contrast'], ['offset', 'offset', 'offset'],
      ['chi-squared', 'chi2', 'χ²/DOF']]) {
      const values = angles.map(angle => angle[key] ?? null), errors = angles.map(angle => angle[`${key}_error`] ?? null);
      const ends = values.flatMap((v, k) => (v === null ? [] : [v - errors[k], v + errors[k]]));
      const error = k => (errors[k] === null ? '' : ` ± ${text(errors[k], 2)}`);
      figure(id, angles.length > 1 && known(values), at => plot(at, {
        title: name,
        note: 'click a point to see its angle above',
        x: axis(placed ? 'φ (°)' : 'matrix', xs, { pad: 0.04, whole: !placed }),
        y: axis(name, ends, { pad: 0.1 }),
        guide: key === 'chi2' ? 1 : undefined,
        series: [{
          color: HUES[0], x: xs, points: values, error: errors, radius: 4,
          head: named, say: k => `${name} ${text(values[k], 6)}${error(k)}`,
        }],
        mark: picked,
        pick,
      }));
    }
  }

  function drawRate(n) {
    const { label, unit, t = [], value = [], low, high } = data.rates?.[n] ?? {}, all = value.filter(Number.isFinite);
    figure(`rate-${n}`, all.length, at => {
      const [least, most] = [Math.min(...all), Math.max(...all)], log = least > 0;
      // a band that is wider than this runs out of the figure, so that the rate itself can be seen
      const room = Math.max(most - least, Math.abs(most) / 2);
      const within = log ? [least / 10, most * 10] : [least - room, most + room];
      const rims = [...(low ?? []), ...(high ?? [])].filter(v => v !== null && v > within[0] && v < within[1]);
      const error = k => (known([high?.[k]]) ? ` ± ${text(high[k] - value[k], 2)}` : '');
      plot(at, {
        title: label,
        note: known(high) ? 'band: standard error' : '',
        x: axis('t (s)', t, { log: t.every(at => at > 0) }),
        y: axis(`${label} (${unit})`, [...all, ...rims], { log, pad: 0.05 }),
        series: [{
          color: HUES[0], x: t, line: value, high, low: low?.map(v => (log && v !== null ? Math.max(v, least * 1e-9) : v)),
          head: k => `t = ${text(t[k])} s`, say: k => `${label} = ${text(value[k], 5)}${error(k)} ${unit}`,
        }],
      });
    });
  }

  function drawConvergence() {
    const steps = data.iterations ?? [], costs = steps.map(step => step.cost);
    figure('cost', known(costs), at => {
      const name = data.loss === 'linear' ? 'χ²/DOF' : `residual variance / σ² (${data.loss} loss)`;
      plot(at, {
        title: `${name} after every pass`,
        x: axis('pass', steps.map((_, k) => k + 1), { pad: 0.03, whole: true }),
        y: axis(name, costs, { log: costs.every(cost => cost === null || cost > 0), pad: 0.06 }),
        series: [...new Set(steps.map(step => step.level))].map((level, n) => {
          const at = [...steps.keys()].filter(k => steps[k].level === level), own = at.map(k => steps[k]);
          const cost = own.map(step => step.cost), label = level === 0 ? 'full resolution' : `level ${level}`;
          return {
            name: `${label}, ${own[0].n_pairs.toLocaleString('en')} pairs`, color: HUES[n % HUES.length],
            x: at.map(k => k + 1), points: cost, line: cost,
            head: k => `${label}, pass ${own[k].pass}`,
            say: k => `${name} ${text(cost[k], 6)}, ${text(own[k].decrement, 2)} standard errors to go`,
          };
        }),
        legend: true,
        height: tall(),
      });
    });
  }

  const MOST_BARS = 24; // more ranks are points

  function drawTime() {
    const phases = (data.phases ?? []).filter(phase => phase.seconds !== null);
    const seconds = phases.map(phase => ({ name: phase.name, value: phase.seconds, words: `${text(phase.seconds, 3)} s` }));
    figure('phases', phases.length, at => bars(at, { title: 'Seconds by phase', rows: seconds }));
    const ranks = (data.ranks ?? []).filter(rank => rank.worked !== null), worked = ranks.map(rank => rank.worked);
    const percent = k => `${(100 * worked[k]).toFixed(1)} %`;
    const name = k => `rank ${ranks[k].rank}${ranks[k].host ? ` on ${ranks[k].host}` : ''}`;
    const title = 'Share of the time that ranks worked, last level';
    const rows = worked.map((value, k) => ({ name: name(k), value, words: percent(k) }));
    figure('ranks', ranks.length > 1, at => (ranks.length > MOST_BARS ? plot(at, {
      title,
      x: axis('rank', ranks.map(rank => rank.rank), { pad: 0.02, whole: true }),
      y: axis('share', [0, 1, ...worked]),
      series: [{
        color: HUES[0], x: ranks.map(rank => rank.rank), points: worked,
        head: k => `${name(k)}, ${ranks[k].threads} threads, ${text(ranks[k].memory_mb)} MB`, say: k => `worked ${percent(k)}`,
      }],
    }) : bars(at, { title, rows, most: Math.max(1, ...worked) })));
  }

  function drawAngle() {
    if (angles.length) [drawMaps, drawLags, drawResiduals, drawOverPhi].forEach(draw => draw());
    for (const section of document.querySelectorAll('section:has(.figure):not(:has(table, details, select))')) {
      section.hidden = !section.querySelector('.figure:not([hidden])');
    }
    ready.splice(0).forEach(draw => draw());
  }

  function draw() {
    [0, 1].forEach(drawRate);
    const { names = [], matrix: rows } = data.correlation ?? {};
    const correlated = { title: 'Correlation of the fitted parameters', names, rows, colors: colors.diverging };
    figure('correlation-matrix', names.length, at => matrix(at, correlated));
    drawConvergence();
    drawTime();
    drawAngle();
  }

  const menu = place('angle'), steps = [place('previous-angle'), place('next-angle')];

  function show(angle) {
    picked = Math.max(0, Math.min(angles.length - 1, angle));
    if (menu) menu.selectedIndex = picked;
    steps.forEach((button, k) => { if (button) button.disabled = picked === (k ? angles.length - 1 : 0); });
    document.documentElement.dataset.angle = picked;
  }

  function pick(angle) {
    show(angle);
    // browsers limit how often the address may change: it then lags behind
    try { history.replaceState(null, '', `#angle=${picked + 1}`); } catch { /* nothing is lost */ }
    drawAngle();
  }

  const linked = () => Number(/^#angle=(\d+)$/.exec(location.hash)?.[1] ?? picked + 1) - 1;
  const digits = x => (x >= 0.01 && x < 1000 ? x.toPrecision(3) : text(x, 3));
  const quality = ({ chi2 }) => (known([chi2]) ? `\u2003χ²/DOF ${digits(chi2)}` : '');
  menu?.replaceChildren(...angles.map((angle, k) => html('option', { value: k }, named(k) + quality(angle))));
  menu?.addEventListener('change', () => pick(menu.selectedIndex));
  steps.forEach((button, k) => button?.addEventListener('click', () => pick(picked + (k ? 1 : -1))));
  place('own-scale')?.addEventListener('change', drawMaps);
  addEventListener('hashchange', () => { show(linked()); drawAngle(); });

  // figures are drawn for the width they have, and scaled until they are drawn again
  let drawnFor = 0;
  function fitWidth() {
    const width = document.body.clientWidth;
    if (width !== drawnFor) draw();
    drawnFor = width;
  }
  show(linked());
  fitWidth();
  new ResizeObserver(() => requestAnimationFrame(fitWidth)).observe(document.body);

  // a sheet of paper is narrower, and nobody can unfold what is folded on it
  let folded = [];
  function printing(on) {
    document.documentElement.classList.toggle('printing', on);
    if (on) folded = [...document.querySelectorAll('details:not([open])')];
    for (const one of folded) one.open = on;
    fitWidth();
  }
  addEventListener('beforeprint', () => printing(true));
  addEventListener('afterprint', () => printing(false));

  document.documentElement.dataset.ready = 'true';
  performance.mark('drawn');
})();
