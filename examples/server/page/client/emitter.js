/** A very small event emitter, so that the client needs neither the DOM's `EventTarget` nor Node's `events`. */
export class Emitter {
  #listeners = new Map();

  /**
   * Listens until the returned function is called.
   * @param {string} name
   * @param {(detail: any) => void} listener
   * @returns {() => void}
   */
  on(name, listener) {
    let set = this.#listeners.get(name);
    if (!set) this.#listeners.set(name, (set = new Set()));
    set.add(listener);
    return () => set.delete(listener);
  }

  /**
   * Calls every listener. One that throws is reported as an uncaught error, and stops neither the others nor the caller:
   * a defect in a view must not leave the protocol's state half changed.
   * @param {string} name
   * @param {any} [detail]
   */
  emit(name, detail) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(detail);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
