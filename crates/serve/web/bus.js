// Who changes something says so here; who shows it listens. Nothing else ties the parts of the page together.

const listeners = new Map();

export function on(name, run) {
  if (!listeners.has(name)) listeners.set(name, []);
  listeners.get(name).push(run);
}

export function emit(name, ...values) {
  for (const run of listeners.get(name) ?? []) run(...values);
}
