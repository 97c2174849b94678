'use strict';
(() => {
  const every = 2000; // ms between two looks
  const windowMS = 60000; // that latencies are of
  const byId = (id) => document.getElementById(id);
  let skew = 0; // the server's clock minus ours, ms
  let bounds = [];
  let paused = false;
  let announced = '';
  const histories = new Map(); // of latencies, by what they are of

  // set changes a text only where it is another one: what is selected stays selected, and nobody is told twice.
  const set = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };
  const make = (tag, parent, attributes = {}) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (parent) parent.append(element);
    return element;
  };
  const now = () => Date.now() + skew;

  const span = (ms) => {
    const s = Math.max(0, Math.round(ms / 1000));
    const units = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
    const i = units.findIndex(([n]) => s >= n);
    if (i < 0) return '0 s';
    const [n, name] = units[i];
    const rest = i + 1 < units.length ? Math.floor((s % n) / units[i + 1][0]) : 0;
    return Math.floor(s / n) + ' ' + name + (rest ? ' ' + rest + ' ' + units[i + 1][1] : '');
  };
  const ago = (time) => (time ? span(now() - Date.parse(time)) + ' ago' : '');
  const ms = (n) => (n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2));
  const list = (all) => (all || []).join(', ');

  const quantile = (counts, total, q) => {
    const rank = q * total;
    let below = 0;
    let lower = 0;
    for (let i = 0; i < bounds.length; i++) {
      if (counts[i] > 0 && below + counts[i] >= rank) return lower + ((bounds[i] - lower) * (rank - below)) / counts[i];
      below += counts[i];
      lower = bounds[i];
    }
    return lower;
  };

  // recent is the latency of what came in the window.
  const recent = (key, latency, at, seen) => {
    if (!latency) return '';
    seen.add(key);
    let history = histories.get(key);
    if (!history || latency.count < history[history.length - 1].count) {
      history = [{at: 0, count: 0, counts: latency.counts.map(() => 0)}]; // since the start
      histories.set(key, history);
    }
    history.push({at, count: latency.count, counts: latency.counts});
    while (history.length > 2 && history[1].at <= at - windowMS) history.shift();
    const base = history[0];
    const total = latency.count - base.count;
    if (total === 0) return 'no request';
    const counts = latency.counts.map((n, i) => n - base.counts[i]);
    return ms(quantile(counts, total, 0.5)) + ' / ' + ms(quantile(counts, total, 0.99));
  };

  const condition = (match) => {
    if (!match) return 'every request';
    const parts = [];
    const kinds = {Prefix: match.path === '/' ? '' : ' and below', Exact: ' exactly', Regex: ' (expression)'};
    parts.push(match.path + (kinds[match.path_type] ?? ''));
    if (match.methods) parts.push(match.methods.join(' or '));
    if (match.headers) parts.push('header ' + list(match.headers));
    if (match.query) parts.push('query ' + list(match.query));
    return parts.join('; ');
  };
  const goesTo = (row) => {
    if (row.invalid) return {text: 'answers 503: ' + row.invalid, kind: 'bad'};
    return list((row.clusters || []).map((c) => c.cluster + (c.backup ? ' (backup)' : row.clusters.length > 1 ? ' (weight ' + c.weight + ')' : '')));
  };
  const health = (e) => {
    if (e.ejected_until) return {text: '', kind: 'bad', until: Date.parse(e.ejected_until)};
    if (!e.healthy) return {text: '✗ failed ' + e.failed_checks + (e.failed_checks === 1 ? ' check' : ' checks'), kind: 'bad'};
    if (e.weight === 0) return {text: '○ weight 0', kind: 'warn'};
    return e.serving ? {text: '✓ serving', kind: 'good'} : {text: '✗ not serving', kind: 'bad'};
  };
  const share = (of) => ({text: of.healthy + ' of ' + of.total, kind: of.healthy < of.total ? (of.healthy ? 'warn' : 'bad') : ''});
  const expiry = (time) => {
    const left = Date.parse(time) - now();
    const day = 86400000;
    const date = new Date(time).toISOString().slice(0, 10);
    if (left <= 0) return {text: '✗ ended ' + date, kind: 'bad'};
    return {text: date + ', in ' + span(left), kind: left < 7 * day ? 'bad' : left < 30 * day ? 'warn' : ''};
  };
  const circuits = {closed: 'good', open: 'bad'};

  // The columns of each table: a label, and what stands in it: a text, or a text with its kind.
  const tables = {
    listeners: {
      key: (l) => l.address,
      columns: [
        ['Address', (l) => l.address],
        ['Bound to', (l) => l.bound || 'not bound'],
        ['TLS', (l) => (l.tls ? 'yes' : 'no')],
        ['Services', (l) => list(l.services)],
      ],
    },
    services: {
      key: (s) => s.listener + ' ' + (s.namespace || '') + '/' + s.name,
      columns: [
        ['Service', (s) => (s.namespace ? s.namespace + '/' : '') + s.name],
        ['Listener', (s) => s.listener],
        ['Protocol', (s) => s.protocol || 'HTTP'],
        ['Hosts', (s) => list(s.hosts) || 'every host'],
        ['Routes', (s) => String(s.routes), 'number'],
        ['Endpoints', (s) => share(s.endpoints), 'number'],
        ['Circuit', (s) => s.circuit || ''],
        ['Health path', (s) => s.health_path || ''],
      ],
    },
    routes: {
      key: (r) => [r.listener, r.host, r.route, condition(r.match), r.at].join(' '),
      columns: [
        ['Route', (r) => r.route],
        ['Listener', (r) => r.listener],
        ['Host', (r) => (r.host === '*' ? 'every host' : r.host)],
        ['Takes', (r) => condition(r.match)],
        ['Filters', (r) => list(r.filters)],
        ['Goes to', goesTo],
        ['Requests', (r) => String(r.latency ? r.latency.count : 0), 'number'],
        ['p50 / p99 ms', (r) => r.recent, 'number'],
      ],
    },
    endpoints: {
      key: (e) => e.cluster + ' ' + e.address,
      columns: [
        ['Endpoint', (e) => e.address],
        ['Service', (e) => e.service],
        ['Cluster', (e) => e.cluster],
        ['State', health],
        ['In flight', (e) => String(e.in_flight), 'number'],
        ['Idle', (e) => String(e.idle_connections), 'number'],
        ['Requests', (e) => String(e.requests), 'number'],
        ['p50 / p99 ms', (e) => e.recent, 'number'],
        ['Checked', (e) => ago(e.last_check)],
        ['Last error', (e) => (e.last_error ? e.last_error + ' (' + ago(e.last_error_at) + ')' : '')],
      ],
    },
    certificates: {
      key: (c) => c.service + ' ' + c.name + ' ' + c.not_after,
      columns: [
        ['Service', (c) => c.service],
        ['From', (c) => c.name],
        ['Ends', (c) => expiry(c.not_after)],
      ],
    },
  };

  // The roles are said again because narrow screens show tables as blocks, which takes their meaning away.
  const build = (holder) => {
    const spec = tables[holder.dataset.table];
    const table = make('table', holder, {role: 'table'});
    set(make('caption', table), holder.dataset.caption);
    const head = make('tr', make('thead', table, {role: 'rowgroup'}), {role: 'row'});
    for (const [label, , kind] of spec.columns) {
      set(make('th', head, {scope: 'col', role: 'columnheader', ...(kind ? {class: kind} : {})}), label);
    }
    spec.body = make('tbody', table, {role: 'rowgroup'});
    spec.more = make('p', holder, {class: 'more quiet', hidden: ''});
    spec.rows = new Map();
    spec.label = holder.closest('section').querySelector('h2').textContent.toLowerCase();
  };

  const show = (cell, value, kind) => {
    const of = typeof value === 'object' && value ? value : {text: value ?? '', kind: ''};
    const name = [kind, of.kind].filter(Boolean).join(' ');
    if (cell.className !== name) cell.className = name;
    if (of.until) cell.dataset.until = String(of.until);
    else delete cell.dataset.until;
    if (of.until) countdown(cell);
    else set(cell.firstChild, of.text);
  };
  const countdown = (cell) => {
    const left = Number(cell.dataset.until) - now();
    set(cell.firstChild, left > 0 ? '✗ ejected, back in ' + Math.ceil(left / 1000) + ' s' : '✗ ejected, about to return');
  };

  const fill = (spec, items, more) => {
    const kept = new Set();
    let before = spec.body.firstChild;
    for (const item of items) {
      const key = spec.key(item);
      if (kept.has(key)) continue;
      kept.add(key);
      let row = spec.rows.get(key);
      if (!row) {
        row = {element: make('tr', null, {role: 'row'}), cells: []};
        spec.columns.forEach(([label], i) => {
          const cell = i === 0 ? make('th', row.element, {scope: 'row', role: 'rowheader'}) : make('td', row.element, {role: 'cell'});
          cell.dataset.label = label;
          make('span', cell);
          row.cells.push(cell);
        });
        spec.rows.set(key, row);
      }
      spec.columns.forEach(([, value, kind], i) => show(row.cells[i], value(item), kind));
      if (row.element === before) before = before.nextSibling;
      else spec.body.insertBefore(row.element, before);
    }
    for (const [key, row] of spec.rows) {
      if (kept.has(key)) continue;
      row.element.remove();
      spec.rows.delete(key);
    }
    if (spec.empty) spec.empty.remove();
    spec.empty = null;
    if (items.length === 0) {
      spec.empty = make('tr', spec.body, {role: 'row'});
      set(make('td', spec.empty, {role: 'cell', class: 'empty quiet', colspan: String(spec.columns.length)}), 'none');
    }
    spec.hiddenMore = more || 0;
    sift(spec);
  };

  // sift hides the rows that do not hold what is looked for.
  const sift = (spec) => {
    const wanted = byId('filter').value.trim().toLowerCase();
    let left = 0;
    for (const row of spec.rows.values()) {
      const hide = wanted !== '' && !row.cells.some((c) => c.textContent.toLowerCase().includes(wanted));
      if (row.element.hidden !== hide) row.element.hidden = hide;
      if (hide) left++;
    }
    const parts = [];
    if (left) parts.push(left + ' of ' + spec.rows.size + ' rows do not hold what is looked for');
    if (spec.hiddenMore) parts.push(spec.hiddenMore + ' more are not listed here; the API has them all');
    set(spec.more, parts.join('; '));
    spec.more.hidden = parts.length === 0;
  };

  const overview = (entries) => {
    const holder = byId('overview');
    for (const [name, value, kind] of entries) {
      let entry = [...holder.children].find((c) => c.firstChild.textContent === name);
      if (!entry) {
        entry = make('div', holder);
        set(make('dt', entry), name);
        make('dd', entry);
      }
      set(entry.lastChild, value);
      entry.lastChild.className = kind || '';
    }
  };

  const attention = (status) => {
    const all = [];
    const c = status.config;
    if (!status.overview.ready) all.push('Not ready: no configuration is being served, or the proxy is stopping.');
    if (c.last_error) all.push('The last reload was refused ' + ago(c.last_error_at) + '; what was there before keeps serving.\n' + c.last_error);
    if (c.stale_since) all.push('The configuration comes from the last good file, written ' + ago(c.stale_since) + ': the API server does not answer.');
    for (const s of status.services) {
      if (s.endpoints.total > 0 && s.endpoints.healthy === 0) all.push('No endpoint of ' + (s.namespace ? s.namespace + '/' : '') + s.name + ' can serve.');
    }
    for (const s of status.clusters) {
      if (s.circuit && s.circuit !== 'closed') all.push('The circuit of ' + s.id + ' is ' + s.circuit + '.' + (s.open_ms ? ' Probes may come in ' + span(s.open_ms) + '.' : ''));
    }
    for (const s of status.certificates) {
      const left = Date.parse(s.not_after) - now();
      if (left < 7 * 86400000) all.push('The certificate ' + s.name + ' of ' + s.service + (left > 0 ? ' ends in ' + span(left) + '.' : ' has ended.'));
    }
    const shown = all.slice(0, 20);
    if (all.length > shown.length) shown.push(all.length - shown.length + ' more.');
    const holder = byId('alert-list');
    while (holder.children.length > shown.length) holder.lastChild.remove();
    shown.forEach((text, i) => set(holder.children[i] || make('li', holder), text));
    byId('alerts').hidden = shown.length === 0;
    return all.length;
  };

  const draw = (status) => {
    const o = status.overview;
    const at = Date.parse(status.at);
    skew = at - Date.now();
    bounds = status.bounds_ms;
    const seen = new Set();
    status.routes.forEach((r, i) => {
      r.at = i;
      r.recent = recent('route ' + r.listener + ' ' + r.host + ' ' + r.route + ' ' + i, r.latency, at, seen);
    });
    for (const e of status.endpoints) e.recent = recent('endpoint ' + e.cluster + ' ' + e.address, e.latency, at, seen);
    for (const key of histories.keys()) if (!seen.has(key)) histories.delete(key);
    const circuit = new Map();
    for (const c of status.clusters) {
      if (c.circuit && (c.circuit !== 'closed' || !circuit.has(c.service))) circuit.set(c.service, c.circuit);
    }
    for (const s of status.services) {
      const state = circuit.get((s.namespace ? s.namespace + '/' : '') + s.name);
      if (state) s.circuit = {text: state, kind: circuits[state] || 'warn'};
    }
    const problems = attention(status);
    overview([
      ['Version', o.version],
      ['Running for', span(o.uptime_seconds * 1000)],
      ['Configuration', o.config_hash || 'none'],
      ['Read from', status.config.source],
      ['Last reload', status.config.last_error ? 'refused ' + ago(status.config.last_error_at) : 'good, ' + ago(status.config.loaded_at), status.config.last_error ? 'bad' : ''],
      ['Endpoints that can serve', o.endpoints.healthy + ' of ' + o.endpoints.total, o.endpoints.healthy < o.endpoints.total ? 'warn' : ''],
      ['Requests now', String(o.active_requests)],
      ['Connections', String(o.open_connections)],
      ['Tunnels', String(o.open_tunnels)],
      ['Listeners, services, routes', [o.listeners, o.services, o.routes].join(', ')],
    ]);
    fill(tables.listeners, status.listeners);
    fill(tables.services, status.services);
    fill(tables.routes, status.routes, status.routes_more);
    fill(tables.endpoints, status.endpoints, status.endpoints_more);
    fill(tables.certificates, status.certificates);
    const badge = byId('state');
    set(badge, o.ready ? (problems ? '! ready, with problems' : '✓ ready') : '✗ not ready');
    badge.className = 'badge ' + (o.ready ? (problems ? 'warn' : 'good') : 'bad');
    document.title = (problems || !o.ready ? '! ' : '') + 'pingora-proxy: status';
    set(byId('updated'), 'read at ' + new Date(at).toLocaleTimeString());
    announce((o.ready ? 'Ready. ' : 'Not ready. ') + o.endpoints.healthy + ' of ' + o.endpoints.total + ' endpoints can serve. ' +
      (problems ? problems + (problems === 1 ? ' problem.' : ' problems.') : ''));
  };

  const announce = (text) => {
    if (text !== announced) set(byId('announce'), text);
    announced = text;
  };

  const look = async () => {
    try {
      const answer = await fetch('/api/v1/status', {cache: 'no-store', signal: AbortSignal.timeout(10000)});
      if (!answer.ok) throw new Error('status ' + answer.status);
      draw(await answer.json());
      return true;
    } catch (e) {
      const badge = byId('state');
      set(badge, '✗ no answer');
      badge.className = 'badge bad';
      announce('The proxy does not answer. What is shown is old.');
      return false;
    }
  };

  let timer = 0;
  const loop = async () => {
    clearTimeout(timer);
    const good = paused || document.hidden || (await look());
    clearTimeout(timer);
    timer = setTimeout(loop, good ? every : 2 * every);
  };

  for (const holder of document.querySelectorAll('[data-table]')) build(holder);
  byId('filter').addEventListener('input', () => Object.values(tables).forEach(sift));
  byId('pause').addEventListener('click', () => {
    paused = !paused;
    byId('pause').setAttribute('aria-pressed', String(paused));
    if (!paused) loop();
  });
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) loop();
  });
  setInterval(() => {
    for (const cell of document.querySelectorAll('[data-until]')) countdown(cell);
  }, 1000);
  loop();
})();
