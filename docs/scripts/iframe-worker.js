// Search runs in a worker, and browsers give no worker to a page opened from a folder. There, a hidden frame does the work:
// it has a global scope of its own, in which the worker's script finds the functions that it expects.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const scope = this.frame.contentWindow, base = new URL(url, location.href);
      const load = (address) => new Promise((done, failed) => {
        const script = scope.document.createElement("script");
        script.src = new URL(address, base).href;
        script.onload = done;
        script.onerror = failed;
        scope.document.body.append(script);
      });
      scope.postMessage = (data) => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        this.onmessage?.(event);
      };
      scope.importScripts = async (...addresses) => { for (const address of addresses) await load(address); };
      load(base).then(() => {
        const waiting = this.waiting;
        this.waiting = null;
        waiting.forEach((data) => this.postMessage(data));
      });
    }
    postMessage(data) {
      if (this.waiting) this.waiting.push(data);
      else this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }
    terminate() { this.frame.remove(); }
  };
}
